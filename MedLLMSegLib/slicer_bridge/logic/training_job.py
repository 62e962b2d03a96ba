"""The steps of a training: the scene's pairs to a folder, the worker's training, the model into
the user's own.
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.segmentation import Segmentation
from MedLLMSegLib.core.version import __version__
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.registry.catalogue import find_model, read_metadata
from MedLLMSegLib.registry.user_models import free_id, import_model
from MedLLMSegLib.worker.protocol import Event

from .jobs import Job, Removed, Runner, Steps
from .training_pairs import Pair, checked_pairs, read_pair, write_pair
from .unfinished_trainings import CASES, RUN, take_up, training_folder

COLLECTED = 0.05  # of the progress: what collecting the cases takes


@dataclass(frozen=True)
class Training:
    """What `SegmentationLogic.trainAsync` was asked for, besides the pairs."""

    name: str
    start: str | None
    minutes: float
    device: str

    def steps(self, runner: Runner, job: Job, pairs) -> Steps:
        """Steps: train; the finished model is `job.model`. The scene is only read, and not
        needed once the cases are written.
        """
        name, base = free_id(self.name), self._base()
        pairs, names = checked_pairs(pairs)
        with training_folder(runner, job, name) as folder:
            contents = yield from self._collect(runner, job, pairs, names, folder / CASES)
            del (
                pairs
            )  # a training outlives its scene, whose voxels must not stay in memory for hours
            request = {
                "source": str(folder / CASES),
                "output": str(folder / RUN),
                "name": name,
                "title": self.name.strip(),
                "modality": base.get("modality", ""),
                "data": f"{len(contents)} scans segmented in 3D Slicer",
                "start": self.start,
                "minutes": float(self.minutes),
            }
            asked = {
                "request": request,
                "device": self.device,
                "contents": contents,
                "version": __version__,
                "start_sha256": base.get("weights_sha256"),
            }
            yield from runner.in_thread(take_up, folder, asked)
            job.needsScene = False
            event = yield from runner.request(
                job,
                "train",
                lambda: None,
                lambda event: self._progress(runner, job, event),
                device=self.device,
                output=request["output"],
                request=request,
            )
            job.model = yield from runner.in_thread(import_model, event.bundle, rename=True)

    def _collect(
        self,
        runner: Runner,
        job: Job,
        pairs: tuple[Pair, ...],
        names: tuple[str, ...],
        folder: Path,
    ) -> Steps:
        """Steps: write the cases; returns what tells them from others, file -> sha256."""
        yield from runner.in_thread(
            shutil.rmtree, folder, ignore_errors=True
        )  # what an earlier training had
        contents = {}
        for n, pair in enumerate(pairs):
            runner.report(
                job, f"Collecting scan {n + 1} of {len(pairs)}", COLLECTED * n / len(pairs)
            )
            yield  # the window may show it
            _require(pair.volumeNode, pair.segmentationNode)
            volume, segmentation = read_pair(pair, names)
            yield from runner.in_thread(write_pair, volume, segmentation, pair, folder)
            contents[f"{pair.group}/{pair.name}"] = yield from runner.in_thread(
                _sha256, volume, segmentation
            )
        return contents

    def _base(self) -> dict:
        if self.minutes <= 0:
            raise UserError(
                f"The training time is {self.minutes:g} minutes, and more than 0 are needed."
            )
        return read_metadata(find_model(self.start).folder) if self.start else {}

    def _progress(self, runner: Runner, job: Job, event: Event) -> None:
        runner.report(
            job, event.stage, COLLECTED + (1 - COLLECTED) * event.fraction, event.seconds_left
        )
        if event.history:
            job.history.extend(event.history)
            runner.tell(job, job.onHistory, list(job.history))


def _sha256(volume: Volume, segmentation: Segmentation) -> str:
    """Of all that a training sees of a case."""
    about = (
        volume.array.dtype.str,
        volume.array.shape,
        volume.ijk_to_ras.tolist(),
        [s.name for s in segmentation.structures],
    )
    digest = hashlib.sha256(repr(about).encode("utf-8"))
    for array in (volume.array, segmentation.labels.array):
        digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()


def _require(*nodes) -> None:
    if any(node.GetScene() is None for node in nodes):
        raise Removed(
            "A scan or segmentation was removed from the scene while it was being collected;"
            " nothing was trained."
        )
