"""What a caption says that no camera sees: ideas ("a symbol of hope") and praise of the scene ("an idyllic setting").

Why: the phrases in which captioners put such talk have no end, the ideas in them do. Place in the flow: `lint.py`
adds it to the phrases of `boilerplate`. The law: an idea counts as the head of its phrase and in lower case: a
"beauty salon" and the statue "Freedom" are seen.
"""

from __future__ import annotations

import re
from typing import Final

from supir_caption.word_lists import word_lists

_LISTS: Final = word_lists("ideas")
_IDEA = re.compile(
    rf"(?<![\w-])(?:{'|'.join(sorted(_LISTS['ideas']))})(?=\s*(?:[.,;:!?)]|$)"
    r"|\s+(?:and|or|of|in|to|for|that|which|from|with|on|among|amid|between|through|as|at|is|are|within|shared|by)\b)"
)
_PRAISE = re.compile(
    rf"\b(?:{'|'.join(sorted(_LISTS['praised']))})\b(?:,? (?:and )?[\w-]+)??"
    rf" (?:{'|'.join(sorted(_LISTS['praisable']))})\b",
    re.IGNORECASE,
)


def ideas(text: str) -> list[str]:
    """Returns the ideas and the praise in a caption, each once; the ideas first.

    Args:
        text: a caption in English, quotations taken out.

    Limits: an idea at the head of a sentence is not seen, since it may be a name.
    """
    found = [match.group().lower() for pattern in (_IDEA, _PRAISE) for match in pattern.finditer(text)]
    return list(dict.fromkeys(found))
