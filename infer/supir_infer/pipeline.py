"""SUPIR as a pipeline of diffusers: saved and loaded, called back, offloaded, fitted with LoRAs as all of them are.

Place in the flow: for people who work in diffusers; it restores with `Restorer`, so both give the same pixels. Without
a scheduler SUPIR's own samplers run, with one its steps do, see `scheduled`.
The law it keeps: a folder that `save_pretrained` wrote is one of `Supir.save_pretrained` too, so `supir-infer --model`
reads it.
Limits: what acts on the `forward` of the UNet or of its blocks (FreeU, block-level and sequential offloading) has no
effect, since the connectors sit between its layers; whole-model and leaf-level offloading work.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from diffusers import AutoencoderKL, DiffusionPipeline, ModelMixin, UNet2DConditionModel
from diffusers.loaders import StableDiffusionXLLoraLoaderMixin
from diffusers.utils import BaseOutput
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from supir_infer.model_source import resolve_model
from supir_infer.offloaded import OffloadedSupir
from supir_infer.pipeline_pictures import Picture, as_type, each, pictures_of, seeds_of
from supir_infer.restore import Restorer
from supir_infer.scheduled import ScheduledRestorer
from supir_infer.settings import PRESETS, RestoreSettings, change_settings
from supir_model import Supir, load_supir
from supir_model.connectors import Connectors
from supir_model.control import ControlEncoder
from supir_model.estimator import DegradationEstimator
from supir_model.folder import CLASS_NAME, CONFIG, FORMAT
from supir_model.robust_encoder import as_component
from supir_model.sampler import Step
from supir_model.strength_map import StrengthMap
from supir_model.text import TextEncoders

StepCallback = Callable[[DiffusionPipeline, int, float, dict[str, torch.Tensor]], dict[str, torch.Tensor]]

PIPELINE_FILE = "pipeline.py"
"""What `DiffusionPipeline.from_pretrained(folder, custom_pipeline=folder, trust_remote_code=True)` runs."""
PIPELINE_CODE = '"""The pipeline of this model, from supir-stack (pip install supir-stack[infer])."""\n\n' + (
    'from supir_infer.pipeline import SupirPipeline\n\n__all__ = ["SupirPipeline"]\n'
)


class SupirPipelineOutput(BaseOutput):
    """The restored pictures: PIL images, or an array or tensor (B, H, W, 3) or (B, 3, H, W) in 0..1.

    Pictures of different sizes come as a list of arrays or tensors.
    """

    images: Any


class SupirPipeline(DiffusionPipeline, StableDiffusionXLLoraLoaderMixin):
    """Restores pictures with a SUPIR model.

    Args:
        unet, control, connectors, vae, robust_encoder: the networks, see `Supir`.
        text_encoder, text_encoder_2, tokenizer: SDXL's text encoders; both read one vocabulary.
        scheduler: of diffusers, in place of SUPIR's samplers; None for those, which give `Restorer`'s pixels.
        estimator: tells how degraded a picture is, for `strength="auto"`; None where a model has none.
        strength_map: tells how much of a restoration to take where, likewise.

    Example:
        >>> pipe = SupirPipeline.from_pretrained("runs/adapter/model").to("cuda")  # doctest: +SKIP
        >>> pipe("old.jpg", prompt="a boat on a lake", upscale=2).images[0].save("new.png")  # doctest: +SKIP
    """

    model_cpu_offload_seq = "text_encoder->text_encoder_2->robust_encoder->unet->vae"
    _optional_components: ClassVar[list[str]] = ["scheduler", "estimator", "strength_map"]
    _callback_tensor_inputs: ClassVar[list[str]] = ["latents", "denoised"]

    def __init__(
        self,
        unet: UNet2DConditionModel,
        control: ControlEncoder,
        connectors: Connectors,
        vae: ModelMixin,
        robust_encoder: ModelMixin,
        text_encoder: CLIPTextModel,
        text_encoder_2: CLIPTextModelWithProjection,
        tokenizer: CLIPTokenizer,
        scheduler: Any = None,
        estimator: DegradationEstimator | None = None,
        strength_map: StrengthMap | None = None,
    ) -> None:
        super().__init__()
        self.register_modules(
            unet=unet,
            control=control,
            connectors=connectors,
            vae=vae,
            robust_encoder=robust_encoder,
            text_encoder=text_encoder,
            text_encoder_2=text_encoder_2,
            tokenizer=tokenizer,
            scheduler=scheduler,
            estimator=estimator,
            strength_map=strength_map,
        )

    # --- made, saved, loaded ------------------------------------------------------------------------------

    @classmethod
    def from_supir(cls, supir: Supir, scheduler: Any = None) -> SupirPipeline:
        """Returns a pipeline around a model; the weights are shared."""
        return cls(
            unet=supir.unet,
            control=supir.control,
            connectors=supir.connectors,
            vae=supir.vae,
            robust_encoder=as_component(supir.robust_encoder, supir.vae),
            text_encoder=supir.text.text_encoder,
            text_encoder_2=supir.text.text_encoder_2,
            tokenizer=supir.text.tokenizer,
            scheduler=scheduler,
            estimator=supir.estimator,
            strength_map=supir.strength_map,
        )

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, **options: Any) -> SupirPipeline:
        """Returns the pipeline of a folder: of `save_pretrained`, of `supir-train`, or `mini`, the embedded model.

        Args:
            pretrained_model_name_or_path: the folder, a repository of the hub, or a preset of `load_supir`.
            options: of `DiffusionPipeline.from_pretrained`; `scheduler` and `dtype` (or `torch_dtype`) for any folder.

        Raises:
            UserError: a folder that holds neither.
        """
        name = str(pretrained_model_name_or_path)
        folder = Path(name)
        if (folder / cls.config_name).is_file() or (not folder.exists() and "/" in name):
            pipeline: SupirPipeline = super().from_pretrained(name, **options)
            return pipeline
        source = resolve_model(name)
        dtype = options.get("dtype", options.get("torch_dtype")) or torch.float32
        supir = (
            load_supir(preset=source.name, dtype=dtype)
            if source.path is None
            else load_supir(source.path, dtype=dtype)
        )
        return cls.from_supir(supir, options.get("scheduler"))

    def save_pretrained(self, save_directory: Any, **options: Any) -> None:
        """Writes a folder that diffusers, `Supir.from_pretrained` and the commands of supir-stack read."""
        folder = Path(save_directory)
        super().save_pretrained(folder, **options)
        (folder / PIPELINE_FILE).write_text(PIPELINE_CODE)
        marker = {"_class_name": CLASS_NAME, "format": FORMAT}
        (folder / CONFIG).write_text(json.dumps(marker, indent=2, sort_keys=True) + "\n")

    # --- used ---------------------------------------------------------------------------------------------

    @property
    def settings(self) -> RestoreSettings:
        """What a call starts from: the preset `fidelity` for an SDXL latent, else `mini`."""
        is_sdxl = isinstance(self.vae, AutoencoderKL) and self.unet.config["in_channels"] == 4
        return PRESETS["fidelity" if is_sdxl else "mini"]

    @torch.no_grad()
    def __call__(
        self,
        image: Picture | str | Sequence[Picture | str],
        prompt: str | Sequence[str] = "",
        negative_prompt: str | None = None,
        *,
        settings: RestoreSettings | str | None = None,
        upscale: float | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        control_scale: float | None = None,
        restore_guidance: float | None = None,
        strength: float | str | None = None,
        colour_fix: str | None = None,
        seed: int | Sequence[int] = 0,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
        callback_on_step_end: StepCallback | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
    ) -> SupirPipelineOutput | tuple[Any]:
        """Restores one picture or several.

        Args:
            image: PIL image, array (H, W, 3) of uint8 in 0..255 or float in 0..1, tensor (3, H, W) or (B, 3, H, W) in
                0..1, or path of a file; or a list of them.
            prompt: what is in the picture; one for all or one for each. The quality words are added.
            negative_prompt: what guidance leads away from; None takes the settings'.
            settings: a `RestoreSettings`, or the name of a preset; None takes `self.settings`.
            upscale: output side / input side. This and all below that are None take the settings'.
            num_inference_steps: denoising steps.
            guidance_scale: text guidance at the end.
            control_scale: strength of the LQ control.
            restore_guidance: tau_r, 0 = off.
            strength: share of the restoration in the result, 0 to 1, or "auto".
            colour_fix: wavelet, adain, mean or none.
            seed: of all noise; one for all or one for each.
            generator: in the place of `seed`, which is drawn from it; one for all or one for each.
            output_type: pil, np or pt.
            return_dict: False gives a tuple.
            callback_on_step_end: called as (pipeline, step, sigma, tensors) after each step; what it returns as
                `latents` goes on being denoised.
            callback_on_step_end_tensor_inputs: latents, denoised.

        Raises:
            UserError: a setting that is not allowed, or a picture too large.
            ValueError: unequal numbers of pictures, prompts and seeds, an unknown output type or tensor, or a
                scheduler that cannot be told the noise levels.
        """
        if output_type not in ("pil", "np", "pt"):
            raise ValueError(f"output_type={output_type!r} is unknown; use pil, np or pt")
        self._require_tensors(callback_on_step_end_tensor_inputs)
        changes = {
            "upscale": upscale,
            "steps": num_inference_steps,
            "guidance_scale": guidance_scale,
            "control_scale": control_scale,
            "restore_guidance": restore_guidance,
            "strength": strength,
            "colour_fix": colour_fix,
            "negative_prompt": negative_prompt,
        }
        base = PRESETS[settings] if isinstance(settings, str) else settings or self.settings
        chosen = change_settings(base, {key: value for key, value in changes.items() if value is not None})
        pictures = pictures_of(image)
        prompts = each(prompt, len(pictures), "prompts")
        seeds = seeds_of(seed, generator, len(pictures))
        restorer = self._restorer(chosen)
        results = []
        with self.progress_bar(total=len(pictures) * restorer.num_steps) as bar:
            for picture, words, own_seed in zip(pictures, prompts, seeds, strict=True):
                tell = self._step_teller(bar, callback_on_step_end, callback_on_step_end_tensor_inputs)
                results.append(restorer.restore(picture, words, own_seed, tell).image)
        self.maybe_free_model_hooks()
        images = as_type(results, output_type)
        return SupirPipelineOutput(images=images) if return_dict else (images,)

    def _restorer(self, settings: RestoreSettings) -> Restorer:
        supir = OffloadedSupir(self)
        if self.scheduler is None:
            return Restorer(supir, settings)
        return ScheduledRestorer(supir, settings, self.scheduler)

    def _require_tensors(self, names: Sequence[str]) -> None:
        if unknown := [name for name in names if name not in self._callback_tensor_inputs]:
            raise ValueError(
                f"callback_on_step_end_tensor_inputs has {unknown}; use {', '.join(self._callback_tensor_inputs)}"
            )

    def _step_teller(
        self, bar: Any, callback: StepCallback | None, names: Sequence[str]
    ) -> Callable[[Step], None]:
        def tell(step: Step) -> None:
            bar.update()
            if callback is None:
                return
            held = {"latents": step.x, "denoised": step.restored}
            returned = callback(self, step.index, step.sigma, {name: held[name] for name in names}) or {}
            if "latents" in returned and returned["latents"] is not step.x:
                step.x.copy_(returned["latents"])  # the sampler goes on from this very tensor

        return tell

    def text_encoders(self) -> TextEncoders:
        """Returns both text encoders as the model calls them."""
        return TextEncoders(self.tokenizer, self.text_encoder, self.text_encoder_2)
