"""The steps of a training: the scene's pairs are written to a folder, the worker trains, and the
model joins the user's own.
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.segmentation import Segmentation
from MedLLMSegLib.core.version import __version__
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.registry.catalogue import find_model, read_metadata
from MedLLMSegLib.registry.user_models import free_id, import_model
from MedLLMSegLib.worker.protocol import Event

from .job_runner import JobRunner
from .jobs import Job, NodeRemoved, Steps
from .training_pairs import Pair, checked_pairs, read_pair, write_pair
from .unfinished_trainings import CASES, RUN, resume_or_reset, saved_training, training_folder

COLLECTED = 0.05  # the share of the progress that collecting the cases takes


@dataclass(frozen=True)
class TrainJobOptions:
    """The arguments of `SegmentationLogic.trainAsync` besides the pairs."""

    name: str
    start: str | None
    minutes: float
    device: str


def train_on_pairs(runner: JobRunner, job: Job, pairs, options: TrainJobOptions) -> Steps:
    """Steps: train; the finished model is `job.model`.

    The scene is only read, and is not needed once the cases are written.
    """
    name, base = free_id(options.name), _base_metadata(options)
    pairs, structure_names = checked_pairs(pairs)
    with training_folder(runner, job, name) as folder:
        digests = yield from _write_cases(runner, job, pairs, structure_names, folder / CASES)
        del pairs  # a training outlives its scene, whose voxels must not stay in memory for hours
        request = {
            "source": str(folder / CASES),
            "output": str(folder / RUN),
            "name": name,
            "title": options.name.strip(),
            "modality": base.get("modality", ""),
            "data": f"{len(digests)} scans segmented in 3D Slicer",
            "start": options.start,
            "minutes": float(options.minutes),
        }
        identity = {
            "request": request,
            "device": options.device,
            "contents": digests,
            "version": __version__,
            "start_sha256": base.get("weights_sha256"),
        }
        yield from runner.in_thread(resume_or_reset, folder, identity)
        yield from _train(runner, job, request, options.device)


def go_on_training(runner: JobRunner, job: Job, name: str) -> Steps:
    """Steps: go on with the kept training of this id, from what its folder holds; the finished
    model is `job.model`. The scene is not needed.
    """
    saved_training(name)  # before the folder is touched
    with training_folder(runner, job, name):
        saved = saved_training(name)  # nobody else changes it now
        yield from _train(runner, job, saved.request, saved.device)


def _train(runner: JobRunner, job: Job, request: dict, device: str) -> Steps:
    """Steps: train on cases that are written, and import the model."""
    job.needsScene = False
    event = yield from runner.request(
        job,
        "train",
        _nothing_to_check,
        partial(_report_training, runner, job),
        device=device,
        output=request["output"],
        request=request,
    )
    job.model = yield from runner.in_thread(import_model, event.bundle, rename=True)


def _nothing_to_check() -> None:
    """The worker's training needs no node of the scene."""


def _base_metadata(options: TrainJobOptions) -> dict:
    """The metadata of the model that the training starts from; empty without one."""
    if options.minutes <= 0:
        raise UserError(
            f"The training time is {options.minutes:g} minutes, and more than 0 are needed."
        )
    return read_metadata(find_model(options.start).folder) if options.start else {}


def _write_cases(
    runner: JobRunner,
    job: Job,
    pairs: tuple[Pair, ...],
    structure_names: tuple[str, ...],
    folder: Path,
) -> Steps:
    """Steps: write the cases; returns file -> sha256 of its contents."""
    # an earlier training's cases
    yield from runner.in_thread(shutil.rmtree, folder, ignore_errors=True)
    digests = {}
    for n, pair in enumerate(pairs):
        stage = f"Collecting scan {n + 1} of {len(pairs)}"
        runner.report(job, stage, COLLECTED * n / len(pairs))
        yield  # the window may show it
        _require_in_scene(pair.volumeNode, pair.segmentationNode)
        volume, segmentation = read_pair(pair, structure_names)
        yield from runner.in_thread(write_pair, volume, segmentation, pair, folder)
        digest = yield from runner.in_thread(_sha256, volume, segmentation)
        digests[f"{pair.group}/{pair.name}"] = digest
    return digests


def _report_training(runner: JobRunner, job: Job, event: Event) -> None:
    fraction = COLLECTED + (1 - COLLECTED) * event.fraction
    runner.report(job, event.stage, fraction, event.seconds_left)
    if event.history:
        job.history.extend(event.history)
        runner.call_back(job, job.onHistory, list(job.history))


def _sha256(volume: Volume, segmentation: Segmentation) -> str:
    """The digest of everything that a training sees of a case."""
    description = (
        volume.array.dtype.str,
        volume.array.shape,
        volume.ijk_to_ras.tolist(),
        [s.name for s in segmentation.structures],
    )
    digest = hashlib.sha256(repr(description).encode("utf-8"))
    for array in (volume.array, segmentation.labels.array):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _require_in_scene(*nodes) -> None:
    if any(node.GetScene() is None for node in nodes):
        raise NodeRemoved(
            "A scan or segmentation was removed from the scene while it was being collected;"
            " nothing was trained."
        )
