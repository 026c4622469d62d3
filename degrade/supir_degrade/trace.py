"""The trace of one degraded image: the operations it went through, in order, with every number they used.

Place in the flow: `draw` makes a trace, `pipeline.replay` applies it, and it travels in the sample's JSON.
The law it keeps: a trace and the sharp image determine the degraded image byte for byte; noise is held as the
seed of its generator, never as an array, so a trace stays a few hundred bytes of JSON.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from supir_console import UserError

Interpolation = Literal["area", "bilinear", "bicubic", "lanczos"]
KernelKind = Literal["iso", "aniso", "gen_iso", "gen_aniso", "plateau_iso", "plateau_aniso"]
Subsampling = Literal["4:4:4", "4:2:2", "4:2:0"]
VideoCodec = Literal["h264", "h265"]
VideoPreset = Literal["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow"]
ColourMatrix = Literal["bt601", "bt709"]


# A trace may come from anywhere. These limits are those of `steps`, but for the last digit that drawing rounds off;
# within them every operation gives a picture in bounded time and memory.
MAX_KERNEL_PX = 101
MAX_PIXELS = 2**29
HALF_TURN = 3.15


def _odd(size: int) -> int:
    if size % 2 == 0:
        raise ValueError(f"a kernel has an odd side, got {size}")
    return size


KernelSize = Annotated[int, Field(ge=1, le=MAX_KERNEL_PX), AfterValidator(_odd)]
Side = Annotated[int, Field(ge=1, le=MAX_PIXELS)]
Angle = Annotated[float, Field(ge=-HALF_TURN, le=HALF_TURN)]
Quality = Annotated[int, Field(ge=1, le=100)]
Seed = Annotated[int, Field(ge=0, lt=2**53)]  # JSON numbers keep 53 bits in every reader


class _Op(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Blur(_Op):
    """Convolution with a Gaussian-family kernel; sigmas in pixels, rotation in radians."""

    op: Literal["blur"] = "blur"
    kernel: KernelKind
    size: KernelSize
    sigma_x: Annotated[float, Field(ge=0.01, le=100)]
    sigma_y: Annotated[float, Field(ge=0.01, le=100)]
    rotation: Angle = 0.0
    beta: Annotated[float, Field(ge=0.1, le=20)] = 1.0


class Sinc(_Op):
    """Circular low-pass filter (ringing); cutoff in radians per pixel."""

    op: Literal["sinc"] = "sinc"
    size: KernelSize
    cutoff: Annotated[float, Field(ge=0.01, le=HALF_TURN)]


class Defocus(_Op):
    """Convolution with a disk, the image of a point out of focus; radius in pixels."""

    op: Literal["defocus"] = "defocus"
    radius_px: Annotated[float, Field(ge=0.1, le=100)]


class Motion(_Op):
    """Convolution with a straight line, the path of a shaken camera; length in pixels, angle in radians."""

    op: Literal["motion"] = "motion"
    length_px: Annotated[float, Field(ge=0, le=200)]
    angle: Angle


class Resize(_Op):
    """Resampling to a size in pixels."""

    op: Literal["resize"] = "resize"
    height: Side
    width: Side
    interpolation: Interpolation


class GaussianNoise(_Op):
    """Additive Gaussian noise; sigma on the 0..255 scale."""

    op: Literal["gaussian_noise"] = "gaussian_noise"
    sigma: Annotated[float, Field(ge=0, le=255)]
    gray: bool
    seed: Seed


class PoissonNoise(_Op):
    """Photon noise times `scale`."""

    op: Literal["poisson_noise"] = "poisson_noise"
    scale: Annotated[float, Field(ge=0, le=100)]
    gray: bool
    seed: Seed


class CameraNoise(_Op):
    """A Bayer sensor: shot is the noise variance of full white, read_sigma of 1; both in linear light."""

    op: Literal["camera_noise"] = "camera_noise"
    shot: Annotated[float, Field(ge=9e-7, le=0.1001)]
    read_sigma: Annotated[float, Field(ge=0, le=0.2)]
    seed: Seed


class Moire(_Op):
    """A screen photographed: pitch in screen pixels a camera pixel, angle in radians, see `moire`."""

    op: Literal["moire"] = "moire"
    pitch: Annotated[float, Field(ge=0.1, le=4)]
    angle: Angle
    lens_sigma: Annotated[float, Field(ge=0.15, le=2)]
    blur_sigma_px: Annotated[float, Field(ge=0, le=10)]


class Sharpen(_Op):
    """Unsharp mask; radius in pixels, threshold on the 0..255 scale."""

    op: Literal["sharpen"] = "sharpen"
    weight: Annotated[float, Field(ge=0, le=10)]
    radius_px: Annotated[int, Field(ge=1, le=200)]
    threshold: Annotated[float, Field(ge=0, le=255)]


class Jpeg(_Op):
    """One round through a JPEG file."""

    op: Literal["jpeg"] = "jpeg"
    quality: Quality
    subsampling: Subsampling = "4:2:0"
    progressive: bool = False


class Webp(_Op):
    """One round through a lossy WebP file; method 0 (fast) to 6 (thorough)."""

    op: Literal["webp"] = "webp"
    quality: Quality
    method: Annotated[int, Field(ge=0, le=6)]


class Avif(_Op):
    """One round through an AVIF file; speed 0 (thorough) to 10 (fast)."""

    op: Literal["avif"] = "avif"
    quality: Quality
    speed: Annotated[int, Field(ge=0, le=10)]


class Video(_Op):
    """One intra frame of a video; crf 1 (best) to 51, the matrix that of its YUV."""

    op: Literal["video"] = "video"
    codec: VideoCodec
    crf: Annotated[int, Field(ge=1, le=51)]
    preset: VideoPreset
    matrix: ColourMatrix = "bt709"


class Vae(_Op):
    """Encoded and decoded by an autoencoder: its weights, and the start of their SHA-256, see `vae`."""

    op: Literal["vae"] = "vae"
    weights: str
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]


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
    height: Annotated[int, Field(ge=0)]
    width: Annotated[int, Field(ge=0)]
    ops: tuple[Op, ...]

    @model_validator(mode="after")
    def _fits_in_memory(self) -> Trace:
        if any(op.height * op.width > MAX_PIXELS for op in self.ops if isinstance(op, Resize)):
            raise ValueError(f"a picture on the way has more than {MAX_PIXELS} pixels")
        return self

    @property
    def end_size(self) -> tuple[int, int]:
        """Height and width after the last operation; those of the picture in every trace that was drawn."""
        sizes = [(op.height, op.width) for op in self.ops if isinstance(op, Resize)]
        return sizes[-1] if sizes else (self.height, self.width)

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
