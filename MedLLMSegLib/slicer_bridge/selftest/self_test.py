"""What MedLLMSegTest runs inside Slicer, end to end and without internet access.

Without Slicer's window (slicer-core), the checks that need none still run. A stand-in takes the
neural network's place. The worker with the shipped model is tried if its packages are installed;
none is installed for it.
"""

from __future__ import annotations

import time

import numpy as np
import slicer

from MedLLMSegLib.core.errors import Cancelled, UserError
from MedLLMSegLib.registry.catalogue import DEFAULT_SEGMENTER
from MedLLMSegLib.slicer_bridge.install import packages as install

from . import panel_steps, scene_steps, view_steps
from .expectations import GREY, NAMES, PhantomSegmenter, SelfTestCase
from .summary import Summary


def run(test, logicClass) -> list[str]:
    """Run every check in an empty scene; the first that fails raises AssertionError.

    Returns what could not be tested here and why. That is printed too, and a summary at the end,
    which the panel shows as well.
    """
    case, summary = SelfTestCase(test, logicClass), Summary()
    for check in (*CHECKS, *scene_steps.CHECKS, *panel_steps.CHECKS):
        with summary.check((check.__doc__ or check.__name__).splitlines()[0]):
            slicer.mrmlScene.Clear()
            try:
                check(case)
            finally:
                while case.logics:
                    case.logics.pop().close()
    slicer.mrmlScene.Clear()
    if view_steps.panel() is None:
        case.untested.append("the panel's states, as the module is not loaded")
    else:
        with summary.check("The panel shows each of its states"):
            view_steps.run(test)
    summary.passed(case.untested)
    return case.untested


def check_blocking(case: SelfTestCase) -> None:
    """A scan becomes a named segmentation, voxel on voxel, from the console without the panel."""
    scan, test = case.scan(), case.test
    stages: list[str] = []

    def progress(stage: str, fraction: float) -> None:
        stages.append(stage)

    node = case.logic(PhantomSegmenter()).segment(scan, progress=progress)
    test.assertEqual(case.names(node), NAMES)
    test.assertIn("segment", stages)
    for label, name in enumerate(NAMES, start=1):
        test.assertTrue(
            np.array_equal(case.voxels(node, name, scan) > 0, case.phantom() == label * GREY), name
        )
    test.assertIs(node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole()), scan)
    test.assertIsNotNone(node.GetDisplayNode())


def check_terminology(case: SelfTestCase) -> None:
    """Each segment carries the codes of its structure, as Slicer's own terminologies read them."""
    node = case.logic(PhantomSegmenter()).segment(case.scan())
    import vtk

    segments = node.GetSegmentation()
    sides = ("Left", "Left", "Right", "Right")
    for segment_id, side in zip(segments.GetSegmentIDs(), sides, strict=True):
        segment, entry = segments.GetSegment(segment_id), slicer.vtkSlicerTerminologyEntry()
        text = vtk.reference("")
        case.test.assertTrue(segment.GetTag(segment.GetTerminologyEntryTagName(), text))
        case.test.assertTrue(
            slicer.modules.terminologies.logic().DeserializeTerminologyEntry(str(text), entry)
        )
        case.test.assertEqual(entry.GetTypeObject().GetCodeMeaning(), "Hippocampus")
        case.test.assertEqual(entry.GetTypeModifierObject().GetCodeMeaning(), side)


def check_async(case: SelfTestCase) -> None:
    """A run returns at once and reports its progress, while Slicer stays responsive."""
    calls: list[tuple] = []
    done: list = []
    before = case.nodes()
    job = case.logic(PhantomSegmenter()).segmentAsync(
        case.scan(), lambda *progress: calls.append(progress), done.append
    )
    case.test.assertEqual((job.state, calls), ("running", []))
    case.ended(job)
    case.test.assertEqual((job.state, done), ("done", [job]), job.message)
    case.test.assertEqual([name for name, *_ in job.rows], NAMES)
    case.test.assertTrue(all(len(progress) == 3 for progress in calls) and calls)
    case.test.assertIn(job.segmentationNode.GetID(), case.nodes() - before)


def check_cancel(case: SelfTestCase) -> None:
    """Cancel frees the panel at once, leaves the scene as it was, and the next run works."""
    scan, slow = case.scan(), PhantomSegmenter(slow=True)
    logic = case.logic(slow)
    before, job = case.nodes(), logic.segmentAsync(scan)
    case.wait(slow.begun.is_set)
    began = time.monotonic()
    logic.cancel(job)
    case.ended(job, 10)
    case.test.assertLess(time.monotonic() - began, 2)
    case.test.assertEqual((job.state, job.message), ("cancelled", ""))
    case.test.assertEqual(case.nodes(), before)
    logic.segmentFunction = PhantomSegmenter()
    case.test.assertEqual(case.names(logic.segment(scan)), NAMES)


def check_failure(case: SelfTestCase) -> None:
    """What goes wrong is one sentence, and leaves the scene as it was."""
    scan, sentence = case.scan(), "The scan is upside down; turn it and try again."
    node = case.logic(PhantomSegmenter()).segment(scan)
    before = case.nodes()
    for error, message in (
        (UserError(sentence), sentence),
        (ValueError("boom"), "ValueError: boom"),
    ):
        job = case.ended(
            case.logic(PhantomSegmenter(fails=error)).segmentAsync(scan, segmentationNode=node)
        )
        case.test.assertEqual(job.state, "failed")
        case.test.assertIn(message, job.message)
        case.test.assertEqual((case.nodes(), case.names(node)), (before, NAMES))
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    with case.test.assertRaises(UserError):
        case.logic(PhantomSegmenter()).segment(empty)
    with case.test.assertRaises(Cancelled):
        case.logic(PhantomSegmenter(fails=Cancelled())).segment(scan)


def check_scene(case: SelfTestCase) -> None:
    """Closing the scene, or deleting the scan, while a run goes on leaves nothing behind."""
    for leave in (lambda scan: slicer.mrmlScene.Clear(), slicer.mrmlScene.RemoveNode):
        scan, slow = case.scan(), PhantomSegmenter(slow=True)
        job = case.logic(slow).segmentAsync(scan)
        case.wait(slow.begun.is_set)
        leave(scan)
        case.ended(job, 10)
        case.test.assertEqual(job.state, "cancelled")
        case.test.assertIsNone(slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSegmentationNode"))


def check_restore(case: SelfTestCase) -> None:
    """Restore brings back what a run overwrote, and again what it restored."""
    scan = case.scan()
    logic = case.logic(PhantomSegmenter())
    node = logic.segment(scan)
    case.test.assertFalse(logic.canRestore(node))
    node.GetSegmentation().AddEmptySegment("mine", "Mine")
    logic.segmentFunction = PhantomSegmenter(only=(1,))
    logic.segment(scan, node)
    new, old = [NAMES[0], "Mine"], [*NAMES, "Mine"]
    case.test.assertEqual(case.names(node), new)
    for expected in (old, new, old):
        case.test.assertTrue(logic.canRestore(node))
        logic.restore(node)
        case.test.assertEqual(case.names(node), expected)


def check_uncertainty(case: SelfTestCase) -> None:
    """The map of where the model is unsure lies over the scan in the slice views."""
    from MedLLMSegLib.slicer_bridge.scene.map_layer import layer_of

    scan = case.scan()
    logic = case.logic(PhantomSegmenter())
    node = logic.segment(scan, uncertainty=True)
    shown = logic.showUncertainty(node, scan)
    case.test.assertEqual(slicer.util.arrayFromVolume(shown).max(), 0.5)
    views = [
        slicer.mrmlScene.GetNthNodeByClass(n, "vtkMRMLSliceCompositeNode")
        for n in range(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSliceCompositeNode"))
    ]
    case.test.assertTrue(views or not case.window)
    layer = layer_of(shown).GetID()
    case.test.assertTrue(all(view.GetForegroundVolumeID() == layer for view in views))
    logic.showUncertainty(node, show=False)
    case.test.assertTrue(all(view.GetForegroundVolumeID() != layer for view in views))


def check_copies(case: SelfTestCase) -> None:
    """Copy as Python gives valid Python, and Copy as command a command."""
    logic, scan = case.logic(), case.scan()
    compile(logic.pythonLines(scan, side="left"), "console", "exec")
    case.test.assertIn("medllmseg segment", logic.commandLine(scan))
    case.test.assertIn(DEFAULT_SEGMENTER, [choice.entry.id for choice in logic.models()])


def check_worker(case: SelfTestCase) -> None:
    """The worker's own process: the shipped model on a phantom, or one sentence where its
    packages are missing.
    """
    missing, logic = install.missing_packages(), case.logic()
    stages: list[str] = []
    scan = case.scan()
    before = case.nodes()

    def onProgress(stage: str, fraction: float, secondsLeft: float | None) -> None:
        stages.append(stage)

    job = logic.segmentAsync(scan, onProgress, device="cpu")
    case.ended(job, 300)
    messages = f"{job.message} {job.details}"
    case.test.assertIn(job.state, ("done", "failed"), messages)
    case.test.assertTrue(stages, messages)  # the process started and answered
    if missing:
        case.untested.append(
            f"the shipped model in the worker, as packages are missing: {'; '.join(missing)}"
        )
        case.test.assertEqual(job.state, "failed")
    else:  # the network looked at the phantom
        case.test.assertIn("segment", [stage.split()[0] for stage in stages], messages)
    if job.state == "failed":  # without packages, or as a phantom is no brain
        case.test.assertEqual(job.details, "", messages)  # something that was expected
        case.test.assertEqual(case.nodes(), before)
    again = logic.segmentAsync(scan, device="cpu")  # the same process takes it
    case.wait(lambda: again.stage != "" or not again.running)
    began = time.monotonic()
    logic.cancel(again)
    case.ended(again, 10)
    case.test.assertLess(time.monotonic() - began, 3)


CHECKS = (
    check_blocking,
    check_terminology,
    check_async,
    check_cancel,
    check_failure,
    check_scene,
    check_restore,
    check_uncertainty,
    check_copies,
    check_worker,
)
