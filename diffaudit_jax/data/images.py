"""Folders of image files."""

from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from diffaudit_jax.data.arrays import from_arrays
from diffaudit_jax.data.pool import Pool
from diffaudit_jax.types import InputError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
# Each converts without loss; every other mode would need a choice that is the user's.
MODES = {"1": "L", "L": "L", "P": "RGB", "RGB": "RGB", "RGBA": "RGBA"}


def read_folder(folder: Path) -> Pool:
    """Reads every PNG, JPEG, BMP and WebP file in a folder and the folders inside it, sorted by path.

    Sub-folders of the first level are classes: sorted, they number the labels. Attributes are `file`, the path inside
    the folder, and `folder1`, `folder2`, ... the names at each level that every file has, so a tree of people is read
    with ``groups="folder1"``. Pixels are taken as stored: an EXIF rotation is not applied. Sorting is by characters
    ("10.png" before "9.png"). Hidden files and other suffixes are passed over.

    Raises:
      InputError: if there is no image, an image cannot be read, sizes or modes differ, or some files lie beside the
        class folders.
    """
    paths = sorted(
        (p.relative_to(folder) for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file()),
        key=lambda p: p.parts,
    )
    paths = [p for p in paths if not any(part.startswith(".") for part in p.parts)]
    if not paths:
        raise InputError(f"{folder} has no image in it or below it: looked for {', '.join(SUFFIXES)}.")
    images = [_read(folder / path) for path in paths]
    for path, image in zip(paths, images, strict=True):
        if image.shape != images[0].shape:
            raise InputError(
                f"{folder} mixes {_size(images[0])} ({paths[0]}) with {_size(image)} ({path}): convert them to one "
                "size and mode."
            )
    levels = _levels(folder, paths)
    return from_arrays(
        np.stack(images),
        labels=levels.get("folder1"),
        attributes={"file": np.array([p.as_posix() for p in paths]), **levels},
        name=folder.name,
    )


def _levels(folder: Path, paths: list[Path]) -> dict[str, np.ndarray]:
    depths = [len(path.parts) - 1 for path in paths]
    if min(depths) == 0 < max(depths):
        flat, nested = paths[depths.index(0)], paths[depths.index(max(depths))]
        raise InputError(
            f"{folder} has {flat} beside the class folder of {nested}: put every image in a class, or none."
        )
    return {f"folder{i + 1}": np.array([path.parts[i] for path in paths]) for i in range(min(depths))}


def _read(path: Path) -> np.ndarray:
    try:
        with Image.open(path) as image:
            if image.mode not in MODES:
                raise InputError(f"{path} has mode {image.mode}: convert it to L, RGB or RGBA.")
            clear = image.mode == "P" and "transparency" in image.info
            pixels = np.asarray(image.convert("RGBA" if clear else MODES[image.mode]))
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} cannot be read as an image ({error}): replace or remove it.") from error
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _size(image: np.ndarray) -> str:
    height, width, channels = image.shape
    return f"{width}x{height} {'L' if channels == 1 else 'RGB' if channels == 3 else 'RGBA'}"
