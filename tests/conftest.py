from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["web_server"]

# No test may fail by how fast a machine is.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.fixture(scope="module")
def connected_ray() -> Iterator[None]:
    """One Ray for all commands of a file that run inside the test process."""
    import ray

    with pytest.MonkeyPatch.context() as patch:
        # This session outlives the commands, and its listener prints a worker's death on stdout when it likes.
        patch.setattr("ray._private.worker.print_to_stdstream", lambda data, ignore_prefix: None)
        ray.init(
            "local",
            num_cpus=2,
            object_store_memory=128 * 2**20,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="error",
        )
        yield
        ray.shutdown()
