"""What a recipe needs beside itself: the weights of its autoencoders, and the library behind its video frames.

Place in the flow: trainer, `pairs` and `preview` ask once, before anything is drawn or written. The law it keeps: a
step that can never happen (its own chance, or its branch's weight, is 0) needs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from supir_degrade.recipe import Branch, OneOfStep, Recipe, SharesStep, Step
from supir_degrade.steps import VaeStep, VideoStep
from supir_degrade.vae import check_weights


def check_recipe(recipe: Recipe) -> None:
    """Refuses a recipe whose steps need what this machine lacks.

    Raises:
        UserError: weights of an autoencoder are missing, damaged or of another kind, or PyAV is not installed.
    """
    from supir_degrade.video import require_pyav

    if recipe.clean_share == 1:
        return
    for step in _possible(recipe.steps):
        match step:
            case VaeStep():
                check_weights(step.weights)
            case VideoStep():
                require_pyav()


def late_modules(recipe: Recipe) -> tuple[str, ...]:
    """Returns the modules of networks that degrading by the recipe imports only when it draws one.

    A process that forks others may import them before, so that these share their memory.
    """
    if recipe.clean_share == 1:
        return ()
    needs_network = any(isinstance(step, VaeStep) for step in _possible(recipe.steps))
    return ("diffusers.models.autoencoders.autoencoder_kl", "supir_model.mini_vae") if needs_network else ()


def _possible(steps: Sequence[Step]) -> Iterator[Step]:
    """Every step that can be drawn, those inside of branches too."""
    for step in steps:
        if not step.probability:
            continue
        yield step
        match step:
            case OneOfStep():
                yield from _of_branches(step.branches)
            case SharesStep() if step.rounds[1]:
                yield from _of_branches(step.codecs)


def _of_branches(branches: Sequence[Branch]) -> Iterator[Step]:
    for branch in branches:
        if branch.weight:
            yield from _possible(branch.steps)
