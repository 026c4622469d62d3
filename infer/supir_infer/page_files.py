"""The files that the page hands out: PNG and JPEG of a result, the picture it came from at the same size, archives.

Place in the flow: `page_work` writes them into a visitor's folder, from where the page shows and offers them.
The law it keeps: every file says what it was made from, as `supir-infer`'s do: a PNG in its text chunk, a JPEG in its
XMP, an archive in `results.json` beside the pictures.
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
from supir_infer.saving import Levels, write_picture

LIVE_QUALITY = 80


def write_before(path: Path, picture: Picture, size: tuple[int, int]) -> None:
    """Writes the given picture at the result's (width, height) px, to lie behind it on the slider."""
    rgb = to_bytes(resize(picture.rgb, size))
    alpha = None if picture.alpha is None else to_bytes(resize(picture.alpha, size))
    image = Image.fromarray(rgb if alpha is None else np.dstack([rgb, alpha]))
    image.save(path, compress_level=1)


def write_jpeg(path: Path, result: Levels, picture: Picture, metadata: dict[str, Any], quality: int) -> None:
    """Writes a result as JPEG, transparency over white, with what the photo says about itself.

    Args:
        path: ends in .jpg.
        result: (H, W, 3), uint8 or uint16.
        picture: what it was made of.
        metadata: what it was made from, as its PNG carries it.
        quality: 1 to 100.
    """
    rgb = result if result.dtype == np.uint8 else to_bytes(result / np.float32(65535))
    if picture.alpha is not None:
        height, width = rgb.shape[:2]
        alpha = resize(picture.alpha, (width, height)).clip(0, 1)[..., None]
        rgb = to_bytes(rgb / np.float32(255) * alpha + (1 - alpha))
    write_picture(path, rgb, None, metadata, picture.description, quality)


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
