"""The record beside each result of a batch: which scan, model and options it was made from.

By its record a finished scan is recognised and skipped, and files of somebody else are spared.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.safe_files import remove_leftovers, write_text
from MedLLMSegLib.core.segmentation import Segmentation, Structure
from MedLLMSegLib.core.types import Json
from MedLLMSegLib.core.version import __version__
from MedLLMSegLib.engines.engine_names import TORCH, engine_version
from MedLLMSegLib.segmentation.pipeline import SegmenterModel
from MedLLMSegLib.segmentation.time_series import FRAME_COLUMN, SeriesSegmentation

from .outputs import OutputPaths, SegmentOptions
from .scan_quality import quality_entry, structure_quality
from .volumes_table import intracranial_entry, structure_shares

# Options that a record names only where they were given.
PLAIN_OPTIONS = ("dicom_series", "dicom_frames", "assume_orientation", "resolution_mm")
IF_ASKED_FOR = (
    "further_images",
    "units",
    "frames",
    "structures_asked_for",
    "with_measured_model",
    "quality_fit",
    "domain",
    "trained_range",
    "region",
    "engine",
    *PLAIN_OPTIONS,
)


def read_record(path: Path) -> Json:
    """The record in a file; {} for a file that is missing or not a record."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(record, dict):
        return {}
    has_scan = isinstance(record.get("scan"), list) and bool(record["scan"])
    has_structures = isinstance(record.get("structures"), list)
    has_files = isinstance(record.get("written"), dict)
    return record if has_scan and has_structures and has_files else {}


def write_record(path: Path, record: Json) -> None:
    """Write a record as JSON, whole or not at all."""
    write_text(path, json.dumps(record, indent=1, ensure_ascii=False) + "\n")


def make_record(
    scan: Path,
    paths: OutputPaths,
    result: Segmentation | SeriesSegmentation,
    model: SegmenterModel,
    options: SegmentOptions,
) -> Json:
    """The record of a scan whose results have just been written."""
    shares = structure_shares(result)
    structures = [
        {
            "label": s.label,
            "key": s.key,
            "name": s.name,
            **_measurements(result, s),
            **shares.get(s.key, {}),
        }
        for s in result.structures
    ]
    return {
        **_run_key(scan, model, options),
        "model": result.model,
        "precision": result.precision,
        "settled_precisions": _settled_precisions(model, options),
        "precision_why": model.precision_why,
        "licence": model.entry.licence,
        "seconds": round(result.seconds, 2),
        "structures": structures,
        **intracranial_entry(result),
        **quality_entry(result),
        "notes": [*result.notes, *_left_out_notes(paths)],
        "left_out": [str(path) for path in paths.left_out],
        "files": [str(path) for path in paths.files],
        "command": options.command,
        "version": __version__,
        "written": {str(path.resolve()): _file_state(path) for path in paths.files},
        # A dataset may be of links: where they lead says nothing of subject and session.
        **({"source_file": paths.derivative.source} if paths.derivative else {}),
    }


def _left_out_notes(paths: OutputPaths) -> list[str]:
    return [
        f"{path.name} was not written, as NIfTI cannot hold a scan whose axes are not at right"
        " angles."
        for path in paths.left_out
    ]


def is_unfinished(record: Json) -> bool:
    """Whether a record is that of a run whose results were not all written."""
    return bool(record.get("unfinished"))


@contextmanager
def results_in_progress(scan: Path, paths: OutputPaths) -> Iterator[None]:
    """While the results of a scan are being written.

    A record says which files they are, so that a run that is killed does not block the next one.
    Where an error ends it, what is new is removed.
    """
    files = [*paths.files, *([paths.report] if paths.report else [])]
    for folder in {path.parent for path in paths.files}:
        remove_leftovers(folder)
    new = [path for path in files if not path.exists()]
    earlier = read_record(paths.record) if paths.record else {}
    is_new_record = paths.record is not None and not paths.record.exists()
    if paths.record is not None:
        _write_unfinished(scan, paths, paths.record, earlier)
    try:
        yield
    except BaseException:
        for path in new:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        if paths.record is not None and is_new_record and len(new) == len(files):
            paths.record.unlink(missing_ok=True)
        raise


def _write_unfinished(scan: Path, paths: OutputPaths, record: Path, earlier: Json) -> None:
    written = earlier["written"] if earlier and earlier["scan"][0] == str(scan.resolve()) else {}
    in_progress = {str(path.resolve()): None for path in paths.files}
    content: Json = {
        "scan": _scan_identity(scan),
        "structures": [],
        "written": {**written, **in_progress},
        "unfinished": True,
    }
    write_record(record, content)


def find_finished(
    scan: Path, paths: OutputPaths, model: SegmenterModel, options: SegmentOptions
) -> Json | None:
    """The record of an earlier run of the same scan, model and options whose files all exist.

    None where there is no such run.
    """
    record = read_record(paths.record) if paths.record else {}
    if not record or is_unfinished(record):
        return None
    if not _is_of_this_run(record, scan, model, options):
        return None
    written = record["written"]
    needed = [path for path in paths.files if str(path) not in record.get("left_out", [])]
    if not all(path.exists() and str(path.resolve()) in written for path in needed):
        return None
    # One file of maps may be named for many scans: it must be the one of this scan.
    for path in paths.maps:
        if written[str(path.resolve())] != _file_state(path):
            return None
    return record


def _is_of_this_run(
    record: Json, scan: Path, model: SegmenterModel, options: SegmentOptions
) -> bool:
    """Whether a record's scan, model, precision and options are those of a new run.

    Records of version 0.4 and before name the weights alone, and not the measured model; they are
    of no run. Where the precision is still to be measured, so must it have been then: such a scan
    was segmented in fp32, as there was too little in it to measure anything.
    """
    try:
        run_key = _run_key(scan, model, options)
    except OSError:  # the scan cannot be read: loading it raises the right error
        return False
    if record.get("settled_precisions") != _settled_precisions(model, options):
        return False
    asked_for = {**dict.fromkeys(IF_ASKED_FOR), **run_key}  # None: must not be in the record
    return all(record.get(name) == value for name, value in asked_for.items())


def check_outputs(scan: Path, paths: OutputPaths, options: SegmentOptions) -> None:
    """Raise `UserError` where a result would replace something else.

    No result may replace its scan, another result or, in a folder, a file that an earlier run of
    this scan did not leave there.
    """
    _check_distinct(paths)
    _check_table(paths, options)
    record = read_record(paths.record) if paths.record else {}
    written: Json = {}
    if record and record["scan"][0] == str(scan.resolve()):
        written = record["written"]
    for path in paths.files:
        for image in (scan, *options.further_images.get(scan, ())):
            if path.exists() and image.exists() and path.samefile(image):
                raise UserError(
                    f'The result would overwrite the scan "{image}"; choose another output.'
                )
        if paths.record is not None and not options.overwrite and path.exists():
            _check_unchanged(path, scan, written)


def _check_distinct(paths: OutputPaths) -> None:
    resolved = [path.resolve() for path in paths.files]
    for path in paths.maps:
        if resolved.count(path.resolve()) > 1:
            raise UserError(
                f'"{path}" is the name of another result; give the maps a name of their own.'
            )


def _check_table(paths: OutputPaths, options: SegmentOptions) -> None:
    """The table next to a single output file has no record: its first column identifies it."""
    table = paths.table
    if table is None or paths.record is not None or options.overwrite or not table.exists():
        return
    if not table.read_text(encoding="utf-8", errors="replace").startswith(FRAME_COLUMN):
        raise UserError(
            f'"{table}" already exists and is not one of our tables; choose another output, or'
            " add --overwrite."
        )


def _check_unchanged(path: Path, scan: Path, written: Json) -> None:
    """written: resolved path -> state, of the files that were made from this scan."""
    key = str(path.resolve())
    if key not in written:
        raise UserError(
            f'"{path}" already exists and was not made from "{scan}"; '
            "choose another folder, or add --overwrite to replace it."
        )
    if written[key] is not None and written[key] != _file_state(path):
        raise UserError(
            f'"{path}" was changed since it was made from "{scan}"; choose another folder to'
            " keep the changes, or add --overwrite to replace it."
        )


def _run_key(scan: Path, model: SegmenterModel, options: SegmentOptions) -> Json:
    """What must be the same for a result to stand for a new run."""
    key: Json = {
        "scan": _scan_identity(scan),
        "measured_model": model.sha256,
        "side": options.side,
        "augment": options.augment,
        **({} if model.engine == TORCH else {"engine": engine_version(model.engine)}),
        **_judges(model),
    }
    if options.frames:
        key["frames"] = True
    if options.with_model is not None:
        key["with_measured_model"] = options.with_model.sha256
    if options.structures:
        key["structures_asked_for"] = list(options.structures)
    if options.region is not None:
        key["region"] = list(options.region.faces)
    if options.further_images.get(scan):
        key["further_images"] = [_scan_identity(path) for path in options.further_images[scan]]
    if options.units:
        key["units"] = dict(options.units)
    for name in PLAIN_OPTIONS:
        if getattr(options, name) is not None:
            key[name] = getattr(options, name)
    return key


def _judges(model: SegmenterModel) -> Json:
    """By what outlines are judged: bound to the measured model, and not under its hash."""
    judges = {
        "quality_fit": model.quality,
        "domain": model.domain,
        "trained_range": model.trained_range,
    }
    return {name: each.digest for name, each in judges.items() if each is not None}


def _settled_precisions(model: SegmenterModel, options: SegmentOptions) -> Json:
    """The precision of each network that takes part; None for one that no scan has decided yet."""
    settled: Json = dict(model.settled_precisions())
    if options.with_model is not None:
        settled["with_model"] = dict(options.with_model.settled_precisions())
    return settled


def _scan_identity(scan: Path) -> list[str | int]:
    """[path, size, time of the last change]: they tell a scan from another of the same name, and
    from itself after another export.
    """
    files = [path for path in scan.iterdir() if path.is_file()] if scan.is_dir() else [scan]
    stats = [path.stat() for path in files]
    size = sum(stat.st_size for stat in stats)
    changed_ns = max((stat.st_mtime_ns for stat in stats), default=0)
    return [str(scan.resolve()), size, changed_ns]


def _file_state(path: Path) -> list[int]:
    """Size and time of a file: they show whether somebody changed it."""
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]


def _measurements(result: Segmentation | SeriesSegmentation, structure: Structure) -> Json:
    """A structure's volume and confidence; of a series the mean, smallest and largest volume."""
    if isinstance(result, Segmentation):
        measured: Json = {
            "volume_ml": round(result.volumes_ml[structure.key], 4),
            "confidence": _mean_confidence([result], structure),
        }
        if structure.label in result.expected_dice:
            measured["expected_dice"] = round(result.expected_dice[structure.label], 4)
        return measured | structure_quality(result, structure.label)
    volumes = result.volumes_ml[structure.key]
    return {
        "volume_ml": round(sum(volumes) / len(volumes), 4),
        "range_ml": [round(min(volumes), 4), round(max(volumes), 4)],
        "images": len(volumes),
        "confidence": _mean_confidence(result.segmentations, structure),
    }


def _mean_confidence(images: Iterable[Segmentation], structure: Structure) -> float | None:
    """Mean over the images in which the structure was found; None where it was found in none."""
    confidences = [image.confidence[structure.label] for image in images]
    known = [confidence for confidence in confidences if not math.isnan(confidence)]
    return round(sum(known) / len(known), 4) if known else None
