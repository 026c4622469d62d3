"""Options that belong together as one argument of a command: a dataclass, whose fields typer takes one by one.

Place in the flow: between a command's function and `app.command`; `--help` and the command line know no groups.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, get_type_hints


def ungrouped(command: Callable[..., None]) -> Callable[..., None]:
    """Returns a command as typer takes it: the fields of its groups in their place among its other options.

    Args:
        command: each parameter is an option, or a dataclass whose fields are, with their defaults; no two options have
            one name.

    Example:
        >>> @dataclass
        ... class Size:
        ...     width: int = 3
        ...     height: int = 2
        >>> def draw(size: Size, colour: str = "red") -> None:
        ...     print(size, colour)
        >>> inspect.signature(ungrouped(draw))
        <Signature (*, width: int = 3, height: int = 2, colour: str = 'red')>
        >>> ungrouped(draw)(width=1, height=2, colour="blue")
        Size(width=1, height=2) blue
    """
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: hint for name, hint in hints.items() if is_dataclass(hint)}

    def options() -> Iterator[inspect.Parameter]:
        for name, parameter in inspect.signature(command).parameters.items():
            if name in groups:
                yield from _options_of(groups[name])
            else:
                yield parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[name])

    def called(**given: Any) -> None:
        for name, group in groups.items():
            given[name] = group(**{field.name: given.pop(field.name) for field in fields(group)})
        command(**given)

    signature = inspect.Signature(list(options()))
    called.__name__, called.__doc__ = command.__name__, command.__doc__
    called.__annotations__ = {name: one.annotation for name, one in signature.parameters.items()}
    vars(called)["__signature__"] = signature  # what `inspect.signature` looks for first
    return called


def _options_of(group: Any) -> Iterator[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    for field in fields(group):
        default = field.default
        if field.default_factory is not MISSING:
            default = field.default_factory()
        yield inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if default is MISSING else default,
            annotation=hints[field.name],
        )
