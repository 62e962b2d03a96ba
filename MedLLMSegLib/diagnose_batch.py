"""One image or many to probabilities, heat maps and a table: what fails does not stop the rest."""
from __future__ import annotations

import csv
import io
import logging
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Mapping, Sequence

from .dicom import dicom_files, is_dicom, read_slice
from .diagnosis.answer import Diagnosis
from .diagnosis.model import ClassifierModel
from .diagnosis.overlay import write_overlay
from .diagnosis.predict import diagnose
from .errors import Cancelled, UserError
from .files import find_scans, save_volume
from .images import scan_suffix
from .outputs import write_text
from .picture_files import is_picture

TABLE, HEAT = "diagnoses.csv", "_heat"
FIRST = ["image", "status", "model", "answer", "confidence", "threshold"]

logger = logging.getLogger("medllmseg")


@dataclass(frozen=True)
class Options:
    """lungs: a mask's file, or a folder with one of each image's name. window, record: as for `diagnose`."""

    lungs: Path | None = None
    window: int | None = None
    record: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Done:
    """What became of one case. images: its files. status: "done" or "failed"; files: what was written."""

    images: tuple[Path, ...]
    status: str
    diagnosis: Diagnosis | None = None
    files: tuple[Path, ...] = ()
    message: str = ""


def find_cases(paths: Sequence[Path], model: ClassifierModel) -> list[tuple[Path, ...]]:
    """The cases that paths stand for, in the order given: one image each, or all of them together where the model takes several.

    A folder stands for the images in it; for models of volumes, as in `find_scans`, a folder with a DICOM series is one.
    A path that does not exist is kept: reading it says what is wrong.
    """
    if model.input.kind == "radiograph":
        found = [image for path in paths for image in (_images_in(path) if os.path.isdir(path) else [path])]
    else:
        found = find_scans(paths)
    together = model.input.kind == "frames" or model.config.encoder.channels > 1
    return [tuple(found)] if together else [(each,) for each in dict.fromkeys(found)]


def _images_in(folder: Path) -> list[Path]:
    try:
        files = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
        slices = [p for p in dicom_files(folder) if _in_series(p)]
    except OSError as error:
        raise UserError(f'The folder "{folder}" may not be read ({error.strerror}); check its permissions.') from error
    if len(slices) > 3:  # a scan in slices, and no set of X-rays
        raise UserError(f'The folder "{folder}" holds a DICOM series of {len(slices)} slices, and flat X-ray images are needed; '
                        "choose those.")
    found = [p for p in files if (is_picture(p) or scan_suffix(p) or is_dicom(p)) and not _ours(p)]
    if not found:
        raise UserError(f'The folder "{folder}" holds no image that can be read here; name the images themselves.')
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
    return path.name[:-len(suffix)] if suffix else path.stem if path.suffix else path.name


def run_cases(cases: Sequence[tuple[Path, ...]], folder: Path | None, model: ClassifierModel, options: Options,
              progress: Callable[[int, str, float], None] | None = None) -> list[Done]:
    """Diagnose each case; in a folder, if one is given, write NAME_heat.nrrd, NAME_heat.png and the table of all.

    One of several cases that fails does not stop the others. progress: called with (index of the case, stage, its fraction).
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
            text = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            results.append(Done(images, "failed", message=" ".join(text.split())))
    if folder is not None:
        write_text(folder / TABLE, table(results, model, _earlier(folder / TABLE, results)))
    return results


def _one(images: tuple[Path, ...], name: str, folder: Path | None, model: ClassifierModel, options: Options, progress) -> Done:
    image = images[0] if len(images) == 1 else list(images)
    found = diagnose(image, model, lungs=_mask(images[0], options.lungs), window=options.window, record=options.record or None,
                     heat_map=folder is not None, progress=progress)
    if folder is None or found.heat_map is None:
        return Done(images, "done", found)
    targets = (folder / f"{name}{HEAT}.nrrd", folder / f"{name}{HEAT}.png")
    for path in targets:
        if any(path.exists() and each.exists() and path.samefile(each) for each in images):
            raise UserError(f'The result would overwrite the image "{path}"; choose another output.')
    return Done(images, "done", found, (save_volume(found.heat_map, targets[0]), write_overlay(found, targets[1])))


def _mask(image: Path, lungs: Path | None) -> Path | None:
    if lungs is None or not lungs.is_dir():
        return lungs
    found = [p for p in sorted(lungs.iterdir()) if _stem(p) == _stem(image) and (is_picture(p) or scan_suffix(p))]
    if not found:
        raise UserError(f'The folder "{lungs}" holds no lung mask called "{_stem(image)}"; add it, or leave the masks out.')
    return found[0]


def _names(cases: Sequence[tuple[Path, ...]]) -> list[str]:
    """A result name for each case: its first image's, with the folder's before it where two would be the same, or a number."""
    names = [_stem(images[0]) for images in cases]
    names = [f"{images[0].resolve().parent.name}_{n}" if names.count(n) > 1 else n for images, n in zip(cases, names)]
    return [f"{n}_{names[:k].count(n) + 1}" if names.count(n) > 1 else n for k, n in enumerate(names)]


def table(results: Sequence[Done], model: ClassifierModel, earlier: Sequence[dict] = ()) -> str:
    """One row a case: image, status, model, answer, confidence, threshold, a probability for each class, notes, message.

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


def _row(done: Done, model: ClassifierModel) -> dict:
    row = {"image": " + ".join(map(str, done.images)), "status": done.status, "model": model.entry.id, "message": done.message}
    found = done.diagnosis
    if found is not None:
        row |= {"answer": found.answer, "confidence": f"{found.confidence:.4f}", "notes": " ".join(found.notes),
                "threshold": "" if found.threshold is None else f"{found.threshold:.4f}",
                **{f"p_{name}": f"{p:.4f}" for name, p in found.probabilities.items()}}
    return row


def _check_table(path: Path) -> None:
    if path.exists() and not path.read_text(encoding="utf-8", errors="replace").startswith(",".join(FIRST)):
        raise UserError(f'"{path}" is not a table of ours; choose another folder or rename it.')


def _earlier(path: Path, results: Sequence[Done]) -> list[dict]:
    """The rows that earlier runs left for other images, or of other models."""
    if not path.exists():
        return []
    now = {(" + ".join(map(str, each.images)), each.diagnosis.model) for each in results if each.diagnosis}
    now |= {(" + ".join(map(str, each.images)), None) for each in results}
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    other = lambda row: row["status"] == "done" and (row["image"], row["model"]) not in now
    return [row for row in rows if (row["image"], None) not in now or other(row)]
