"""The whole network as one module: prior, control encoder, connectors, both encoders, text.

Place in the flow: made by `load_supir`; trained through `predict_eps` and `encode_lq`, run through `denoise`.
Law: everything is frozen until `trainable` names a stage. At the border images are (B, 3, H, W) in [-1, 1]
and latents are scaled by `vae.config.scaling_factor`.
Source: paper section 3; the pipeline's order of encoders is in README.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from torch import Tensor, nn

from supir_model.adapted_unet import network_output, size_embedding
from supir_model.checks import require_image, require_latent, require_prompts, require_same_size, require_text
from supir_model.connectors import Connectors
from supir_model.control import ControlEncoder
from supir_model.diffusion import eps_of_sample, eps_of_velocity, nearest_timestep, scale_input, sigma_at
from supir_model.estimator import DegradationEstimator
from supir_model.mini_vae import MiniVAE
from supir_model.prepared import PreparedConditioning, repeated
from supir_model.presets import PREDICTION_TYPE, PredictionType
from supir_model.robust_encoder import new_robust_encoder
from supir_model.stages import Stage, made_trainable
from supir_model.strength_map import StrengthMap
from supir_model.text import TextConditioning, TextEncoders


class Supir(nn.Module):
    """All parts of a restorer; see the module docstring.

    Args:
        unet: SDXL-shaped prior.
        control: control encoder of the same widths.
        connectors: the twelve connectors of the same widths.
        vae: `AutoencoderKL` or `MiniVAE`.
        text: both text encoders.
        robust_encoder: degradation-robust encoder; None starts one that computes what the VAE's encoder does.
        estimator: tells what was done to a picture; a model may have none.
        strength_map: tells how much of a restoration to take where; a model may have none.
    """

    def __init__(
        self,
        *,
        unet: UNet2DConditionModel,
        control: ControlEncoder,
        connectors: Connectors,
        vae: AutoencoderKL | MiniVAE,
        text: TextEncoders,
        robust_encoder: nn.Module | None = None,
        estimator: DegradationEstimator | None = None,
        strength_map: StrengthMap | None = None,
    ) -> None:
        super().__init__()
        self.unet = unet
        self.control = control
        self.connectors = connectors
        self.vae = vae
        self.text = text
        self.robust_encoder = new_robust_encoder(vae) if robust_encoder is None else robust_encoder
        self.estimator = estimator
        self.strength_map = strength_map
        self.requires_grad_(False).eval()

    @property
    def device(self) -> torch.device:
        """Where the UNet is."""
        return self.unet.device

    @property
    def latent_channels(self) -> int:
        """Channels of a latent: 4 for SDXL, 64 for mini."""
        return int(self.unet.config["in_channels"])

    @property
    def prediction_type(self) -> PredictionType:
        """What the UNet was trained to put out: the noise, the velocity or the clean latent."""
        kind: PredictionType = self.unet.config.get(PREDICTION_TYPE) or "epsilon"
        return kind

    # --- encoders -----------------------------------------------------------------------------------------

    def encode_prompt(self, prompts: Sequence[str]) -> TextConditioning:
        """The conditioning of the prompts, (B, 77·k, D) and (B, P); k is the longest prompt's, masked for others."""
        return self.text(prompts)

    def encode(
        self, image: Tensor, generator: torch.Generator | list[torch.Generator] | None = None
    ) -> Tensor:
        """The scaled latent (B, C, H/8, W/8) of a clean image: posterior sample, or the mode.

        Args:
            image: (B, 3, H, W) in [-1, 1].
            generator: source of the posterior noise, or one for each image; None takes the mode.
        """
        require_image(image)
        posterior = self.vae.encode(image.to(self.vae.dtype)).latent_dist
        latent = posterior.mode() if generator is None else posterior.sample(generator)
        return latent.float() * self.vae.config["scaling_factor"]

    def encode_lq(self, lq: Tensor) -> Tensor:
        """The scaled latent z_lq (B, C, H/8, W/8) of a degraded image: mode of the robust encoder.

        Args:
            lq: (B, 3, H, W) in [-1, 1], already at the working size.
        """
        require_image(lq)
        moments = self.vae.quant_conv(self.robust_encoder(lq.to(self.vae.dtype)))
        return DiagonalGaussianDistribution(moments).mode().float() * self.vae.config["scaling_factor"]

    def decode(self, latent: Tensor) -> Tensor:
        """The image (B, 3, H, W), about [-1, 1] and not clipped, of a scaled latent."""
        require_latent("latent", latent, self.latent_channels, latent.device)
        unscaled = (latent / self.vae.config["scaling_factor"]).to(self.vae.dtype)
        return self.vae.decode(unscaled).sample.float()

    def time_ids(self, height: int, width: int, batch: int) -> Tensor:
        """SDXL's size vector (B, 6): original height and width, crop top and left, target height and width.

        Args:
            height, width: pixels of the image; original and target are taken as equal, the crop as (0, 0).
        """
        row = [height, width, 0, 0, height, width]
        return torch.tensor([row] * batch, dtype=torch.float32, device=self.device)

    # --- diffusion ----------------------------------------------------------------------------------------

    def predict_eps(
        self,
        x_in: Tensor,
        timestep: Tensor,
        z_lq: Tensor | None,
        conditioning: TextConditioning,
        time_ids: Tensor,
        control_scale: float = 1.0,
    ) -> Tensor:
        """The noise (B, C, h, w) in a noisy latent; differentiable in everything that is trainable.

        Args:
            x_in: (B, C, h, w) scaled noisy latent, see `diffusion.noised_input`.
            timestep: (B,) int64, 0 to 999.
            z_lq: (B, C, h, w) scaled LQ latent; None runs the plain prior.
            conditioning: B prompts.
            time_ids: (B, 6).
            control_scale: 0 to 1; at 0 the control encoder does not run and the result is the prior's, bit
                for bit.
        """
        z_lq = None if control_scale == 0.0 else z_lq
        return self.eps(x_in, timestep, self.prepare(z_lq, conditioning, time_ids), control_scale)

    forward = predict_eps

    @torch.no_grad()
    def denoise(
        self,
        x: Tensor,
        sigma: float,
        z_lq: Tensor | None,
        conditioning: TextConditioning,
        time_ids: Tensor,
        control_scale: float = 1.0,
    ) -> Tensor:
        """The estimate x - sigma_q · eps of the clean latent (B, C, h, w), float32; sigma_q is the table's nearest.

        Args:
            x: (B, C, h, w) float32 latent with noise of level `sigma`.
            sigma: noise level, any positive number; snapped to the 1000-entry table.
            z_lq, conditioning, time_ids, control_scale: as in `predict_eps`.
        """
        z_lq = None if control_scale == 0.0 else z_lq
        return self.denoise_prepared(x, sigma, self.prepare(z_lq, conditioning, time_ids), control_scale)

    def prepare(
        self, z_lq: Tensor | None, conditioning: TextConditioning, time_ids: Tensor
    ) -> PreparedConditioning:
        """What the steps of a run share: computed once, handed to `eps` and `denoise_prepared`.

        Args:
            z_lq: (B, C, h, w) scaled LQ latent; None for the plain prior.
            conditioning: R prompts, R a multiple of B: every latent under several prompts, all latents of the first
                prompt first.
            time_ids: (R, 6).

        Raises:
            ValueError: another model's text, a wrong number of channels or size vectors, or another device.
        """
        time_ids = time_ids.to(self.device)
        require_text(conditioning, time_ids, self.unet.config)
        if z_lq is not None:
            require_latent("z_lq", z_lq, self.latent_channels, self.device)
        dtype = self.unet.dtype
        text = conditioning.to(self.device, dtype)
        return PreparedConditioning(
            context=text.context,
            pooled=text.pooled,
            time_ids=time_ids,
            unet_embedding=size_embedding(self.unet, text.context, text.pooled, time_ids),
            control_embedding=None if z_lq is None else self.control.embed(text.pooled, time_ids),
            hint=None if z_lq is None else self.control.embed_hint(z_lq.to(dtype)),
            mask=text.mask,
        )

    def eps(
        self, x_in: Tensor, timestep: Tensor, prepared: PreparedConditioning, control_scale: float = 1.0
    ) -> Tensor:
        """The noise (R, C, h, w) in B noisy latents under R prompts; differentiable like `predict_eps`.

        Args:
            x_in: (B, C, h, w) scaled noisy latents.
            timestep: (B,) int64.
            prepared: of the same B latents.
            control_scale: as in `predict_eps`.
        """
        require_latent("x_in", x_in, self.latent_channels, self.device)
        require_prompts(len(prepared.context), len(x_in))
        if prepared.hint is not None:
            require_same_size(prepared.hint, x_in)
        parts = self.unet, self.control, self.connectors
        output = network_output(*parts, x_in, timestep, prepared, control_scale)
        if self.prediction_type == "epsilon":
            return output
        eps_of = eps_of_velocity if self.prediction_type == "v_prediction" else eps_of_sample
        given = x_in.float(), sigma_at(timestep, x_in.ndim)
        return eps_of(output.float(), *(repeated(each, len(output) // len(x_in)) for each in given))

    @torch.no_grad()
    def denoise_prepared(
        self, x: Tensor, sigma: float, prepared: PreparedConditioning, control_scale: float = 1.0
    ) -> Tensor:
        """The estimates (R, C, h, w) of B latents under R prompts; see `denoise`."""
        if not sigma > 0:
            raise ValueError(f"sigma={sigma} is no noise level; a positive number is needed")
        timestep = nearest_timestep(torch.full((len(x),), sigma, device=x.device))
        sigma_q = sigma_at(timestep, x.ndim)
        eps = self.eps(scale_input(x, sigma_q).to(self.unet.dtype), timestep, prepared, control_scale)
        copies = len(eps) // len(x)
        return repeated(x, copies) - repeated(sigma_q, copies) * eps.float()

    # --- training -----------------------------------------------------------------------------------------

    def init_control_from_unet(self) -> None:
        """Start the control encoder as a copy of the UNet's encoder and middle block; the hint is kept."""
        self.control.copy_from_unet(self.unet)

    def trainable(self, stage: Stage) -> dict[str, nn.Parameter]:
        """The parameters a training stage changes, by name, made trainable; all others are frozen.

        Args:
            stage: "adapter" or "distill" (control encoder and connectors), "encoder" (robust encoder), "codec" (robust
                encoder and VAE decoder), "prior" (UNet and text encoders), "autoencoder" (VAE), "estimator" or
                "strength" (strength map); codec, prior and autoencoder are for small backbones.

        Raises:
            ValueError: unknown stage.
        """
        return made_trainable(self, stage)

    # --- files --------------------------------------------------------------------------------------------

    def save_pretrained(self, folder: str | Path, dtype: torch.dtype | None = None) -> None:
        """Write every part as safetensors with its config.json, one subfolder a part.

        Args:
            dtype: precision on disk, e.g. torch.float16 for weights that ship; None keeps what is held.

        Raises:
            ValueError: the weights were offloaded to files.
        """
        from supir_model.folder import save_folder

        save_folder(self, Path(folder), dtype)

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> Supir:
        """The model of a folder written by `save_pretrained`.

        Raises:
            FileNotFoundError: the folder or a part of it is missing.
            ModelFileError: a part is damaged or does not fit.
        """
        from supir_model.folder import load_folder

        return load_folder(Path(folder), device=device, dtype=dtype)
