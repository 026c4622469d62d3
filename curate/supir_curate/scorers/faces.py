"""How many faces a picture shows, and how large the largest is: MTCNN.

Place in the flow: a scorer of `assess`; a rule may keep faces in a role of their own. Weights: those in
facenet-pytorch 2.6.0 (MIT). A face counts from `min_probability` on and from 20 px on a long side of `side_px`.
Source: K. Zhang et al., "Joint Face Detection and Alignment using Multi-task Cascaded CNNs", SPL 2016. Blind spots:
profiles, masks, very small faces.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from supir_console import UserError
from supir_curate.scorers.contract import Answer, Identity, PathSetting, Rgb
from supir_curate.scorers.weights import file_sha256, torch_weights, versions, weight_file
from supir_curate.scores import Score
from supir_curate.strict import StrictConfig

if TYPE_CHECKING:
    from PIL import Image

REQUIREMENT = "facenet-pytorch==2.6.0"
STAGES = ("pnet", "rnet", "onet")


class FacesConfig(StrictConfig):
    """Faces."""

    uses_gpu: ClassVar = True

    kind: Literal["faces"] = "faces"
    weights: PathSetting | None = Field(
        default=None, description="folder with pnet.pt, rnet.pt and onet.pt; null takes the installed ones"
    )
    side_px: int = Field(default=640, ge=64, description="long side on which faces are looked for")
    min_probability: float = Field(default=0.9, ge=0, le=1, description="a face counts from here on")

    def scores(self, _name: str) -> tuple[Score, ...]:
        """Returns what the scorer measures."""
        return (
            Score("face_count", "faces; 0 is none", 0, 10),
            Score("face_share", "share of the area of the largest face; 0 is none", 0, 1),
        )

    def load(self, name: str, device: str, _batch_images: int) -> Faces:
        """Returns the loaded scorer."""
        return Faces(name, self, device)


class Faces:
    """MTCNN's three networks.

    Raises:
        UserError: the package or the weights are not there.
    """

    width = 0

    def __init__(self, name: str, config: FacesConfig, device: str) -> None:
        files = [
            weight_file(
                name,
                config.weights and config.weights / f"{stage}.pt",
                "facenet_pytorch",
                f"data/{stage}.pt",
                REQUIREMENT,
            )
            for stage in STAGES
        ]
        try:
            from facenet_pytorch import MTCNN
        except ImportError as error:
            raise UserError(
                f"scorer {name} needs facenet-pytorch ({error}); type: pip install --no-deps {REQUIREMENT}"
            ) from error
        self._detector = MTCNN(keep_all=True, device=device)
        for stage, path in zip(STAGES, files, strict=True):
            try:
                getattr(self._detector, stage).load_state_dict(torch_weights(name, path))
            except (RuntimeError, TypeError) as error:
                raise UserError(f"scorer {name}: {path} holds no {stage} of MTCNN; give another") from error
        self._config = config
        self.identity = Identity(
            {path.name: file_sha256(path) for path in files}, versions("torch", "facenet-pytorch")
        )

    def prepare(self, rgb: Rgb) -> Image.Image:
        """Returns the picture on which faces are looked for."""
        from PIL import Image

        picture = Image.fromarray(rgb)
        picture.thumbnail((self._config.side_px, self._config.side_px), Image.Resampling.BILINEAR)
        return picture

    def answer(self, prepared: Sequence[Image.Image]) -> list[Answer]:
        """Returns count and largest share, one picture after the other: their sizes differ."""
        return [self._one(picture) for picture in prepared]

    def _one(self, picture: Image.Image) -> Answer:
        boxes, probabilities = self._detector.detect(picture)
        areas = [
            max(0.0, min(x1, picture.width) - max(x0, 0)) * max(0.0, min(y1, picture.height) - max(y0, 0))
            for (x0, y0, x1, y1), probability in zip(
                boxes if boxes is not None else (), probabilities, strict=False
            )
            if probability >= self._config.min_probability
        ]
        largest = max(areas, default=0.0) / (picture.width * picture.height)
        return Answer({"face_count": float(len(areas)), "face_share": float(largest)})
