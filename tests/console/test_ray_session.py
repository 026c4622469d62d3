"""A Ray that does not start in its own 30 seconds, as on a machine that is busy with much else."""

from __future__ import annotations

import pytest

from supir_console import Unfinished, ray_session

SLOW = "The current node timed out during startup. This could happen because the GCS has become overloaded."


def test_a_start_that_took_too_long_is_tried_again(monkeypatch):
    import ray

    calls, init = [], ray.init

    def busy(*arguments, **options):
        calls.append(arguments)
        if len(calls) == 1:
            raise Exception(SLOW)
        return init(*arguments, **options)

    monkeypatch.setattr(ray, "init", busy)
    with ray_session(num_cpus=1):
        assert ray.cluster_resources()["CPU"] == 1
    assert len(calls) == 2
    assert not ray.is_initialized()


def test_a_machine_on_which_ray_never_starts_is_told_and_other_errors_are_not_hidden(monkeypatch):
    import ray

    def never(*_arguments, **_options):
        raise Exception(SLOW)

    monkeypatch.setattr(ray, "init", never)
    with pytest.raises(Unfinished, match=r"Ray did not start in 4 attempts of 30 s"), ray_session():
        pass

    def absent(*_arguments, **_options):
        raise ConnectionError("Could not find any running Ray instance")

    monkeypatch.setattr(ray, "init", absent)
    with pytest.raises(ConnectionError), ray_session():
        pass
