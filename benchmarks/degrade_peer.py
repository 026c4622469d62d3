"""The named peer of benchmarks/degrade.py: basicsr 1.4.2's own operations, loaded by path, in Real-ESRGAN's order.

Only this driver is ours; nothing of basicsr is copied. Its package cannot be imported (setup and `__init__` fail with
current torchvision), so three of its modules are loaded alone. Their draws come from the global generators.
"""

from __future__ import annotations

import contextlib
import importlib.util
import math
import random
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from common import WHERE_BASICSR
from numpy.typing import NDArray
from torch.nn import functional
from torchvision.transforms.functional import rgb_to_grayscale

MODULES = ("data/degradations.py", "utils/diffjpeg.py", "utils/img_process_util.py")
MODES = ("area", "bilinear", "bicubic")
KERNELS = ("iso", "aniso", "generalized_iso", "generalized_aniso", "plateau_iso", "plateau_aniso")
KERNEL_SHARES = (0.45, 0.25, 0.12, 0.03, 0.12, 0.03)
SINC_SHARE, FINAL_SINC_SHARE, GAUSSIAN_SHARE, GRAY_SHARE = 0.1, 0.8, 0.5, 0.4
SCALE = 4
KERNEL_PX = 21


@dataclass(frozen=True, slots=True)
class Stage:
    """Numbers of one of the two stages, as the training options of the original state them."""

    sigma: tuple[float, float]
    factor: tuple[float, float]
    resize_shares: tuple[float, float, float]
    """Up, down, keep."""
    noise: tuple[float, float]
    poisson: tuple[float, float]
    quality: tuple[float, float]
    blur_probability: float = 1.0
    largest_kernel: int = KERNEL_PX
    generalised: tuple[float, float] = (0.5, 4.0)
    plateau: tuple[float, float] = (1.0, 2.0)


FIRST, SECOND = (0.2, 0.7, 0.1), (0.3, 0.4, 0.3)
MILD = {"quality": (60, 95), "generalised": (0.5, 2.0), "plateau": (1.0, 1.5)}
STAGES: dict[str, tuple[Stage, Stage]] = {
    "realesrgan": (
        Stage((0.2, 3.0), (0.15, 1.5), FIRST, (1, 30), (0.05, 3.0), (30, 95)),
        Stage((0.2, 1.5), (0.3, 1.2), SECOND, (1, 25), (0.05, 2.5), (30, 95), blur_probability=0.8),
    ),
    "light": (
        Stage((0.2, 1.5), (0.3, 1.5), FIRST, (1, 15), (0.05, 2.0), **MILD),
        Stage(
            (0.2, 1.0),
            (0.6, 1.2),
            SECOND,
            (1, 12),
            (0.05, 1.0),
            **MILD,
            blur_probability=0.5,
            largest_kernel=11,
        ),
    ),
}
"""Real-ESRGAN's train_realesrgan_x4plus.yml and StableSR's options; sources as in our recipes."""


class Peer:
    """basicsr's operations and the order in which its RealESRGANModel and dataset apply them."""

    def __init__(self, root: Path, device: str = "cpu") -> None:
        self.device = torch.device(device)
        self.version = (root / "VERSION").read_text().strip() if (root / "VERSION").is_file() else "unknown"
        # The module that basicsr imports this function from is gone from torchvision.
        stub = ModuleType("torchvision.transforms.functional_tensor")
        stub.rgb_to_grayscale = rgb_to_grayscale  # type: ignore[attr-defined]
        sys.modules.setdefault(stub.__name__, stub)
        self.ops, jpeg, filters = (_load(root / "basicsr" / name) for name in MODULES)
        self.filter2d = filters.filter2D
        self.jpeg = jpeg.DiffJPEG(differentiable=False).to(self.device)
        self.sharpen = filters.USMSharp().to(self.device)

    @torch.no_grad()
    def degrade(
        self, images: list[NDArray[np.uint8]], recipe: str, *, sharpened: bool = False
    ) -> list[NDArray[np.uint8]]:
        """LQ images at their input's size: uint8 (H, W, 3). One list is one batch and shares its resize factors."""
        first, second = STAGES[recipe]
        gt = to_tensor(images).to(self.device)
        values = self.sharpen(gt) if sharpened else gt
        height, width = gt.shape[-2:]
        output = (height // SCALE, width // SCALE)

        values = self._blur(values, first)
        factor = _factor(first)
        values = functional.interpolate(values, scale_factor=factor, mode=random.choice(MODES))
        values = self._compress(self._noise(values, first), first)
        if np.random.uniform() < second.blur_probability:
            values = self._blur(values, second)
        factor = _factor(second)
        size = (int(height / SCALE * factor), int(width / SCALE * factor))
        values = self._noise(functional.interpolate(values, size=size, mode=random.choice(MODES)), second)
        if np.random.uniform() < 0.5:
            values = self._compress(self._to_output(values, output), second)
        else:
            values = self._to_output(self._compress(values, second), output)
        values = torch.clamp((values * 255).round(), 0, 255) / 255
        back = functional.interpolate(values, size=(height, width), mode="bicubic")
        return to_arrays(back)

    def kernel(self, stage: Stage) -> NDArray[np.float64]:
        """One drawn kernel, padded to the common side."""
        side = random.choice(range(7, stage.largest_kernel + 1, 2))
        if np.random.uniform() < SINC_SHARE:
            lowest = math.pi / 3 if side < 13 else math.pi / 5
            kernel = self.ops.circular_lowpass_kernel(np.random.uniform(lowest, math.pi), side, pad_to=False)
        else:
            kernel = self.ops.random_mixed_kernels(
                KERNELS,
                KERNEL_SHARES,
                side,
                stage.sigma,
                stage.sigma,
                [-math.pi, math.pi],
                stage.generalised,
                stage.plateau,
                noise_range=None,
            )
        return np.pad(kernel, (KERNEL_PX - side) // 2)

    def _blur(self, values: torch.Tensor, stage: Stage) -> torch.Tensor:
        kernels = np.stack([self.kernel(stage) for _ in range(len(values))])
        return self._filtered(values, kernels)

    def _noise(self, values: torch.Tensor, stage: Stage) -> torch.Tensor:
        if np.random.uniform() < GAUSSIAN_SHARE:
            return self.ops.random_add_gaussian_noise_pt(
                values, sigma_range=stage.noise, gray_prob=GRAY_SHARE
            )
        return self.ops.random_add_poisson_noise_pt(values, scale_range=stage.poisson, gray_prob=GRAY_SHARE)

    def _compress(self, values: torch.Tensor, stage: Stage) -> torch.Tensor:
        quality = values.new_zeros(len(values)).uniform_(*stage.quality)
        return self.jpeg(torch.clamp(values, 0, 1), quality=quality)

    def _to_output(self, values: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        values = functional.interpolate(values, size=size, mode=random.choice(MODES))
        kernels = np.zeros((len(values), KERNEL_PX, KERNEL_PX), np.float32)
        for kernel in kernels:
            if np.random.uniform() < FINAL_SINC_SHARE:
                side, cutoff = random.choice(range(7, 22, 2)), np.random.uniform(math.pi / 3, math.pi)
                kernel[:] = self.ops.circular_lowpass_kernel(cutoff, side, pad_to=KERNEL_PX)
            else:
                kernel[KERNEL_PX // 2, KERNEL_PX // 2] = 1
        return self._filtered(values, kernels)

    def _filtered(self, values: torch.Tensor, kernels: NDArray[np.floating]) -> torch.Tensor:
        """Its own function refuses batches as its own JPEG leaves them in memory."""
        weights = torch.from_numpy(kernels.astype(np.float32)).to(self.device)
        return self.filter2d(values.contiguous(), weights)


class NoPeerError(ValueError):
    """There is no basicsr where it was said to be; the message says what is there and where to get it."""


@contextlib.contextmanager
def open_peer(path: Path, device: str = "cpu") -> Iterator[Peer]:
    """The peer on that device; `path` is its source distribution (.tar.gz) or that unpacked.

    Raises:
        NoPeerError: it is neither.
    """
    with tempfile.TemporaryDirectory() as folder:
        root = _unpacked(path, Path(folder)) if path.is_file() else path
        lacking = [name for name in MODULES if not (root / "basicsr" / name).is_file()]
        if lacking:
            raise NoPeerError(f"{path} has no basicsr/{lacking[0]}; {WHERE_BASICSR}")
        yield Peer(root, device)


def _unpacked(path: Path, folder: Path) -> Path:
    try:
        with tarfile.open(path) as archive:
            archive.extractall(folder, filter="data")
    except (tarfile.TarError, OSError, EOFError) as error:
        reason = str(error).partition(":\n")[0]  # a line for each compression follows
        raise NoPeerError(f"{path} is no sound tar archive ({reason}); {WHERE_BASICSR}") from error
    return next(folder.iterdir(), folder)


def to_tensor(images: list[NDArray[np.uint8]]) -> torch.Tensor:
    """float32 (B, 3, H, W), 0 to 1."""
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous().float() / 255


def to_arrays(values: torch.Tensor) -> list[NDArray[np.uint8]]:
    """uint8 (H, W, 3) of each picture."""
    rounded = torch.clamp((values * 255).round(), 0, 255).to(torch.uint8)
    return [np.ascontiguousarray(image) for image in rounded.permute(0, 2, 3, 1).cpu().numpy()]


def seed_all(number: int) -> None:
    """Seeds the three global generators that basicsr draws from."""
    random.seed(number)
    np.random.seed(number % 2**32)
    torch.manual_seed(number)


def _factor(stage: Stage) -> float:
    direction = random.choices(("up", "down", "keep"), stage.resize_shares)[0]
    if direction == "up":
        return np.random.uniform(1, stage.factor[1])
    return np.random.uniform(stage.factor[0], 1) if direction == "down" else 1.0


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"basicsr_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
