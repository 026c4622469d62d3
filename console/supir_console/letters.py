"""Text whose every letter is whole.

Place in the flow: captions and the words of configs go through here. Bytes of a command line that are no UTF-8, and
half of a letter that JSON or YAML writes as two escapes, reach Python as lone surrogates, which no tokenizer takes.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from supir_console.entry import UserError


def whole_letters(text: str, what: str = "it") -> str:
    """Returns the text.

    Args:
        text: of a person: a caption, a prompt; names of files may hold such bytes.
        what: it is, for the message.

    Raises:
        UserError: a letter is half.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = ord(text[error.start])
        raise UserError(
            f"{what} holds half a letter (U+{half:04X} at {error.start}), which no text has; write it anew as UTF-8"
        ) from error
    return text


Text = Annotated[str, AfterValidator(whole_letters)]
"""Of a config: words that a model or a person reads."""
