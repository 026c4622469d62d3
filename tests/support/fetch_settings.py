"""How the tests fetch from a local server: small caps, no waiting."""

from __future__ import annotations

from supir_curate.config import FetchConfig, FetchPace, FetchPolicy

MAX_BYTES = 200_000
PACE = FetchPace(per_host_delay_s=0, timeout_s=3.0, retries=1, backoff_s=0.05, per_host_concurrency=16)
CONFIG = FetchConfig(policy=FetchPolicy(max_bytes=MAX_BYTES, max_redirects=2), pace=PACE)
