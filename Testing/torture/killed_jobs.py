"""The jobs that are killed: a batch, a training, an import; and when each has ended well."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from MedLLMSegLib.cli import main as cli
from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.io.scan_search import find_scans
from MedLLMSegLib.io.volume_files import load_volume, save_volume
from MedLLMSegLib.registry.catalogue import list_models
from MedLLMSegLib.registry.user_models import import_model, is_users_model, verify_model
from MedLLMSegLib.training.segmenter import segmenter_session
from Testing.helpers.tiny_segmenter import oblique, tiny_bundle
from Testing.helpers.toy_training import write_toy_data

SCANS = 3
STEPS = 6
SHAPE = (10, 40, 32)


@dataclass(frozen=True)
class KilledJob:
    """A job on the folder "box", in which in/ is given, and out/ and cache/ are its own.

    prepare: makes in/. run: does the job, and returns its exit code; the same call goes on with
    what an earlier one left. faults: what is wrong after a kill besides damaged files. outcome:
    what has to be the same whenever it ends well.
    """

    name: str
    prepare: Callable[[Path], None]
    run: Callable[[Path], int]
    faults: Callable[[Path], list[str]]
    outcome: Callable[[Path], object]


def scan(number: int) -> Volume:
    """A small scan of noise."""
    rng = np.random.default_rng(number)
    array = rng.normal(100, 30, SHAPE).astype(np.float32)
    return Volume(array, oblique(SHAPE, (1.5, 1.5, 5.0)), f"scan{number}")


def use_cache(box: Path) -> None:
    """Let this process, a fork, keep its cache in the box."""
    os.environ["MEDLLMSEG_CACHE"] = str(box / "cache")


def _prepare_batch(box: Path) -> None:
    tiny_bundle(box / "in" / "tiny")
    for number in range(SCANS):
        save_volume(scan(number), box / "in" / "scans" / f"scan{number}.nii.gz")


def _run_batch(box: Path) -> int:
    use_cache(box)
    command = ["segment", box / "in" / "scans", "--output", box / "out"]
    options = ["--model", box / "in" / "tiny", "--device", "cpu", "--volumetry"]
    return cli.main([str(word) for word in (*command, *options)])


def _batch_faults(box: Path) -> list[str]:
    if not (box / "out").is_dir():
        return []
    try:
        scans = find_scans([box / "out"])
    except UserError:  # no scan among the results
        scans = []
    faults = [f"taken for a scan: {path.name}" for path in scans if not _is_label_map(path)]
    for path in (box / "out").glob("*.medllmseg.json"):
        record = json.loads(path.read_text(encoding="utf-8"))
        missing = [] if record.get("unfinished") else _changed_files(record)
        faults += [f"{path.name} promises {name}" for name in missing]
    return faults


def _is_label_map(path: Path) -> bool:
    return not path.name.startswith(".") and path.name.endswith(".nii.gz")


def _changed_files(record: dict) -> list[str]:
    """The files of a finished record that are not as it says."""
    return [
        name
        for name, (size, _time) in record["written"].items()
        if not Path(name).exists() or Path(name).stat().st_size != size
    ]


def _batch_outcome(box: Path) -> object:
    names = sorted(p.name for p in (box / "out").iterdir())
    labels = [_digest(load_volume(p).array) for p in sorted((box / "out").glob("*.nii.gz"))]
    table = (box / "out" / "volumes.csv").read_text(encoding="utf-8")
    rows = [[c for c in row.split(",") if c not in ("done", "skipped")] for row in table.split()]
    return names, labels, rows


def _digest(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def _prepare_training(box: Path) -> None:
    tiny_bundle(box / "in" / "tiny")
    write_toy_data(box / "in" / "data", shape=(16, 24, 24))


def _run_training(box: Path) -> int:
    use_cache(box)
    segmenter_session.IN_MEMORY_VOXELS = 0  # the prepared cases go to the disk
    command = ["train", "--data", box / "in" / "data", "--output", box / "out"]
    options = ["--from", box / "in" / "tiny", "--device", "cpu", "--steps", STEPS]
    return cli.main([str(word) for word in (*command, *options, "--validations", 3)])


def _training_faults(box: Path) -> list[str]:
    if not (box / "out" / "bundle").exists():
        return []
    try:
        verify_model(box / "out" / "bundle")
    except UserError as error:
        return [f"a half bundle: {error}"]
    return []


def _training_outcome(box: Path) -> object:
    last = torch.load(box / "out" / "last.pt", weights_only=True)
    steps = [row["step"] for row in json.loads((box / "out" / "history.json").read_bytes())]
    verify_model(box / "out" / "bundle")
    paths = (p.relative_to(box / "out") for p in (box / "out").rglob("*"))
    names = sorted(str(path) for path in paths if path.parts[0] != "tensorboard")  # one a run
    weights = hashlib.sha256((box / "out/bundle/models/model.safetensors").read_bytes())
    return last["step"], steps, names, weights.hexdigest()


def _prepare_import(box: Path) -> None:
    """A model that was imported before, and a zip file with another one."""
    folder = tiny_bundle(box / "in" / "second", id="second", title="Second")
    with zipfile.ZipFile(box / "in" / "second.zip", "w") as archive:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            archive.write(path, path.relative_to(folder))
    tiny_bundle(box / "cache" / "models" / "first", id="first", title="First")
    shutil.rmtree(folder)


def _run_import(box: Path) -> int:
    """Import, unless the model is there: then a second import says so."""
    use_cache(box)
    was_there = any(entry.id == "second" for entry in list_models(None))
    try:
        import_model(box / "in" / "second.zip")
    except UserError as error:
        print(error)
        return 0 if was_there and "There is a model called" in str(error) else 2
    return 0


def _import_faults(box: Path) -> list[str]:
    use_cache(box)
    faults = []
    found = [entry for entry in list_models(None) if is_users_model(entry)]
    for entry in found:
        try:
            verify_model(entry)
        except UserError as error:
            faults.append(f"a half model is listed: {error}")
    if "first" not in {entry.id for entry in found}:
        faults.append("the model that was there is lost")
    return faults


def _import_outcome(box: Path) -> object:
    use_cache(box)
    return sorted((e.id, e.title, e.sha256) for e in list_models(None) if is_users_model(e))


JOBS = {
    job.name: job
    for job in (
        KilledJob("batch", _prepare_batch, _run_batch, _batch_faults, _batch_outcome),
        KilledJob(
            "training", _prepare_training, _run_training, _training_faults, _training_outcome
        ),
        KilledJob("import", _prepare_import, _run_import, _import_faults, _import_outcome),
    )
}
