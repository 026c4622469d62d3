"""Claims: 1.3 x one photo after another where files cost something; 1.3 x a diffusers loop where guidance is 1.

Peers: reading, restoring and saving photo by photo; and the loop that diffusers' users write: EulerDiscreteScheduler,
both guidance branches in one batch at every step, the same network and control, the same picture to 1e-3.
diffusers' own pipelines leave the second branch out where guidance is 1: that loop is shown too.
Run: python benchmarks/restore.py [--photos 8] [--megapixels 4] [--steps 8] [--rounds 3] [--threads 2] [--part folder]

The folder's photos are a mosaic of scikit-image's, so that their size can be chosen. Photos that `strength: auto` finds
clean cost their files alone; those that are restored are bound by the network, and gain nothing on a CPU.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from common import race, show
from diffusers import EulerDiscreteScheduler
from PIL import Image
from skimage import data

from supir_infer import PRESETS, RestoreSettings
from supir_infer.folder import run_jobs
from supir_infer.images import read_picture
from supir_infer.noise import Noise, noise_of
from supir_infer.outcomes import write_result
from supir_infer.plan import Job, Recipe, find_jobs
from supir_infer.restore import Restorer
from supir_infer.results import append_success
from supir_infer.sampling import noise_levels
from supir_model import Supir, TextConditioning, load_supir
from supir_model.diffusion import BETA_END, BETA_START
from supir_model.text import joined

OURS, ALONE = "supir-infer", "one after another"
BOTH, SKIPS = "diffusers loop", "loop without guidance 1"
PLAIN: dict[str, object] = {
    "start_sigma": None,
    "restore_guidance": 0.0,
    "s_churn": 0.0,
    "colour_fix": "none",
}
"""What the loop does too: from noise, without SUPIR's pull and churn."""
TOLERANCE = 1e-3


def main() -> None:
    """Prints the four tables."""
    options = _options()
    torch.set_num_threads(options.threads)
    supir = load_supir(preset="mini")
    for part in PARTS if options.part is None else [options.part]:
        PARTS[part](supir, options)


def _race_folders(supir: Supir, options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        clean = _photos(place / "clean", options.photos, round((options.megapixels * 1e6) ** 0.5))
        _race_folder("found clean", supir, PRESETS["mini"], clean, options.rounds)
        small = _photos(place / "small", options.photos, 128)
        restored = PRESETS["mini"].model_copy(update={"strength": 1.0, "vae_strip_px": 0})
        _race_folder("restored", supir, restored, small, options.rounds)


def _race_loops(supir: Supir, options: argparse.Namespace) -> None:
    for scale in (1.0, 4.0):
        _race_loop(supir, scale, options)


PARTS = {"folder": _race_folders, "loop": _race_loops}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=int, default=8, help="of a folder")
    parser.add_argument("--megapixels", type=float, default=4.0, help="of a photo that is clean")
    parser.add_argument("--side", type=int, default=256, help="of the loop's picture, px")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--part", choices=PARTS, help="of the two claims; both without it")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of torch")
    return parser.parse_args()


# --- a folder -------------------------------------------------------------------------------------------------


def _photos(folder: Path, count: int, side: int) -> Path:
    """JPEG files of `side` px squared."""
    folder.mkdir()
    tiles = [np.asarray(picture)[:300, :400] for picture in (data.astronaut(), data.coffee(), data.chelsea())]
    rows, columns = -(-side // 300), -(-side // 400)
    for number in range(count):
        mosaic = np.vstack(
            [
                np.hstack([tiles[(number + row + column) % 3] for column in range(columns)])
                for row in range(rows)
            ]
        )
        Image.fromarray(mosaic[:side, :side]).save(folder / f"{number}.jpg", quality=95, subsampling="4:4:4")
    return folder


def _race_folder(name: str, supir: Supir, settings: RestoreSettings, photos: Path, rounds: int) -> None:
    restorer, recipe = Restorer(supir, settings), Recipe(settings, 0, "mini", "0" * 64)
    sides: dict[str, Callable[[Sequence[Job], Path], object]] = {
        ALONE: partial(_one_after_another, restorer, recipe),
        OURS: lambda jobs, results: run_jobs(restorer, jobs, recipe, results, 1),
    }

    def anew(side: str) -> dict[str, bytes]:
        out = photos.with_name(side.replace(" ", "-"))
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        sides[side](find_jobs(photos, out, lambda *_: ""), out / "results.jsonl")
        return {path.name: np.asarray(Image.open(path)).tobytes() for path in out.glob("*.png")}

    assert anew(ALONE) == anew(OURS), "the two ways made different pictures"
    count = len(list(photos.iterdir()))
    with Image.open(next(photos.iterdir())) as first:
        title = f"folder of {count} photos of {first.width}x{first.height} px, {name}"
    show(
        title,
        race({side: partial(anew, side) for side in sides}, rounds),
        peer=ALONE,
        count=count,
        unit="photos",
    )


def _one_after_another(restorer: Restorer, recipe: Recipe, jobs: Sequence[Job], results: Path) -> None:
    for job in jobs:
        picture = read_picture(job.source)
        outcome = restorer.restore(picture.rgb, job.caption, recipe.seed)
        read = replace(job, sha256=picture.sha256)
        append_success(results, read, write_result(read, picture, outcome, recipe, restorer))


# --- one picture beside diffusers -----------------------------------------------------------------------------


def _race_loop(supir: Supir, scale: float, options: argparse.Namespace) -> None:
    changes = {**PLAIN, "steps": options.steps, "guidance_scale": scale, "guidance_scale_start": None}
    restorer = Restorer(supir, PRESETS["mini"].model_copy(update={**changes, "vae_strip_px": 0}))
    image = Image.fromarray(data.astronaut()).resize((options.side, options.side))
    lq = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None] / 127.5 - 1
    texts = [supir.encode_prompt([prompt]) for prompt in ("a woman", "low quality")]
    sides: dict[str, Callable[[], torch.Tensor]] = {
        BOTH: lambda: _loop(restorer, lq, *texts, noise_of([0]), branches=2),
        SKIPS: lambda: _loop(restorer, lq, *texts, noise_of([0]), branches=2 if scale > 1 else 1),
        OURS: lambda: restorer.restore_tensor(lq, *texts, noise_of([0])),
    }
    ours = sides[OURS]()
    apart = max((ours - sides[name]()).abs().max().item() for name in (BOTH, SKIPS))
    assert apart < TOLERANCE, f"the pictures are {apart:.1g} apart"
    title = f"{options.side}x{options.side} px, {options.steps} steps, guidance {scale:g}; pictures {apart:.1g} apart"
    show(title, race(sides, options.rounds), peer=BOTH, count=1, unit="pictures")


@torch.no_grad()
def _loop(
    restorer: Restorer,
    lq: torch.Tensor,
    positive: TextConditioning,
    negative: TextConditioning,
    noise: Noise,
    *,
    branches: int,
) -> torch.Tensor:
    """The restored image as a user of diffusers computes it."""
    supir, scale = restorer.supir, restorer.settings.guidance_scale
    scheduler = EulerDiscreteScheduler(
        beta_start=BETA_START, beta_end=BETA_END, beta_schedule="scaled_linear", timestep_spacing="leading"
    )
    scheduler.set_timesteps(sigmas=noise_levels(restorer.settings).tolist())
    z_lq = supir.encode_lq(lq)
    copies = branches
    text = joined(negative, positive) if copies == 2 else positive
    z_all, sizes = z_lq.repeat(copies, 1, 1, 1), supir.time_ids(lq.shape[-2], lq.shape[-1], copies)
    latents = noise.start(z_lq) * scheduler.init_noise_sigma
    for timestep in scheduler.timesteps:
        x_in = scheduler.scale_model_input(latents.repeat(copies, 1, 1, 1), timestep)
        index = timestep.round().long().expand(copies)
        eps = supir.predict_eps(x_in, index, z_all, text, sizes)
        if copies == 2:
            uncond, cond = eps.chunk(2)
            eps = uncond + scale * (cond - uncond)
        latents = scheduler.step(eps, timestep, latents).prev_sample
    return supir.decode(latents)


if __name__ == "__main__":
    main()
