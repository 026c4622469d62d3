"""KEY.json: one schema for every sample, and nothing else is believed."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest

from supir_shards import Origin, Role, Sample
from supir_shards.quarantine import RejectedError
from supir_shards.sample_json import json_bytes, read_json


def shape(value: Any) -> Any:
    """The types of a JSON value, by key."""
    if isinstance(value, dict):
        return {name: shape(one) for name, one in value.items()}
    return [shape(one) for one in value] if isinstance(value, list) else type(value).__name__


def bare() -> Sample:
    return Sample(key="0" * 32, image=b"x", extension="jpg", role=Role.NEGATIVE, width=1, height=1)


def test_a_full_and_a_bare_sample_have_the_same_keys_and_types(make_sample) -> None:
    full, nothing = (json.loads(json_bytes(one)) for one in (make_sample(0), bare()))
    assert shape(full) == shape(nothing)
    assert nothing["source_key"] == "0" * 32
    assert (full["text"], full["licence"], full["role"]) == ("ein Bild für 0", "CC-BY-4.0", "photo")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"licence": None}, "licence is None, not str"),
        ({"width": 1.0}, r"width is 1\.0, not int"),
        ({"role": "cat"}, "role is 'cat', not one of photo, face, negative"),
        ({"more": 1}, "'more' is not a field"),
        ({"origin": None}, "origin is NoneType, not an object"),
        ({"origin": {}}, r"origin\.'bit_depth' is missing"),
        ({"text": "\ud800"}, "not valid Unicode"),
    ],
)
def test_another_schema_is_refused(make_sample, change: dict[str, Any], told: str) -> None:
    record = json.loads(json_bytes(make_sample(0))) | change
    with pytest.raises(RejectedError) as caught:
        read_json(json.dumps(record).encode())
    assert caught.value.reason == "bad_json"
    assert re.search(told, caught.value.detail)


@pytest.mark.parametrize("data", [b"", b"[]", b"1", b"[" * 100_000, b"\xff"])
def test_what_is_no_object_is_refused(data: bytes) -> None:
    with pytest.raises(RejectedError) as caught:
        read_json(data)
    assert caught.value.detail.startswith(("KEY.json is not JSON", "KEY.json holds a "))


def test_the_place_of_a_part_is_told_in_px_of_the_original() -> None:
    # A crop of 400 x 200 px of the original at (100, 50), stored at half the size.
    origin = Origin(box=(100, 50, 500, 250), scale=0.5, is_original=False, sha256="ab")
    crop = replace(bare(), width=200, height=100, origin=origin)
    part = crop.origin_of_part((50, 0, 150, 100), width=50, producer="supir-degrade negatives")
    assert part.box == (200, 50, 400, 250)
    assert part.scale == 0.25
    assert (part.parent_key, part.parent_box) == (crop.key, (50, 0, 150, 100))
    assert (part.sha256, part.reencoded, part.is_original) == ("ab", True, False)
