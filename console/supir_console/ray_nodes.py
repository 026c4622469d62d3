"""How long a run waits for a node: a cluster that has none left for its work ends the run in one line.

Place in the flow: `ray_pool` and what else waits for Ray tasks ask it whenever nothing has come back for a while.
The law it keeps: work that runs, or has a node to run on, is waited for without end; only work that no node can take is
given up, `NODE_WAIT_S` after that began. Ray itself would wait for ever.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from supir_console.entry import Unfinished, UserError

POLL_S = 1.0
NODE_WAIT_S = 60.0
NODE_WAIT_VARIABLE = "SUPIR_NODE_WAIT_S"


class NodeWait:
    """Counts the time without a node.

    Args:
        needs: returns what a node must have for the work, as in {"CPU": 1}; it need not be free. Asked when
            nothing has come back for `POLL_S`.

    Raises:
        UserError: the variable SUPIR_NODE_WAIT_S is no number of seconds.
    """

    def __init__(self, needs: Callable[[], Mapping[str, float]]) -> None:
        self._needs = needs
        self._limit_s = _limit_s()
        self._since: float | None = None

    def check(self) -> None:
        """Takes note of whether there is a node now.

        Raises:
            Unfinished: there has been none for the whole time.
        """
        needs, now = self._needs(), time.monotonic()
        if node_has(needs):
            self._since = None
            return
        if self._since is None:
            self._since = now
        if now - self._since >= self._limit_s:
            raise Unfinished(
                f"no node of the Ray cluster has had {_in_words(needs)} for {self._limit_s:g} s (nodes alive:"
                f" {_alive(needs)}); what is done is kept: start such a node and run the same command again, or wait"
                f" longer with {NODE_WAIT_VARIABLE}=SECONDS"
            )

    def first_done(self, refs: Sequence[Any]) -> Any:
        """Returns the first of the references or streams that has something to read.

        Args:
            refs: of work in Ray, at least one.

        Raises:
            Unfinished: there has been no node for the whole time.
        """
        import ray

        while True:
            done, _ = ray.wait(refs, num_returns=1, timeout=POLL_S)
            if done:
                self._since = None
                return done[0]
            self.check()


def node_has(resources: Mapping[str, float]) -> bool:
    """Returns whether a living node has that much of each resource, free or not, as in `node_has({"CPU": 1})`."""
    import ray

    return any(
        node["Alive"] and all(node["Resources"].get(name, 0) >= count for name, count in resources.items())
        for node in ray.nodes()
    )


def needs_of(actor: Any) -> dict[str, float]:
    """Returns the resources that an actor asks of its node."""
    # Ray tells this nowhere else without its dashboard, which our sessions do not start.
    from ray._private.state import state
    from ray.core.generated.gcs_pb2 import ActorTableData

    stored = state._connect_and_get_accessor().get_actor_info(actor._actor_id)
    return dict(ActorTableData.FromString(stored).required_resources) if stored else {}


def _alive(needs: Mapping[str, float]) -> str:
    import ray

    names = dict.fromkeys(("CPU", "GPU", *needs))
    shown = [
        _in_words({name: node["Resources"].get(name, 0) for name in names})
        for node in ray.nodes()
        if node["Alive"]
    ]
    return "; ".join(shown) or "none"


def _in_words(resources: Mapping[str, float]) -> str:
    return " and ".join(
        f"{count / 2**30:.1f} GiB of memory" if name == "memory" else f"{count:g} {name}"
        for name, count in resources.items()
    )


def _limit_s() -> float:
    text = os.environ.get(NODE_WAIT_VARIABLE)
    if text is None:
        return NODE_WAIT_S
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < float("inf"):
        raise UserError(f"{NODE_WAIT_VARIABLE}={text!r} is no number of seconds; use for example 600")
    return seconds
