"""Scans to files: one or many, skipping what is finished, and a table of volumes at the end."""

from __future__ import annotations

import csv
import io
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from MedLLMSegLib.core.errors import Cancelled, UserError
from MedLLMSegLib.core.safe_files import write_text
from MedLLMSegLib.core.segmentation import Segmentation, Structure
from MedLLMSegLib.core.version import __version__
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.io.volume_files import (
    LABEL_SUFFIXES,
    RECORD_SUFFIX,
    load_volume,
    save_segmentation,
    save_volume,
    scan_name,
)

from ..pipeline import SegmenterModel, segment
from ..time_series import FIRST, SUFFIXES, SeriesSegmentation, segment_frames, write_frames

logger = logging.getLogger("medllmseg")


@dataclass(frozen=True)
class SegmentOptions:
    """What to write besides the label map. command: the line that repeats the run, kept with each
    result.

    probabilities, uncertainty: files for the maps of one scan. augment: more views of the scan to
    average. frames: every image of a series (4D) by itself; then the label maps are one 4D NIfTI,
    and the volumes a table.
    """

    side: str | None = None
    report: bool = False
    probabilities: Path | None = None
    overwrite: bool = False
    command: str = ""
    uncertainty: Path | None = None
    augment: int = 0
    frames: bool = False


@dataclass(frozen=True)
class ScanResult:
    """What became of one scan. status: "done", "skipped" or "failed"; record: what its record
    file holds.
    """

    scan: Path
    status: str
    record: dict
    message: str = ""


@dataclass(frozen=True)
class OutputPaths:
    """Where the results of one scan go. record: None for a single output file. table: volumes
    over time, of a series.
    """

    labels: tuple[Path, ...]
    report: Path | None
    probabilities: Path | None
    uncertainty: Path | None = None
    record: Path | None = None
    table: Path | None = None

    @property
    def maps(self) -> list[Path]:
        """The files of maps that were asked for."""
        return [path for path in (self.probabilities, self.uncertainty) if path]

    @property
    def files(self) -> list[Path]:
        """Every file that has to be there when the scan is finished."""
        page = [self.report / "report.html"] if self.report else []
        return [*self.labels, *self.maps, *page, *([self.table] if self.table else [])]


def is_file_output(path: Path) -> bool:
    """Whether an output path names one file (by its ending) and not a folder."""
    return path.name.lower().endswith(LABEL_SUFFIXES)


def paths_for_file(output: Path, options: SegmentOptions) -> OutputPaths:
    """One file, with the report in a folder beside it."""
    name = next(output.name[: -len(s)] for s in LABEL_SUFFIXES if output.name.lower().endswith(s))
    if options.frames:
        if not output.name.lower().endswith(SUFFIXES):
            raise UserError(
                f'"{output.name}" cannot hold the label maps of a series; end it with .nii.gz, or'
                " name a folder."
            )
        return OutputPaths((output,), None, None, table=output.with_name(f"{name}_volumes.csv"))
    return OutputPaths(
        (output,),
        output.with_name(f"{name}_report") if options.report else None,
        options.probabilities,
        options.uncertainty,
    )


def paths_in_folder(name: str, folder: Path, options: SegmentOptions) -> OutputPaths:
    """``name``.seg.nrrd, .nii.gz and a record in a folder; of a series ``name``.nii.gz,
    ``name``_volumes.csv and a record.
    """
    if options.frames:
        return OutputPaths(
            (folder / f"{name}.nii.gz",),
            None,
            None,
            record=folder / f"{name}{RECORD_SUFFIX}",
            table=folder / f"{name}_volumes.csv",
        )
    return OutputPaths(
        (folder / f"{name}.seg.nrrd", folder / f"{name}.nii.gz"),
        folder / f"{name}_report" if options.report else None,
        options.probabilities,
        options.uncertainty,
        folder / f"{name}{RECORD_SUFFIX}",
    )


def segment_file(
    scan: Path, targets: OutputPaths, model: SegmenterModel, options: SegmentOptions, progress=None
) -> ScanResult:
    """Segment one scan and write its results; skip it if the very same was done before."""
    finished = None if targets.record is None else _finished(scan, targets, model, options)
    if finished and not options.overwrite:
        return ScanResult(scan, "skipped", finished)
    _spare_foreign_files(scan, targets, options)
    if targets.report and find_spec("matplotlib") is None:
        raise UserError(
            "Reports need the package matplotlib, which is not installed; "
            'run `pip install "medllmseg[report]"` or leave --report out.'
        )
    volume = load_volume(scan)
    if volume.array.ndim == 4 and not options.frames:
        raise UserError(
            f'"{scan}" is a series of {len(volume.array)} images; add --frames to segment each of'
            " them, or save the wanted one as a file of its own."
        )
    if targets.table is not None:
        result = segment_frames(
            volume, model, side=options.side, augment=options.augment, progress=progress
        )
        write_frames(result, targets.labels[0], targets.table)
    else:
        result = segment(
            volume,
            model,
            side=options.side,
            probabilities=targets.probabilities is not None,
            uncertainty=targets.uncertainty is not None,
            augment=options.augment,
            progress=progress,
        )
        _write(volume, result, targets, options)
    record = _record(scan, targets, result, model, options)
    if targets.record is not None:  # written last: a scan without it counts as unfinished
        write_text(targets.record, json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    return ScanResult(scan, "done", record)


def _write(
    volume: Volume, result: Segmentation, targets: OutputPaths, options: SegmentOptions
) -> None:
    for path in targets.labels:
        save_segmentation(result, path)
    if targets.probabilities is not None:
        save_volume(result.probabilities, targets.probabilities)
    if targets.uncertainty is not None:
        save_volume(result.uncertainty, targets.uncertainty)
    if targets.report is not None:
        from MedLLMSegLib.reporting.scan_report import (
            write_report,  # matplotlib is needed for pictures only
        )

        write_report(volume, result, targets.report, options.command)


def _spare_foreign_files(scan: Path, targets: OutputPaths, options: SegmentOptions) -> None:
    """No result may take the place of its scan, nor, in a folder, of a file that is not as an
    earlier run left it.
    """
    if len({p.resolve() for p in targets.files}) < len(targets.files):
        twice = next(
            p for p in targets.maps if [f.resolve() for f in targets.files].count(p.resolve()) > 1
        )
        raise UserError(
            f'"{twice}" is the name of another result; give the maps a name of their own.'
        )
    data = _read_record(targets.record) if targets.record else {}
    ours = data.get("written", {}) if data and data["scan"][0] == str(scan.resolve()) else {}
    if (
        targets.record is None
        and targets.table
        and not options.overwrite
        and not _ours_or_none(targets.table)
    ):
        raise UserError(
            f'"{targets.table}" is there already and is no table of ours; choose another output, or'
            " add --overwrite."
        )
    for path in targets.files:
        if path.exists() and scan.exists() and path.samefile(scan):
            raise UserError(f'The result would overwrite the scan "{scan}"; choose another output.')
        if targets.record is None or options.overwrite or not path.exists():
            continue
        if str(path.resolve()) not in ours:
            raise UserError(
                f'"{path}" is there already and was not made from "{scan}"; '
                "choose another folder, or add --overwrite to replace it."
            )
        if ours[str(path.resolve())] != _state(path):
            raise UserError(
                f'"{path}" was changed since it was made from "{scan}"; choose another folder to'
                " keep the changes, or add --overwrite to replace it."
            )


def _ours_or_none(table: Path) -> bool:
    return not table.exists() or table.read_text(encoding="utf-8", errors="replace").startswith(
        FIRST
    )


def _state(path: Path) -> list[int]:
    """Size and time of a file: they tell whether somebody changed it."""
    return [path.stat().st_size, path.stat().st_mtime_ns]


def _identity(scan: Path) -> list:
    """What tells a scan from another of the same name and from itself after an export: place,
    size and time.
    """
    files = [p for p in scan.iterdir() if p.is_file()] if scan.is_dir() else [scan]
    states = [p.stat() for p in files]
    return [
        str(scan.resolve()),
        sum(s.st_size for s in states),
        max((s.st_mtime_ns for s in states), default=0),
    ]


def _read_record(path: Path) -> dict:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    good = (
        isinstance(data, dict)
        and isinstance(data.get("scan"), list)
        and data["scan"]
        and isinstance(data.get("structures"), list)
        and isinstance(data.get("written"), dict)
    )
    return data if good else {}


def _key(scan: Path, model: SegmenterModel, options: SegmentOptions) -> dict:
    """What must be the same for a result to stand for a new run."""
    return {
        "scan": _identity(scan),
        "model_sha256": model.sha256,
        "side": options.side,
        "augment": options.augment,
        **({"frames": True} if options.frames else {}),
    }


def _finished(
    scan: Path, targets: OutputPaths, model: SegmenterModel, options: SegmentOptions
) -> dict | None:
    """The record of an earlier run of the same scan, model and options whose files are all
    there.
    """
    data = _read_record(targets.record)
    try:
        same = all(data.get(k) == v for k, v in _key(scan, model, options).items())
    except OSError:  # the scan cannot be read: loading it says so
        return None
    there = all(p.exists() and str(p.resolve()) in data.get("written", {}) for p in targets.files)
    # One file of maps may be named for many scans: it has to be this one's.
    there = there and all(
        data["written"][str(maps.resolve())] == _state(maps) for maps in targets.maps
    )
    return data if data and same and there else None


def _record(
    scan: Path,
    targets: OutputPaths,
    result: Segmentation | SeriesSegmentation,
    model: SegmenterModel,
    options: SegmentOptions,
) -> dict:
    structures = [
        {"label": s.label, "key": s.key, "name": s.name, **_measured(result, s)}
        for s in result.structures
    ]
    return {
        **_key(scan, model, options),
        "model": result.model,
        "licence": model.entry.licence,
        "seconds": round(result.seconds, 2),
        "structures": structures,
        "notes": list(result.notes),
        "files": [str(f) for f in targets.files],
        "command": options.command,
        "version": __version__,
        "written": {str(f.resolve()): _state(f) for f in targets.files},
    }


def _measured(result: Segmentation | SeriesSegmentation, s: Structure) -> dict:
    """A structure's volume and confidence; of a series its mean volume, and the smallest and
    largest.
    """
    volumes, parts = (
        result.volumes_ml[s.key],
        result.each if isinstance(result, SeriesSegmentation) else (result,),
    )
    sure = [c for part in parts if (c := part.confidence[s.label]) == c]
    found = {"confidence": round(sum(sure) / len(sure), 4) if sure else None}
    if not isinstance(result, SeriesSegmentation):
        return {"volume_ml": round(volumes, 4), **found}
    return {
        "volume_ml": round(sum(volumes) / len(volumes), 4),
        "range_ml": [round(f(volumes), 4) for f in (min, max)],
        "images": len(volumes),
        **found,
    }


def unique_names(scans: Sequence[Path]) -> list[str]:
    """A result name for each scan: its own, with the folder's before it where two would be the
    same.
    """
    names = [scan_name(s) for s in scans]
    names = [
        f"{scan.resolve().parent.name}_{n}" if names.count(n) > 1 else n
        for scan, n in zip(scans, names)
    ]
    for n in names:
        if names.count(n) > 1:
            raise UserError(
                f'Two of the scans are called "{n}"; segment them into different folders, or rename'
                " one."
            )
    return names


def segment_files(
    scans: Sequence[Path],
    folder: Path,
    model: SegmenterModel,
    options: SegmentOptions,
    progress: Callable[[int, str, float], None] | None = None,
) -> list[ScanResult]:
    """Segment scans into a folder; one of several that fails does not stop the others. Writes
    volumes.csv at the end.

    progress: called with (index of the scan, stage, fraction of this scan).
    """
    table, results = folder / "volumes.csv", []
    if table.exists() and not table.read_text(encoding="utf-8", errors="replace").startswith(
        "scan,status,model"
    ):
        raise UserError(f'"{table}" is not a table of ours; choose another folder or rename it.')
    for n, (scan, name) in enumerate(zip(scans, unique_names(scans))):
        step = (lambda stage, fraction, n=n: progress(n, stage, fraction)) if progress else None
        try:
            results.append(
                segment_file(scan, paths_in_folder(name, folder, options), model, options, step)
            )
        except Cancelled:
            raise
        except Exception as error:  # whatever it is, the other scans are not to blame
            if len(scans) == 1:
                raise
            logger.exception("%s", scan)
            results.append(ScanResult(scan, "failed", {}, _sentence(error)))
    write_text(table, volumes_csv([*_earlier(folder, scans), *results]))
    return results


def _earlier(folder: Path, scans: Sequence[Path]) -> list[ScanResult]:
    """What earlier runs left in the folder for other scans, so that the table tells of all that
    lies there.
    """
    now = {str(s.resolve()) for s in scans}
    records = [_read_record(p) for p in sorted(folder.glob(f"*{RECORD_SUFFIX}"))]
    return [
        ScanResult(Path(r["scan"][0]), "done", r) for r in records if r and r["scan"][0] not in now
    ]


def _sentence(error: Exception) -> str:
    text = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())


def volumes_csv(results: Sequence[ScanResult]) -> str:
    """One row a scan: scan, status, model, a column of mL for each structure (of a series the
    mean of its images), message.
    """
    keys = list(dict.fromkeys(s["key"] for r in results for s in r.record.get("structures", [])))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["scan", "status", "model", *(f"{k}_ml" for k in keys), "message"])
    for r in results:
        ml = {s["key"]: s["volume_ml"] for s in r.record.get("structures", [])}
        writer.writerow(
            [r.scan, r.status, r.record.get("model", ""), *(ml.get(k, "") for k in keys), r.message]
        )
    return text.getvalue()
