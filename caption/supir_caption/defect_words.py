"""What is wrong with a picture, in families that are read alike, and the word lists of the grammar that reads them.

Place in the flow: tables for `degradation.py` and `said_of.py`; the words themselves stand in `words/`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from supir_caption.word_lists import alternatives, word_lists

_LISTS = word_lists("grammar")
PICTURE: Final = _LISTS["picture"]
PICTURE_COMPOUND: Final = _LISTS["picture_compound"]
PART: Final = _LISTS["part"]
PLACE: Final = _LISTS["place"]
ASPECT: Final = _LISTS["aspect"]
COLOURS: Final = _LISTS["colours"]
NOISY_PLACE: Final = _LISTS["noisy_place"]
DETERMINERS: Final = _LISTS["determiners"]
PREPOSITIONS: Final = _LISTS["prepositions"]
LINKS: Final = _LISTS["links"]
JOINERS: Final = _LISTS["joiners"]
NEGATORS: Final = _LISTS["negators"]
BEHIND: Final = _LISTS["behind"]
ACTS_ON: Final = _LISTS["acts_on"]
ADJECTIVES: Final = _LISTS["adjectives"]
HELD: Final = _LISTS["held"]
HELD_AT: Final = _LISTS["held_at"]
LIGHT: Final = _LISTS["light"]
BLOWN_NEAR: Final = _LISTS["blown_near"]
MEASURES: Final = _LISTS["measures"]
MADE: Final = _LISTS["made"]
NOISE_KINDS: Final = _LISTS["noise_kinds"]
STOPS: Final = _LISTS["stops"] | DETERMINERS | PREPOSITIONS | LINKS

Form = Literal["noun", "adjective", "verb", "measure"]
"""noun: "noise", a phrase may follow ("in the sky"). adjective: "noisy", a noun may follow. verb: "lacks sharpness",
nothing follows. measure: "low quality", a noun or "of" may follow at once."""


@dataclass(frozen=True, slots=True)
class Family:
    """Defects that are read alike.

    Attributes:
        pattern: over a sentence in lower case, hyphens taken as spaces, words and punctuation apart.
        form: what it is in the sentence, see `Form`.
        bare: reported where nothing says what has the defect.
        has: words, besides those for the picture, that have this defect as a part of the picture.
    """

    pattern: re.Pattern[str]
    form: Form
    bare: bool
    has: frozenset[str] = frozenset()

    @property
    def pictures(self) -> frozenset[str]:
        """The words for the picture: a frame or a film that is scratched is a thing more often than not."""
        return PICTURE if self.bare else PICTURE - {"frame", "film"}


def _words(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\S)(?:{pattern})(?!\S)")


ALWAYS: Final = _words(alternatives("degradation"))
BLOWN: Final = _words(r"blown ?out")

_SHARPNESS = "sharpness|clarity|definition|crispness|focus|resolution|details?|contrast"
_POOR = (
    "low|lower|lowest|poor|bad|terrible|awful|worst|inferior|mediocre|sub ?par|degraded|limited|insufficient"
)
_OF_PICTURES = "image|picture|photo|scan|scanning|visual|overall|technical|video"
FAMILIES: Final = (
    Family(
        _words(
            "(?:motion )?(?:blurry|blurred|blurring)|un ?sharp|un ?focused|de ?focused|out of focus|misfocused"
            "|indistinct|smeared|smudged|pixell?ated|blocky|bleary"
        ),
        form="adjective",
        bare=True,
        has=PART,
    ),
    Family(
        _words(
            r"not (?:\w+ )?(?:in (?:sharp )?focus|sharp|crisp|well defined|well focused)"
            rf"|lack(?:s|ing)? (?:of |in )?(?:\w+ )?(?:{_SHARPNESS})"
        ),
        form="verb",
        bare=True,
        has=PART,
    ),
    Family(
        _words("(?:motion |gaussian )?blur|blurriness|unsharpness|smearing|pixell?ation|compression"),
        form="noun",
        bare=True,
        has=PART,
    ),
    Family(
        _words(r"soft|hazy|fuzzy|unclear|murky|not (?:\w+ )?clear"),
        form="adjective",
        bare=False,
        has=PART - {"scene", "shadows", "shadow", "tones"},
    ),
    Family(_words("soft focus"), form="adjective", bare=False),
    Family(_words("noisy|grainy"), form="adjective", bare=True, has=NOISY_PLACE),
    Family(_words("noise|grain|graininess"), form="noun", bare=True, has=NOISY_PLACE | PART),
    Family(
        _words(
            "scratched|dusty|dirty|stained|creased|torn|cracked|faded|yellowed|damaged|degraded|deteriorated"
            "|discolou?red"
        ),
        form="adjective",
        bare=False,
    ),
    Family(_words("washed out|faded|dull"), form="adjective", bare=False, has=COLOURS),
    Family(
        _words(
            "scratch(?:es)?|dust|stains?|creases?|cracks|tears|rips|holes|folds|fading|yellowing|damage|degradation"
            "|discolou?ration|wear|age|aging|ageing|smudges|smears|spots|specks|blemishes|light leaks|mou?ld"
        ),
        form="noun",
        bare=False,
    ),
    Family(
        _words(
            r"(?:dust|dirt) (?:spots |specks )?and (?:\w+ )?scratches"
            r"|scratches and (?:\w+ )?dust(?: spots| specks)?"
        ),
        form="noun",
        bare=True,
    ),
    Family(
        _words(
            "distorted|warped|glitch(?:y|ed)|corrupted|compressed|too (?:dark|bright)|poorly lit|badly lit"
            "|(?:heavily|highly|strongly|overly) compressed"
        ),
        form="adjective",
        bare=False,
    ),
    Family(_words("distortions?|softness|haze|fuzziness|art[ie]facts"), form="noun", bare=False),
    Family(
        _words(
            rf"(?:{_POOR}) (?:(?:{_OF_PICTURES}) )?(?:quality|resolution|res)|poor contrast"
            r"|low in (?:\w+ )?(?:quality|resolution)"
        ),
        form="measure",
        bare=True,
    ),
)

QUALITY_IS: Final = _words(
    r"(?P<of>\S+) (?:quality|resolution|focus|sharpness|clarity)(?P<pp>(?: (?:of|in) (?:the |this |its )?\S+)?)"
    " (?:is|are|was|looks|seems|appears|remains)"
    " (?:(?:to be|very|quite|rather|so|too|also|fairly|relatively|generally|extremely|somewhat|overall|pretty|really)"
    " )*"
    "(?:low|poor|bad|terrible|limited|degraded|mediocre|lacking|sub ?par"
    "|not (?:very |so |particularly |really |too |that )?(?:good|high|great|sharp|the best))"
)
"""The quality of … is poor; `of` is the word before it, `pp` the phrase that says whose."""
