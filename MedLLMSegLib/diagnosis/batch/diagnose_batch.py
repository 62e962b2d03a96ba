"""One image or many to probabilities, heat maps and a table: what fails does not stop the rest."""

from __future__ import annotations

import csv
import io
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from MedLLMSegLib.core.errors import Cancelled, UserError
from MedLLMSegLib.core.safe_files import write_text
from MedLLMSegLib.io.dicom.series import dicom_files, is_dicom, read_slice
from MedLLMSegLib.io.itk_images import scan_suffix
from MedLLMSegLib.io.pictures import is_picture
from MedLLMSegLib.io.scan_search import find_scans
from MedLLMSegLib.io.volume_files import save_volume

from ..heat_map_files import write_overlay
from ..loaded_classifier import ClassifierModel
from ..predict import diagnose
from ..result import Diagnosis

TABLE, HEAT = "diagnoses.csv", "_heat"
FIRST = ["image", "status", "model", "answer", "confidence", "threshold"]

logger = logging.getLogger("medllmseg")


CaseImages = tuple[
    Path | None, ...
]  # its images, in the order of the model's channels; None for one that is missing


@dataclass(frozen=True)
class DiagnoseOptions:
    """lungs: a mask's file, or a folder with one of each image's name. window, record: as for
    `diagnose`.
    """

    lungs: Path | None = None
    window: int | None = None
    record: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class CaseResult:
    """What became of one case. images: its files, None for a missing channel. status: "done" or
    "failed"; files: what was written.
    """

    images: CaseImages
    status: str
    diagnosis: Diagnosis | None = None
    files: tuple[Path, ...] = ()
    message: str = ""


def find_cases(
    paths: Sequence[Path], model: ClassifierModel, channels: Mapping[str, Path] | None = None
) -> list[CaseImages]:
    """The cases that paths stand for, in the order given: one image each, or all of them together
    where the model takes several.

    channels: name -> file of a model's further channel, or a folder with an image of each image's
    name. Where the model has names for them, each path is the first channel of a case; without
    paths there is one case that lacks it. A folder stands for the images in it; for models of
    volumes, as in `find_scans`, a folder with a DICOM series is one. A path that does not exist is
    kept: reading it says what is wrong. Raises `UserError`.
    """
    if channels or model.input.channels:
        _check_names(channels or {}, model)
    if model.input.kind == "radiograph":
        found = [
            image
            for path in paths
            for image in (_images_in(path) if os.path.isdir(path) else [path])
        ]
    else:
        found = find_scans(paths)
    if model.input.channels:
        return _with_channels(list(dict.fromkeys(found)), model, channels or {})
    together = model.input.kind == "frames" or model.config.encoder.channels > 1
    return [tuple(found)] if together else [(each,) for each in dict.fromkeys(found)]


def _check_names(channels: Mapping[str, Path], model: ClassifierModel) -> None:
    known = model.input.channels
    if unknown := [name for name in channels if name not in known]:
        has = (
            f"knows {', '.join(known)}; correct its name."
            if known
            else "has no such channels; leave it out."
        )
        raise UserError(
            f'A channel "{unknown[0]}" was given, and the model "{model.entry.id}" {has}'
        )


def _with_channels(
    firsts: list[Path], model: ClassifierModel, channels: Mapping[str, Path]
) -> list[CaseImages]:
    """A case for each image of the first channel, with what the others' files or folders hold
    for it.
    """
    if not firsts:
        return [(None, *(channels.get(name) for name in model.input.channels))]
    if len(firsts) > 1 and not channels:
        name = next(iter(model.input.channels))
        raise UserError(
            f'{len(firsts)} images were given, and the model "{model.entry.id}" looks at'
            f" {' and '.join(model.input.names)} of each patient; name the others with --channel"
            f" {name}=FILE, for several patients --channel {name}=FOLDER."
        )
    for name, place in channels.items():
        if len(firsts) > 1 and not place.is_dir():
            raise UserError(
                f'The channel {name} is one file, "{place}", but {len(firsts)} images were given;'
                " name a folder with one for each, called like it."
            )
    held = {
        name: {_stem(p): p for p in _images_in(place)} if place.is_dir() else place
        for name, place in channels.items()
    }
    of = lambda first, place: place.get(_stem(first)) if isinstance(place, dict) else place
    cases = [
        (first, *(of(first, held.get(name)) for name in model.input.channels)) for first in firsts
    ]
    for n, name in enumerate(model.input.channels, 1):
        if name in channels and all(case[n] is None for case in cases):
            raise UserError(
                f'The folder "{channels[name]}" holds no image called "{_stem(firsts[0])}" for the'
                f" channel {name}; name the file itself, or call it like the image."
            )
    return cases


def first_image(images: CaseImages) -> Path:
    """The first image of a case that is there: what its results are named after."""
    return next(path for path in images if path is not None)


def case_label(images: CaseImages, model: ClassifierModel) -> str:
    """A case's images in words: the files, further channels with their names before them."""
    names = model.input.names
    return " + ".join(
        f"{names[n]}={path}" if n and names else str(path)
        for n, path in enumerate(images)
        if path is not None
    )


def _images_in(folder: Path) -> list[Path]:
    try:
        files = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
        slices = [p for p in dicom_files(folder) if _in_series(p)]
    except OSError as error:
        raise UserError(
            f'The folder "{folder}" may not be read ({error.strerror}); check its permissions.'
        ) from error
    if len(slices) > 3:  # a scan in slices, and no set of X-rays
        raise UserError(
            f'The folder "{folder}" holds a DICOM series of {len(slices)} slices, and flat X-ray'
            " images are needed; choose those."
        )
    found = [p for p in files if (is_picture(p) or scan_suffix(p) or is_dicom(p)) and not _ours(p)]
    if not found:
        raise UserError(
            f'The folder "{folder}" holds no image that can be read here; name the images'
            " themselves."
        )
    return found


def _in_series(path: Path) -> bool:
    try:
        one = read_slice(path)
    except UserError:
        return False
    return bool(one and one.in_series)


def _ours(path: Path) -> bool:
    return _stem(path).endswith(HEAT)


def _stem(path: Path) -> str:
    suffix = scan_suffix(path)
    return path.name[: -len(suffix)] if suffix else path.stem if path.suffix else path.name


def diagnose_cases(
    cases: Sequence[CaseImages],
    folder: Path | None,
    model: ClassifierModel,
    options: DiagnoseOptions,
    progress: Callable[[int, str, float], None] | None = None,
) -> list[CaseResult]:
    """Diagnose each case; in a folder, if one is given, write NAME_heat.nrrd, NAME_heat.png and the
    table of all.

    One of several cases that fails does not stop the others. progress: called with (index of the
    case, stage, its fraction).
    """
    if folder is not None:
        _check_table(folder / TABLE)
    results = []
    for n, (images, name) in enumerate(zip(cases, _names(cases))):
        step = (lambda stage, fraction, n=n: progress(n, stage, fraction)) if progress else None
        try:
            results.append(_one(images, name, folder, model, options, step))
        except Cancelled:
            raise
        except Exception as error:  # whatever it is, the other images are not to blame
            if len(cases) == 1:
                raise
            logger.exception("%s", images)
            text = (
                str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            )
            results.append(CaseResult(images, "failed", message=" ".join(text.split())))
    if folder is not None:
        write_text(folder / TABLE, table(results, model, _earlier(folder / TABLE, results, model)))
    return results


def _one(
    images: CaseImages,
    name: str,
    folder: Path | None,
    model: ClassifierModel,
    options: DiagnoseOptions,
    progress,
) -> CaseResult:
    image = images[0] if len(images) == 1 else list(images)
    found = diagnose(
        image,
        model,
        lungs=find_lung_mask(first_image(images), options.lungs),
        window=options.window,
        record=options.record or None,
        heat_map=folder is not None,
        progress=progress,
    )
    if folder is None or found.heat_map is None:
        return CaseResult(images, "done", found)
    targets = (folder / f"{name}{HEAT}.nrrd", folder / f"{name}{HEAT}.png")
    for path in targets:
        if any(each and path.exists() and each.exists() and path.samefile(each) for each in images):
            raise UserError(
                f'The result would overwrite the image "{path}"; choose another output.'
            )
    return CaseResult(
        images,
        "done",
        found,
        (save_volume(found.heat_map, targets[0]), write_overlay(found, targets[1])),
    )


def find_lung_mask(image: Path, lungs: Path | None) -> Path | None:
    """The lung mask of an image: the file of its name where ``lungs`` is a folder. Raises
    `UserError` where there is none.
    """
    if lungs is None or not lungs.is_dir():
        return lungs
    found = [
        p
        for p in sorted(lungs.iterdir())
        if _stem(p) == _stem(image) and (is_picture(p) or scan_suffix(p))
    ]
    if not found:
        raise UserError(
            f'The folder "{lungs}" holds no lung mask called "{_stem(image)}"; add it, or leave the'
            " masks out."
        )
    return found[0]


def _names(cases: Sequence[CaseImages]) -> list[str]:
    """A result name for each case: its first image's, with the folder's before it where two
    would be the same, or a number.
    """
    firsts = [first_image(images) for images in cases]
    names = [_stem(first) for first in firsts]
    names = [
        f"{first.resolve().parent.name}_{n}" if names.count(n) > 1 else n
        for first, n in zip(firsts, names)
    ]
    return [
        f"{n}_{names[:k].count(n) + 1}" if names.count(n) > 1 else n for k, n in enumerate(names)
    ]


def table(
    results: Sequence[CaseResult], model: ClassifierModel, earlier: Sequence[dict] = ()
) -> str:
    """One row a case: image, status, model, answer, confidence, threshold, a probability for each
    class, notes, message.

    earlier: rows of other images that the table had.
    """
    columns = [*FIRST, *(f"p_{name}" for name in model.classes)]
    for row in earlier:
        columns += [name for name in row if name not in columns]
    columns = [c for c in columns if c not in ("notes", "message")] + ["notes", "message"]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows([*earlier, *(_row(each, model) for each in results)])
    return text.getvalue()


def _row(done: CaseResult, model: ClassifierModel) -> dict:
    row = {
        "image": case_label(done.images, model),
        "status": done.status,
        "model": model.entry.id,
        "message": done.message,
    }
    found = done.diagnosis
    if found is not None:
        row |= {
            "answer": found.answer,
            "confidence": f"{found.confidence:.4f}",
            "notes": " ".join(found.notes),
            "threshold": "" if found.threshold is None else f"{found.threshold:.4f}",
            **{f"p_{name}": f"{p:.4f}" for name, p in found.probabilities.items()},
        }
    return row


def _check_table(path: Path) -> None:
    if path.exists() and not path.read_text(encoding="utf-8", errors="replace").startswith(
        ",".join(FIRST)
    ):
        raise UserError(f'"{path}" is not a table of ours; choose another folder or rename it.')


def _earlier(path: Path, results: Sequence[CaseResult], model: ClassifierModel) -> list[dict]:
    """The rows that earlier runs left for other images, or of other models."""
    if not path.exists():
        return []
    now = {
        (case_label(each.images, model), each.diagnosis.model) for each in results if each.diagnosis
    }
    now |= {(case_label(each.images, model), None) for each in results}
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    other = lambda row: row["status"] == "done" and (row["image"], row["model"]) not in now
    return [row for row in rows if (row["image"], None) not in now or other(row)]
