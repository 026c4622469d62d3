"""Any picture file to one upright sRGB picture: format, header guard, decode, profile, orientation, depth, alpha."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from supir_images.decoding import Decoded as Decoded
    from supir_images.decoding import decode as decode
    from supir_images.decoding import decode_rgb as decode_rgb
    from supir_images.decoding import from_pillow as from_pillow
    from supir_images.decoding import opaque as opaque
    from supir_images.decoding import thumbnail as thumbnail
    from supir_images.errors import BadImage as BadImage
    from supir_images.errors import Fault as Fault
    from supir_images.header import MAX_PIXELS as MAX_PIXELS
    from supir_images.header import image_size as image_size
    from supir_images.opening import Header as Header
    from supir_images.opening import read_header as read_header

_MODULES = {
    "decoding": ("Decoded", "decode", "decode_rgb", "from_pillow", "opaque", "thumbnail"),
    "errors": ("BadImage", "Fault"),
    "header": ("MAX_PIXELS", "image_size"),
    "opening": ("Header", "read_header"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}
__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'supir_images' has no attribute {name!r}")
    value = getattr(import_module(f"supir_images.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value
