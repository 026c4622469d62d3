"""Values of a source as text: cells of a table, values of a JSON record, the content of a text file.

Place in the flow: whatever lists a source reads texts, licences and URLs through here. The law: a list of texts is
its distinct texts in their order, joined by " | ", whether Parquet or JSON holds the list; a number is its digits;
null, NaN and nothing are ""; bytes are UTF-8, what is not becomes escapes. An object is no text: `caption_of` says so,
`text_of` gives its JSON, so that a licence that is one is never lost. A URL stays the URL that it is, whatever its
bytes: `url_of`. A text file is UTF-8, or UTF-16 or UTF-32 by its byte order mark or its zeros.
"""

from __future__ import annotations

import codecs
import json
import math
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

BETWEEN = " | "  # texts of a list
_ODD = re.compile("[\ud800-\udfff]")  # halves of surrogate pairs, and bytes as `surrogateescape` reads them
_BYTES = 0xDC00
_BYTE_CODES = range(_BYTES + 0x80, _BYTES + 0x100)
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark begins it
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_LINE_CONTROLS = set("\t\n\r\f\v\x1a\x1b")  # control characters that text files hold


def text_of(value: Any) -> str:
    """Returns a value as valid text, as the law above says; an object as JSON.

    Example:
        >>> text_of(["a cat", None, "a dog", "a cat"]), text_of(7), text_of({"name": "CC0"})
        ('a cat | a dog', '7', '{"name": "CC0"}')
    """
    if isinstance(value, str):
        return value if value.isascii() else _ODD.sub(_escaped, value)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, list | tuple):
        return BETWEEN.join(dict.fromkeys(filter(None, (text_of(one).strip() for one in value))))
    is_object = isinstance(value, dict)
    return text_of(json.dumps(value, ensure_ascii=False, default=text_of) if is_object else str(value))


def url_of(value: Any) -> str:
    r"""Returns a URL as valid text: a byte that is not UTF-8 percent-encoded, half a surrogate pair as U+FFFD.

    An escape with a backslash would be another URL, since a backslash in one is a slash.
    Source: WHATWG URL Standard §1.3; Infra, "convert a string into a scalar value string".

    Example:
        >>> url_of(b"http://a.example/caf\xe9.jpg"), url_of("http://a.example/caf\udce9.jpg")
        ('http://a.example/caf%E9.jpg', 'http://a.example/caf%E9.jpg')
    """
    text = value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value
    if isinstance(text, str):
        return text if text.isascii() else _ODD.sub(_percent, text)
    return text_of(text)


def _escaped(odd: re.Match[str]) -> str:
    code = ord(odd[0])
    return f"\\x{code - _BYTES:02x}" if code in _BYTE_CODES else f"\\u{code:04x}"


def _percent(odd: re.Match[str]) -> str:
    code = ord(odd[0])
    return f"%{code - _BYTES:02X}" if code in _BYTE_CODES else "\ufffd"


def caption_of(value: Any) -> str | None:
    """Returns a value as text, None where it is an object or a list that holds one."""
    return None if _holds_object(value) else text_of(value)


def decoded(data: bytes) -> str | None:
    """Returns the content of a text file, None for one that is no text; a byte order mark is not part of it."""
    text = data.decode(encoding_of(data), "backslashreplace")
    is_binary = any(letter < " " and letter not in _LINE_CONTROLS for letter in text)
    return None if is_binary else text


def encoding_of(start: bytes) -> str:
    """Returns the encoding of a text that begins so: by its byte order mark, else by where its zeros are."""
    for mark, name in _MARKS:
        if start.startswith(mark):
            return name
    even, odd = start[0:512:2].count(0), start[1:512:2].count(0)
    if odd + even and max(even, odd) * 4 >= len(start[:512]) and min(even, odd) == 0:
        return "utf-16-le" if odd else "utf-16-be"
    return "utf-8"


def texts(values: pa.Array, valid: Callable[[Any], str] = text_of) -> pa.Array:
    """Returns a column as valid text, as `text_of` or `url_of` makes it of each value."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = values.type
    try:
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            # Nothing checks a file's text to be UTF-8; the way back does.
            values = values.cast(pa.large_binary())
        if pa.types.is_binary(values.type) or pa.types.is_large_binary(values.type):
            return pc.fill_null(values.cast(pa.string()), "")
    except pa.ArrowInvalid:
        pass  # one odd row must not end the list
    return pa.array([valid(value) for value in values.to_pylist()], pa.string())


def is_textual(kind: pa.DataType) -> bool:
    """Returns whether a column's values are texts, numbers, or lists of them; objects are not."""
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        return is_textual(kind.value_type)
    if pa.types.is_map(kind):
        return False
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return is_textual(kind.value_type)
    return not pa.types.is_nested(kind)


def _holds_object(value: Any) -> bool:
    is_list = isinstance(value, list | tuple)
    return isinstance(value, dict) or (is_list and any(map(_holds_object, value)))
