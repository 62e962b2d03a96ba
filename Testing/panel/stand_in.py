"""The panel's logic and its jobs, which go on when a test says so."""

from dataclasses import dataclass, field

from MedLLMSegLib.slicer_bridge.logic import jobs
from MedLLMSegLib.slicer_bridge.logic.module_logic import SegmentationLogic
from Testing.panel import desktop


class Job(jobs.Job):
    """The logic's, which a test moves on."""

    def say(self, stage, fraction, secondsLeft=None):
        self.stage, self.fraction, self.secondsLeft = stage, fraction, secondsLeft
        self.onProgress(stage, fraction, secondsLeft)

    def end(self, state, **more):
        vars(self).update(state=state, **more)
        self.onDone(self)


@dataclass(eq=False)
class Logic:
    """The API of the panel's logic; its jobs go on when a test says so."""

    choices: tuple = ()
    diagnosers: tuple = ()
    calls: list = field(default_factory=list)
    kept: list = field(default_factory=list)
    error: Exception | None = None

    def _begin(self, job, call):
        if self.error:
            raise self.error
        self.calls.append(call)
        self.job = job
        return job

    def segmentAsync(self, volumeNode, onProgress=None, onDone=None, **options):
        return self._begin(
            Job(onProgress=onProgress, onDone=onDone), ("segment", volumeNode, options)
        )

    def segmentAllAsync(self, volumeNodes, onProgress=None, onDone=None, **options):
        return self._begin(
            Job(onProgress=onProgress, onDone=onDone), ("segment all", list(volumeNodes), options)
        )

    def explainAsync(self, segmentation, structure, onProgress=None, onDone=None, **options):
        return self._begin(
            Job("explain", onProgress=onProgress, onDone=onDone),
            ("explain", segmentation, structure, options),
        )

    def showEvidence(self, node, volumeNode=None, show=True, opacity=0.7):
        self.calls.append(("evidence", node))
        return SegmentationLogic.showEvidence(self, node, volumeNode, show, opacity)

    def trainAsync(self, pairs, name, onProgress=None, onDone=None, onHistory=None, **options):
        job = Job("train", onProgress=onProgress, onDone=onDone, onHistory=onHistory)
        return self._begin(job, ("train", pairs, name, options))

    def goOnTrainingAsync(self, name, onProgress=None, onDone=None, onHistory=None):
        job = Job("train", onProgress=onProgress, onDone=onDone, onHistory=onHistory)
        return self._begin(job, ("go on", name))

    def diagnoseAsync(self, imageNode, onProgress=None, onDone=None, **options):
        return self._begin(
            Job("diagnose", onProgress=onProgress, onDone=onDone), ("diagnose", imageNode, options)
        )

    def classifiers(self):
        return self.diagnosers

    def showHeatMap(self, table, imageNode=None, show=True, opacity=0.7):
        self.calls.append(("heat map", table, imageNode))
        return SegmentationLogic.showHeatMap(self, table, imageNode, show, opacity)

    def cancel(self, job):
        job.state = "cancelling"
        self.calls.append(("cancel", job))

    def models(self):
        return self.choices

    def canRestore(self, node):
        return node in self.kept

    def restore(self, node):
        self.calls.append(("restore", node))

    def showUncertainty(self, node, volumeNode=None, show=True, opacity=0.7):
        self.calls.append(("overlay", node))
        return SegmentationLogic.showUncertainty(self, node, volumeNode, show, opacity)

    def pythonLines(self, volumeNode, **options):
        return f"segment({volumeNode.GetName()})"

    def commandLine(self, volumeNode, **options):
        return f"medllmseg segment {volumeNode.GetName()}"

    def getParameterNode(self):
        return self.parameters(desktop.Base().getParameterNode())

    def close(self):
        self.calls.append(("close",))
