"""From 1000 ImageNet probabilities to a subject that may be named, or to silence.

ImageNet's classes are finer than a small classifier's sight, so kindred ones are summed first: a tabby at 0.4
and a tiger cat at 0.4 are a cat at 0.8. A subject is stated from `sure` on, called possible from `possible`
on, and not named below. Classes of people and of what people wear are never named: a classifier of objects
does not know people.

Class order: torchvision.models._meta._IMAGENET_CATEGORIES (ILSVRC 2012).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray


def _classes(*spans: int | tuple[int, int]) -> tuple[int, ...]:
    """Class numbers of single classes and of (first, last) spans."""
    numbers: list[int] = []
    for span in spans:
        numbers += range(span[0], span[1] + 1) if isinstance(span, tuple) else [span]
    return tuple(numbers)


KINDS: dict[str, tuple[int, ...]] = {
    "a fish": _classes((0, 6), (389, 397)),
    "a bird": _classes((7, 24), (80, 100), (127, 146)),
    "an amphibian": _classes((25, 32)),
    "a turtle": _classes((33, 37)),
    "a lizard": _classes((38, 48)),
    "a snake": _classes((52, 68)),
    "a spider": _classes((72, 77)),
    "a crab or lobster": _classes((118, 125)),
    "a dog": _classes((151, 268)),
    "a wild dog or fox": _classes((269, 280)),
    "a cat": _classes((281, 285)),
    "a big cat": _classes((286, 293)),
    "a bear": _classes((294, 297)),
    "an insect": _classes((300, 320)),
    "a butterfly": _classes((321, 326)),
    "a hoofed animal": _classes((339, 355)),
    "a monkey or ape": _classes((365, 382)),
    "an elephant": _classes(101, 385, 386),
    "a boat": _classes(472, 484, 510, 554, 576, 625, 628, 780, 814, 871, 914),
    "a car": _classes(436, 468, 511, 609, 627, 656, 661, 717, 751, 817),
    "a truck or bus": _classes(555, 569, 654, 675, 734, 757, 779, 864, 867, 874),
    "a train": _classes(466, 547, 565, 705, 820, 829),
    "a bicycle or motorcycle": _classes(444, 665, 670, 671),
    "an aircraft": _classes(404, 405, 895),
    "a bridge": _classes(821, 839, 888),
    "a building": _classes(425, 442, 449, 483, 497, 500, 538, 663, 668, 698, 743, 832),
    "a cup or mug": _classes(504, 968),
    "a guitar": _classes(402, 546),
    "food on a plate": _classes((924, 927), 933, 934, 935, 959, (962, 965)),
    "bread": _classes((930, 932)),
    "fruit": _classes((948, 957)),
    "a vegetable": _classes((936, 946)),
    "a flower": _classes(985, 986),
    "a mushroom": _classes(947, (991, 997)),
    "a mountain landscape": _classes(970, 972, 979, 980),
    "a shore": _classes((975, 978)),
}

PEOPLE_AND_CLOTHES = frozenset(
    _classes(
        *(
            399,
            400,
            411,
            423,
            424,
            433,
            445,
            451,
            452,
            457,
            459,
            461,
            465,
            474,
            496,
            501,
            515,
            518,
            524,
            529,
            560,
            568,
        ),
        *(
            578,
            584,
            601,
            608,
            610,
            614,
            615,
            617,
            630,
            638,
            639,
            643,
            652,
            655,
            658,
            667,
            678,
            680,
            689,
            697,
            715,
            735,
        ),
        *(
            770,
            774,
            775,
            793,
            796,
            806,
            808,
            823,
            824,
            834,
            836,
            837,
            841,
            842,
            869,
            887,
            903,
            906,
            (981, 983),
        ),
    )
)

# Kinds whose classes the classifier mixes up: sunset clouds are a "volcano" at 0.9. Only the kind is named.
_COARSE = frozenset({"a mountain landscape", "a shore"})

# Names that mean something else outside the list.
_RENAMED = {
    8: "hen",
    134: "crane (bird)",
    321: "red admiral",
    339: "sorrel horse",
    517: "construction crane",
    673: "computer mouse",
    677: "iron nail",
    714: "pickaxe",
    726: "wood plane",
    769: "ruler",
    796: "ski mask",
    908: "aircraft wing",
    989: "rose hip",
    998: "ear of corn",
}
_UNCOUNTED = frozenset(
    _classes(
        107, 109, 458, 490, 506, 585, 599, 669, 700, 838, 853, 885, 911, (924, 925), 935, 958, (960, 961), 966
    )
    + _classes(969, 973, 984, 987, 999)
)


def subject(probabilities: NDArray[Any], names: Sequence[str], *, sure: float, possible: float) -> str:
    """Returns the sentence that names the subject, or "" where nothing is probable enough.

    Args:
        probabilities: float (1000,), summing to 1.
        names: ImageNet's 1000 class names in order.
        sure: probability from which a subject is stated, 0 to 1.
        possible: probability from which it is called possible, at most `sure`.
    """
    kind, kind_probability = max(
        ((phrase, float(probabilities[list(numbers)].sum())) for phrase, numbers in KINDS.items()),
        key=lambda pair: pair[1],
    )
    best = int(probabilities.argmax())
    best_probability = float(probabilities[best])
    of_kind = best in KINDS[kind] or best_probability < kind_probability
    if of_kind and kind_probability >= possible:
        if kind_probability < sure:
            return f"Possibly {kind}."
        is_told_apart = kind not in _COARSE and best in KINDS[kind] and best_probability >= possible
        if not is_told_apart:
            return f"{_capital(kind)}."
        stated, guessed = f" ({_name(best, names)})", f", possibly {_phrase(best, names)}"
        return f"{_capital(kind)}{stated if best_probability >= sure else guessed}."
    if best in PEOPLE_AND_CLOTHES or best_probability < possible:
        return ""
    phrase = _phrase(best, names)
    return f"{_capital(phrase)}." if best_probability >= sure else f"Possibly {phrase}."


def _name(number: int, names: Sequence[str]) -> str:
    return _RENAMED.get(number, names[number])


def _phrase(number: int, names: Sequence[str]) -> str:
    name = _name(number, names)
    if number in _UNCOUNTED:
        return name
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def _capital(phrase: str) -> str:
    return phrase[0].upper() + phrase[1:]
