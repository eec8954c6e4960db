"""diffaudit property: which share of a generator's training images (or records) has a property, by what it draws."""

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import tyro

from diffaudit_jax.cli.aim import Aim, check_several
from diffaudit_jax.cli.aimed import trained_on
from diffaudit_jax.cli.conclusion import check_out
from diffaudit_jax.cli.covered import class_names, trainers_of, truth_of
from diffaudit_jax.cli.drawing import Drawing, generated
from diffaudit_jax.cli.labelled import Aux, by_class, labelled, tested
from diffaudit_jax.cli.progress import stage
from diffaudit_jax.cli.subject import Weights
from diffaudit_jax.cli.table_drawing import makes_tables
from diffaudit_jax.cli.table_features import encoded
from diffaudit_jax.cli.table_property import table_aimed
from diffaudit_jax.cli.telling import CLIP, Teller, Telling, called, check_telling, clip_teller, shown, taught, untaught
from diffaudit_jax.cli.values import asked_of
from diffaudit_jax.report.nouns import IMAGE, RECORD
from diffaudit_jax.report.property import PropertyReport, property_report
from diffaudit_jax.types import InputError, write_atomic


@dataclass(frozen=True)
class Property:
    """Infer which share of a generator's training images has a property, from what it draws.

    Writes report.html, property.json, and calls.npz with what each sample was called. A folder of generated images is
    enough: no model is needed. Of a table too: a synthetic CSV or Parquet file is enough.
    """

    run: tyro.conf.Positional[Path]
    """Generated images, in a folder (sub-folders are classes) or an .npz; a synthetic table; or a run directory of
    `diffaudit train`, or a checkpoint."""
    out: Path
    """Directory for the report; made if it does not exist."""
    labelled: Annotated[Aux, tyro.conf.arg(name="")] = field(default_factory=Aux)
    """Labelled images, and what is asked of them."""
    telling: Annotated[Telling, tyro.conf.arg(name="")] = field(default_factory=Telling)
    """Who tells which value an image has."""
    num: int = 2000
    """Samples, at most."""
    error: float | None = None
    """Stop when the interval of the share of samples that are called so, which holds however often one looks, is no
    wider than twice this; all samples are taken if not given."""
    level: float = 0.95
    """Confidence level of the intervals."""
    by_label: bool = False
    """Infer the share in each class of the generated images too."""
    declared: float | None = None
    """Share that the sharer declares, of every class with --by-label: it is judged."""
    block: int = 64
    """Images per dispatch, over all devices."""
    seed: int = 0
    """Seed of the samples, and of who teaches the discriminator."""
    drawing: Annotated[Drawing, tyro.conf.arg(name="")] = field(default_factory=Drawing)
    """How images are drawn of a model."""
    weights: Annotated[Weights, tyro.conf.arg(name="")] = field(default_factory=Weights)
    """What a file of weights alone cannot tell."""


def run_property(options: Property) -> PropertyReport:
    """Runs the command; returns the report it saved."""
    check(options)
    aim = aimed(options)
    teller = teller_of(options, aim)
    with stage("sampling") as show:
        blocks = shown(aim.made, show)
        calls = called(blocks, teller.predict, aim.asked.has is not None, options.error, options.level)
    labels = None if aim.made.labels is None else aim.made.labels[: len(calls)]
    noun = IMAGE if aim.encoder is None and aim.reads is None else RECORD
    report = property_report(
        calls,
        aim.asked.told,
        name=aim.asked.name,
        called=aim.asked.called,
        confusion=teller.confusion,
        by=teller.by,
        labels=labels,
        names=aim.names,
        in_turn=aim.made.in_turn,
        most=aim.made.num,
        error=options.error,
        level=options.level,
        declared=options.declared,
        training=aim.training,
        discriminator={
            "name": aim.name,
            "prompts": list(options.telling.prompts),
            "taught": teller.taught,
            "left_out": 0 if aim.labelled is None else aim.labelled.left_out,
        },
        provenance=provenance(aim, options),
        noun=noun,
        read=aim.reads is not None,
    )
    report.save(options.out)
    write_atomic(options.out / "calls.npz", calls_npz(calls, labels, aim.asked.told))
    return report


def check(options: Property) -> None:
    """Refuses what can be seen to be wrong before anything is loaded.

    Raises:
      InputError: if a number is out of range, flags do not go together, or the directory holds something else.
    """
    if options.error is not None and not 0 < options.error < 0.5:
        raise InputError(f"--error must lie between 0 and 0.5, such as 0.05, got {options.error:g}.")
    if not 0 < options.level < 1:
        raise InputError(f"--level must lie between 0 and 1, such as 0.95, got {options.level:g}.")
    if options.declared is not None and not 0 <= options.declared <= 1:
        raise InputError(f"--declared must be a share from 0 to 1, got {options.declared:g}.")
    if not makes_tables(options.run):
        check_telling(options.telling, options.labelled)
    if options.labelled.aux_label is not None and not options.by_label:
        raise InputError("--aux-label tells the class of labelled images for --by-label: give it, or leave this out.")
    check_out(options.out, PropertyReport)


def aimed(options: Property) -> Aim:
    """Opens the generator, loads images, and refuses what does not go together before anything is trained or drawn."""
    if makes_tables(options.run):
        aim = table_aimed(options)
        _check_declared(options, aim)
        return aim
    made = generated(options.run, options.weights, options.drawing, options.num, seed=options.seed, block=options.block)
    aux, telling, test, images = options.labelled, options.telling, None, None
    trained = [*trained_on(made.record.get("split", {})), *made.hashes]
    if aux.aux is None:
        asked = asked_of(telling.prompts, aux.property or "the property", aux.value)
    else:
        asked, images, everyone = labelled(aux, made.shape, trained)
        test = None if aux.aux_test is None else tested(aux, asked, everyone, trained)
    check_several(options, asked)
    trainers, names = trainers_of(made.record), ()
    if options.by_label:
        if made.labels is None:
            raise InputError(f"{options.run} has no classes: leave --by-label out.")
        names = class_names(options.run, trainers, made.labels)
        if images is not None and aux.aux_label is not None:
            classes = np.unique(made.labels).tolist()
            images = by_class(images, aux, classes, names, asked)
            test = None if test is None else by_class(test, aux, classes, names, asked)
    clip = clip_teller(telling, asked, made.shape) if telling.named() == CLIP else None
    training = truth_of(trainers, aux.property, asked)
    aim = Aim(made, asked, telling.named(), images, test, clip, training, names)
    _check_declared(options, aim)
    return aim


def _check_declared(options: Property, aim: Aim) -> None:
    if options.declared is not None and not options.by_label and aim.made.in_turn:
        raise InputError(
            f"{options.run} is asked for its classes in turn, so that samples of all together show no share of the "
            "sharer's: judge --declared of every class, with --by-label."
        )


def teller_of(options: Property, aim: Aim) -> Teller:
    """Returns who tells, trained if he has to be, with his errors."""
    if aim.reads is not None:
        return Teller(aim.reads, None, {}, 0)
    if aim.clip is not None:
        return untaught(aim.clip, aim.asked, aim.labelled)
    assert aim.labelled is not None
    key = jax.random.fold_in(jax.random.key(options.seed), 8)
    found = taught(key, aim.name, options.telling.discriminator_steps, aim.labelled, aim.test, len(aim.asked.told))
    if (encoder := aim.encoder) is None:
        return found
    return found._replace(predict=lambda block: found.predict(encoded(encoder, block)))


def calls_npz(calls: np.ndarray, labels: np.ndarray | None, values: tuple[str, ...]) -> bytes:
    """Returns what samples were called, as an npz: ``calls`` [n], ``labels`` [n] of classes, ``values`` [v] names."""
    buffer = io.BytesIO()
    classes: dict[str, Any] = {} if labels is None else {"labels": labels}
    np.savez(buffer, calls=calls, values=np.array(values), **classes)
    return buffer.getvalue()


def provenance(aim: Aim, options: Property) -> dict[str, Any]:
    """Returns where a report's numbers come from, as JSON."""
    device, aux = jax.local_devices()[0], options.labelled
    sets = {"aux": (aux.aux, aim.labelled), "aux_test": (aux.aux_test, aim.test)}
    return {
        "generator": aim.made.told,
        **{
            name: {"source": source, "hash": images.lesson.fingerprint()}
            for name, (source, images) in sets.items()
            if images is not None
        },
        "seeds": {"property": options.seed, "training": aim.made.record.get("seed")},
        "device": {"platform": device.platform, "kind": device.device_kind, "count": jax.local_device_count()},
    }
