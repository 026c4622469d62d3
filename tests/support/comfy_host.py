"""The smallest stand-in of ComfyUI: it imports a folder of nodes and runs a graph as ComfyUI does.

What stands in: the modules that nodes import (`folder_paths`, `comfy.utils`, `comfy.model_management`) and three core
nodes. As ComfyUI it runs nodes in inference mode and keeps what they gave while inputs and `IS_CHANGED` are the same.
"""

from __future__ import annotations

import importlib.util
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

Graph = dict[str, dict[str, Any]]
NODES = Path(__file__).parents[2] / "comfy"


class Interrupted(Exception):
    """What ComfyUI raises where somebody pressed Cancel."""


@dataclass
class Host:
    """A ComfyUI: its nodes by class, what its progress bars were told, when Cancel is pressed."""

    base: Path
    classes: dict[str, Any] = field(default_factory=dict)
    progress: list[tuple[int, int]] = field(default_factory=list)
    is_cancelled: Callable[[], bool] = lambda: False
    saved: list[torch.Tensor] = field(default_factory=list)
    ran: list[str] = field(default_factory=list)
    _kept: dict[str, tuple[Any, tuple]] = field(default_factory=dict)

    @torch.inference_mode()
    def run(self, graph: Graph) -> dict[str, tuple]:
        """Checks a graph in the format of ComfyUI's API and runs it; returns what each node gave."""
        done: dict[str, tuple] = {}
        self.ran.clear()

        def given(value: Any) -> Any:
            return done[value[0]][value[1]] if isinstance(value, list) else value

        def ran(key: str) -> None:
            node = graph[key]
            for value in node["inputs"].values():
                if isinstance(value, list) and value[0] not in done:
                    ran(value[0])
            made = self.classes[node["class_type"]]
            inputs = {name: given(value) for name, value in node["inputs"].items()}
            signature = self._signature(graph, key)
            if self._kept.get(key, (None,))[0] != signature or getattr(made, "OUTPUT_NODE", False):
                self.ran.append(node["class_type"])
                self._kept[key] = signature, getattr(made(), made.FUNCTION)(**inputs)
            done[key] = self._kept[key][1]

        for key, node in graph.items():
            self._check(graph, key, node)
        for key, node in graph.items():
            if key not in done and getattr(self.classes[node["class_type"]], "OUTPUT_NODE", False):
                ran(key)
        return done

    def _signature(self, graph: Graph, key: str) -> Any:
        """What a node's outputs are kept for: its inputs, those of the nodes before it, and what they say of files."""
        node = graph[key]
        made, constants, before = self.classes[node["class_type"]], {}, []
        for name, value in sorted(node["inputs"].items()):
            if isinstance(value, list):
                before.append((name, value[1], self._signature(graph, value[0])))
            else:
                constants[name] = value
        told = made.IS_CHANGED(**constants) if hasattr(made, "IS_CHANGED") else ""
        return node["class_type"], constants, before, told

    def _check(self, graph: Graph, key: str, node: dict[str, Any]) -> None:
        asked = self.classes[node["class_type"]].INPUT_TYPES()
        known = asked.get("required", {}) | asked.get("optional", {})
        missing, unknown = (
            asked.get("required", {}).keys() - node["inputs"],
            node["inputs"].keys() - known.keys(),
        )
        assert not missing, f"node {key}: required_input_missing {missing}"
        assert not unknown, f"node {key} has no inputs {unknown}"
        for name, value in node["inputs"].items():
            kind, *options = known[name]
            if isinstance(value, list):
                source = self.classes[graph[value[0]]["class_type"]]
                assert source.RETURN_TYPES[value[1]] == kind, f"node {key}: return_type_mismatch {name}"
            elif isinstance(kind, list):
                assert value in kind, f"node {key}: value_not_in_list {name}={value}"
            elif kind in ("INT", "FLOAT"):
                limits = options[0]
                assert limits["min"] <= value <= limits["max"], f"node {key}: {name}={value} outside {limits}"
            else:
                assert isinstance(value, {"STRING": str, "BOOLEAN": bool}[kind])


def comfy_host(base: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """Starts a ComfyUI whose folders are below `base`, with our nodes."""
    host = Host(base)
    (base / "input").mkdir(parents=True)
    kinds: dict[str, list[str]] = {"supir": [str(base / "elsewhere")]}  # of extra_model_paths.yaml
    modules = {
        "folder_paths": types.SimpleNamespace(
            models_dir=str(base / "models"),
            add_model_folder_path=lambda kind, path: kinds.setdefault(kind, []).append(path),
            get_folder_paths=lambda kind: list(kinds[kind]),
            get_filename_list=lambda kind: sorted(
                path.name for path in (base / "models" / kind).glob("*") if path.is_file()
            ),
            get_full_path=lambda kind, name: (
                str(path) if (path := base / "models" / kind / name).is_file() else None
            ),
        ),
        "comfy": types.SimpleNamespace(__path__=[]),
        "comfy.utils": types.SimpleNamespace(ProgressBar=lambda total: _Bar(host, total)),
        "comfy.model_management": types.SimpleNamespace(
            get_torch_device=lambda: torch.device("cpu"),
            unload_all_models=lambda: None,
            soft_empty_cache=lambda: None,
            throw_exception_if_processing_interrupted=lambda: _throw_if(host.is_cancelled()),
        ),
    }
    for name, content in modules.items():
        module = types.ModuleType(name)
        module.__dict__.update(content.__dict__)
        monkeypatch.setitem(sys.modules, name, module)
    for name in ("utils", "model_management"):
        setattr(sys.modules["comfy"], name, sys.modules[f"comfy.{name}"])
    host.classes = {**_core_nodes(host), **_imported(NODES, monkeypatch).NODE_CLASS_MAPPINGS}
    return host


def _imported(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The folder as a package named by its path, as ComfyUI's `load_custom_node` imports it."""
    name = str(folder).replace(".", "_x_")
    spec = importlib.util.spec_from_file_location(name, folder / "__init__.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    for inside in [key for key in sys.modules if key.startswith(f"{name}.")]:
        monkeypatch.setitem(
            sys.modules, inside, sys.modules.pop(inside)
        )  # popped first: it goes with the test
    return module


class _Bar:
    def __init__(self, host: Host, total: int) -> None:
        self.host, self.total, self.done = host, total, 0

    def update(self, steps: int) -> None:
        self.done += steps
        self.host.progress.append((self.done, self.total))


def _throw_if(is_cancelled: bool) -> None:
    if is_cancelled:
        raise Interrupted


def _core_nodes(host: Host) -> dict[str, Any]:
    class LoadImage:
        RETURN_TYPES, FUNCTION = ("IMAGE", "MASK"), "load"

        @classmethod
        def INPUT_TYPES(cls) -> dict[str, Any]:
            return {"required": {"image": (sorted(path.name for path in (host.base / "input").iterdir()),)}}

        def load(self, image: str) -> tuple:
            with Image.open(host.base / "input" / image) as opened:
                rgba = torch.from_numpy(np.asarray(opened.convert("RGBA"), np.float32) / 255)[None]
                has_alpha = "A" in opened.getbands()
            return rgba[..., :3], 1 - rgba[..., 3] if has_alpha else torch.zeros(1, 64, 64)

    class SaveImage:
        RETURN_TYPES, FUNCTION, OUTPUT_NODE = (), "save", True

        @classmethod
        def INPUT_TYPES(cls) -> dict[str, Any]:
            return {"required": {"images": ("IMAGE",), "filename_prefix": ("STRING", {})}}

        def save(self, images: torch.Tensor, filename_prefix: str) -> tuple:
            host.saved.append(images)
            return ()

    class Text:
        """A captioner."""

        RETURN_TYPES, FUNCTION = ("STRING",), "say"

        @classmethod
        def INPUT_TYPES(cls) -> dict[str, Any]:
            return {"required": {"text": ("STRING", {})}}

        def say(self, text: str) -> tuple:
            return (text,)

    return {"LoadImage": LoadImage, "SaveImage": SaveImage, "Text": Text}
