"""What a process of captioning holds: a real `tags` actor's peak, and commands that load no torch."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from limits import HANGS_AFTER_S
from PIL import Image

from supir_shards import Role, Sample, sample_key

LARGEST_PEAK_BYTES = 400e6  # 384e6 measured, 160e6 of them libraries that actors share
MEGAPIXELS_12 = (4000, 3000)
TURNED = 6  # EXIF

needs_proc = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="/proc says what a process holds"
)

ACTOR = """
import json, sys
import ray
from supir_caption.config import CaptionConfig
from supir_caption.worker import PartCaptioner

class Watched(PartCaptioner):
    def held(self):
        lines = open("/proc/self/status").read().splitlines()
        peak = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
        return peak, "torch" in sys.modules

ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
actor = ray.remote(Watched).remote(sys.argv[1], CaptionConfig(engine="tags"), 0)
done = [ray.get(one) for one in actor.caption_part.options(num_returns="streaming").remote("part-000000")]
print(json.dumps([sum(one.captions for one in done), *ray.get(actor.held.remote())]))
"""

COMMANDS = """
import shutil, sys
from supir_caption.cli import dispatch
url = sys.argv[1]
for arguments in (
    ["--help"],
    [url, "--engine", "tags", "--name", "a", "--dry-run", "--set", "run.measure_images=0"],
    [url, "--engine", "tags", "--name", "a"],
    ["report", url, "a"],
    ["compare", url, "a", "b"],
):
    if arguments[0] == "compare":
        shutil.copytree(f"{url}/captions/a", f"{url}/captions/b")
    try:
        dispatch(arguments)
    except SystemExit as ended:
        assert not ended.code, (arguments, ended.code)
assert "torch" not in sys.modules, "torch was loaded"
assert "transformers" not in sys.modules, "transformers was loaded"
"""


def run(program: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        timeout=HANGS_AFTER_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def sample_of(data: bytes) -> Sample:
    width, height = MEGAPIXELS_12
    return Sample(
        key=sample_key(data), image=data, extension="jpg", role=Role.PHOTO, width=width, height=height
    )


@needs_proc
def test_a_tags_actor_at_work_on_pictures_of_12_megapixels_holds_little(tmp_path: Path, photo, write_dataset):
    samples = []
    for number in range(3):
        image = photo("astronaut").crop((number, 0, 400 + number, 300)).resize(MEGAPIXELS_12)
        exif = image.getexif()
        if number == 1:
            exif[0x0112] = TURNED
        buffer = io.BytesIO()
        noise = np.random.default_rng(number).integers(-8, 9, (*MEGAPIXELS_12[::-1], 1), np.int16)
        noisy = (np.asarray(image) + noise).clip(0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(buffer, "JPEG", quality=92, exif=exif)
        samples.append(sample_of(buffer.getvalue()))
    store = write_dataset(tmp_path / "d", [samples])
    captions, peak, has_torch = json.loads(run(ACTOR, store.url))
    assert captions == 15
    assert not has_torch
    assert peak < LARGEST_PEAK_BYTES


@needs_proc
def test_no_command_without_a_model_loads_torch(tmp_path: Path, photo, as_sample, write_dataset):
    store = write_dataset(tmp_path / "d", [[as_sample(photo("coffee")), as_sample(photo("chelsea"))]])
    run(COMMANDS, store.url)
