"""The pixels of a stored picture, or why it has none: the one decoder for a dataset's pictures.

Place in the flow: the stages after curation hand it the bytes that ``Dataset`` gave them.
The law: whatever the bytes are, the answer is RGB pixels or ``BadImage``, so that one damaged picture can never
end a run. What 16-bit grey and transparency become is said here once, in ``to_rgb``; curation scores the same.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from supir_shards.image_header import BadImage, image_size
from supir_shards.quarantine import QuarantineReason, printable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

_FORMATS = ("JPEG", "PNG", "WEBP", "GIF")  # those that `image_size` knows
_BACKDROP = (128, 128, 128, 255)  # mid grey: neither edge nor clipping


def decode_rgb(data: bytes) -> NDArray[np.uint8]:
    """The picture as uint8 (H, W, 3), sRGB, as it is stored: no EXIF orientation is applied.

    Args:
        data: a whole JPEG, PNG, WebP or GIF file; of an animation the first frame counts. EXIF is not read, so
            a broken EXIF block does no harm.

    Raises:
        BadImage: refused are bytes of another format, a damaged header, more pixels than ``MAX_PIXELS`` or than
            Pillow's own limit, pixel data that end early or that Pillow cannot decode, PNG text chunks that
            inflate beyond Pillow's limit, and pixels of another size than the header declares.

    Limits: damage that a format cannot detect (altered JPEG data) decodes to wrong pixels; compare hashes.
    """
    import numpy as np
    from PIL import Image

    header = image_size(data)
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            rgb = to_rgb(image)
    except Image.DecompressionBombError as error:
        raise BadImage(QuarantineReason.IMAGE_TOO_LARGE, printable(str(error))) from error
    except Exception as error:
        # Pillow's readers answer damage with whatever their parsing runs into (SyntaxError, struct.error,
        # zlib.error, IndexError, EOFError, …); a list of these is never complete.
        detail = f"{header.format} cannot be decoded ({type(error).__name__}: {error})"
        raise BadImage(QuarantineReason.BAD_IMAGE, printable(detail)) from error
    if rgb.size != header[1:]:
        found = f"{rgb.width}x{rgb.height}"
        detail = f"decodes to {found} px, its header declares {header.width}x{header.height}"
        raise BadImage(QuarantineReason.BAD_IMAGE, detail)
    return np.asarray(rgb)


def to_rgb(image: Image.Image) -> Image.Image:
    """A picture in mode RGB: 16-bit grey reduced to 8 bits, transparent pixels laid over mid grey."""
    import numpy as np
    from PIL import Image

    if image.mode.startswith("I"):  # 16-bit grey; Pillow would clip it at 255
        upper = np.clip(np.asarray(image, dtype=np.int64) // 257, 0, 255).astype(np.uint8)
        return Image.fromarray(upper).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    backdrop = Image.new("RGBA", image.size, _BACKDROP)
    return Image.alpha_composite(backdrop, image.convert("RGBA")).convert("RGB")
