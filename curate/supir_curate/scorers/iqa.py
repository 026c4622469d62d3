"""Any no-reference metric of pyiqa by its name: MUSIQ, CLIP-IQA+, MANIQA, TOPIQ and the rest.

Place in the flow: a scorer of `assess`. Weights: a file of the metric's network, else what pyiqa finds in its cache
(`$TORCH_HOME/hub/pyiqa`) or downloads. A given file is opened without running code before pyiqa, which would, sees it.
Metrics judge whether a picture is broken, not whether it is rich: against ratings of fine detail MUSIQ reached a rank
correlation of 0.36, grey-level co-occurrence 0.75 (Diffusion-4K). pyiqa's licence (PolyForm Noncommercial) is its own:
it is not installed with this stage but with the extra [iqa].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from supir_console import UserError
from supir_curate.scorers.contract import Answer, Identity, PathSetting, Rgb
from supir_curate.scorers.weights import file_sha256, state_sha256, torch_weights, versions
from supir_curate.scores import Score
from supir_curate.strict import StrictConfig
from supir_quality.pyiqa_package import import_pyiqa

if TYPE_CHECKING:
    import torch


class IqaConfig(StrictConfig):
    """A metric of pyiqa."""

    uses_gpu: ClassVar = True

    kind: Literal["pyiqa"] = "pyiqa"
    metric: str = Field(default="", description="pyiqa's name, e.g. musiq; empty takes the scorer's own name")
    weights: PathSetting | None = Field(
        default=None, description="torch file of its network; null takes pyiqa's cache or hub"
    )

    def scores(self, name: str) -> tuple[Score, ...]:
        """Returns what the scorer measures; its range is the metric's own."""
        return (Score(name, f"pyiqa's {self.metric or name}", 0, 100),)

    def load(self, name: str, device: str, _batch_images: int) -> Iqa:
        """Returns the loaded scorer."""
        return Iqa(name, self, device)


class Iqa:
    """A metric of pyiqa, one picture at a time: most take any size.

    Raises:
        UserError: pyiqa, the metric or its weights are not there.
    """

    width = 0

    def __init__(self, name: str, config: IqaConfig, device: str) -> None:
        self._metric = _create(name, config, device)
        self._name = name
        weights = {config.metric or name: state_sha256(self._metric.net)}
        if config.weights is not None:
            weights[config.weights.name] = file_sha256(config.weights)
        self.identity = Identity(weights, versions("torch", "pyiqa"))

    def prepare(self, rgb: Rgb) -> torch.Tensor:
        """Returns (1, 3, H, W) float32, 0 to 1."""
        import torch

        return torch.from_numpy(rgb).permute(2, 0, 1)[None].float() / 255

    def answer(self, prepared: Sequence[torch.Tensor]) -> list[Answer]:
        """Returns the metric of each picture."""
        import torch

        with torch.inference_mode():
            return [Answer({self._name: float(self._metric(picture))}) for picture in prepared]


def _create(name: str, config: IqaConfig, device: str) -> Any:
    metric = config.metric or name
    pyiqa = import_pyiqa(f"scorer {name}, which is none of our own,")
    known = pyiqa.list_models(metric_mode="NR")
    if metric not in known:
        raise UserError(
            f"scorer {name}: pyiqa has no no-reference metric {metric!r}; it has {', '.join(known)}"
        )
    options = {}
    if config.weights is not None:
        if not config.weights.is_file():
            raise UserError(
                f"assess.scorers.{name}.weights {config.weights} does not exist; give a torch file"
            )
        torch_weights(name, config.weights)
        options["pretrained_model_path"] = str(config.weights)
    try:
        return pyiqa.create_metric(metric, device=device, **options)
    except Exception as error:  # a download, a file that does not fit, an option: pyiqa raises what it meets
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"scorer {name} cannot load pyiqa's {metric} ({type(error).__name__}: {reason}); where no hub is reached,"
            " copy pyiqa's cache to $TORCH_HOME/hub/pyiqa, or, for a metric of one network, give"
            f" --set assess.scorers.{name}.weights=FILE"
        ) from error
