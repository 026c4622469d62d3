"""A restorer teaches the robust encoder where it knows better than the student does, and nowhere else."""

from __future__ import annotations

import json

import pytest
import torch
from spandrel.architectures.ESRGAN import ESRGAN

from supir_console import UserError
from supir_train.restorer_teacher import RestorerTeacher
from supir_train.run import prepare, train

SIDE = 64


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Real-ESRGAN's network with 8 channels, which knows nothing: its picture is nearly even."""
    path = tmp_path_factory.mktemp("teacher") / "teacher.pth"
    torch.manual_seed(0)
    torch.save(ESRGAN(num_filters=8, num_blocks=1, scale=4).state_dict(), path)
    return path


def photo_like(seed):
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 8, 8, generator=generator) * 2 - 1
    return torch.nn.functional.interpolate(coarse, SIDE, mode="bicubic").clamp(-1, 1)


def test_the_teacher_is_followed_where_it_is_nearer_the_photo_and_nowhere_else(weights):
    teacher = RestorerTeacher(weights)
    photo = torch.cat([photo_like(0), photo_like(1)])
    noise = torch.rand(photo.shape, generator=torch.Generator().manual_seed(2)) * 2 - 1
    image = torch.stack([photo[0], noise[1]])
    targets, is_followed = teacher.targets(image, photo, photo, None)
    assert is_followed.tolist() == [False, True]
    assert torch.equal(targets[0], photo[0])
    alone, _ = teacher.targets(noise[1:], photo[1:], photo[1:], None)
    assert not torch.equal(targets[1], photo[1])
    torch.testing.assert_close(targets[1:], alone)
    assert targets.shape == photo.shape
    assert not targets.requires_grad


def test_the_teacher_is_not_asked_where_the_perceptual_terms_weigh_less_than_half(weights, monkeypatch):
    teacher = RestorerTeacher(weights)
    photo = torch.cat([photo_like(0), photo_like(1)])
    noise = torch.rand(photo.shape, generator=torch.Generator().manual_seed(2)) * 2 - 1
    targets, is_followed = teacher.targets(noise, photo, photo, torch.tensor([0.49, 0.5]))
    assert is_followed.tolist() == [False, True]
    assert torch.equal(targets[0], photo[0])
    monkeypatch.setattr(teacher._network, "forward", lambda _: pytest.fail("asked"))
    targets, is_followed = teacher.targets(noise, photo, photo, torch.tensor([0.49, 0.0]))
    assert not is_followed.any()
    assert torch.equal(targets, photo)


def test_the_teacher_gets_the_lq_at_its_own_scale_and_range(weights, monkeypatch):
    teacher = RestorerTeacher(weights)
    seen = []
    whole = teacher._network.forward
    monkeypatch.setattr(teacher._network, "forward", lambda x: seen.append(x) or whole(x))
    teacher.targets(photo_like(0), torch.full((1, 3, SIDE, SIDE), 0.5), photo_like(0), None)
    assert seen[0].shape == (1, 3, SIDE // 4, SIDE // 4)
    torch.testing.assert_close(seen[0], torch.full_like(seen[0], 0.75))


def test_a_taught_run_says_how_often_the_teacher_was_followed_and_refuses_another_teacher(
    weights, configure, tmp_path
):
    file = tmp_path / "teacher.pth"
    file.write_bytes(weights.read_bytes())
    settings = {"encoder__teacher": file, "checkpoint_every": 1}
    train(prepare(configure("encoder", tmp_path / "taught", optimize__steps=2, **settings)))
    lines = (tmp_path / "taught" / "metrics.jsonl").read_text().splitlines()
    shares = [line["taught"] for line in map(json.loads, lines) if "taught" in line]
    assert len(shares) == 2
    assert all(0 <= share <= 1 for share in shares)
    torch.save(ESRGAN(num_filters=8, num_blocks=1, scale=4).state_dict(), file)
    with pytest.raises(UserError, match=r"encoder\.teacher: .* is not what .* was begun with"):
        train(prepare(configure("encoder", tmp_path / "taught", optimize__steps=3, **settings)))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "is no file; give the weights of a restorer"),
        (b"not weights", "holds no network that spandrel knows"),
    ],
)
def test_what_is_no_teacher_is_refused_in_one_line(tmp_path, content, words):
    file = tmp_path / "teacher.pth"
    if content:
        file.write_bytes(content)
    with pytest.raises(UserError, match=words) as refusal:
        RestorerTeacher(file)
    assert "\n" not in str(refusal.value)
