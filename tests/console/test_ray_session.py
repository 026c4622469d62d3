"""Ray that does not start in its own 30 seconds, as on a busy machine, or does not answer where RAY_ADDRESS says."""

from __future__ import annotations

import socket

import pytest

from supir_console import Unfinished, UserError, ray_session

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

    def otherwise(*_arguments, **_options):
        raise RuntimeError("of another kind")

    monkeypatch.setattr(ray, "init", otherwise)
    with pytest.raises(RuntimeError, match=r"^of another kind$"), ray_session():
        pass


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("127.0.0.1:{closed}", "Connection refused"),
        ("127.0.0.1:99999", "Port out of range"),
        ("no-host.invalid:6379", r"\[Errno -\d+\]"),
        ("nonsense", r"\[Errno -?\d+\]"),
    ],
)
def test_an_address_without_a_cluster_is_told_at_once(address, reason, monkeypatch):
    with socket.socket() as unheard:  # bound but not listening: its port answers nobody, and is nobody else's
        unheard.bind(("127.0.0.1", 0))
        address = address.format(closed=unheard.getsockname()[1])
        monkeypatch.setenv("RAY_ADDRESS", address)
        words = rf"^RAY_ADDRESS={address}: no Ray cluster answers \(.*{reason}.*\); give HOST:PORT"
        with pytest.raises(UserError, match=words), ray_session():
            pass


def test_auto_without_a_cluster_is_told_as_an_address_is(monkeypatch):
    import ray

    def absent(*_arguments, **_options):
        raise ConnectionError("Could not find any running Ray instance")

    monkeypatch.setattr(ray, "init", absent)  # a neighbour's cluster may run on this machine
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    with (
        pytest.raises(UserError, match=r"^RAY_ADDRESS=auto: no Ray cluster answers \(Could not"),
        ray_session(),
    ):
        pass
