"""An audit: a sample of the stored captions is shown to another model, which judges each sentence against the picture.

Place in the flow: `supir-caption audit`, after a run. The law: the sample is drawn by a hash, so the same captions are
audited by every model; what the judge said of each sentence is stored beside the captions, never in them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from supir_caption.examine.claims import audit_schema, audit_words, audited, claims_of, verdicts_in
from supir_caption.examine.examiner import Exam, Examiner
from supir_caption.pages.stored import Stored
from supir_caption.pages.tally import Example, Fewest
from supir_caption.pages.views import crops

AT_ONCE = 32  # pictures that are held


@dataclass(frozen=True, slots=True)
class AuditRow:
    """What the judge said of one caption; no verdicts where its answer gave none."""

    part: str
    key: str
    region: int
    claims: tuple[str, ...]
    verdicts: tuple[str, ...] | None


def audit(stored: Stored, judge: Examiner, number: int) -> tuple[list[AuditRow], dict[str, Any]]:
    """Returns a row for each caption of the sample, and the figures as JSON-serialisable values.

    Args:
        stored: the captions.
        judge: another model than the one that wrote them.
        number: of captions to be judged.
    """
    sample = Fewest(number, "audit")
    for part, caption in stored.captions():
        if caption.text:
            sample.add(Example(part, caption))
    rows = list(_judged(stored, judge, sample.examples()))
    summary = audited(row.verdicts for row in rows).summary()
    unreadable = len(sample.examples()) - len(rows)
    return rows, {"judge": judge.name, **summary, "unreadable_pictures": unreadable}


def _judged(stored: Stored, judge: Examiner, examples: list[Example]) -> Iterator[AuditRow]:
    pictures = crops(stored.dataset, examples)
    while batch := list(islice(pictures, AT_ONCE)):
        claims = [claims_of(example.caption.text) for example, _ in batch]
        exams = [
            Exam(
                example.caption.key, example.caption.region, audit_words(said), image, audit_schema(len(said))
            )
            for (example, image), said in zip(batch, claims, strict=True)
        ]
        for (example, _), said, answer in zip(batch, claims, judge.answers(exams), strict=True):
            caption = example.caption
            yield AuditRow(
                example.part, caption.key, caption.region, tuple(said), verdicts_in(answer, len(said))
            )
