"""All that a process needs to restore pictures: which network, what is made with it, and who captions.

Place in the flow: `cli` makes it of the options; it is run here, or sent to the processes of `spread`. What is heavy
is loaded where it is first used.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from supir_infer.captioner import Captioner, load_captioner
from supir_infer.model_source import ModelSource, load_model
from supir_infer.plan import Plan, Recipe
from supir_infer.running import Execution
from supir_model.lean_imports import import_network_alone

if TYPE_CHECKING:
    from supir_infer.captioner import CaptionConfig
    from supir_infer.outcomes import Ended
    from supir_infer.restore import Restorer
    from supir_model import Supir


@dataclass(frozen=True)
class Network:
    """A model by its name, where and how it runs; `supir` is it, once it is asked for."""

    origin: ModelSource
    device: str
    dtype: str
    execution: Execution

    @cached_property
    def supir(self) -> Supir:
        """The loaded model.

        Raises:
            UserError: as `load_model`.
        """
        return load_model(self.origin, self.device, self.dtype, self.execution)


@dataclass(frozen=True)
class Work:
    """A network with a recipe, the pictures that it restores together, and who captions those without a caption."""

    network: Network
    recipe: Recipe
    batch_size: int
    captioning: CaptionConfig | None = None

    @cached_property
    def restorer(self) -> Restorer:
        """The network with the recipe's settings."""
        if self.captioning is None:  # the captioner's own model may be an adapter of peft
            import_network_alone()
        from supir_infer.restore import Restorer

        return Restorer(self.network.supir, self.recipe.settings)

    @cached_property
    def captioner(self) -> Captioner | None:
        """The captioner, its engine loaded."""
        if self.captioning is None:
            return None
        return load_captioner(self.captioning, str(self.network.supir.device))


def run_here(work: Work, plan: Plan, results: Path) -> list[Ended]:
    """Restores the open jobs of a plan in this process; returns those that failed.

    Args:
        work: what to do.
        plan: of the run.
        results: the .jsonl file, which is completed first.

    Raises:
        UserError: the model or captioner cannot be loaded, or as `folder.run_jobs`.
    """
    from supir_infer.results import complete_results

    if plan.open:
        work.restorer  # noqa: B018 - what is wrong with the model is known before anything is written
    complete_results(results, plan)
    if not plan.open:
        return []
    from supir_infer.folder import run_jobs

    return run_jobs(work.restorer, plan.open, work.recipe, results, work.batch_size, work.captioner)
