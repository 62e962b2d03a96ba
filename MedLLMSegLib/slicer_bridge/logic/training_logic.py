"""The part of the logic that trains models on what was segmented in the scene."""

from __future__ import annotations

from collections.abc import Callable

from MedLLMSegLib.registry.catalogue import DEFAULT_START

from .job_logic import JobLogic


class TrainingLogic(JobLogic):
    """Trains in the worker. Importing or making one imports neither torch, numpy nor VTK."""

    def trainAsync(  # noqa: PLR0917 (scripts may pass these by position)
        self,
        pairs,
        name: str,
        start: str | None = DEFAULT_START,
        minutes: float = 15,
        device: str = "auto",
        onProgress: Callable | None = None,
        onDone: Callable | None = None,
        onHistory: Callable | None = None,
    ):
        """Begin to train a model on scans that were segmented in this scene, and return a `Job` at
        once.

        pairs: [(vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode)]; all segmentations have segments
            of the same names.
        name: of the new model, which becomes one of the user's own and is listed by `models`.
        start: the model to fine-tune, or None for new weights.
        minutes: of the training itself.
        onProgress, onDone: as for `segmentAsync`.
        onHistory: called with all rows so far, such as {"step": 10, "loss": 0.4} or {"step": 50,
            "val_dice": 0.8}, whenever rows are added.

        A training that was cancelled or interrupted after its first save resumes when the same
        unchanged pairs and options are given again, or by `goOnTrainingAsync`. Until then
        `job.kept` is a folder with copies of the scans, which may be deleted.
        """
        from .jobs import Job
        from .training_job import TrainJobOptions, train_on_pairs

        job = Job("train", onProgress=onProgress, onDone=onDone, onHistory=onHistory)
        options = TrainJobOptions(name, start, minutes, device)
        return self._add(job, train_on_pairs(self._services.runner, job, tuple(pairs), options))

    def goOnTrainingAsync(
        self,
        name: str,
        onProgress: Callable | None = None,
        onDone: Callable | None = None,
        onHistory: Callable | None = None,
    ):
        """Go on with a training that was broken off, and return a `Job` at once.

        name: its model's id, one of `unfinished_trainings.broken_off()`. Its settings and copies of
        its scans are in its folder; no scene is needed. The callbacks: as for `trainAsync`.
        """
        from .jobs import Job
        from .training_job import go_on_training

        job = Job("train", onProgress=onProgress, onDone=onDone, onHistory=onHistory)
        return self._add(job, go_on_training(self._services.runner, job, name))
