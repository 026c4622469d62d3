from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from supir_console import ray_session

pytest_plugins = ["web_server"]

# No test may fail by how fast a machine is.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.fixture(scope="module")
def connected_ray() -> Iterator[None]:
    """One Ray of this machine for all commands of a file that run inside the test process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        # This session outlives the commands, and its listener prints a worker's death on stdout when it likes.
        patch.setattr("ray._private.worker.print_to_stdstream", lambda data, ignore_prefix: None)
        with ray_session(num_cpus=2):
            yield
