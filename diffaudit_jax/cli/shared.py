"""Generators that were shared: each with the ratio by which it was poisoned, if anybody says, and its samples."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from diffaudit_jax import data
from diffaudit_jax.cli.aimed import trained_on
from diffaudit_jax.cli.drawing import Drawing, Generated, generated
from diffaudit_jax.cli.manifest import manifest_beside
from diffaudit_jax.cli.subject import Weights
from diffaudit_jax.cli.table_columns import joined
from diffaudit_jax.cli.table_drawing import Records, makes_tables, records
from diffaudit_jax.types import InputError


class Shared(NamedTuple):
    """A generator, of which nothing was drawn yet.

    Attributes:
      name: What a report calls it.
      path: Where it is.
      alpha: Poisoning ratio; None if nobody says.
      manifest: What is told of the set that trained it; None if nothing is.
      images: Its samples, images or records.
      known: Content hashes of images that are known to have trained it; of images, their own.
    """

    name: str
    path: Path
    alpha: float | None
    manifest: Mapping[str, Any] | None
    images: Generated | Records
    known: list[str]

    @property
    def records(self) -> Records:
        """Its samples, of a table."""
        assert isinstance(self.images, Records)
        return self.images

    @property
    def trainers(self) -> data.Table | None:
        """Records that are known to have trained it: a run's, or those of a sharer's set that stands for it."""
        return self.records.trainers if self.manifest is None or self.records.record else self.records.given

    def drawn(self, progress: Callable[[int], None]) -> data.Table:
        """Draws its records; calls `progress` with the number of each block."""
        blocks = []
        for block in self.records.blocks:
            blocks.append(block)
            progress(len(block))
        return joined(blocks, self.name)

    def samples(self, progress: Callable[[int], None]) -> data.Pool:
        """Draws its samples, labelled; calls `progress` with the number of each block."""
        blocks = []
        for block in self.images.blocks:
            blocks.append(block)
            progress(len(block))
        assert isinstance(self.images, Generated)
        x = np.concatenate(blocks)
        return data.Pool(x, np.arange(len(x)), self.name, labels=self.images.labels)


def shared(
    paths: Sequence[Path],
    alphas: Sequence[float],
    clean: Path | None,
    weights: Weights,
    drawing: Drawing,
    *,
    num: int,
    seed: int,
    block: int,
) -> tuple[list[Shared], str | None]:
    """Opens generators, without drawing of them.

    Args:
      paths: Runs, checkpoints or generated images.
      alphas: Their ratios in this order; those that manifests tell, if empty.
      clean: The generator without poison; that of ratio 0 if None.
      weights: What a file of weights alone cannot tell.
      drawing: How images are drawn of models.
      num: Samples of each.
      seed: Seed of the samples, the same for all.
      block: Samples per dispatch.

    Returns:
      The generators, and the name of the clean one; None if there is none.

    Raises:
      InputError: if one cannot be drawn from, its samples have no labels 0 and 1, or ratios do not fit the generators.
    """
    if alphas and len(alphas) != len(paths):
        raise InputError(f"--alpha gives {len(alphas)} ratios for {len(paths)} generators: give one for each.")
    if twice := [str(path) for path in paths if list(paths).count(path) > 1]:
        raise InputError(f"{twice[0]} is named twice: name every generator once.")
    opened: list[Shared] = []
    given = dict(zip(paths, alphas, strict=True)) if alphas else {}
    for path in [*paths, *([clean] if clean is not None and clean not in paths else [])]:
        opens = records if makes_tables(path) else generated
        images = opens(path, weights, drawing, num, seed=seed, block=block)
        if isinstance(images, Generated):
            _check_labels(path, images)
        manifest = manifest_of(path, images)
        said: float | None = None if manifest is None else manifest["alpha"]
        alpha = 0.0 if path == clean else given.get(path, said)
        if path == clean and (other := given.get(path) or said):
            raise InputError(f"--clean {path} has alpha = {other:g}: name a generator without poison.")
        name = path.name if alpha is None else f"alpha = {alpha:g}"
        own = images.hashes if isinstance(images, Generated) else []
        known = [*own, *trained_on(images.record.get("split") or {})]
        _check_trained(path, images, manifest)
        opened.append(Shared(name, path, alpha, manifest, images, known))
    _check_ratios(opened, clean)
    unpoisoned = next((each.name for each in opened if each.alpha == 0), None)
    return opened, unpoisoned if len(opened) > 1 else None


def manifest_of(path: Path, images: Generated | Records) -> dict[str, Any] | None:
    """Returns the manifest of the set that trained a run, or that a file of samples is; None if there is none."""
    source = images.record.get("data") if images.record else str(path)
    return None if source is None else manifest_beside(Path(source))


def _check_trained(path: Path, images: Generated | Records, manifest: Mapping[str, Any] | None) -> None:
    """Refuses a run that was trained on a part of its set, or on more: the ratio would not be that of the manifest."""
    seen = trained_on(images.record.get("split") or {})
    if manifest is None or not seen:
        return
    whole, noun = manifest.get("hashes", []), "image" if isinstance(images, Generated) else "record"
    if sorted(seen) != sorted(whole):
        raise InputError(
            f"{path} was trained on {len(set(seen) & set(whole))} of the {len(whole)} {noun}s of its set, whose alpha "
            f"is {manifest['alpha']:g}: train it on all, with --members {len(whole)} --nonmembers 0."
        )


def _check_labels(path: Path, images: Generated) -> None:
    if images.labels is None:
        raise InputError(
            f"{path} makes images without labels: train it with --class-conditional, or give images in sub-folders or "
            f"with labels."
        )
    values = np.unique(images.labels)
    if values.tolist() != [0, 1]:
        raise InputError(
            f"samples of {path} have {len(values)} labels ({', '.join(map(str, values[:4]))}): receivers here learn to "
            f"tell 0 from 1, and need both."
        )


def _check_ratios(opened: Sequence[Shared], clean: Path | None) -> None:
    """Refuses generators of which some have a ratio, or two the same; one alone (beside a clean one) needs none."""
    others = [each for each in opened if each.path != clean]
    untold = [each for each in others if each.alpha is None]
    if untold and len(others) > 1:
        raise InputError(f"nobody says by which ratio {untold[0].path} was poisoned: give --alpha, one for each.")
    for i, each in enumerate(opened):
        if twice := [other for other in opened[:i] if other.name == each.name]:
            raise InputError(f"{twice[0].path} and {each.path} both have {each.name}: audit one of them at a time.")
