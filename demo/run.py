"""`make demo`: the whole chain on real photos with the embedded `mini` model, ending in one page.

A small local web of photos and junk is curated from its URLs, captioned, given negative samples; the three
training stages go on from the shipped `mini` weights for a minute or so each; held-out photos are degraded, restored
by `mini` as it ships and as this demo trained it on, and measured. Every stage is the public command; this file only
joins them.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path

from local_web import build_web, serve, write_url_list
from page import write_page
from photos import find_photos
from supir_console import UserError

HERE = Path(__file__).parent
COMMANDS = Path(sys.executable).parent
NUM_NEGATIVES = 4  # as many of the packages' photos that are not held out have 512 px
MARKER = ".supir-demo"  # in every folder that a demo made; only such a folder is ever emptied


def main() -> None:
    """Runs the demo from the command line's options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, help="folder of your own photos (every fifth is held out)")
    parser.add_argument(
        "-o",
        "--output",
        dest="out",
        type=Path,
        default=HERE / "build",
        help="folder to work in; what an earlier demo left there is deleted",
    )
    options = parser.parse_args()
    try:
        photos, held_out = find_photos(options.photos)
        work = prepare_folder(options.out, options.photos)
    except (OSError, UserError) as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
    demo = Demo(work, is_package_photos=options.photos is None)
    demo.collect(photos)
    demo.caption_and_spoil()
    demo.train()
    demo.restore(held_out)
    demo.finish()


def prepare_folder(out: Path, photos: Path | None) -> Path:
    """Returns the folder to work in, empty but for its marker.

    Args:
        out: a new or empty folder, or one of an earlier demo, whose content is deleted.
        photos: the user's own photos, which are never touched.

    Raises:
        UserError: `out` and `photos` overlap, or `out` holds what no demo made.
    """
    work = out.resolve()
    source = photos.resolve() if photos else None
    if source and (work == source or work in source.parents or source in work.parents):
        raise UserError(
            f"-o {out} and --photos {photos} overlap, and the demo empties its folder; give -o a folder of its own"
        )
    if work.exists() and not (work / MARKER).is_file() and (not work.is_dir() or any(work.iterdir())):
        raise UserError(
            f"-o {out} exists and no demo made it (there is no {MARKER} in it); nothing was deleted: "
            "give a new folder, or empty this one yourself"
        )
    work.mkdir(parents=True, exist_ok=True)
    (work / MARKER).touch()
    for path in work.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != MARKER:
            path.unlink()
    return work


class Demo:
    """The chain, stage by stage, in one working folder.

    Args:
        work: empty folder to work in, from `prepare_folder`.
        is_package_photos: the photos are those of installed packages.
    """

    def __init__(self, work: Path, *, is_package_photos: bool) -> None:
        self.work = work
        self.is_package_photos = is_package_photos
        self.dataset = work / "dataset"
        self.seconds: dict[str, float] = {}

    def collect(self, photos: list[Path]) -> None:
        """Serves the local web and curates it from its list of URLs."""
        entries = build_web(photos)
        urls = self.work / "urls.parquet"
        with serve(entries) as base_url:
            write_url_list(entries, base_url, urls)
            kinds = {entry.path: entry.kind for entry in entries}
            (self.work / "kinds.json").write_text(json.dumps(kinds))
            config = ("--config", HERE / "curate.yaml", "--allow-private")
            self._run("supir-curate", "run", urls, "-o", self.dataset, *config, allowed=(0, 1))

    def caption_and_spoil(self) -> None:
        """Writes captions and negative-quality samples, and a contact sheet of degradations."""
        self._run("supir-caption", self.dataset, "--engine", "tags", "--name", "tags")
        count = ("--count", str(NUM_NEGATIVES))
        self._run("supir-degrade", "negatives", self.dataset, "-o", self.work / "negatives", *count)
        sheet = ("-o", self.work / "degradations.png", "--draws", "4", "--crop", "256")
        self._run("supir-degrade", "preview", self.dataset, *sheet)

    def train(self) -> None:
        """Trains the three stages, each from the one before; the first from the shipped weights."""
        start = "mini"
        for stage in ("prior", "encoder", "adapter"):
            run = self.work / "runs" / stage
            settings = {"run": run, "init": start, "data.dataset": self.dataset}
            if stage == "adapter":
                settings["data.negatives"] = self.work / "negatives"
            overrides = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
            self._run("supir-train", HERE / f"{stage}.yaml", *overrides)
            start = str(run / "model")

    def restore(self, held_out: list[Path]) -> None:
        """Degrades held-out photos into pairs, restores the degraded side and measures it."""
        originals = self.work / "held_out"
        originals.mkdir()
        for photo in held_out:
            shutil.copy(photo, originals)
        folder = self.work / "held_out_dataset"
        self._run("supir-curate", "run", originals, "-o", folder, "--config", HERE / "held_out.yaml")
        pairs = ("-o", self.work / "pairs", "--count", str(len(held_out)), "--crop", "256")
        self._run("supir-degrade", "pairs", folder, *pairs)
        for side in ("lq", "hq"):
            _unpack(self.work / "pairs" / side / "shards", self.work / side)
        trained = self.work / "runs" / "adapter" / "model"
        for name, model in (("restored", "mini"), ("restored_trained_on", trained)):
            self._run("supir-infer", self.work / "lq", "-o", self.work / name, "--model", model)
            sides = ("--reference", self.work / "hq", "--lq", self.work / "lq", "--json")
            with (self.work / f"{name}.json").open("w") as report:
                self._run("supir-eval", self.work / name, *sides, stdout=report)

    def finish(self) -> None:
        """Writes the page and says where it is."""
        page = write_page(self.work, self.seconds, is_package_photos=self.is_package_photos)
        total = sum(self.seconds.values())
        sys.stderr.write(f"\ndemo: done in {total / 60:.1f} minutes; open {page}\n")

    def _run(
        self, command: str, *arguments: str | Path, allowed: tuple[int, ...] = (0,), stdout: object = None
    ) -> None:
        line = [str(COMMANDS / command), *map(str, arguments)]
        shown = " ".join([command, *map(str, arguments)]).replace(f"{self.work}/", "")
        sys.stderr.write(f"\n== {shown}\n")
        started = time.monotonic()
        code = subprocess.run(line, stdout=stdout, check=False).returncode
        self.seconds[shown] = time.monotonic() - started
        if code not in allowed:
            sys.exit(f"error: {shown} left with code {code}; its last lines say why")


def _unpack(shards: Path, folder: Path) -> None:
    folder.mkdir()
    for shard in sorted(shards.glob("*.tar")):
        with tarfile.open(shard) as tar:
            tar.extractall(folder, members=[m for m in tar if m.name.endswith(".png")], filter="data")


if __name__ == "__main__":
    main()
