"""Real photos for the demo: a folder of the user's, or those that installed packages carry.

Nothing is downloaded. Python packages give about thirteen small photos; Debian's wallpaper packages, where
they are installed, add large ones.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

PACKAGE_PHOTOS = {
    "skimage": [
        "data/astronaut.png",
        "data/chelsea.png",
        "data/coffee.png",
        "data/hubble_deep_field.jpg",
        "data/ihc.png",
        "data/motorcycle_left.png",
        "data/retina.jpg",
        "data/rocket.jpg",
    ],
    "sklearn": ["datasets/images/china.jpg", "datasets/images/flower.jpg"],
    "gradio": ["media_assets/images/cheetah.jpg", "media_assets/images/tower.jpg"],
    "matplotlib": ["mpl-data/sample_data/grace_hopper.jpg"],
}
SYSTEM_FOLDERS = [
    Path("/usr/share/backgrounds/mate/nature"),
    Path("/usr/share/backgrounds"),
    Path("/usr/share/lxqt/wallpapers"),
]
MAX_SYSTEM_PHOTOS = 24
# A face, animals, things, a building. The shipped mini weights were not trained on any of these packages' photos.
HELD_OUT_STEMS = ("astronaut", "chelsea", "cheetah", "coffee", "flower", "tower")
HELD_OUT_SHARE = 5
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


def find_photos(folder: Path | None) -> tuple[list[Path], list[Path]]:
    """Returns (photos for the web, photos held out for restoring).

    Args:
        folder: the user's own photos, every fifth of which is held out; None takes the packages' photos.

    Raises:
        FileNotFoundError: fewer than four photos were found.
    """
    photos = sorted(_images_in(folder)) if folder else [*_package_photos(), *_system_photos()]
    if len(photos) < 4:
        raise FileNotFoundError(f"{len(photos)} photos in {folder}; the demo needs at least 4 (PHOTOS=DIR)")
    held_out = [
        photo
        for number, photo in enumerate(photos)
        if (number % HELD_OUT_SHARE == 0 if folder else photo.stem in HELD_OUT_STEMS)
    ]
    return [photo for photo in photos if photo not in held_out], held_out


def _images_in(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())


def _package_photos() -> Iterator[Path]:
    for package, names in PACKAGE_PHOTOS.items():
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            continue
        yield from (path for name in names if (path := Path(spec.origin).parent / name).is_file())


def _system_photos() -> list[Path]:
    found = [path for folder in SYSTEM_FOLDERS if folder.is_dir() for path in sorted(folder.iterdir())]
    large = [
        path for path in found if path.suffix.lower() in SUFFIXES and path.is_file() and not path.is_symlink()
    ]
    return large[:MAX_SYSTEM_PHOTOS]
