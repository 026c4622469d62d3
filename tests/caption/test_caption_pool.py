"""What an actor of captioning takes of its machine: a real one, asked what its libraries would use."""

from __future__ import annotations

import pytest

from supir_caption.config import CaptionConfig, RunConfig
from supir_caption.pool import actor_class
from supir_console import ray_session


@pytest.mark.parametrize("set_by_user", [None, "5"])
def test_libraries_of_an_actor_have_as_many_threads_as_it_has_cores(
    set_by_user, tmp_path, photo, as_sample, write_dataset, monkeypatch
):
    import ray

    def threads(_actor):
        import cv2
        import torch

        return cv2.getNumThreads(), torch.get_num_threads()

    store = write_dataset(tmp_path / "d", [[as_sample(photo("coffee"))]])
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if set_by_user:
        monkeypatch.setenv("OMP_NUM_THREADS", set_by_user)
    found = {}
    with ray_session(num_cpus=4):
        for cpus in (0.5, 3.7):
            config = CaptionConfig(engine="tags", run=RunConfig(cpus_per_worker=cpus))
            actor = actor_class(config, 0).remote(store.url, config, 0)
            found[cpus] = ray.get(actor.__ray_call__.remote(threads))
    assert found[0.5] == (1, 1)
    assert found[3.7][0] == 3  # torch takes no more than the machine has
