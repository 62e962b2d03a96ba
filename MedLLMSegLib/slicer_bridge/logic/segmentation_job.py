"""The steps of a segmentation: a scan to the worker and its result into the scene, at the very
end and all at once.
"""

from __future__ import annotations

import queue
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from MedLLMSegLib.core.errors import Cancelled
from MedLLMSegLib.core.segmentation import Segmentation
from MedLLMSegLib.core.volume import Volume, check_scan
from MedLLMSegLib.registry.catalogue import DEFAULT_SEGMENTER
from MedLLMSegLib.slicer_bridge.scene.restore_point import Keep
from MedLLMSegLib.slicer_bridge.scene.segments import Drawing, draw
from MedLLMSegLib.slicer_bridge.scene.volume_nodes import read_volume, write_drawing
from MedLLMSegLib.worker.array_files import load_segmentation, save_volume

from . import sequence_job as sequences
from .jobs import Job, Removed, Runner, Steps, calm


@dataclass(frozen=True)
class Options:
    """What a run is asked for, as in `MedLLMSegLib.segment`.

    segmentationNode: the node to update, None for a new one. wholeSequence: a scan that a sequence
    browser shows is segmented with all images of its sequence; False for the image that is shown
    alone.
    """

    segmentationNode: Any = None
    model: Any = DEFAULT_SEGMENTER
    side: str | None = None
    device: str = "auto"
    uncertainty: bool = False
    augment: int = 0
    wholeSequence: bool = True


@dataclass(frozen=True, eq=False)
class Found:
    """A result as it goes into the scene. uncertainty: float32 [k, j, i] or None. segmentation:
    without its maps.
    """

    drawing: Drawing
    uncertainty: np.ndarray | None
    segmentation: Segmentation


class Segmenting:
    """Segmentations through a `Runner`.

    function: segments in a thread of this process instead of the worker; as `MedLLMSegLib.segment`.
    onResult: gets the `Segmentation` of each finished scan, without its maps.
    """

    def __init__(self, runner: Runner, keep: Keep, onResult: Callable[[Segmentation], None]):
        self.runner, self.keep, self.onResult = runner, keep, onResult
        self.function: Callable | None = None

    def steps(self, job: Job, volumeNode, options: Options) -> Steps:
        """Steps: segment a volume node, or the sequence that it belongs to."""
        source = sequences.source_of(volumeNode, options.wholeSequence)
        if source is not None:
            yield from sequences.steps(self, job, source, options)
            return
        volume, scene = read_volume(volumeNode), volumeNode.GetScene()
        still = lambda: require(volumeNode)
        found = yield from self.found_in(
            volume, options, job, still, lambda *how: self.runner.report(job, *how)
        )
        yield from calm(scene, still)
        node, before = write_drawing(
            found.drawing, volumeNode, options.segmentationNode, options.side, found.uncertainty
        )
        self.keep.remember(node, before)
        self.onResult(found.segmentation)
        job.segmentationNode, job.rows, job.notes = node, found.drawing.rows, found.drawing.notes
        job.uncertaintyNode = _uncertainty(node) if found.uncertainty is not None else None

    def found_in(
        self,
        volume: Volume,
        options: Options,
        job: Job,
        still: Callable[[], None],
        report: Callable,
    ) -> Steps:
        """Steps: segment one image; returns what was `Found`. report: called with (stage,
        fraction, seconds left or None).
        """
        if self.function is not None:
            segmentation = yield from self._in_process(volume, options, job, still, report)
            return (yield from self.runner.in_thread(_found, segmentation))
        with self.runner.folder() as folder:
            yield from self.runner.in_thread(_hand_over, volume, folder / "volume")
            event = yield from self.runner.request(
                job,
                "segment",
                still,
                lambda event: report(event.stage, event.fraction, event.seconds_left),
                volume=str(folder / "volume"),
                output=str(folder / "result"),
                model=str(options.model),
                device=options.device,
                side=options.side,
                probabilities=False,
                uncertainty=options.uncertainty,
                augment=options.augment,
            )
            return (
                yield from self.runner.in_thread(lambda: _found(load_segmentation(event.folder)))
            )

    def _in_process(
        self,
        volume: Volume,
        options: Options,
        job: Job,
        still: Callable[[], None],
        report: Callable,
    ) -> Steps:
        said: queue.SimpleQueue = queue.SimpleQueue()

        def progress(stage: str, fraction: float) -> None:
            if not job.running or job.state == "cancelling":
                raise Cancelled
            said.put((stage, fraction, None))

        more = {
            name: value
            for name, value in (("uncertainty", options.uncertainty), ("augment", options.augment))
            if value
        }
        steps = self.runner.in_thread(
            self.function,
            volume,
            options.model,
            device=options.device,
            side=options.side,
            progress=progress,
            **more,
        )
        while True:
            try:
                next(steps)
            except StopIteration as end:
                _tell(said, report)
                if job.state == "cancelling":  # by the callback, though the work had ended by then
                    raise Cancelled from None
                return end.value
            _tell(said, report)
            still()
            yield


def _tell(said: queue.SimpleQueue, report: Callable) -> None:
    while not said.empty():
        report(*said.get())


def require(node) -> None:
    """Raise `Removed` for a scan that left its scene."""
    if node.GetScene() is None:
        raise Removed(
            "The scan was removed from the scene while it was being segmented; nothing was changed."
        )


def _hand_over(volume: Volume, folder) -> None:
    check_scan(volume)  # here, so that what no model can segment is said at once
    save_volume(volume, folder)


def _found(segmentation: Segmentation) -> Found:
    uncertainty = segmentation.uncertainty.array if segmentation.uncertainty else None
    return Found(
        draw(segmentation), uncertainty, replace(segmentation, uncertainty=None, probabilities=None)
    )


def _uncertainty(node):
    from MedLLMSegLib.slicer_bridge.scene.overlay import uncertainty_of

    return uncertainty_of(node)
