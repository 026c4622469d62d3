"""MobileNetV2 in ONNX Runtime, from torchvision's own weight file: which of ImageNet's classes a picture shows.

Place in the flow: the `tags` engine's subject. Torch and torchvision would cost each worker 600 MB for a network of
14; the graph is made here from the file's tensors, and ONNX Runtime folds the batch norms into the convolutions.

Source: Sandler et al. 2018, arXiv 1801.04381, table 2; names of tensors, and how a picture is shrunk and cut, as
torchvision's `mobilenet_v2` and `MobileNet_V2_Weights.IMAGENET1K_V1.transforms()`; probabilities within 1e-4 of its.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from supir_caption.resizing import resized
from supir_caption.torch_file import read_tensors
from supir_console import UserError

if TYPE_CHECKING:
    import onnx

WEIGHTS_FILE = "mobilenet_v2-b0353104.pth"
NUM_CLASSES = 1000

_BLOCKS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Of each group of blocks: expansion of the channels, channels, blocks, stride of the first one."""
_FIRST_CHANNELS, _LAST_CHANNELS = 32, 1280
_OPSET, _IR = 17, 8  # old enough for every ONNX Runtime that the package allows
_SHORTER_SIDE, _CUT = 256, 224
_LONGEST_SHAPE = 16  # longer side over shorter of what is shrunk
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class MobileNet:
    """The classifier.

    Args:
        path: the weights, see `WEIGHTS_FILE`.

    Raises:
        UserError: the file holds something else.
    """

    def __init__(self, path: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # a worker a core
        options.enable_cpu_mem_arena = False
        try:
            self._session = _session(read_tensors(path), options)
        except ValueError as error:
            raise UserError(
                f"{path} is no state dict of MobileNetV2 ({error}); give {WEIGHTS_FILE} (--model)"
            ) from error

    def probabilities(self, square: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Returns float32 (1000,), summing to 1.

        Args:
            square: uint8 (224, 224, 3), sRGB, from `middle_square`.
        """
        given = _normalised(square)
        probabilities: NDArray[np.float32] = self._session.run(None, {"picture": given})[0][0]
        return probabilities


@cache
def class_names() -> list[str]:
    """Returns ImageNet's 1000 class names in order."""
    text = files("supir_caption").joinpath("words", "imagenet_classes.txt").read_text(encoding="utf-8")
    return text.splitlines()


def middle_square(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Returns uint8 (224, 224, 3): the middle of the picture after its shorter side became 256 px.

    Args:
        rgb: uint8 (H, W, 3).
    """
    height, width = rgb.shape[:2]
    shorter = min(height, width)
    # Only the middle shows; a picture of one row would be made 256 times as long as it is.
    rgb = rgb[_middle(height, _LONGEST_SHAPE * shorter), _middle(width, _LONGEST_SHAPE * shorter)]
    height, width = (_SHORTER_SIDE * side // shorter for side in rgb.shape[:2])
    return resized(rgb, (width, height), "bilinear", columns=_middle(width, _CUT))[_middle(height, _CUT)]


def _middle(side: int, most: int) -> slice:
    """Returns the middle of a side, rounded as torchvision's `center_crop`."""
    start = max(0, round((side - most) / 2))
    return slice(start, start + most)


def _normalised(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    mean, std = (np.array(values, np.float32) for values in (_MEAN, _STD))
    values = (rgb.astype(np.float32) / np.float32(255) - mean) / std
    return np.ascontiguousarray(values.transpose(2, 0, 1)[None])


@dataclass(frozen=True, slots=True)
class _Layer:
    """A convolution with its batch norm: names in the file, the weights' shape, stride, whether ReLU6 follows."""

    convolution: str
    norm: str
    shape: tuple[int, int, int, int]
    stride: int = 1
    is_bounded: bool = True


def _blocks() -> Iterator[tuple[list[_Layer], bool]]:
    """The layers in their order, block by block, and whether a block's input is added to its output."""
    yield [_Layer("features.0.0", "features.0.1", (_FIRST_CHANNELS, 3, 3, 3), stride=2)], False
    channels, number = _FIRST_CHANNELS, 1
    for expansion, out, count, first_stride in _BLOCKS:
        for index in range(count):
            stride, wide, at = (
                (first_stride if index == 0 else 1),
                channels * expansion,
                f"features.{number}.conv",
            )
            expands = [_Layer(f"{at}.0.0", f"{at}.0.1", (wide, channels, 1, 1))] if expansion > 1 else []
            step = len(expands)
            yield (
                [
                    *expands,
                    _Layer(f"{at}.{step}.0", f"{at}.{step}.1", (wide, 1, 3, 3), stride),
                    _Layer(f"{at}.{step + 1}", f"{at}.{step + 2}", (out, wide, 1, 1), is_bounded=False),
                ],
                stride == 1 and channels == out,
            )
            channels, number = out, number + 1
    last = (_LAST_CHANNELS, channels, 1, 1)
    yield [_Layer(f"features.{number}.0", f"features.{number}.1", last)], False


def _session(tensors: Mapping[str, NDArray[Any]], options: Any) -> Any:
    import onnxruntime

    with tempfile.NamedTemporaryFile(
        suffix=".onnx"
    ) as file:  # a session keeps what it is given, a path or the bytes
        file.write(_model(tensors))
        file.flush()
        return onnxruntime.InferenceSession(file.name, options, providers=["CPUExecutionProvider"])


def _model(tensors: Mapping[str, NDArray[Any]]) -> bytes:
    """The network as an ONNX file: `picture` (1, 3, 224, 224) to `probabilities` (1, 1000)."""
    from onnx import TensorProto, helper, numpy_helper

    graph = _Graph(dict(tensors))
    value = "picture"
    for layers, is_residual in _blocks():
        before = value
        for layer in layers:
            value = graph.add_layer(layer, value)
        value = graph.add("Add", before, value) if is_residual else value
    value = graph.add("Flatten", graph.add("GlobalAveragePool", value))
    weight = graph.tensor("classifier.1.weight", (NUM_CLASSES, _LAST_CHANNELS))
    bias = graph.tensor("classifier.1.bias", (NUM_CLASSES,))
    graph.nodes.append(
        helper.make_node("Softmax", [graph.add("Gemm", value, weight, bias, transB=1)], ["probabilities"])
    )
    unknown = sorted(name for name in graph.unused if not name.endswith("num_batches_tracked"))
    if unknown:
        raise ValueError(f"{unknown[0]} is no tensor of it")
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("picture", (1, 3, _CUT, _CUT)), ("probabilities", (1, NUM_CLASSES)))
    ]
    initializers = [numpy_helper.from_array(values, name) for name, values in graph.constants.items()]
    made = helper.make_graph(graph.nodes, "mobilenet_v2", ends[:1], ends[1:], initializers)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)
    data: bytes = model.SerializeToString()
    return data


class _Graph:
    """Nodes that were added so far, and the tensors that they use.

    Args:
        unused: tensors by name; those that are used are taken out.
    """

    def __init__(self, unused: dict[str, NDArray[Any]]) -> None:
        self.unused = unused
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, NDArray[Any]] = {"0": np.float32(0), "6": np.float32(6)}  # type: ignore[dict-item]

    def tensor(self, name: str, shape: tuple[int, ...]) -> str:
        """Takes a tensor into the graph and returns its name."""
        if name not in self.unused:
            raise ValueError(f"it holds no {name}")
        values = self.unused.pop(name)
        if values.shape != shape or values.dtype != np.float32:
            raise ValueError(f"{name} is {values.dtype} {values.shape}, not float32 {shape}")
        self.constants[name] = values
        return name

    def add(self, operation: str, *inputs: str, **attributes: Any) -> str:
        """Adds a node and returns the name of its output."""
        from onnx import helper

        output = f"{len(self.nodes)}.{operation}"
        self.nodes.append(helper.make_node(operation, list(inputs), [output], **attributes))
        return output

    def add_layer(self, layer: _Layer, value: str) -> str:
        """Adds a convolution, its batch norm, and ReLU6 where it has one."""
        out, of_group, side, _ = layer.shape
        value = self.add(
            "Conv",
            value,
            self.tensor(f"{layer.convolution}.weight", layer.shape),
            group=out if of_group == 1 else 1,
            pads=[side // 2] * 4,
            strides=[layer.stride] * 2,
        )
        norm = [
            self.tensor(f"{layer.norm}.{part}", (out,))
            for part in ("weight", "bias", "running_mean", "running_var")
        ]
        value = self.add("BatchNormalization", value, *norm, epsilon=1e-5)
        return self.add("Clip", value, "0", "6") if layer.is_bounded else value
