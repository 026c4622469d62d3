"""Measured figures in plain words: nothing is said that was not measured, ordinary figures are not mentioned.

The order of the sentences is the order of importance: subject, text, colours, light, detail. The limits below
were set by eye on 48 photos of Debian's wallpaper packages; each is the value at which the word starts to be
true.
"""

from __future__ import annotations

from collections.abc import Sequence

from supir_caption.attributes import Attributes
from supir_shards import Box

_DARK, _BRIGHT = 25.0, 75.0  # mean L*
_GENTLE, _STRONG = 35.0, 75.0  # L* from the 5th to the 95th percentile
_MUTED, _VIVID = 10.0, 35.0  # mean C*ab
_DEEP, _VIVID_DEEP = 40.0, 70.0  # mean L* below which a colour is deep, and vivid only from this mean C*ab on
_COLOUR_SHARE = 0.15
_MAINLY = 0.5  # share of the picture that the named colours cover together
_MAX_COLOURS = 3
_MUCH_DETAIL, _LITTLE_DETAIL = 0.6, 0.03  # share of cells
_CONCENTRATED = 0.45  # share of all detail in one of nine cells
_SOFT, _CRISP = 0.3, 0.9  # acuity; 0 means that there is no edge
_MANY_TEXT_AREAS = 4

_PLACES = (
    ("in the upper left", "at the top", "in the upper right"),
    ("on the left", "in the centre", "on the right"),
    ("in the lower left", "at the bottom", "in the lower right"),
)


def colour_sentence(attributes: Attributes) -> str:
    """Returns the main colours and how vivid they are."""
    if attributes.monochrome:
        return "Almost without colour."
    largest = [pair for pair in attributes.colours if pair[1] >= _COLOUR_SHARE][:_MAX_COLOURS]
    names = [name for name, _ in largest] if sum(share for _, share in largest) > _MAINLY else []
    strength = (
        ", in muted colour"
        if attributes.chroma < _MUTED
        else ", in vivid colour"
        if attributes.chroma > (_VIVID if attributes.lightness >= _DEEP else _VIVID_DEEP)
        else ""
    )
    return f"Mainly {_listed(names)}{strength}." if names else f"Many colours{strength}."


def light_sentence(attributes: Attributes) -> str:
    """Returns how light and how contrasted the picture is, "" where both are ordinary."""
    light = "dark" if attributes.lightness < _DARK else "bright" if attributes.lightness > _BRIGHT else ""
    contrast = (
        "gentle" if attributes.contrast < _GENTLE else "strong" if attributes.contrast > _STRONG else ""
    )
    if light and contrast:
        return f"{light.capitalize()}, with {contrast} contrast."
    return (
        f"{light.capitalize()} overall."
        if light
        else f"{contrast.capitalize()} contrast."
        if contrast
        else ""
    )


def detail_sentence(attributes: Attributes) -> str:
    """Returns how much fine detail there is and where most of it lies, "" where neither is remarkable."""
    if attributes.detail_share < _LITTLE_DETAIL:
        return "Smooth, with hardly any fine detail."
    crisp = "Crisp fine" if attributes.acuity > _CRISP else "Fine"
    if attributes.detail_share > _MUCH_DETAIL:
        return f"{crisp} detail across the whole picture."
    share, row, column = max(
        (share, row, column)
        for row, shares in enumerate(attributes.detail_grid)
        for column, share in enumerate(shares)
    )
    if share > _CONCENTRATED:
        return f"{crisp} detail {_PLACES[row][column]}, smooth elsewhere."
    if attributes.acuity > _CRISP:
        return "Crisp edges."
    return "Soft edges." if 0 < attributes.acuity < _SOFT else ""


def text_sentence(areas: Sequence[Box], view: Box) -> str:
    """Returns where writing is visible in a view, "" where none was found.

    Args:
        areas: text areas, px.
        view: the place that is described, in the same px.
    """
    x0, y0, x1, y1 = view
    centres = [((area[0] + area[2]) / 2, (area[1] + area[3]) / 2) for area in areas]
    inside = [
        ((x - x0) / (x1 - x0), (y - y0) / (y1 - y0)) for x, y in centres if x0 <= x < x1 and y0 <= y < y1
    ]
    places = list(dict.fromkeys(_PLACES[int(y * 3)][int(x * 3)] for x, y in inside))
    if not places:
        return ""
    if len(inside) >= _MANY_TEXT_AREAS and len(places) > 1:
        return "Writing in many places."
    return f"Writing {_listed(places)}."


def format_sentence(view: Box) -> str:
    """Returns the picture's format where it is far from square, else ""."""
    width, height = view[2] - view[0], view[3] - view[1]
    return "A wide picture." if width >= 1.6 * height else "A tall picture." if height >= 1.4 * width else ""


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
