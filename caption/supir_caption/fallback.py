"""What becomes of the places that an engine has no fit caption for: another engine is asked, else they have none.

Place in the flow: the worker sends each described picture through `Settling.settled` before it is stored. The law:
every place comes out once, with a fit caption or with the reason why there is none; a picture that needs no second
engine is passed on as it is, and the second engine is loaded when the first one needs it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from supir_caption.ahead import Ahead
from supir_caption.fitness import findings, left_out, reason
from supir_caption.picture import Described, Description, Picture, Prepared

if TYPE_CHECKING:
    from supir_caption.fitness import FitConfig
    from supir_caption.picture import Engine


class Settling:
    """Settles what is unfit.

    Args:
        config: which findings are unfit.
        second: returns the fallback engine, loaded; None where there is none.
        read: returns a picture by its sample's key, decoded once more; None if that fails now.
    """

    def __init__(
        self,
        config: FitConfig,
        second: Callable[[], Engine | None],
        read: Callable[[str], Picture | None],
    ) -> None:
        self._names = config.leave_out
        self._second = second
        self._read = read

    def settled(self, described: Iterable[Described]) -> Iterator[Described]:
        """Yields each picture as it is stored."""
        for one in described:
            if not one.problem and not any(map(self._why, one.descriptions)):
                yield one
                continue
            yield self._left_out(self._mended(one))

    def _why(self, description: Description) -> str:
        return reason(findings(description.text, description.checks), self._names)

    def _mended(self, one: Described) -> Described:
        """The picture with the second engine's captions where the first one's are unfit and these are not."""
        engine = self._second()
        picture = None if engine is None else self._read(one.picture.key)
        if engine is None or picture is None:
            return one
        answered = _described(engine, picture)
        tokens = one.tokens + answered.tokens
        if answered.problem:
            return replace(one, tokens=tokens)
        signed = tuple(
            replace(new, model=engine.model, checks={**new.checks, "answered_by": engine.model})
            for new in answered.descriptions
        )
        if one.problem:
            return replace(answered, picture=one.picture, descriptions=signed, tokens=tokens)
        chosen = tuple(
            new if self._why(old) and not self._why(new) else old
            for old, new in zip(one.descriptions, signed, strict=True)
        )
        return replace(one, descriptions=chosen, tokens=tokens)

    def _left_out(self, one: Described) -> Described:
        settled = tuple(
            left_out(description, why) if (why := self._why(description)) else description
            for description in one.descriptions
        )
        return replace(one, descriptions=settled)


def _described(engine: Engine, picture: Picture) -> Described:
    """One picture through an engine."""

    def prepared(whole: Picture) -> Prepared:
        return Prepared(whole.key, whole.boxes, engine.prepare(whole))

    pictures: Ahead[Prepared] = Ahead([picture], prepared, depth=1)
    try:
        return next(iter(engine.describe(pictures)))
    finally:
        pictures.close()
