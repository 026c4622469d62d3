"""What a candidate is for, and how many of a kind are kept: photos, faces, negatives.

Place in the flow: `select` gives every measured candidate a role and holds the roles to their quotas. The law: what the
source says of a candidate counts before any rule (`source.role_column`); of the rules the first that fits wins; it is a
photo if nobody says otherwise. Which of too many stay does not depend on the source's order (ties by key).
"""

from __future__ import annotations

import re
from fnmatch import translate
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from supir_curate.config.rules import Threshold
from supir_curate.config.select import Quota, Quotas, RoleRule, RoleRules
from supir_curate.ledger import numbers
from supir_curate.scores import PREFIX
from supir_curate.sources.plan import candidates_path
from supir_shards import Role, Store

if TYPE_CHECKING:
    import pyarrow as pa

ROLES = tuple(Role)
SOURCE_KEY = "source_key"
"""Column of the candidates that only samples of a dataset have: the key of the photo that one was made from."""

Codes = NDArray[np.int8]
"""Numbers of roles in `ROLES`."""


def scores_of(roles: RoleRules, quotas: Quotas) -> list[str]:
    """Returns the scores that roles and quotas name."""
    named: list[RoleRule | Quota] = [*roles.values(), *quotas.values()]
    return [one.score for one in named if one.score]


def assigned(ledger: pa.Table, roles: RoleRules) -> Codes:
    """Returns the role of every candidate of a part.

    Args:
        ledger: with `url` and every score that the rules name, and `role` where the source says roles.
        roles: role to its rule, in order.
    """
    codes = np.full(ledger.num_rows, ROLES.index(Role.PHOTO), dtype=np.int8)
    for role, rule in reversed(roles.items()):
        codes[_fits(ledger, rule)] = ROLES.index(role)
    if "role" in ledger.column_names:
        given = ledger.column("role").to_numpy()
        for code, role in enumerate(ROLES):
            codes[given == role] = code
    return codes


def with_told(store: Store, part: str, ledger: pa.Table) -> pa.Table:
    """Returns a part's ledger with what the source says: `role`, "" where it says nothing; of samples `source_key`."""
    told = store.read_table(candidates_path(part), ["role", SOURCE_KEY])
    for name in told.column_names:
        ledger = ledger.append_column(name, told.column(name).take(ledger.column("source_row")))
    return ledger


def preference(ledger: pa.Table, codes: Codes, quotas: Quotas) -> NDArray[np.float64]:
    """Returns how much each candidate is wanted for its role's quota: higher is better, NaN least.

    Args:
        ledger: with every score that the quotas name.
        codes: the candidates' roles.
        quotas: role to its quota; one without a score leaves zeros.
    """
    wanted = np.zeros(ledger.num_rows)
    for role, quota in quotas.items():
        if quota.score:
            values = numbers(ledger, PREFIX + quota.score)
            of_role = codes == ROLES.index(role)
            wanted[of_role] = values[of_role] if quota.prefer == "highest" else -values[of_role]
    return wanted


def _fits(ledger: pa.Table, rule: RoleRule) -> NDArray[np.bool_]:
    fits = np.ones(ledger.num_rows, dtype=bool)
    if rule.url:
        matches = re.compile(translate(rule.url)).match
        fits &= [url is not None and matches(url) is not None for url in ledger.column("url").to_pylist()]
    if rule.score:
        values = numbers(ledger, PREFIX + rule.score)
        threshold = Threshold(score=rule.score, keep=rule.keep, limit=rule.limit, found="given")
        fits &= threshold.passes(values) & ~np.isnan(values)
    return fits
