"""The files that the page hands out: PNG and JPEG of a result, the picture it came from at the same size, archives.

Place in the flow: `page_work` writes them into a visitor's folder, from where the page shows and offers them.
The law it keeps: every file says what it was made from, as `supir-infer`'s do: a PNG in its text chunk, a JPEG in its
comment, an archive in `results.json` beside the pictures.
"""

from __future__ import annotations

import base64
import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from supir_infer.images import ByteImage, Picture, resize, to_bytes

JPEG_QUALITY = 95
LIVE_QUALITY = 80


def write_before(path: Path, picture: Picture, size: tuple[int, int]) -> None:
    """Writes the given picture at the result's (width, height) px, to lie behind it on the slider."""
    rgb = to_bytes(resize(picture.rgb, size))
    alpha = None if picture.alpha is None else to_bytes(resize(picture.alpha, size))
    image = Image.fromarray(rgb if alpha is None else np.dstack([rgb, alpha]))
    image.save(path, compress_level=1)


def write_jpeg(path: Path, png: Path, metadata: dict[str, Any]) -> None:
    """Writes a result's PNG as JPEG at quality 95, transparency over white, with its EXIF and resolution."""
    with Image.open(png) as image:
        kept = {key: image.info[key] for key in ("exif", "dpi") if key in image.info}
        if image.mode == "RGBA":
            white = Image.new("RGBA", image.size, "white")
            flat = Image.alpha_composite(white, image).convert("RGB")
        else:
            flat = image.convert("RGB")
    comment = json.dumps({"supir": metadata}, sort_keys=True).encode()
    flat.save(path, quality=JPEG_QUALITY, subsampling=0, comment=comment, **kept)


def write_archive(path: Path, files: Sequence[tuple[str, Path]], rows: Sequence[dict[str, Any]]) -> None:
    """Writes a ZIP of the files under their names, and of `results.json`: a row a photo, failed ones too."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, file in files:
            archive.write(file, name)
        archive.writestr("results.json", json.dumps(rows, ensure_ascii=False, indent=1))


def data_url(rgb: ByteImage) -> str:
    """Returns a small picture (H, W, 3) as a URL that holds it."""
    stream = io.BytesIO()
    Image.fromarray(rgb).save(stream, "JPEG", quality=LIVE_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()
