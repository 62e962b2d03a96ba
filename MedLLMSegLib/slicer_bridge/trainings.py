"""The steps of a training: the scene's pairs to a folder, the worker's training, the model into the user's own."""
from __future__ import annotations

from dataclasses import dataclass

from ..catalogue import find_model, read_metadata
from ..errors import UserError
from ..user_models import free_id, import_model
from ..worker.protocol import Event
from .jobs import Job, Removed, Runner, Steps
from .pairs import checked_pairs, read_pair, write_pair

COLLECTED = 0.05  # of the progress: what collecting the cases takes


@dataclass(frozen=True)
class Training:
    """What `SegmentationLogic.trainAsync` was asked for."""

    pairs: tuple
    name: str
    start: str | None
    minutes: float
    device: str

    def steps(self, runner: Runner, job: Job) -> Steps:
        """Steps: train; the finished model is `job.model`. The scene is only read."""
        name, base = free_id(self.name), self._base()
        pairs, names = checked_pairs(self.pairs)
        with runner.folder() as folder:
            for n, pair in enumerate(pairs):
                runner.report(job, f"Collecting scan {n + 1} of {len(pairs)}", COLLECTED * n / len(pairs))
                yield  # the window may show it
                _require(pair.volumeNode, pair.segmentationNode)
                volume, segmentation = read_pair(pair, names)
                yield from runner.in_thread(write_pair, volume, segmentation, pair, folder / "cases")
            event = yield from runner.request(
                job, "train", lambda: None, lambda event: self._progress(runner, job, event), device=self.device,
                output=str(folder / "run"), request={
                    "source": str(folder / "cases"), "output": str(folder / "run"), "name": name, "title": self.name.strip(),
                    "modality": base.get("modality", ""), "data": f"{len(pairs)} scans segmented in 3D Slicer",
                    "start": self.start, "minutes": float(self.minutes)})
            job.model = yield from runner.in_thread(import_model, event.bundle, rename=True)

    def _base(self) -> dict:
        if self.minutes <= 0:
            raise UserError(f"The training time is {self.minutes:g} minutes, and more than 0 are needed.")
        return read_metadata(find_model(self.start).folder) if self.start else {}

    def _progress(self, runner: Runner, job: Job, event: Event) -> None:
        runner.report(job, event.stage, COLLECTED + (1 - COLLECTED) * event.fraction, event.seconds_left)
        if event.history:
            job.history.extend(event.history)
            runner.tell(job, job.onHistory, list(job.history))


def _require(*nodes) -> None:
    if any(node.GetScene() is None for node in nodes):
        raise Removed("A scan or segmentation was removed from the scene while it was being collected; nothing was trained.")
