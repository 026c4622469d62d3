from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from supir_curate.packing.crops import Layout
from supir_curate.reporting.thumbnails import CROP_COLOUR, data_uri, thumbnails
from supir_curate.selection.select import KEPT, selection_path
from supir_curate.sources.plan import load_plan
from supir_shards import Store


def pixels(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))), np.int16)


def framed(picture: np.ndarray) -> np.ndarray:
    return np.abs(picture - np.array(CROP_COLOUR)).max(axis=-1) < 60


def test_crops_are_framed_on_kept_pictures_alone(finished, config):
    store, plan = Store(finished), load_plan(Store(finished))
    part = plan.parts()[0]
    states = {row["source_row"]: row["state"] for row in store.read_table(selection_path(part)).to_pylist()}
    places = {(part, row) for row in states}
    cut = config.model_copy(
        update={
            "pack": config.pack.model_copy(
                update={"mode": "crops", "size_px": 64, "min_frame_share": 0.01, "min_effective_ratio": 0.0}
            )
        }
    )
    whole, crops = (thumbnails(store, plan, places, one) for one in (config, cut))
    changed = {row for (_, row), uri in crops.items() if uri != whole[part, row]}
    assert changed == {row for row, state in states.items() if state == KEPT} != set()


@pytest.mark.parametrize(
    ("orientation", "rows", "columns"),
    [(1, (0, 47), (0, 71)), (6, (0, 71), (48, 95)), (3, (48, 95), (72, 143))],
)
def test_a_frame_turns_with_its_picture(orientation, rows, columns):
    image, sink = Image.new("RGB", (1440, 960)), io.BytesIO()
    exif = image.getexif()
    exif[0x0112] = orientation
    image.save(sink, "JPEG", exif=exif)
    uri = data_uri(sink.getvalue(), Layout(1440, 960, ((0, 0, 720, 480),)), 1440 * 960)
    places = np.argwhere(framed(pixels(uri)))
    assert (places.min(axis=0).tolist(), places.max(axis=0).tolist()) == (
        [rows[0], columns[0]],
        [rows[1], columns[1]],
    )
