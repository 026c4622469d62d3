"""An uploaded file as a row of the page's board: ready, with a small picture of it, or refused with the reason.

Place in the flow: `page_visits` makes a visitor's rows once, when they are brought; `page_work` starts from them.
The law it keeps: a picture's size is looked up in its header, and one that is too large is refused before a pixel is
decoded. The small picture is a file, so that what the page is told while the work goes on stays small.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from supir_console import UserError
from supir_infer.images import picture_size, read_thumbnail, stored_size
from supir_infer.outcomes import reason_of
from supir_infer.page_view import Row, file_url

THUMB_QUALITY = 80
LARGE_THUMB_PX, SMALL_THUMB_PX, FEW_PHOTOS = 1024, 320, 4


@dataclass(frozen=True, slots=True)
class RowMaker:
    """Makes the rows of one upload.

    Args:
        folder: for the small pictures, made where it is missing.
        max_megapixels: a larger picture is refused.
        thumb_px: longer side of the small pictures.
    """

    folder: Path
    max_megapixels: float
    thumb_px: int

    def row_of(self, upload: Path) -> Row:
        """Returns the row of a file."""
        if not upload.exists():
            return Row(upload.name, "failed", gone(upload))
        try:
            width, height = self._size(upload)
            small = Image.fromarray(read_thumbnail(upload, self.thumb_px))
        except Exception as error:  # one bad photo is a row, whatever is wrong with it
            return Row(upload.name, "failed", reason_of(error))
        self.folder.mkdir(parents=True, exist_ok=True)
        thumb = self.folder / f"{secrets.token_hex(8)}.jpg"
        small.save(thumb, quality=THUMB_QUALITY)
        return Row(upload.name, "ready", f"{width}×{height} px", width, height, file_url(thumb))

    def _size(self, upload: Path) -> tuple[int, int]:
        width, height = stored_size(upload)
        if width * height > self.max_megapixels * 1e6:
            raise UserError(
                f"{upload.name} is {width}x{height} px, more than max_megapixels={self.max_megapixels:g}; upload a "
                "smaller one, or start supir-web with a larger --set max_megapixels"
            )
        return picture_size(upload)


def thumb_px(num_photos: int) -> int:
    """Returns the longer side of the small pictures: few photos are seen large before they are restored."""
    return LARGE_THUMB_PX if num_photos <= FEW_PHOTOS else SMALL_THUMB_PX


def gone(upload: Path) -> str:
    """Returns what is said of a photo whose file was deleted while its visitor was away."""
    return f"{upload.name} is not here any more: it was deleted when the page lost its connection; bring it again"
