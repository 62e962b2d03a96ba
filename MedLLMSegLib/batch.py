"""Scans to files: one or many, skipping what is finished, and a table of volumes at the end."""
from __future__ import annotations

import csv
import io
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Sequence

from . import __version__
from .errors import Cancelled, UserError
from .files import load_volume, save_segmentation, save_volume, scan_name
from .outputs import write_text
from .pipeline import Model, segment
from .structures import Segmentation

FILE_SUFFIXES = (".seg.nrrd", ".nii.gz", ".nrrd", ".nii")
logger = logging.getLogger("medllmseg")


@dataclass(frozen=True)
class Options:
    """What to write besides the label map. command: the line that repeats the run, kept with each result."""

    side: str | None = None
    report: bool = False
    probabilities: Path | None = None
    overwrite: bool = False
    command: str = ""


@dataclass(frozen=True)
class Done:
    """What became of one scan. status: "done", "skipped" or "failed"; record: what its .json holds."""

    scan: Path
    status: str
    record: dict
    message: str = ""


def is_file_output(path: Path) -> bool:
    """Whether an output path names one file (by its ending) and not a folder."""
    return path.name.lower().endswith(FILE_SUFFIXES)


def _keep_the_scan(scan: Path, files: Sequence[Path]) -> None:
    """No result may take the place of the scan it was made from."""
    for path in files:
        if path.resolve() == scan.resolve():
            raise UserError(f'The result would overwrite the scan "{scan}"; choose another output.')


def segment_to_file(scan: Path, output: Path, model: Model, options: Options, progress=None) -> Done:
    """Segment one scan into one file, with the report in a folder beside it."""
    report = output.with_name(scan_name(output) + "_report") if options.report else None
    return _run(scan, [output], report, None, model, options, progress)


def segment_to_folder(scan: Path, name: str, folder: Path, model: Model, options: Options, progress=None) -> Done:
    """Segment one scan into ``name``.seg.nrrd, .nii.gz and .json in a folder; skip it if that was done before."""
    files = [folder / f"{name}.seg.nrrd", folder / f"{name}.nii.gz"]
    record = folder / f"{name}.json"
    report = folder / f"{name}_report" if options.report else None
    finished = None if options.overwrite else _finished(record, files, report, scan, model, options)
    if finished:
        return Done(scan, "skipped", finished)
    return _run(scan, files, report, record, model, options, progress)


def _run(scan, files, report, record, model, options, progress) -> Done:
    _keep_the_scan(scan, [*files, *([options.probabilities] if options.probabilities else [])])
    volume = load_volume(scan)
    result = segment(volume, model, side=options.side, probabilities=options.probabilities is not None, progress=progress)
    for path in files:
        save_segmentation(result, path)
    if options.probabilities is not None:
        save_volume(result.probabilities, options.probabilities)
    data = _record(scan, files, result, model, options)
    if report is not None:
        from .report import write_report  # matplotlib is needed for pictures only

        data["report"] = str(write_report(volume, result, report, options.command))
    if record is not None:  # written last: a scan without it counts as unfinished
        write_text(record, json.dumps(data, indent=1, ensure_ascii=False) + "\n")
    return Done(scan, "done", data)


def _record(scan: Path, files: Sequence[Path], result: Segmentation, model: Model, options: Options) -> dict:
    structures = [{"label": s.label, "key": s.key, "name": s.name, "volume_ml": round(result.volumes_ml[s.key], 4),
                   "confidence": None if (c := result.confidence[s.label]) != c else round(c, 4)}
                  for s in result.structures]
    return {"scan": str(scan), "model": result.model, "weights_sha256": model.entry.sha256, "side": options.side,
            "version": __version__, "seconds": round(result.seconds, 2), "structures": structures,
            "notes": list(result.notes), "files": [str(f) for f in files], "command": options.command}


def _finished(record: Path, files, report, scan: Path, model: Model, options: Options) -> dict | None:
    """The record of an earlier run of the same scan, model and side whose files are all there."""
    try:
        data = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    same = isinstance(data, dict) and (data.get("scan"), data.get("weights_sha256"), data.get("side")) == (
        str(scan), model.entry.sha256, options.side)
    wanted = [*files, *([report / "report.html"] if report else [])]
    return data if same and all(p.exists() for p in wanted) else None


def unique_names(scans: Sequence[Path]) -> list[str]:
    """A result name for each scan: its own, with the folder's before it where two would be the same."""
    names = [scan_name(s) for s in scans]
    names = [f"{scan.resolve().parent.name}_{n}" if names.count(n) > 1 else n for scan, n in zip(scans, names)]
    for n in names:
        if names.count(n) > 1:
            raise UserError(f'Two of the scans are called "{n}"; segment them into different folders, or rename one.')
    return names


def run_batch(scans: Sequence[Path], folder: Path, model: Model, options: Options,
              progress: Callable[[int, str, float], None] | None = None) -> list[Done]:
    """Segment scans into a folder; one of several that fails does not stop the others. Writes volumes.csv at the end.

    progress: called with (index of the scan, stage, fraction of this scan).
    """
    results = []
    for n, (scan, name) in enumerate(zip(scans, unique_names(scans))):
        step = (lambda stage, fraction, n=n: progress(n, stage, fraction)) if progress else None
        try:
            results.append(segment_to_folder(scan, name, folder, model, options, step))
        except Cancelled:
            raise
        except Exception as error:  # whatever it is, the other scans are not to blame
            if len(scans) == 1:
                raise
            logger.exception("%s", scan)
            results.append(Done(scan, "failed", {}, _sentence(error)))
    write_text(folder / "volumes.csv", volumes_csv(results))
    return results



def _sentence(error: Exception) -> str:
    return str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"


def volumes_csv(results: Sequence[Done]) -> str:
    """One row a scan: scan, status, model, a column of mL for each structure, message."""
    keys = list(dict.fromkeys(s["key"] for r in results for s in r.record.get("structures", [])))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["scan", "status", "model", *(f"{k}_ml" for k in keys), "message"])
    for r in results:
        ml = {s["key"]: s["volume_ml"] for s in r.record.get("structures", [])}
        writer.writerow([r.scan, r.status, r.record.get("model", ""), *(ml.get(k, "") for k in keys), r.message])
    return text.getvalue()
