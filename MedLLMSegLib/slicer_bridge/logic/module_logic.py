"""From a volume node to a segmentation node: the logic behind the Slicer panel, the console and
scripts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.registry.catalogue import DEFAULT_CLASSIFIER, DEFAULT_SEGMENTER

from .training_logic import TrainingLogic


class SegmentationLogic(TrainingLogic):
    """Segments volume nodes, and trains on segmented ones, in a worker process that stays warm.

    Names are as in Slicer's API. Making one imports no torch, numpy or VTK, and starts nothing.

    segmentFunction: segments in this process instead of the worker; called like
        `MedLLMSegLib.segment`.
    makeClient: makes and starts the worker's client, for callers that have their own.
    result: the `Segmentation` of the last run (volumes, confidence, notes for the user), None
        before it.
    """

    def __init__(self, segmentFunction: Callable | None = None, makeClient: Callable | None = None):
        super().__init__(makeClient)
        self.segmentFunction = segmentFunction
        self.result: Any = None

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
            vtkMRMLSequenceNode, or the node that shows one, gives a sequence of segmentations; the
            node that shows that sequence is returned. For a model of several images, a sequence or
            a vtkMRMLVectorVolumeNode may hold all.
        segmentationNode: the node to update, or None for a new one beside the scan.
        side: "left" or "right" for that side alone, or to say which one a crop shows.
        uncertainty: also map where the model is unsure; see `showUncertainty`.
        progress: called with (stage, fraction from 0 to 1); it may raise `Cancelled`.
        more: the other options of `segmentAsync`.

        Raises `UserError`, `Cancelled`, or what the segmenting function raises; then the scene is
        as it was.
        """
        job = self.segmentAsync(
            volumeNode,
            _without_time_left(progress),
            segmentationNode=segmentationNode,
            model=model,
            side=side,
            device=device,
            uncertainty=uncertainty,
            **more,
        )
        return self._finish(job).segmentationNode

    def segmentAsync(
        self,
        volumeNode,
        onProgress: Callable | None = None,
        onDone: Callable | None = None,
        **options,
    ):
        """Begin to segment a scan and return a `Job` at once.

        onProgress: called with (stage, fraction, seconds left or None); it may raise `Cancelled`.
        onDone: called with the job when it is done, failed or cancelled.
        options: segmentationNode, model, side, device, uncertainty as for `segment`; engine
            ("openvino" or "onnx" instead of PyTorch); augment (how many augmented views are
            averaged); wholeSequence (False: of a sequence, the image that is shown); structures
            (names or groups of those to draw, such as ["hippocampus", "deep grey"]; the segments
            of the others stay as they are); withModel ("hippocampus-t1": the hippocampi that a
            model of the brain outlines are divided into two parts each); regionNode (a
            vtkMRMLMarkupsROINode: nothing is looked for outside of its box); heightCm and
            weightKg (of the person: a heart's figures are also given by body surface);
            furtherNodes (the patient's other images, in the model's order, for a model that takes
            several: the PET of a CT).
        """
        from .image_segmentation import SegmentJobOptions
        from .jobs import Job
        from .segmentation_job import segment_node

        job = Job("segment", onProgress=onProgress, onDone=onDone)
        segmenter = self._services.segmenter
        segmenter.function = self.segmentFunction
        return self._add(
            job, segment_node(segmenter, job, volumeNode, SegmentJobOptions(**options))
        )

    def segmentAllAsync(
        self,
        volumeNodes,
        onProgress: Callable | None = None,
        onDone: Callable | None = None,
        **options,
    ):
        """Begin to segment several scans, each into a new segmentation beside it, and return a
        `Job` at once. One that fails stops no other: `job.scans` says what became of each, and
        `job.batchNode` is a table of all of them, in place of the model's last batch (`restore`).

        onProgress, onDone, options: as for `segmentAsync`, without segmentationNode. Raises
        `UserError` for heightCm and weightKg: the scans may be of several persons.
        """
        from .batch_job import segment_all
        from .image_segmentation import SegmentJobOptions
        from .jobs import Job

        job = Job("segment", onProgress=onProgress, onDone=onDone)
        segmenter = self._services.segmenter
        segmenter.function = self.segmentFunction
        chosen = SegmentJobOptions(**options)
        if chosen.person.surface_m2 is not None:
            raise UserError(
                "heightCm and weightKg belong to one person, and a batch may hold scans of several;"
                " segment that person's cine by itself, or leave both out."
            )
        return self._add(job, segment_all(segmenter, job, tuple(volumeNodes), chosen))

    def explain(
        self,
        segmentationNode,
        structure: str,
        progress: Callable[[str, float], None] | None = None,
        **options,
    ):
        """Map where in its scan the evidence for a segmentation's structure lies; returns the
        vtkMRMLScalarVolumeNode, which the segmentation refers to (see `showEvidence`).

        structure: a name with its side, as for `MedLLMSegLib.explain`. progress: as for `segment`.
        options: as for `explainAsync`. Raises as `segment`.
        """
        onProgress = _without_time_left(progress)
        job = self.explainAsync(segmentationNode, structure, onProgress, **options)
        return self._finish(job).evidenceNode

    def explainAsync(
        self,
        segmentationNode,
        structure: str,
        onProgress: Callable | None = None,
        onDone: Callable | None = None,
        **options,
    ):
        """Begin to explain a structure and return a `Job` at once.

        onProgress, onDone: as for `segmentAsync`. options: volumeNode (None: the scan that the
        segmentation was made from), model (None: the one that drew it) and device.
        """
        from .explanation_job import ExplainJobOptions, explain_node
        from .jobs import Job

        job = Job("explain", onProgress=onProgress, onDone=onDone)
        chosen = ExplainJobOptions(segmentationNode, structure, **options)
        return self._add(job, explain_node(self._services.runner, job, chosen))

    def diagnose(
        self,
        imageNode,
        model: str = DEFAULT_CLASSIFIER,
        progress: Callable[[str, float], None] | None = None,
        **options,
    ):
        """Tell which of a classifier's classes an image belongs to. Research use only; not a
        medical device.

        imageNode: a volume node of a flat image, or of a scan for models of slices. For models of
            frames a vtkMRMLSequenceNode or the node that shows one; for models of several channels
            a list of nodes in order, such as a PET and a CT, with None for one that is missing.
        model: a classifier's id (see `classifiers`), or its bundle's folder.
        progress: called with (stage, fraction from 0 to 1); it may raise `Cancelled`.
        options: as for `diagnoseAsync`.

        Returns (vtkMRMLTableNode with the columns class, probability, threshold, positive and
        confidence, vtkMRMLScalarVolumeNode of the heat map on the image's grid or None). Raises as
        `segment`; then the scene is as it was.
        """
        onProgress = _without_time_left(progress)
        job = self._finish(self.diagnoseAsync(imageNode, onProgress, model=model, **options))
        return job.tableNode, job.heatMapNode

    def diagnoseAsync(
        self,
        imageNode,
        onProgress: Callable | None = None,
        onDone: Callable | None = None,
        **options,
    ):
        """Begin to diagnose an image and return a `Job` at once.

        onProgress, onDone: as for `segmentAsync`.
        options: model; device; view ("PA", "AP" or "lateral", if it is known); window (which of a
            DICOM file's windows, from 1); record (field -> value); lungs (a segmentation of them,
            or a vtkMRMLLabelMapVolumeNode on the image's pixels); heatMap (False for none).
        """
        from .diagnosis_job import DiagnoseJobOptions, diagnose_node
        from .jobs import Job

        job = Job("diagnose", onProgress=onProgress, onDone=onDone)
        runner = self._services.runner
        return self._add(job, diagnose_node(runner, job, imageNode, DiagnoseJobOptions(**options)))

    def canRestore(self, segmentationNode) -> bool:
        """Whether `restore` has something to bring back. Also of the table of a batch."""
        return self._made is not None and self._made.restore_points.has(segmentationNode)

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
        self._services.restore_points.swap(segmentationNode)

    def showUncertainty(
        self, segmentation, volumeNode=None, show: bool = True, opacity: float = 0.7
    ):
        """Lay the map of where the model was unsure over the slice views, or take it away; returns
        its volume node.

        segmentation: the node, or the job that made it. volumeNode: shown below the map; None
        leaves the views' background as it is. opacity: 0 to 1, of the map's colours. Raises
        `UserError` if the last run made no map.
        """
        from MedLLMSegLib.slicer_bridge.scene.map_roles import UNCERTAINTY_MAP
        from MedLLMSegLib.slicer_bridge.scene.overlay import show_map_of

        return show_map_of(
            getattr(segmentation, "segmentationNode", segmentation),
            UNCERTAINTY_MAP,
            volumeNode,
            show,
            "This segmentation has no map of uncertainty; tick Uncertainty and press Segment"
            " again.",
            opacity,
        )

    def showEvidence(self, segmentation, volumeNode=None, show: bool = True, opacity: float = 0.7):
        """Lay the map of the evidence for a structure over the slice views, or take it away;
        returns its volume node.

        segmentation, volumeNode, opacity: as for `showUncertainty`. Raises `UserError` if nothing
        was explained since the last run.
        """
        from MedLLMSegLib.slicer_bridge.scene.map_roles import EVIDENCE_MAP
        from MedLLMSegLib.slicer_bridge.scene.overlay import show_map_of

        return show_map_of(
            getattr(segmentation, "segmentationNode", segmentation),
            EVIDENCE_MAP,
            volumeNode,
            show,
            "This segmentation has no map of evidence; choose a structure and press Explain.",
            opacity,
        )

    def showHeatMap(self, diagnosis, imageNode=None, show: bool = True, opacity: float = 0.7):
        """Lay a diagnosis's heat map over the slice views, or take it away; returns its volume
        node.

        diagnosis: the table node, or the job that made it. imageNode: shown below it; None
        leaves the views' background as it is. opacity: 0 to 1, of the map's colours. Raises
        `UserError` if there is no map.
        """
        from MedLLMSegLib.slicer_bridge.scene.map_roles import HEAT_MAP
        from MedLLMSegLib.slicer_bridge.scene.overlay import show_map_of

        return show_map_of(
            getattr(diagnosis, "tableNode", diagnosis),
            HEAT_MAP,
            imageNode,
            show,
            "This diagnosis has no heat map; diagnose the image again.",
            opacity,
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
        """The models that diagnose: a tuple as `models` returns it. None may be installed."""
        from MedLLMSegLib.registry.catalogue import list_models
        from MedLLMSegLib.registry.memory_estimate import model_choice

        return tuple(map(model_choice, list_models("classifier")))

    def models(self):
        """The models that segment: a tuple of `ModelChoice(entry, fits_memory, memory_text)`, the
        user's own last.
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
        device, engine, uncertainty, augment, structures, withModel, regionNode.
        """
        from .copyable_calls import command_line

        return command_line(volumeNode, **options)


def _without_time_left(progress: Callable[[str, float], None] | None) -> Callable | None:
    """A callback of (stage, fraction) as a job's, which also gets the seconds left."""
    if progress is None:
        return None

    def onProgress(stage: str, fraction: float, secondsLeft: float | None) -> None:
        progress(stage, fraction)

    return onProgress
