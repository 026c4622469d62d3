"""Which scores a selection needs, checked before anything is scored.

Place in the flow: `run` asks here first, `select` for what its rules limit. The law: a misspelt score, or one whose
scorer is not named, costs a second and not the hours until `select`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from supir_curate.config.select import SelectConfig
from supir_curate.ledger import require_known, sidecar_scores
from supir_curate.scores import SCORE_NAMES
from supir_curate.selection.roles import scores_of
from supir_shards import Store

if TYPE_CHECKING:
    from supir_curate.config import CurateConfig


def require_foreseen(store: Store, config: CurateConfig) -> None:
    """Checks before anything is scored that every score that is limited or ranks will be there.

    Args:
        store: the dataset to be made or continued; scores that already stand beside its ledger count.
        config: the run's config.

    Raises:
        UserError: a score is misspelt, or comes from a scorer that the config does not name.
    """
    scorers = config.assess.scorers.items()
    foreseen = {score.name for name, scorer in scorers for score in scorer.scores(name)}
    foreseen |= {*SCORE_NAMES, *config.source.score_columns, *sidecar_scores(store)}
    wanted = [*limited_scores(config.select), *scores_of(config.select.roles, config.select.quotas)]
    require_known(store.url, wanted, foreseen)


def limited_scores(config: SelectConfig) -> list[str]:
    """Returns the scores that rules limit."""
    return [rule.score for rule in config.rules.values() if rule.limit is not None]
