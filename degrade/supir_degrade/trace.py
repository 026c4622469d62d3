"""The trace of one degraded image: the operations it went through, in order, with every number they used.

Place in the flow: `draw` makes a trace, `pipeline.replay` applies it, and it travels in the sample's JSON.
The law it keeps: a trace and the sharp image determine the degraded image byte for byte; noise is held as the
seed of its generator, never as an array, so a trace stays a few hundred bytes of JSON.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from supir_console import UserError

Interpolation = Literal["area", "bilinear", "bicubic", "lanczos"]
KernelKind = Literal["iso", "aniso", "gen_iso", "gen_aniso", "plateau_iso", "plateau_aniso"]
Subsampling = Literal["4:4:4", "4:2:2", "4:2:0"]
VideoCodec = Literal["h264", "h265"]
VideoPreset = Literal["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow"]
ColourMatrix = Literal["bt601", "bt709"]


class _Op(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Blur(_Op):
    """Convolution with a Gaussian-family kernel; sigmas in pixels, rotation in radians."""

    op: Literal["blur"] = "blur"
    kernel: KernelKind
    size: int
    sigma_x: float
    sigma_y: float
    rotation: float = 0.0
    beta: float = 1.0


class Sinc(_Op):
    """Circular low-pass filter (ringing); cutoff in radians per pixel."""

    op: Literal["sinc"] = "sinc"
    size: int
    cutoff: float


class Defocus(_Op):
    """Convolution with a disk, the image of a point out of focus; radius in pixels."""

    op: Literal["defocus"] = "defocus"
    radius_px: float


class Motion(_Op):
    """Convolution with a straight line, the path of a shaken camera; length in pixels, angle in radians."""

    op: Literal["motion"] = "motion"
    length_px: float
    angle: float


class Resize(_Op):
    """Resampling to a size in pixels."""

    op: Literal["resize"] = "resize"
    height: int
    width: int
    interpolation: Interpolation


class GaussianNoise(_Op):
    """Additive Gaussian noise; sigma on the 0..255 scale."""

    op: Literal["gaussian_noise"] = "gaussian_noise"
    sigma: float
    gray: bool
    seed: int


class PoissonNoise(_Op):
    """Photon noise times `scale`."""

    op: Literal["poisson_noise"] = "poisson_noise"
    scale: float
    gray: bool
    seed: int


class CameraNoise(_Op):
    """A Bayer sensor: shot is the noise variance of full white, read_sigma of 1; both in linear light."""

    op: Literal["camera_noise"] = "camera_noise"
    shot: float
    read_sigma: float
    seed: int


class Moire(_Op):
    """A screen photographed: pitch in screen pixels a camera pixel, angle in radians, see `moire`."""

    op: Literal["moire"] = "moire"
    pitch: float
    angle: float
    lens_sigma: float
    blur_sigma_px: float


class Sharpen(_Op):
    """Unsharp mask; radius in pixels, threshold on the 0..255 scale."""

    op: Literal["sharpen"] = "sharpen"
    weight: float
    radius_px: int
    threshold: float


class Jpeg(_Op):
    """One round through a JPEG file."""

    op: Literal["jpeg"] = "jpeg"
    quality: int
    subsampling: Subsampling = "4:2:0"
    progressive: bool = False


class Webp(_Op):
    """One round through a lossy WebP file; method 0 (fast) to 6 (thorough)."""

    op: Literal["webp"] = "webp"
    quality: int
    method: int


class Avif(_Op):
    """One round through an AVIF file; speed 0 (thorough) to 10 (fast)."""

    op: Literal["avif"] = "avif"
    quality: int
    speed: int


class Video(_Op):
    """One intra frame of a video; crf 1 (best) to 51, the matrix that of its YUV."""

    op: Literal["video"] = "video"
    codec: VideoCodec
    crf: int
    preset: VideoPreset
    matrix: ColourMatrix = "bt709"


class Vae(_Op):
    """Encoded and decoded by an autoencoder: its weights, and the start of their SHA-256, see `vae`."""

    op: Literal["vae"] = "vae"
    weights: str
    digest: str


Op = Annotated[
    Blur
    | Sinc
    | Defocus
    | Motion
    | Resize
    | GaussianNoise
    | PoissonNoise
    | CameraNoise
    | Moire
    | Sharpen
    | Jpeg
    | Webp
    | Avif
    | Video
    | Vae,
    Field(discriminator="op"),
]


class Trace(BaseModel):
    """What happened to one image of `height` × `width` pixels under the recipe named `recipe`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    recipe: str
    height: int
    width: int
    ops: tuple[Op, ...]

    def to_json(self) -> str:
        """Returns the trace as one line of JSON."""
        return self.model_dump_json()

    @classmethod
    def from_json(cls, text: str | bytes) -> Trace:
        """Returns the trace that `to_json` wrote.

        Raises:
            UserError: the text is not a trace.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(step) for step in first["loc"]) or "text"
            raise UserError(f"not a degradation trace: {where}: {first['msg']}") from error


def describe(op: Op) -> str:
    """Returns the operation in a few words, for the labels of a contact sheet."""
    match op:
        case Blur():
            sigma = f"{op.sigma_x:.2g}" if op.sigma_x == op.sigma_y else f"{op.sigma_x:.2g}/{op.sigma_y:.2g}"
            return f"{op.kernel}{op.size} s{sigma}"
        case Sinc():
            return f"sinc{op.size} w{op.cutoff:.2g}"
        case Defocus():
            return f"defocus r{op.radius_px:.2g}"
        case Motion():
            return f"motion {op.length_px:.2g}px"
        case Resize():
            return f"{op.width}x{op.height} {op.interpolation}"
        case GaussianNoise() | PoissonNoise():
            amount = f"gauss {op.sigma:.2g}" if isinstance(op, GaussianNoise) else f"poisson {op.scale:.2g}"
            return amount + (" gray" if op.gray else "")
        case CameraNoise():
            return f"camera {op.shot:.2g}/{op.read_sigma:.2g}"
        case Moire():
            return f"moire {op.pitch:.3g}px"
        case Sharpen():
            return f"usm {op.weight:.2g} r{op.radius_px}"
        case Jpeg():
            return f"jpeg {op.quality} {op.subsampling}" + (" prog" if op.progressive else "")
        case Webp():
            return f"webp {op.quality}"
        case Avif():
            return f"avif {op.quality}"
        case Video():
            return f"{op.codec} crf{op.crf} {op.matrix}"
        case Vae():
            return f"vae {op.weights.rstrip('/').rsplit('/')[-1]}"
