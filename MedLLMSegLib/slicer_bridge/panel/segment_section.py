"""The panel's button Segment and the sample scan."""

from __future__ import annotations

from functools import partial

import qt
import slicer

from MedLLMSegLib.slicer_bridge.logic.job_runner import THREAD_SLICE_S
from MedLLMSegLib.slicer_bridge.presenter.choices import Engine
from MedLLMSegLib.slicer_bridge.presenter.panel_state import message_fields
from MedLLMSegLib.slicer_bridge.presenter.person_view import person_options
from MedLLMSegLib.slicer_bridge.presenter.segment_view import with_job
from MedLLMSegLib.slicer_bridge.presenter.translation import _
from MedLLMSegLib.slicer_bridge.scene.sample_data import Download, load_sample

from .panel_job import JobSection

POLL_MS = 100


class SegmentSection(JobSection):
    """job: the segmentation that runs, or None. The person's height and weight belong to the scan
    that was chosen when they were given.
    """

    task = "segment"

    def __init__(self, widget):
        super().__init__(widget)
        self._scan_id = ""
        widget.ui.segmentButton.connect("clicked(bool)", self.onButton)
        widget.ui.heightSpinBox.connect("valueChanged(int)", self.onHeight)
        widget.ui.weightSpinBox.connect("valueChanged(int)", self.onWeight)

    @property
    def model(self):
        return self.widget.panel.chosen

    @property
    def models(self):
        panel = self.widget.panel
        return (panel.chosen, panel.parts_model) if panel.divide else (panel.chosen,)

    def onHeight(self, centimetres: int) -> None:
        self.widget.change(height_cm=centimetres)

    def onWeight(self, kilograms: int) -> None:
        self.widget.change(weight_kg=kilograms)

    def forget_person_of_another(self, scan) -> None:
        """Forget height and weight where another scan is chosen, or none: it may be of another
        person.
        """
        scan_id = scan.GetID() if scan is not None and scan.GetScene() is not None else ""
        if scan_id != self._scan_id:
            self._scan_id = scan_id
            self.widget.change(height_cm=0, weight_kg=0)

    def begin(self) -> None:
        """Segment the input volume, or every scan of the scene."""
        logic, scans = self.widget.logic, self.scans()
        if len(scans) == 1:
            segment = partial(logic.segmentAsync, scans[0], **self.options())
        else:
            segment = partial(logic.segmentAllAsync, scans, **self.options())
        self.run(segment, **message_fields(""))

    def scans(self) -> list:
        """The scans to be segmented, the input first."""
        chosen = self.widget.parameters.inputVolume
        if not self.widget.panel.is_batch:
            return [chosen]
        others = [scan for scan in self.widget.scans.all_scans() if scan is not chosen]
        return [chosen, *others]

    def options(self) -> dict:
        """What the panel's choices mean for the logic."""
        chosen = self.widget.parameters
        # a side may still be chosen from another model, which has sides
        side = chosen.side.value if chosen.model in self.widget.panel.sided else None
        panel = self.widget.panel
        parts = panel.parts_model if panel.divide else None
        images = (chosen.secondImage, chosen.thirdImage, chosen.fourthImage)
        further = () if panel.has_all_images else images[: len(panel.further_images)]
        return {
            "segmentationNode": chosen.outputSegmentation,
            "model": chosen.model,
            "side": side,
            "device": chosen.device.value,
            "uncertainty": chosen.uncertainty,
            "augment": chosen.augment,
            **({"engine": chosen.engine.value} if chosen.engine is not Engine.TORCH else {}),
            "wholeSequence": chosen.wholeSequence,
            "withModel": parts.id if parts is not None else None,
            "regionNode": chosen.regionOfInterest,
            **person_options(panel),
            **({"furtherNodes": further} if further else {}),
        }

    def onDone(self, job) -> None:
        self.job = None
        self.end(with_job(self.widget.panel, job, self.seconds))
        self.widget.log.job(job)
        if job.state == "done" or job.batchNode is not None:
            self.widget.result.batch_table = job.batchNode
        if job.state == "done":
            self.widget.result.take(job)
        self.widget.update()


class SampleButton:
    """Downloads MRHead in a thread, and loads it then. widget: the module's widget."""

    def __init__(self, widget):
        self.widget = widget
        self._download: Download | None = None
        widget.ui.sampleButton.connect("clicked(bool)", self.onButton)

    def onButton(self) -> None:
        if self._download is None:
            self._download = Download(slicer.mrmlScene.GetCacheManager().GetRemoteCacheDirectory())
            self.widget.change(loading_sample=True, **message_fields(""))
            self._check_later()

    def _check(self) -> None:
        download = self._download
        if download is None:
            return
        if not download.wait(THREAD_SLICE_S):
            self._check_later()
            return
        error, self._download = download.error, None
        try:
            if error is None and self.widget.ui is not None:  # the module may have been unloaded
                self._load()
        except Exception as failure:  # SampleData's own, when it cannot read the file
            error = failure
        if error is not None:
            self.widget.log.say(str(error) or type(error).__name__)
            text = _(
                "MRHead could not be downloaded; check the network, or load a scan of your own."
            )
            self.widget.change(**message_fields(text, failed=True))
        self.widget.change(loading_sample=False)
        if self.widget.ui is not None:
            self.widget.scans.update()

    def _check_later(self) -> None:
        # a lambda, as PythonQt does not keep the object of a bound method alive
        qt.QTimer.singleShot(POLL_MS, lambda: self._check())  # noqa: PLW0108 (see above)

    def _load(self) -> None:
        node = load_sample()
        if node is not None and self.widget.parameters is not None:
            self.widget.parameters.inputVolume = node
