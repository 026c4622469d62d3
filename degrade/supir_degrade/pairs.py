"""Fixed (HQ, LQ) pairs for validation: crops of a dataset's photos and what a recipe makes of them.

Place in the flow: `supir-degrade pairs` → two datasets, OUT/hq and OUT/lq. A pair is two samples with one
key, that of the photo which the crop was taken from, in parts of one name; so the two tars unpack into two
folders of equally named PNG files. Role, source, licence, text and source key are the photo's. `trace` of the LQ is the
degradation; replaying it on the HQ gives the LQ.
The law it keeps: the same dataset and options give the same bytes, on every run with one set of library versions on
one kind of CPU. What the recipe would leave clean is degraded as its other draws say, unless clean pairs are asked for:
they measure nothing, and as many pairs come as were asked for either way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field

from supir_console import Config, Progress, config_hash
from supir_degrade.draw import draws_clean, sample_generator
from supir_degrade.job import (
    FAILURES,
    UNREADABLE,
    Outcome,
    Plan,
    claim,
    plan_job,
    write_failures,
    write_outcomes,
)
from supir_degrade.pipeline import degrade
from supir_degrade.recipe import Recipe, load_recipe
from supir_degrade.requirements import check_recipe
from supir_degrade.sources import (
    Photo,
    Source,
    UnreadablePhotoError,
    choose_sources,
    encode_png,
    made_from,
    read_photo,
)
from supir_degrade.targets import estimate_targets
from supir_shards import Box, Dataset, Record, Sample, Store, finish_dataset, write_part

COMMAND = "supir-degrade pairs"
DEFAULT_RECIPE = "realesrgan"


def _named_recipe(value: Any) -> Any:
    """A name, or a mapping without steps, stands for the recipe of that name with the mapping's keys changed."""
    named = {"name": value} if isinstance(value, str) else value
    if not isinstance(named, dict) or "steps" in named:
        return value
    base = load_recipe(str(named.get("name", DEFAULT_RECIPE)))
    return {**base.model_dump(), **{key: item for key, item in named.items() if key != "name"}}


class PairsConfig(Config):
    """Everything that decides what the pairs are."""

    recipe: Annotated[Recipe, BeforeValidator(_named_recipe)] = Field(
        default_factory=lambda: load_recipe(DEFAULT_RECIPE),
        description="what the LQ side goes through: a name, a YAML file, or a recipe's own keys",
    )
    count: int = Field(100, ge=1, description="number of pairs")
    crop_px: int = Field(512, ge=16, description="side of the square crop, px")
    held_out_share: float = Field(
        1.0,
        gt=0,
        le=1,
        description="take pairs only of photos that supir-train with this validation.share never trains on; 1 takes "
        "them of all",
    )
    seed: int = Field(0, description="chooses photos, crops and degradations")
    clean: bool = Field(
        False,
        description="keep the recipe's share of clean pairs, LQ equal to HQ, instead of degrading them too",
    )
    estimate_targets: bool = Field(
        False, description="write a degradation estimator's targets into the scores of OUT/lq"
    )

    def degradation(self) -> Recipe:
        """Returns the recipe of the LQ side: without its clean share, unless clean pairs are asked for."""
        return self.recipe if self.clean else self.recipe.model_copy(update={"clean_share": 0.0})


@dataclass(frozen=True, slots=True)
class Pair:
    """One crop and its degraded version."""

    hq: Sample
    lq: Sample


def plan(dataset: Dataset, out: str, config: PairsConfig) -> Plan:
    """Returns what is to be made, after a look at what is there; nothing is written.

    Raises:
        UserError: too few photos, `out` holds other work, or the recipe needs what is not there.
        DatasetError: the dataset is not finished, damaged, or of another format.
    """
    check_recipe(config.degradation())
    sources = choose_sources(
        dataset,
        count=config.count,
        min_side_px=config.crop_px,
        seed=config.seed,
        held_out_share=config.held_out_share,
    )
    # The LQ part is written last: where it is, the HQ part is too.
    return plan_job([Store(f"{out}/{side}") for side in ("hq", "lq")], COMMAND, config, sources)


def cost(planned: Plan, config: PairsConfig) -> dict[str, int]:
    """Returns what the rest of the job takes: pairs, parts, bytes of both sides' PNGs at most."""
    return {
        "pairs": planned.num_todo,
        "parts": len(planned.todo),
        "output_bytes_at_most": 2 * 3 * config.crop_px**2 * planned.num_todo,
    }


def make_pairs(dataset: Dataset, out: str, config: PairsConfig) -> dict[str, int | str | None]:
    """Writes the pairs that are not there yet and returns the run's summary.

    Args:
        dataset: the photos.
        out: local path or URL; OUT/hq and OUT/lq become datasets.
        config: see `PairsConfig`.

    Raises:
        UserError: too few photos, `out` holds other work, or the recipe needs what is not there.
        DatasetError: the dataset is not finished, damaged, or of another format.
    """
    planned = plan(dataset, out, config)
    hq, lq = Store(f"{out}/hq"), Store(f"{out}/lq")
    for store in (hq, lq):
        claim(store, planned.mark)
    with Progress(planned.num_todo, "pairs", "pairs") as progress:
        for part in planned.todo:
            _write_pairs(dataset, part, planned.parts[part], hq=hq, lq=lq, config=config)
            progress.advance(len(planned.parts[part]))
    for store in (hq, lq):
        finish_dataset(
            store, command=COMMAND, config=config.model_dump(mode="json"), config_hash=config_hash(config)
        )
    failed = write_failures(hq, planned.parts, {})
    chosen = sum(_is_chosen_clean(source.key, config) for part in planned.parts.values() for source in part)
    return {
        "pairs": config.count - failed,
        "clean": chosen if config.clean else 0,
        "clean_left_out": 0 if config.clean else chosen,
        "failed": failed,
        "failures": f"{hq.url}/{FAILURES}" if failed else None,
        "hq": hq.url,
        "lq": lq.url,
    }


def make_pair(photo: Photo, config: PairsConfig) -> Pair:
    """Returns the pair of one photo.

    Args:
        photo: no side of it is shorter than the crop.
        config: see `PairsConfig`.
    """
    key, pixels, side = photo.record.key, photo.pixels, config.crop_px
    rng, corner = _drawn_corner(key, config)
    y, x = (int(share * (length - side + 1)) for share, length in zip(corner, pixels.shape[:2], strict=True))
    box = (x, y, x + side, y + side)
    crop = pixels[y : y + side, x : x + side]
    lq, trace = degrade(crop, config.degradation(), rng)
    targets = estimate_targets(trace) if config.estimate_targets else {}
    return Pair(
        hq=_sample(photo.record, box, crop),
        lq=_sample(photo.record, box, lq, scores=targets, trace=trace.to_json()),
    )


def _drawn_corner(key: str, config: PairsConfig) -> tuple[np.random.Generator, tuple[float, float]]:
    """The photo's generator, and what it gave first: where the crop begins, as shares of the room down and across."""
    rng = sample_generator(config.seed, key, 0)
    return rng, (rng.random(), rng.random())


def _is_chosen_clean(key: str, config: PairsConfig) -> bool:
    """Whether the recipe leaves this photo's crop as it is."""
    rng, _ = _drawn_corner(key, config)
    return draws_clean(config.recipe, rng)


def _sample(photo: Record, box: Box, image: NDArray[np.uint8], **more: Any) -> Sample:
    return made_from(
        photo, box, COMMAND, key=photo.key, image=encode_png(image), width=image.shape[1], **more
    )


def _write_pairs(
    dataset: Dataset, part: str, members: list[Source], *, hq: Store, lq: Store, config: PairsConfig
) -> None:
    index = dataset.index(part).to_pylist()
    made, outcomes = [], []
    for source in members:
        try:
            photo = read_photo(dataset, source, index[source.row])
        except UnreadablePhotoError as error:
            outcomes.append(Outcome(source, UNREADABLE, str(error)))
            continue
        made.append(make_pair(photo, config))
        outcomes.append(Outcome(source))
    write_outcomes(hq, part, outcomes)
    write_part(hq, part, (pair.hq for pair in made))
    write_part(lq, part, (pair.lq for pair in made))
