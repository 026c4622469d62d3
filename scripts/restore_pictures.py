"""Makes the first picture of the README by `supir-infer`, and those of docs/restore.md by `supir-infer sweep`.

    python scripts/restore_pictures.py

The photo is scikit-image's astronaut (NASA, public domain), degraded by one draw of the recipe `light`.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from skimage import data

from supir_degrade import degrade, load_recipe

DOCS = Path(__file__).parents[1] / "docs"
PICTURES, FIRST = DOCS / "restore", DOCS / "before-after.jpg"
COMMAND = Path(sys.executable).parent / "supir-infer"
CROP, FIRST_CROP = np.s_[0:256, 96:352], np.s_[0:320, 64:384]
DRAW = 1
QUALITY = 88
UInt8Array = npt.NDArray[np.uint8]
SWEEPS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "strength": (("strength=0,0.5,1", "working_scale=1,2"), ()),
    "start": (("start_sigma=0.03,0.3,1.0", "steps=1,4"), ("strength=1",)),
    "colour": (("colour_fix=none,mean,wavelet,adain", "colour_reference=lq,stage_one"), ("strength=1",)),
}
"""Picture: what varies, and what is set beside it."""


def main() -> None:
    """Writes the README's picture and a sheet a sweep, and prints the sweeps' tables."""
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        photo, lq = _pair(FIRST_CROP, work)
        subprocess.run(
            [COMMAND, work / "lq.png", "-o", work / "first.png"], check=True, stdout=subprocess.DEVNULL
        )
        row = np.concatenate([lq, np.asarray(Image.open(work / "first.png").convert("RGB")), photo], axis=1)
        Image.fromarray(row).save(FIRST, quality=QUALITY)
        _pair(CROP, work)
        for name, (knobs, fixed) in SWEEPS.items():
            out = work / name
            line = [COMMAND, "sweep", work / "lq.png", "-o", out, "--reference", work / "hq.png"]
            line += [part for knob in knobs for part in ("--vary", knob)]
            line += [part for value in fixed for part in ("--set", value)]
            subprocess.run(line, check=True, stdout=subprocess.DEVNULL)
            Image.open(out / "sheet.png").convert("RGB").save(PICTURES / f"{name}.jpg", quality=QUALITY)
            sys.stdout.write(f"{name}\n{(out / 'table.md').read_text()}\n")


def _pair(crop: tuple[slice, slice], work: Path) -> tuple[UInt8Array, UInt8Array]:
    """A part of the photo and its degraded draw, which are written to hq.png and lq.png."""
    photo = np.ascontiguousarray(data.astronaut()[crop])
    lq, _ = degrade(photo, load_recipe("light", ["clean_share=0"]), np.random.default_rng(DRAW))
    for name, pixels in (("hq.png", photo), ("lq.png", lq)):
        Image.fromarray(pixels).save(work / name)
    return photo, lq


if __name__ == "__main__":
    main()
