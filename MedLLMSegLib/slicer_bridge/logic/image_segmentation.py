"""One image through the network: what a scan and every image of a sequence have in common."""

from __future__ import annotations

import queue
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from MedLLMSegLib.core.errors import Cancelled, UserError
from MedLLMSegLib.core.segmentation import Segmentation
from MedLLMSegLib.core.volume import Volume, check_scan
from MedLLMSegLib.engines.engine_names import (
    ENGINES,
    TITLES,
    TORCH,
    engine_version,
    missing_packages,
)
from MedLLMSegLib.metrics.heart_function import Person
from MedLLMSegLib.registry.catalogue import DEFAULT_SEGMENTER
from MedLLMSegLib.reporting.sentences import scan_sentences
from MedLLMSegLib.segmentation.region import Region, box_in
from MedLLMSegLib.segmentation.selection import names_of
from MedLLMSegLib.slicer_bridge.scene.restore_point import RestorePoints
from MedLLMSegLib.slicer_bridge.scene.segments import Drawing, draw
from MedLLMSegLib.worker.array_files import load_segmentation, save_volume
from MedLLMSegLib.worker.protocol import Event

from .counted_progress import ReportProgress
from .job_runner import JobRunner
from .jobs import Job, Steps


@dataclass(frozen=True)
class SegmentJobOptions:
    """The options of a segmentation, as in `MedLLMSegLib.segment`.

    segmentationNode: the node to update, None for a new one. engine: "torch", or "openvino" or
    "onnx" on the processor. wholeSequence: a scan that a sequence
    browser shows is segmented with all images of its sequence; False for the image that is shown
    alone. structures: names or groups; segments of the model's other structures stay as they are.
    withModel: "hippocampus-t1" to divide the hippocampi of a model of the brain into their parts.
    regionNode: a vtkMRMLMarkupsROINode that limits the search, None for the whole scan. region:
    that box, as it is when the job begins. furtherNodes: the other images of the patient, in the
    model's order, for a model that takes several. heightCm, weightKg: of the person, both or
    neither; of a cine of the heart every figure is then also given by body surface.
    """

    segmentationNode: Any = None
    model: Any = DEFAULT_SEGMENTER
    side: str | None = None
    device: str = "auto"
    engine: str = TORCH
    uncertainty: bool = False
    augment: int = 0
    wholeSequence: bool = True
    structures: str | Sequence[str] = ()
    withModel: str | None = None
    regionNode: Any = None
    region: Region | None = None
    heightCm: float | None = None
    weightKg: float | None = None
    furtherNodes: Sequence[Any] = ()

    def __post_init__(self) -> None:
        Person(self.heightCm, self.weightKg)  # refuses what no person has, before anything begins
        if self.engine not in ENGINES:
            raise UserError(f'"{self.engine}" is not an engine; use {", ".join(ENGINES)}.')
        object.__setattr__(self, "structures", names_of(self.structures))

    @property
    def person(self) -> Person:
        """Whose scan it is, as far as is known. Raises `UserError` for what no person has."""
        return Person(self.heightCm, self.weightKg)


@dataclass(frozen=True, eq=False)
class ImageResult:
    """The result of one image, ready for the scene.

    uncertainty: float32 [k, j, i] or None. segmentation: without its maps. sentences: what was
    measured, in plain sentences.
    """

    drawing: Drawing
    uncertainty: np.ndarray | None
    segmentation: Segmentation
    sentences: tuple[str, ...] = ()


class ImageSegmenter:
    """Segments images for jobs, and holds what those jobs share.

    onResult: gets the `Segmentation` of each finished scan, without its maps.
    function: segments in a thread of this process instead of the worker; called like
        `MedLLMSegLib.segment`.
    """

    def __init__(
        self,
        runner: JobRunner,
        restore_points: RestorePoints,
        onResult: Callable[[Segmentation], None],
    ):
        self.runner, self.restore_points, self.onResult = runner, restore_points, onResult
        self.function: Callable | None = None

    def steps(
        self,
        volume: Volume,
        options: SegmentJobOptions,
        job: Job,
        check_nodes: Callable[[], None],
        report: ReportProgress,
        further: Sequence[Volume] = (),
    ) -> Steps:
        """Steps: segment one image; returns an `ImageResult`.

        check_nodes: as for `JobRunner.request`. further: the other images of the patient.
        """
        _require_packages(options.engine)
        if options.region is not None:
            box_in(volume, options.region)  # one beside the scan is refused before anything begins
        function = self.function
        search = self._in_worker if function is None else partial(self._in_process, function)
        segmentation = yield from search([volume, *further], options, job, check_nodes, report)
        segmentation = _with_engine(segmentation, options.engine)
        result = yield from self.runner.in_thread(_image_result, segmentation)
        drawing = replace(result.drawing, partial=bool(options.structures))
        return replace(result, drawing=drawing)

    def _in_worker(
        self,
        images: Sequence[Volume],
        options: SegmentJobOptions,
        job: Job,
        check_nodes: Callable[[], None],
        report: ReportProgress,
    ) -> Steps:
        """Steps: segment in the worker; returns its `Segmentation`."""

        def report_event(event: Event) -> None:
            report(event.stage, event.fraction, event.seconds_left)

        corners = [list(corner) for corner in options.region.corners_ras] if options.region else []
        with self.runner.folder() as folder:
            places = [folder / "volume", *(folder / f"image{n}" for n in range(1, len(images)))]
            for volume, place in zip(images, places, strict=True):
                yield from self.runner.in_thread(_save_checked, volume, place)
            event = yield from self.runner.request(
                job,
                "segment",
                check_nodes,
                report_event,
                volume=str(places[0]),
                **({"further": [str(place) for place in places[1:]]} if places[1:] else {}),
                output=str(folder / "result"),
                model=str(options.model),
                device=options.device,
                side=options.side,
                probabilities=False,
                uncertainty=options.uncertainty,
                augment=options.augment,
                **({"engine": options.engine} if options.engine != TORCH else {}),
                **({"structures": list(options.structures)} if options.structures else {}),
                **({"with_model": str(options.withModel)} if options.withModel else {}),
                **({"region": corners} if corners else {}),
            )
            return (yield from self.runner.in_thread(load_segmentation, event.folder))

    def _in_process(
        self,
        function: Callable,
        images: Sequence[Volume],
        options: SegmentJobOptions,
        job: Job,
        check_nodes: Callable[[], None],
        report: ReportProgress,
    ) -> Steps:
        """Steps: segment with a function of this process; returns its `Segmentation`."""
        messages: queue.SimpleQueue = queue.SimpleQueue()  # from the thread to this one

        def progress(stage: str, fraction: float) -> None:
            if not job.running or job.state == "cancelling":
                raise Cancelled
            messages.put((stage, fraction, None))

        optional = {
            "engine": options.engine if options.engine != TORCH else None,
            "uncertainty": options.uncertainty,
            "augment": options.augment,
            "structures": options.structures,
            "with_model": options.withModel,
            "region": options.region,
        }
        steps = self.runner.in_thread(
            function,
            images[0] if len(images) == 1 else list(images),
            options.model,
            device=options.device,
            side=options.side,
            progress=progress,
            **{name: value for name, value in optional.items() if value},
        )
        while True:
            try:
                next(steps)
            except StopIteration as end:
                _report_all(messages, report)
                if job.state == "cancelling":  # by the callback, after the work had ended
                    raise Cancelled from None
                return end.value
            _report_all(messages, report)
            check_nodes()
            yield


def _require_packages(engine: str) -> None:
    """Raise `UserError` where an engine's packages are not in Slicer's Python, which the worker
    runs, too.
    """
    if engine != TORCH and (missing := missing_packages(engine)):
        packages = " ".join(missing)
        raise UserError(
            f"The engine {TITLES[engine]} needs what is not installed in Slicer ({packages}); run"
            f' slicer.util.pip_install("{packages}") in the Python console, or choose the engine'
            " PyTorch."
        )


def _with_engine(segmentation: Segmentation, engine: str) -> Segmentation:
    """A result that says what computed it, where that was not PyTorch."""
    if engine == TORCH:
        return segmentation
    note = f"Computed by {engine_version(engine)} in place of PyTorch."
    return replace(segmentation, notes=(*segmentation.notes, note))


def _report_all(messages: queue.SimpleQueue, report: ReportProgress) -> None:
    while not messages.empty():
        report(*messages.get())


def _save_checked(volume: Volume, folder) -> None:
    check_scan(volume)  # here already, so that a scan that no model can segment is refused at once
    save_volume(volume, folder)


def _image_result(segmentation: Segmentation) -> ImageResult:
    uncertainty = segmentation.uncertainty.array if segmentation.uncertainty else None
    return ImageResult(
        draw(segmentation),
        uncertainty,
        replace(segmentation, uncertainty=None, probabilities=None),
        scan_sentences(segmentation),
    )
