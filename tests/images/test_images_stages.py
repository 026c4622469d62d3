"""One photo through every stage's real door: each sees the same picture, upright and in sRGB."""

from __future__ import annotations

import base64
import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from pictures import exif_of, p3_profile, png, saved
from PIL import Image
from skimage import data as skimage_data

from supir_caption.config import RegionConfig
from supir_caption.picture import read_picture as caption_picture
from supir_curate.assess_actor import open_picture
from supir_curate.config import PackConfig
from supir_curate.measure import measure
from supir_curate.packing.pack import make_samples
from supir_curate.pictures.picture import decode as probe_picture
from supir_curate.reporting.thumbnails import data_uri
from supir_curate.sources.originals import Original
from supir_degrade.cli import _photo as preview_photo
from supir_degrade.sources import choose_sources, read_photo
from supir_images import decode_rgb
from supir_images.decoding import to_bytes
from supir_images.orientation import stored_again
from supir_infer.images import read_picture, read_thumbnail
from supir_shards import Dataset, Role, Sample, Store, as_webdataset, finish_dataset, part_name, write_part
from supir_train.crop_maker import CropMaker
from supir_train.data_config import DataConfig
from supir_train.order import Place, Walk

UPRIGHT = skimage_data.astronaut()[
    :448, :400
]  # its sides are multiples of 16 px, so that it can be turned without loss
PHOTO = saved(
    Image.fromarray(stored_again(UPRIGHT, 6)),
    "JPEG",
    quality=95,
    subsampling=0,
    icc_profile=p3_profile(),
    exif=exif_of(6),
)
EXPECTED = decode_rgb(PHOTO)


def test_the_photo_is_one_that_is_neither_upright_nor_srgb() -> None:
    as_stored = np.asarray(Image.open(io.BytesIO(PHOTO)))
    assert EXPECTED.shape == UPRIGHT.shape
    unconverted = np.rot90(as_stored, -1)
    assert np.abs(EXPECTED.astype(int) - unconverted).mean() > 3
    error = np.mean((EXPECTED.astype(float) - unconverted) ** 2)
    assert 10 * np.log10(255**2 / error) < 35


def test_infer_sees_it(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(PHOTO)
    assert np.array_equal(to_bytes(read_picture(tmp_path / "a.jpg").rgb), EXPECTED)
    small = read_thumbnail(tmp_path / "a.jpg", 224)
    assert near(small, EXPECTED, 4)


def test_a_webdataset_pipeline_gives_it(tmp_path: Path) -> None:
    store, key = Store(tmp_path), "a" * 32
    about = {"role": Role.PHOTO, "width": 400, "height": 448, "extension": "jpg"}
    write_part(store, part_name(0), [Sample(key=key, image=PHOTO, **about)])
    finish_dataset(store, command="test", config={}, config_hash="0" * 16)
    (plain,) = as_webdataset(store.url).decode("rgb8")
    assert np.array_equal(plain["jpg"], EXPECTED)
    (picture,) = as_webdataset(store.url).decode("torchrgb")
    assert np.allclose(np.asarray(picture["jpg"]).transpose(1, 2, 0), EXPECTED / 255, atol=1e-6)


def near(small: np.ndarray, whole: np.ndarray, levels: float) -> bool:
    """Whether a reduced picture shows the whole one."""
    resized = Image.fromarray(whole).resize((small.shape[1], small.shape[0]), Image.Resampling.BOX)
    return bool(np.abs(small.astype(int) - np.asarray(resized)).mean() < levels)


def test_curation_s_probes_scorers_and_report_see_it() -> None:
    picture = probe_picture(PHOTO, 10**7, 1024)
    assert np.array_equal(picture.colours, EXPECTED)
    luma = EXPECTED @ np.array([0.299, 0.587, 0.114])
    assert np.abs(picture.gray - luma).max() <= 1
    original = Original(row=0, url="file:a.jpg", data=PHOTO)
    scored = open_picture(original, hashlib.sha256(PHOTO).hexdigest(), 1024)
    assert np.array_equal(scored, EXPECTED)
    uri = data_uri(PHOTO, None, 10**7)
    assert uri is not None
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))
    assert shown.shape[0] > shown.shape[1]
    assert np.abs(shown.mean(axis=(0, 1)) - EXPECTED.mean(axis=(0, 1))).max() < 1


def packed() -> Sample:
    """The sample that curation stores of it: turned without loss, its profile kept."""
    height, width = EXPECTED.shape[1], EXPECTED.shape[0]
    sha256 = hashlib.sha256(PHOTO).hexdigest()
    row = {
        "key": sha256[:32],
        "sha256": sha256,
        "width": width,
        "height": height,
        "texture": bytes(4),
        "texture_rows": 2,
        "texture_cols": 2,
        "score.effective_ratio": 1.0,
    }
    original = Original(row=0, url="file:a.jpg", data=PHOTO)
    (sample,) = make_samples(original, row, Role.PHOTO, PackConfig())
    return sample


def test_what_curation_stores_shows_it() -> None:
    sample = packed()
    assert (sample.width, sample.height) == (EXPECTED.shape[1], EXPECTED.shape[0])
    assert sample.origin.reencoded is False
    assert rounding(decode_rgb(sample.image)) < 0.1


def rounding(rgb: np.ndarray) -> float:
    """The mean difference in levels: a turned JPEG's numbers are rounded in another order, three levels at most."""
    return float(np.abs(rgb.astype(int) - EXPECTED).mean())


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    store = Store(tmp_path / "data")
    write_part(store, part_name(0), [packed()])
    finish_dataset(store, command="test", config={}, config_hash="0")
    return Dataset(tmp_path / "data")


def test_captions_degradation_and_training_see_what_infer_sees_of_the_stored_bytes(
    dataset: Dataset, tmp_path: Path
) -> None:
    (record,) = dataset.samples()
    (tmp_path / "stored.jpg").write_bytes(record.image)
    expected = to_bytes(read_picture(tmp_path / "stored.jpg").rgb)
    assert rounding(expected) < 0.1
    captioned = caption_picture(record.key, record.image, RegionConfig())
    assert np.array_equal(captioned.rgb, expected)
    (source,) = choose_sources(dataset, count=1, min_side_px=64, seed=0)
    row = dataset.index(source.part).to_pylist()[source.row]
    assert np.array_equal(read_photo(dataset, source, row).pixels, expected)
    assert np.array_equal(preview_photo(tmp_path / "stored.jpg"), expected)
    walk = Walk(dataset, "photos", captions=None, seed=0, shuffle_parts=1, validation_share=0.0)
    maker = CropMaker(
        {"photos": dataset}, DataConfig(dataset=str(tmp_path), crop_px=384, recipe="none"), None, 0
    )
    assert np.array_equal(maker._picture(next(walk.training(Place()))[1]).pixels, expected)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_eight_orientations_have_the_same_scores_and_one_hash(orientation: int) -> None:
    upright = skimage_data.astronaut()[:350, :437]  # no multiples of 8 px: a turn moves the grid of blocks
    stored = Image.fromarray(stored_again(upright, orientation))
    plain = measure(probe_picture(saved(Image.fromarray(upright), "PNG"), 10**7, 256), 256)
    turned = measure(probe_picture(saved(stored, "PNG", exif=exif_of(orientation)), 10**7, 256), 256)
    assert turned.phash == plain.phash
    assert np.array_equal(turned.texture, plain.texture)
    for name, value in plain.scores.items():
        # the file's size follows the order of its rows; the grid's phase may add a comb
        if name not in ("bits_per_pixel", "first_quality"):
            assert turned.scores[name] == pytest.approx(value, nan_ok=True), name


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_strong_compression_is_found_on_the_grid_that_a_turn_moved(orientation: int) -> None:
    upright = skimage_data.astronaut()[:350, :437]
    stored = stored_again(upright, orientation)
    strong = Image.open(io.BytesIO(saved(Image.fromarray(stored), "JPEG", quality=40)))
    data = saved(strong, "PNG", exif=exif_of(orientation))  # the grid begins at the stored corner
    scores = measure(probe_picture(data, 10**7, 1024), 1024).scores
    assert scores["first_quality"] == pytest.approx(40, abs=6)
    assert scores["blockiness"] > 0.2


def test_the_ledger_s_sizes_and_map_are_of_the_picture_as_stored() -> None:
    upright = np.zeros((96, 160, 3), np.uint8)
    upright[:, :64] = np.random.default_rng(0).integers(0, 256, (96, 64, 3))
    from supir_curate.score import _measured

    picture = probe_picture(
        saved(Image.fromarray(stored_again(upright, 6)), "PNG", exif=exif_of(6)), 10**7, 1024
    )
    row = _measured(picture, measure(picture, 1024))
    assert (row["width"], row["height"]) == (96, 160)
    cells = np.frombuffer(row["texture"], np.uint8).reshape(row["texture_rows"], row["texture_cols"])
    assert np.array_equal(cells, stored_again(measure(picture, 1024).texture, 6))
    assert cells.shape[0] > cells.shape[1]


def test_a_png_that_is_cut_keeps_its_gamma_as_a_profile() -> None:
    from pictures import gama

    pixels = np.repeat(np.arange(1024)[None, :, None] // 4, 1024, 0).repeat(3, 2)
    data = png(pixels, 2, 8, (gama(1.0),))
    sha256 = hashlib.sha256(data).hexdigest()
    row = {
        "key": sha256[:32],
        "sha256": sha256,
        "width": 1024,
        "height": 1024,
        "texture": bytes([99] * 4),
        "texture_rows": 2,
        "texture_cols": 2,
        "score.effective_ratio": 1.0,
    }
    config = PackConfig(mode="crops", size_px=512, max_crops=1)
    (sample,) = make_samples(Original(row=0, url="a", data=data), row, Role.PHOTO, config)
    cut = decode_rgb(sample.image)
    whole = decode_rgb(data)
    assert sample.extension == "png"
    assert np.abs(cut.astype(int) - whole[:512, :512]).max() <= 1
