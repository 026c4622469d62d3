"""What the losses of a run can be told: of images, of the discriminator among them, and of predicted noise.

Place in the flow: sections of `config.TrainConfig`; `losses.py`, `adversary.py` and `noise_loss.py` read them. No torch
here, so that commands answer at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from supir_console import Config

WorkingScale = Literal[1, 2, "auto"]
"""Working side over the crop's; `auto` is that which the restorer would choose for the picture."""


class AdversaryConfig(Config):
    """The patch discriminator that judges decoded images; off while `weight` is 0."""

    weight: float = Field(default=0.0, ge=0, description="Weight of -D(image) in the image loss; 0: none.")
    warmup_steps: int = Field(
        default=500, ge=0, description="Steps in which the discriminator learns before its judgement counts."
    )
    channels: int = Field(
        default=32, ge=4, description="Channels of its first layer; the next have 2 and 4 times."
    )
    lr: float = Field(default=2e-4, gt=0, description="Learning rate of its Adam (betas 0.5, 0.9).")


class ImageLossConfig(Config):
    """Terms between an image and the photo it should be; a term of weight 0 is not computed."""

    pixel_distance: Literal["l1", "huber", "mse"] = Field(
        default="l1", description="Distance of pixel values in [-1, 1]: absolute, Huber, or squared."
    )
    huber_delta: float = Field(
        default=0.1,
        gt=0,
        description="Error at which the Huber distance becomes linear (huber_delta times L1).",
    )
    pixel_weight: float = Field(default=1.0, ge=0, description="Weight of the pixel distance.")
    gradient_weight: float = Field(
        default=0.0, ge=0, description="Weight of the L1 distance of horizontal and vertical differences."
    )
    scales: int = Field(
        default=1,
        ge=1,
        description="Both are compared at this many scales, each half the last, and averaged.",
    )
    lpips_alex_weight: float = Field(
        default=0.0,
        ge=0,
        description="Weight of LPIPS (AlexNet), at windows of random place and zoom: at one place and size it is blind "
        "to patterns that its first layer's stride steps over.",
    )
    lpips_vgg_weight: float = Field(
        default=0.0, ge=0, description="Weight of LPIPS (VGG16), on a random window of half the crop's side."
    )
    spectrum_weight: float = Field(
        default=0.0, ge=0, description="Weight of the L1 distance of the orthonormal 2-D Fourier transforms."
    )
    grid_weight: float = Field(
        default=0.0,
        ge=0,
        description="Weight of the distance of the profiles that differences have over the columns and rows of a "
        "latent pixel, and of how far the spectra stand out at its multiples: what shows the grid of the latents.",
    )
    adversary: AdversaryConfig = AdversaryConfig()


class EncoderLossConfig(ImageLossConfig):
    """Terms of `stage: encoder`, between D(E_dr(lq)) and hq and two more; see the stage's README for why."""

    pixel_distance: Literal["l1", "huber", "mse"] = Field(
        default="mse", description="Distance of pixel values in [-1, 1]: absolute, Huber, or squared."
    )
    pixel_weight: float = Field(
        default=0.5, ge=0, description="Weight of the pixel distance of D(E_dr(lq)) and hq."
    )
    decoded_weight: float = Field(
        default=1.0, ge=0, description="Weight of the pixel distance of D(E_dr(lq)) and D(E(hq))."
    )
    latent_weight: float = Field(
        default=0.1, ge=0, description="Weight of the squared distance of the scaled latents."
    )
    plain_weight: float = Field(
        default=0.0,
        ge=0,
        description="Above 0 the decoder is trained as well, for small backbones, and this weighs the pixel distance "
        "of D(E(hq)) and hq, which keeps it the decoder of the plain encoder too. The paper freezes it.",
    )
    working_scale: WorkingScale = Field(
        default=1,
        description="Working side over the crop's: LQ crops are enlarged (bicubic) before E_dr and what is decoded is "
        "reduced before it is compared, as the restorer's setting of this name does it; auto: each by its estimate.",
    )
    faithful_above_db: float | None = Field(
        default=None,
        gt=0,
        description="PSNR of the LQ crop up to which LPIPS and the discriminator count whole; above it their weights "
        "fall with the crop's squared error, for where little is wrong, what they invent is more than what is missing. "
        "null: they count whole everywhere.",
    )
    teacher: Annotated[Path, AfterValidator(Path.expanduser)] | None = Field(
        default=None,
        description="Weights of a restorer that spandrel knows (RealESRGAN_x4plus.pth, .safetensors). Where its result "
        "is nearer the photo by LPIPS than the student's, it is the image terms' target in the photo's place; with "
        "faithful_above_db only where the LQ crop has up to 3 dB more than that.",
    )

    @model_validator(mode="after")
    def _something_is_fitted(self) -> EncoderLossConfig:
        weights = (self.decoded_weight, self.pixel_weight, self.latent_weight, self.gradient_weight)
        if not any((*weights, self.lpips_alex_weight, self.lpips_vgg_weight, self.spectrum_weight)):
            raise ValueError("every encoder weight is 0, nothing would be fitted; set decoded_weight above 0")
        return self


class StrengthConfig(Config):
    """What `stage: strength` prices beside the image terms of `encoder`; read by no other stage."""

    harm_weight: float = Field(
        default=0.3,
        ge=0,
        description="Weight of the harm: by how much the squared error of what is taken exceeds that of the given "
        "picture, in nats, and 0 where it does not. With encoder.faithful_above_db it grows as LPIPS fades, from 0.",
    )


class NoiseLossConfig(Config):
    """The diffusion loss of the prior and the adapter: which timesteps, which noise, which weights."""

    timesteps: Literal["uniform", "logit_normal"] = Field(
        default="uniform",
        description="Distribution of timesteps over timestep_range: uniform, or the logistic function of a normal.",
    )
    logit_mean: float = Field(
        default=0.0, ge=-10, le=10, description="Mean of that normal; negative draws less noise."
    )
    logit_deviation: float = Field(default=1.0, gt=0, description="Standard deviation of that normal.")
    timestep_range: tuple[int, int] = Field(
        default=(0, 999), description="Lowest and highest timestep drawn, of 0 (hardly any noise) to 999."
    )
    min_snr_gamma: float | None = Field(
        default=None,
        gt=0,
        description="Caps the weight of a timestep in terms of the clean latent at this signal-to-noise ratio "
        "(min-SNR, usually 5): squared error of the noise times min(snr, gamma) / snr. null: plain squared error.",
    )
    offset: float = Field(
        default=0.0,
        ge=0,
        description="Deviation of the noise that is the same for a whole channel, added to the noise of each pixel.",
    )

    @model_validator(mode="after")
    def _timesteps_are_a_range(self) -> NoiseLossConfig:
        lowest, highest = self.timestep_range
        if not 0 <= lowest <= highest <= 999:
            raise ValueError(
                f"timestep_range={[lowest, highest]} is no range of 0 to 999; write the lower one first, as in [0, 400]"
            )
        return self
