"""LPIPS with two backbones, DISTS and MUSIQ: networks, each named with its weight files.

Place in the flow: `metrics` lists them. LPIPS and DISTS are complete from packages, MUSIQ is pyiqa's and its
weights are the user's to place. Two backbones of LPIPS, since a restorer that is trained against one of them learns
its blind spots.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from supir_console import installed_version
from supir_quality.dists import DISTS_MIN_PX, load_dists
from supir_quality.lpips_weights import load_lpips
from supir_quality.metric import RGB, Identity, Metric, MetricMissing, named
from supir_quality.pyiqa_package import import_pyiqa

if TYPE_CHECKING:
    from supir_quality.lpips_weights import Backbone

LPIPS_MIN_PX = 32  # AlexNet's poolings leave nothing of less
MUSIQ_MIN_PX = 192
MUSIQ_FILE = "musiq_koniq_ckpt-e95806b9.pth"


def lpips(_: Path | None) -> Metric:
    """Returns LPIPS on AlexNet, the one that papers report.

    Raises:
        MetricMissing: its packages are not installed.
    """
    return _lpips("lpips", "alex", "AlexNet")


def lpips_vgg(_: Path | None) -> Metric:
    """Returns LPIPS on VGG16, a second witness.

    Raises:
        MetricMissing: its packages are not installed.
    """
    return _lpips("lpips_vgg", "vgg", "VGG16")


def _lpips(name: str, backbone: Backbone, title: str) -> Metric:
    try:
        module, files = load_lpips(backbone)
    except FileNotFoundError as error:
        raise MetricMissing(str(error)) from error

    def compute(restored: torch.Tensor, reference: torch.Tensor | None) -> float:
        assert reference is not None, f"{name} needs a reference"
        return float(module.to(restored.device)(restored * 2 - 1, reference * 2 - 1))

    implementation = f"lpips {installed_version('lpips')}, {title}, v0.1"
    return Metric(_network(name, implementation, files), compute, LPIPS_MIN_PX)


def dists(_: Path | None) -> Metric:
    """Returns DISTS: structure and texture of VGG16's features, which forgives a texture that is drawn anew.

    Raises:
        MetricMissing: its packages are not installed.
    """
    try:
        module, files = load_dists()
    except FileNotFoundError as error:
        raise MetricMissing(str(error)) from error

    def compute(restored: torch.Tensor, reference: torch.Tensor | None) -> float:
        assert reference is not None, "dists needs a reference"
        return float(module.to(restored.device)(restored, reference))

    implementation = f"supir-stack {installed_version('supir-stack')}, at the picture's own size"
    return Metric(_network("dists", implementation, files), compute, DISTS_MIN_PX)


def _network(name: str, implementation: str, files: tuple[Path, ...]) -> Identity:
    return Identity(
        metric=name,
        implementation=implementation,
        weights=named(files),
        colour_space=RGB,
        better="lower",
        needs_reference=True,
    )


def musiq(weights: Path | None) -> Metric:
    """Returns MUSIQ (koniq) of pyiqa, its weights in `weights` or where pyiqa keeps them.

    Raises:
        MetricMissing: the weight file is not there.
        MeasureMissing: pyiqa is not installed.
    """
    import_pyiqa("metric musiq")
    from pyiqa.archs.musiq_arch import MUSIQ

    folder = weights or Path(torch.hub.get_dir()) / "pyiqa"
    path = folder / MUSIQ_FILE
    if not path.is_file():
        raise MetricMissing(f"no {MUSIQ_FILE} in {folder}; put it there, or name its folder with --weights")
    module = MUSIQ(pretrained=False)
    module.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    module.eval()
    identity = Identity(
        metric="musiq",
        implementation=f"pyiqa {installed_version('pyiqa')}",
        weights=named((path,)),
        colour_space=RGB,
        better="higher",
        needs_reference=False,
    )
    return Metric(identity, lambda restored, _: float(module.to(restored.device)(restored)), MUSIQ_MIN_PX)
