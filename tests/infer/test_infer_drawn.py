"""Pictures whose exactness says that they were drawn: they come back as they were, faults in photos still count."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from skimage import data

from supir_infer.drawn import crispness, has_few_colours, is_drawn, surrounded
from supir_infer.restore import Restorer
from supir_infer.settings import PRESETS
from supir_model import load_supir
from supir_model.estimator import Degradation

GRAINY = Degradation(0.0, 8.0, 100.0, 1.0, 27.0)
WORDS = "the quick brown fox jumps over a lazy dog while 1234567890 sheep sleep beneath an old oak and nobody minds "


def page(ink, paper, letters_px=8, side=192):
    picture = Image.new("RGB", (side, side), paper)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(letters_px)
    for line, top in enumerate(range(3, side - letters_px, letters_px + 3)):
        draw.text((4, top), (WORDS * 3)[7 * line :][: side * 2 // letters_px], fill=ink, font=font)
    return picture


def unit(picture):
    return np.asarray(picture, np.float32) / 255


def saved(picture, quality):
    stream = io.BytesIO()
    picture.save(stream, format="JPEG", quality=quality)
    return Image.open(stream)


@pytest.mark.parametrize(
    ("ink", "paper"),
    [("black", "white"), ("white", "navy"), ((200, 0, 0), (255, 255, 200)), ((200, 220, 200), (20, 22, 30))],
)
def test_letters_as_a_screen_shows_them_are_drawn_whatever_their_colours(ink, paper):
    picture = unit(page(ink, paper))
    assert is_drawn(picture, GRAINY)
    assert crispness([picture]) > 0.2
    assert surrounded([picture]) > 0.9
    assert not is_drawn(picture, Degradation(1.5, 0.0, 100.0, 1.0, 27.0))  # enlarged, as it is believed to be


def grain(picture):
    noise = np.random.default_rng(0).normal(0, 1.5, (picture.height, picture.width, 1))
    return (np.asarray(picture, float) + noise).round().clip(0, 255)


@pytest.mark.parametrize(
    "fault",
    [
        grain,
        lambda picture: saved(picture, 85),
        lambda picture: saved(picture, 30),
        lambda picture: picture.filter(ImageFilter.GaussianBlur(1)),
        lambda picture: picture.resize((384, 384), Image.Resampling.BICUBIC),
    ],
    ids=["grain of the cut-off paper", "jpeg85", "jpeg30", "blur", "enlarged"],
)
@pytest.mark.parametrize("paper", ["white", (230, 215, 180)])
def test_a_page_with_a_fault_is_not_drawn(fault, paper):
    assert not is_drawn(unit(fault(page("black", paper))), GRAINY)


def test_photos_are_not_drawn_and_pictures_of_few_colours_are():
    photo = Image.fromarray(data.astronaut()[:256, 64:320])
    assert not is_drawn(unit(photo), GRAINY)
    assert not is_drawn(unit(photo.convert("L").convert("RGB")), GRAINY)
    blown = grain(photo) * 2.5 - 150  # its grain is cut off in the whites and the blacks
    assert not is_drawn(unit(blown.round().clip(0, 255)), GRAINY)
    assert is_drawn(unit(photo.convert("1").convert("RGB")), GRAINY)
    assert is_drawn(unit(photo.quantize(16).convert("RGB")), GRAINY)
    assert not has_few_colours([unit(photo.quantize(17).convert("RGB"))])
    greys = (
        np.random.default_rng(0).integers(100, 105, (64, 64, 1)).repeat(3, axis=2)
    )  # five: a flat wall's grain
    assert not has_few_colours([unit(greys)])
    assert has_few_colours([unit(np.minimum(greys, 103))])


def test_a_page_that_is_taken_for_grainy_comes_back_as_it_was_and_a_compressed_one_does_not():
    restorer = Restorer(load_supir(preset="mini"), PRESETS["mini"])
    blue = page((40, 40, 255), (255, 255, 0), 7)
    clean = restorer.restore(blue)
    assert clean.degradation.psnr_db < 34
    assert clean.strength == 0
    assert np.array_equal(clean.image, np.asarray(blue))
    assert restorer.restore(saved(blue, 20)).strength > 0.1
    larger = Restorer(restorer.supir, PRESETS["mini"].model_copy(update={"upscale": 2.0})).restore(blue)
    assert larger.strength > 0
