"""From a volume node to a segmentation node: the logic behind the Slicer panel, the console and
scripts.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from MedLLMSegLib.core.errors import Cancelled, UserError
from MedLLMSegLib.registry.catalogue import DEFAULT_CLASSIFIER, DEFAULT_SEGMENTER


class SegmentationLogic:
    """Segments volume nodes, and trains on segmented ones, in a worker process that stays warm.

    Names are written as in Slicer's API. Neither importing nor making one imports torch, numpy or
    VTK, or starts anything. segmentFunction: segments in this process instead of the worker; takes
    what `MedLLMSegLib.segment` takes. makeClient: makes and starts the worker's client, for those
    who have their own. result: the `Segmentation` of the last run (volumes, confidence, notes for
    the user), None before it.

    A job goes on as long as `poll` is called: Slicer's module does so from a timer, a script in its
    own loop.
    """

    def __init__(self, segmentFunction: Callable | None = None, makeClient: Callable | None = None):
        self.segmentFunction, self._makeClient = segmentFunction, makeClient
        self.result = None
        self._parts = None

    def segment(
        self,
        volumeNode,
        segmentationNode=None,
        model: str = DEFAULT_SEGMENTER,
        side: str | None = None,
        device: str = "auto",
        uncertainty: bool = False,
        progress: Callable[[str, float], None] | None = None,
        **more,
    ):
        """Segment a scan and return the vtkMRMLSegmentationNode that holds the result.

        volumeNode: vtkMRMLScalarVolumeNode; its linear parent transforms are respected. A
        vtkMRMLSequenceNode, or the node
            that shows one, gives a sequence of segmentations, and the node that shows that is
            returned.
        segmentationNode: the node to update, or None for a new one beside the scan. side: "left" or
        "right" to segment that side alone, or to say which one a crop around one organ shows.
        uncertainty: also make a volume node that says where the model is unsure; see
        `showUncertainty`. progress: called with (stage, fraction from 0 to 1); it may raise
        `Cancelled`. more: augment and wholeSequence as for `segmentAsync`.

        Raises `UserError` with one sentence for the user, `Cancelled`, or what the segmenting
        function raises. However it fails, the scene is left as it was.
        """
        told = (
            None
            if progress is None
            else lambda stage, fraction, secondsLeft: progress(stage, fraction)
        )
        return self._finish(
            self.segmentAsync(
                volumeNode,
                told,
                segmentationNode=segmentationNode,
                model=model,
                side=side,
                device=device,
                uncertainty=uncertainty,
                **more,
            )
        ).segmentationNode

    def segmentAsync(
        self,
        volumeNode,
        onProgress: Callable | None = None,
        onDone: Callable | None = None,
        **options,
    ):
        """Begin to segment a scan and return a `Job` at once.

        onProgress: called with (stage, fraction, seconds left or None); it may raise `Cancelled`.
        onDone: called with the job when it is done, failed or cancelled. options: segmentationNode,
        model, side, device, uncertainty as for `segment`; augment: so many more views of the scan
        are averaged; wholeSequence: False segments, of a sequence, the image that is shown alone.
        """
        from .jobs import Job
        from .segmentation_job import Options

        job = Job("segment", onProgress=onProgress, onDone=onDone)
        self._work.segmenting.function = self.segmentFunction
        return self._add(job, self._work.segmenting.steps(job, volumeNode, Options(**options)))

    def trainAsync(
        self,
        pairs,
        name: str,
        start: str | None = DEFAULT_SEGMENTER,
        minutes: float = 15,
        device: str = "auto",
        onProgress: Callable | None = None,
        onDone: Callable | None = None,
        onHistory: Callable | None = None,
    ):
        """Begin to train a model on scans that were segmented in this scene, and return a `Job` at
        once.

        pairs: [(vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode)]; the segments of all have the
        same names. name: what to call the model, which becomes one of the user's own and is listed
        by `models`. start: the model to fine-tune, or None to begin from nothing. minutes: for the
        training itself. onProgress, onDone: as for `segmentAsync`. onHistory: called with all rows
        so far, such as {"step": 10, "loss": 0.4}
            or {"step": 50, "val_dice": 0.8}, whenever there are more.

        Cancelled or broken off after it was saved once, it goes on from there when the same pairs,
        as they were, and options are given again; until then `job.kept` is a folder with copies of
        the scans, which may be removed.
        """
        from .jobs import Job
        from .training_job import Training

        job = Job("train", onProgress=onProgress, onDone=onDone, onHistory=onHistory)
        training = Training(name, start, minutes, device)
        return self._add(job, training.steps(self._work.runner, job, tuple(pairs)))

    def diagnose(
        self,
        imageNode,
        model: str = DEFAULT_CLASSIFIER,
        progress: Callable[[str, float], None] | None = None,
        **options,
    ):
        """Tell which of a classifier's classes an image belongs to. Research use only; not a
        medical device.

        imageNode: a volume node of a flat image, or of a scan for models of slices; for models of
        frames a
            vtkMRMLSequenceNode or the node that shows one; for models of several channels a list of
            nodes in order, such as a PET and a CT, with None for one that is missing.
        model: a classifier's id (see `classifiers`), or its bundle's folder. options: as for
        `diagnoseAsync`. progress: called with (stage, fraction from 0 to 1); it may raise
        `Cancelled`.

        Returns (vtkMRMLTableNode with the columns class, probability, threshold, positive and
        confidence, vtkMRMLScalarVolumeNode of the heat map on the image's grid or None). Raises as
        `segment`; then the scene is as it was.
        """
        told = (
            None
            if progress is None
            else lambda stage, fraction, secondsLeft: progress(stage, fraction)
        )
        job = self._finish(self.diagnoseAsync(imageNode, told, model=model, **options))
        return job.tableNode, job.heatMapNode

    def diagnoseAsync(
        self,
        imageNode,
        onProgress: Callable | None = None,
        onDone: Callable | None = None,
        **options,
    ):
        """Begin to diagnose an image and return a `Job` at once.

        onProgress, onDone: as for `segmentAsync`. options: model; device; view ("PA", "AP" or
        "lateral", if it is known); window (which of a DICOM file's, from 1); record (field ->
        value); lungs (a segmentation of them, or a vtkMRMLLabelMapVolumeNode on the image's
        pixels); heatMap (False for none).
        """
        from .diagnosis_job import Options, steps
        from .jobs import Job

        job = Job("diagnose", onProgress=onProgress, onDone=onDone)
        return self._add(job, steps(self._work.runner, job, imageNode, Options(**options)))

    def poll(self) -> None:
        """Take the jobs along: read what the worker says, write finished results into the scene,
        call back.
        """
        if self._parts is None:
            return
        self._work.runner.poll()
        if not self._work.runner.busy:
            self._stopPolling()

    def cancel(self, job) -> None:
        """Stop a job; it is "cancelling" until the worker has let go, within two seconds. The
        scene stays as it is.
        """
        if self._parts is not None:
            self._work.runner.cancel(job)

    def close(self) -> None:
        """End the jobs, without calling back, and the worker. What was overwritten cannot be
        restored any more.
        """
        parts, self._parts = self._parts, None
        if parts is not None:
            self._stopPolling()
            parts.close()

    def canRestore(self, segmentationNode) -> bool:
        """Whether `restore` would bring something back."""
        return self._parts is not None and self._work.keep.has(segmentationNode)

    def restore(self, segmentationNode) -> None:
        """Bring back what the last run overwrote in a segmentation; restoring again brings back
        that run's result.

        Kept until the next run on the node, or the end of the session. Raises `UserError` if
        nothing was kept.
        """
        if not self.canRestore(segmentationNode):
            raise UserError(
                "There is no earlier segmentation to restore in this node; a run that updates a"
                " segmentation keeps what it overwrites until the next run."
            )
        self._work.keep.swap(segmentationNode)

    def showUncertainty(self, segmentation, volumeNode=None, show: bool = True):
        """Lay the map of where the model was unsure over the slice views, or take it away; returns
        its volume node.

        segmentation: the node, or the job that made it. volumeNode: shown below the map; None keeps
        what is shown. Raises `UserError` if the last run made no map.
        """
        from MedLLMSegLib.slicer_bridge.scene.overlay import ROLE, show_map_of

        return show_map_of(
            getattr(segmentation, "segmentationNode", segmentation),
            ROLE,
            volumeNode,
            show,
            "This segmentation has no map of uncertainty; tick Uncertainty and press Segment"
            " again.",
        )

    def showHeatMap(self, diagnosis, imageNode=None, show: bool = True):
        """Lay a diagnosis's heat map over the slice views, or take it away; returns its volume
        node.

        diagnosis: the table node, or the job that made it. imageNode: shown below it; None keeps
        what is shown. Raises `UserError` if there is no map.
        """
        from MedLLMSegLib.slicer_bridge.scene.overlay import HEAT_MAP, show_map_of

        return show_map_of(
            getattr(diagnosis, "tableNode", diagnosis),
            HEAT_MAP,
            imageNode,
            show,
            "This diagnosis has no heat map; diagnose the image again.",
        )

    def showFeatureMap(self, path, by: str = "class"):
        """Plot a t-SNE map that `medllmseg tsne` has written; returns its vtkMRMLPlotChartNode.

        path: the PNG or CSV file. by: the column that is coloured, such as "class" or "view".
        Raises `UserError`.
        """
        import slicer

        from MedLLMSegLib.slicer_bridge.scene.feature_map import add_feature_map

        chart = add_feature_map(path, by)
        slicer.modules.plots.logic().ShowChartInLayout(chart)
        return chart

    def classifiers(self):
        """What can be chosen to diagnose with: a tuple as `models` returns it; the program may
        come with none.
        """
        from MedLLMSegLib.registry.catalogue import list_models
        from MedLLMSegLib.registry.memory_estimate import model_choice

        return tuple(map(model_choice, list_models("classifier")))

    def models(self):
        """What can be chosen: a tuple of `ModelChoice(entry, fits_memory, memory_text)`, the
        user's own models last.
        """
        from MedLLMSegLib.registry.catalogue import list_models
        from MedLLMSegLib.registry.memory_estimate import model_choice

        return tuple(map(model_choice, list_models()))

    def pythonLines(self, volumeNode, **options) -> str:
        """Lines for Slicer's Python console that do what the button does. options: as for
        `segmentAsync`.
        """
        from .copyable_calls import python_lines

        return python_lines(volumeNode, **options)

    def commandLine(self, volumeNode, **options) -> str:
        """The command that segments the scan's file without Slicer. options: model, side,
        device, uncertainty, augment.
        """
        from .copyable_calls import command_line

        return command_line(volumeNode, **options)

    # for the module

    def _startPolling(self) -> None:
        """Have `poll` called ten times a second from now on; the module's class does."""

    def _stopPolling(self) -> None:
        """There is nothing to poll for."""

    # internal

    @property
    def _work(self):
        if self._parts is None:
            from .services import Parts

            self._parts = Parts(self._makeClient, self)
        return self._parts

    def _finish(self, job):
        """Wait for a job that was begun; returns it when it is done, and raises else."""
        try:
            while job.running:
                self.poll()
                time.sleep(0.01)
        finally:
            self.cancel(job)  # the user's Ctrl-C; a job that has ended stays as it is
        if job.state != "done":
            raise (
                UserError(job.message)
                if job.state == "cancelled" and job.message
                else job.error or Cancelled()
            )
        return job

    def _add(self, job, steps):
        self._work.runner.add(job, steps)
        self._startPolling()
        return job
