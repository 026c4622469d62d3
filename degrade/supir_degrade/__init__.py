"""Degradation drawn for each sample, replayable from a trace; recipes are data.

Place in the flow: shards → (LQ, HQ) pairs for the trainer, fixed validation pairs, negative-quality samples.
"""

from supir_degrade.draw import draw, sample_generator
from supir_degrade.pipeline import degrade, replay
from supir_degrade.recipe import RECIPES, Recipe, load_recipe
from supir_degrade.requirements import check_recipe
from supir_degrade.trace import Trace

__all__ = [
    "RECIPES",
    "Recipe",
    "Trace",
    "check_recipe",
    "degrade",
    "draw",
    "load_recipe",
    "replay",
    "sample_generator",
]
