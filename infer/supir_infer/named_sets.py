"""Published test sets, known by how their folders are laid out, and the protocol by which papers measure them.

Place in the flow: `supir-eval RESTORED --benchmark FOLDER` finds reference, LQ, crop border and metrics here.
Nothing is downloaded: the folder is the user's copy.
Sources: the crops of RealSR, DRealSR and DIV2K that StableSR published (arXiv 2305.07015) and SeeSR and OSEDiff
measure: x4 from 128 px, PSNR and SSIM of Y with 4 px off each side; RealPhoto60 (arXiv 2401.13627); RealLQ250
(arXiv 2410.18666).
Limits: here the crop border holds for every metric, there for PSNR and SSIM. MANIQA, CLIPIQA and FID are not
offered.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from supir_console import UserError, counted
from supir_infer.images import ImageError, picture_size
from supir_infer.listing import list_pictures
from supir_infer.matching import Matches, match_samples

SIDE = re.compile(r"(?:[-_](?:HR|GT|LR\d?|LQ|x[1-8])|(?<=\d)x[1-8])$", re.IGNORECASE)
"""The end of a file's name that tells its side: Canon_001_HR and Canon_001_LR4, 0801 and 0801x4."""
FULL = "psnr,psnr_y,ssim_y,lpips,lpips_vgg,dists,niqe,consistency,colour_shift,grid"
ALONE = "niqe,brisque,consistency,colour_shift,grid"
NUM_NAMED = 5


@dataclass(frozen=True, slots=True)
class Protocol:
    """How a set is measured: in words, px off each side, metrics, number of pictures, side of the result / the LQ's."""

    words: str
    crop_border_px: int
    metrics: str
    num_pictures: int
    upscale: int | None


@dataclass(frozen=True, slots=True)
class Layout:
    """A set as it is laid out: the name of its folder begins by one of `begins`, reference and LQ lie below it."""

    name: str
    begins: tuple[str, ...]
    reference: str | None
    lq: str
    protocol: Protocol


_CROPS = "x4, 128 to 512 px; PSNR and SSIM of Y (BT.601, 16..235), 4 px off each side"
LAYOUTS = (
    Layout("RealSR", ("realsr",), "test_HR", "test_LR", Protocol(_CROPS, 4, FULL, 100, 4)),
    Layout("DRealSR", ("drealsr",), "test_HR", "test_LR", Protocol(_CROPS, 4, FULL, 93, 4)),
    Layout("DIV2K-val", ("div2k",), "gt", "lq", Protocol(_CROPS, 4, FULL, 3000, 4)),
    Layout(
        "DIV2K-val",
        ("div2k",),
        "DIV2K_valid_HR",
        "DIV2K_valid_LR_bicubic/X4",
        Protocol(
            "x4 of whole pictures; PSNR and SSIM of Y (BT.601, 16..235), 4 px off each side", 4, FULL, 100, 4
        ),
    ),
    Layout(
        "RealPhoto60",
        ("realphoto60",),
        None,
        "LQ",
        Protocol(
            "real photos without reference; the paper worked at a short side of 1024 px", 0, ALONE, 60, None
        ),
    ),
    Layout(
        "RealLQ250",
        ("reallq250",),
        None,
        "lq",
        Protocol("real photos without reference, x4 from 256 to 1024 px", 0, ALONE, 250, 4),
    ),
)


@dataclass(frozen=True, slots=True)
class NamedSet:
    """A set that was found: its layout, and where its two sides lie."""

    layout: Layout
    reference: Path | None
    lq: Path

    @property
    def protocol(self) -> Protocol:
        """How it is measured."""
        return self.layout.protocol

    def match(self, restored: Path) -> Matches:
        """Returns the samples: names less the ending that tells a file's side.

        Raises:
            UserError: nothing matches.
        """
        return match_samples(restored, self.reference, self.lq, sample_name)

    def told(self, matches: Matches) -> dict[str, Any]:
        """Returns what the report says of the set, and of where the run differs from its protocol."""
        protocol, found = self.protocol, len(matches.samples)
        told = {"benchmark": self.layout.name, "protocol": protocol.words}
        differences = []
        if found != protocol.num_pictures:
            differences.append(f"{found} of the set's {protocol.num_pictures} pictures")
        if off := _off_scale(matches, protocol.upscale):
            named = ", ".join(off[:NUM_NAMED]) + (", …" if len(off) > NUM_NAMED else "")
            differences.append(f"{counted(len(off), 'result')} not x{protocol.upscale} of the LQ: {named}")
        return {**told, "differs_from_protocol": "; ".join(differences)} if differences else told


def find_set(text: str) -> NamedSet:
    """Returns the set in a folder.

    Args:
        text: "FOLDER" or "NAME=FOLDER"; without a name the folder's own must begin by that of the set.

    Raises:
        UserError: the folder is not laid out like a set that is known, or could be two of them.
    """
    name, folder = _named_folder(text)
    if not folder.is_dir():
        raise UserError(f"--benchmark {folder} is no folder; give the folder of the set's two sides")
    wanted = [layout for layout in LAYOUTS if name is None or layout.name == name]
    laid_out = [found for layout in wanted if (found := _found(layout, folder))]
    if name is None:
        called = [found for found in laid_out if _plain(folder.name).startswith(found.layout.begins)]
        laid_out = called or laid_out
    if len(laid_out) == 1:
        return laid_out[0]
    if laid_out:
        names = " or ".join(found.layout.name for found in laid_out)
        raise UserError(
            f"--benchmark {folder} is laid out like {names}; say which: --benchmark NAME={folder}"
        )
    layouts = "; ".join(
        f"{layout.name}: {' and '.join(filter(None, (layout.reference, layout.lq)))}" for layout in wanted
    )
    raise UserError(f"--benchmark {folder} is laid out like no set that is known ({layouts})")


def sample_name(name: str) -> str:
    """Returns a name without the ending that tells which side a file is of.

    >>> sample_name("Canon_001_LR4"), sample_name("0801x4"), sample_name("boat")
    ('Canon_001', '0801', 'boat')
    """
    return SIDE.sub("", name) or name


def _named_folder(text: str) -> tuple[str | None, Path]:
    name, equals, folder = text.partition("=")
    if not equals or Path(text).exists():
        return None, Path(text)
    names = sorted({layout.name for layout in LAYOUTS})
    known = {_plain(known): known for known in names}
    if _plain(name) not in known:
        raise UserError(f"--benchmark {name}: no such set; use {', '.join(names)}")
    return known[_plain(name)], Path(folder)


def _found(layout: Layout, folder: Path) -> NamedSet | None:
    lq = _below(folder, layout.lq)
    if layout.reference is not None:
        reference = _below(folder, layout.reference)
        return NamedSet(layout, reference, lq) if reference and lq else None
    if lq is None and _plain(folder.name).startswith(layout.begins) and _holds_pictures(folder):
        lq = folder
    # a set with a reference has an lq folder too
    if lq is None or any(_below(folder, side) for side in ("gt", "hq", "test_HR")):
        return None
    return NamedSet(layout, None, lq)


def _below(folder: Path, inside: str) -> Path | None:
    """The folder by that path, whatever the case of its letters."""
    for part in Path(inside).parts:
        same = [each for each in folder.iterdir() if each.name.lower() == part.lower() and each.is_dir()]
        if not same:
            return None
        folder = same[0]
    return folder


def _holds_pictures(folder: Path) -> bool:
    return any(picture.parent == folder for picture in list_pictures(folder).pictures)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _off_scale(matches: Matches, upscale: int | None) -> Sequence[str]:
    if upscale is None:
        return []
    off = []
    for sample in matches.samples:
        assert sample.lq is not None, "every set has an LQ"
        try:
            width, height = picture_size(sample.restored)
            lq_width, lq_height = picture_size(sample.lq)
        except ImageError:
            continue  # measuring it will say why it cannot be read
        if (width, height) != (upscale * lq_width, upscale * lq_height):
            off.append(sample.name)
    return off
