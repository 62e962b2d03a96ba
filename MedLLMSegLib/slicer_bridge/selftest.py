"""What MedLLMSegTest runs inside Slicer, from start to end and without a network.

Where Slicer's window is missing (slicer-core), all that needs no window runs all the same. A stand-in takes the network's
place; the worker with the shipped model is tried where its packages are installed, and none is installed for it.
"""
from __future__ import annotations

import threading
import time
from typing import Callable

import numpy as np
import slicer

from ..anatomy import hippocampus_structures
from ..errors import Cancelled, UserError
from ..structures import Segmentation
from . import install, selftest_panel, selftest_scene

BALLS = {1: (6, 8, 8), 2: (6, 20, 8), 3: (6, 8, 26), 4: (6, 20, 26)}  # label -> centre (k, j, i)
SHAPE, RADIUS_VOX, GREY = (12, 28, 34), 4, 100
C, S = 0.96, 0.28
MATRIX = np.array([[-1.1 * C, -1.3 * S, 0, 30], [1.1 * S, -1.3 * C, 0, 25], [0, 0, 2.5, -12], [0, 0, 0, 1.0]])  # oblique, LPS
NAMES = [s.name for s in hippocampus_structures(lateral=True)]
KEPT = ("vtkMRMLStorableNode", "vtkMRMLDisplayNode", "vtkMRMLStorageNode")  # views and other modules' singletons come and go


class StandIn:
    """Finds the phantom's balls by their grey values. slow: it takes its time, and can be cancelled. fails: or fails."""

    def __init__(self, slow: bool = False, fails: Exception | None = None, only: tuple[int, ...] = (1, 2, 3, 4)):
        self.slow, self.fails, self.only, self.begun = slow, fails, only, threading.Event()

    def __call__(self, volume, model, *, progress, uncertainty=False, **options):
        for n in range(500 if self.slow else 5):
            progress("segment", n / 500)
            self.begun.set()
            time.sleep(0.02)
        if self.fails:
            raise self.fails
        labels = np.zeros(volume.array.shape, np.uint8)
        for label in self.only:
            labels[volume.array == label * GREY] = label
        unsure = volume.with_array((labels > 0).astype(np.float32) / 2) if uncertainty else None
        return Segmentation(volume.with_array(labels), hippocampus_structures(lateral=True), {1: 0.9}, model=str(model),
                            uncertainty=unsure)


class Case:
    """What the checks share. test: a unittest.TestCase. window: whether this is Slicer with its window."""

    def __init__(self, test, logicClass):
        self.test, self.logicClass, self.logics, self.untested = test, logicClass, [], []
        self.application = getattr(slicer, "app", None)
        self.window = self.application is not None and slicer.util.mainWindow() is not None

    def logic(self, segment: Callable | None = None):
        """A logic of its own, which is closed after the check."""
        self.logics.append(self.logicClass(segment))
        return self.logics[-1]

    def scan(self, name: str = "MedLLMSeg phantom", labels=(1, 2, 3, 4)):
        """A volume node with a ball of its own grey value for each label."""
        return slicer.util.addVolumeFromArray(self.phantom(labels), ijkToRAS=MATRIX, name=name)

    def phantom(self, labels=(1, 2, 3, 4)) -> np.ndarray:
        array, places = np.zeros(SHAPE, np.int16), np.stack(np.indices(SHAPE), -1)
        for label in labels:
            array[np.linalg.norm(places - BALLS[label], axis=-1) <= RADIUS_VOX] = label * GREY
        return array

    def wait(self, until: Callable[[], bool], seconds: float = 60) -> None:
        """Let Slicer go on, as if the user looked on, until something is so."""
        end = time.monotonic() + seconds
        while not until():
            self.test.assertLess(time.monotonic(), end, "Slicer waited in vain")
            if self.application is not None:
                self.application.processEvents()  # the logic's timer among them
            else:
                for logic in self.logics:
                    logic.poll()
            time.sleep(0.01)

    def ended(self, job, seconds: float = 60):
        self.wait(lambda: not job.running, seconds)
        return job

    def voxels(self, node, name: str, scan) -> np.ndarray:
        segment_id = node.GetSegmentation().GetSegmentIdBySegmentName(name)
        self.test.assertTrue(segment_id, f"there is no segment {name}")
        return slicer.util.arrayFromSegmentBinaryLabelmap(node, segment_id, scan)

    def names(self, node) -> list[str]:
        return [node.GetSegmentation().GetSegment(i).GetName() for i in node.GetSegmentation().GetSegmentIDs()]

    def nodes(self) -> set[str]:
        """The ids of all nodes that hold data or show some."""
        nodes = map(slicer.mrmlScene.GetNthNode, range(slicer.mrmlScene.GetNumberOfNodes()))
        return {node.GetID() for node in nodes if any(node.IsA(kind) for kind in KEPT)}


def run(test, logicClass) -> list[str]:
    """Run every check in an empty scene of its own; the first that fails raises AssertionError.

    Returns, and prints, what could not be tested here and why.
    """
    case = Case(test, logicClass)
    for check in (*CHECKS, *selftest_scene.CHECKS, *selftest_panel.CHECKS):
        print(f"MedLLMSegTest: {check.__doc__.splitlines()[0]}", flush=True)
        slicer.mrmlScene.Clear()
        try:
            check(case)
        finally:
            while case.logics:
                case.logics.pop().close()
    slicer.mrmlScene.Clear()
    for text in case.untested:
        print(f"MedLLMSegTest: NOT TESTED: {text}", flush=True)
    return case.untested


def check_blocking(case: Case) -> None:
    """A scan becomes a named segmentation, voxel on voxel, from the console without the panel."""
    scan, test, told = case.scan(), case.test, []
    node = case.logic(StandIn()).segment(scan, progress=lambda stage, fraction: told.append(stage))
    test.assertEqual(case.names(node), NAMES)
    test.assertIn("segment", told)
    for label, name in enumerate(NAMES, start=1):
        test.assertTrue(np.array_equal(case.voxels(node, name, scan) > 0, case.phantom() == label * GREY), name)
    test.assertIs(node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole()), scan)
    test.assertIsNotNone(node.GetDisplayNode())


def check_terminology(case: Case) -> None:
    """Each segment carries the codes of its structure, as Slicer's own terminologies read them."""
    node = case.logic(StandIn()).segment(case.scan())
    import vtk

    for segment_id, side in zip(node.GetSegmentation().GetSegmentIDs(), ("Left", "Left", "Right", "Right")):
        segment, entry = node.GetSegmentation().GetSegment(segment_id), slicer.vtkSlicerTerminologyEntry()
        text = vtk.reference("")
        case.test.assertTrue(segment.GetTag(segment.GetTerminologyEntryTagName(), text))
        case.test.assertTrue(slicer.modules.terminologies.logic().DeserializeTerminologyEntry(str(text), entry))
        case.test.assertEqual(entry.GetTypeObject().GetCodeMeaning(), "Hippocampus")
        case.test.assertEqual(entry.GetTypeModifierObject().GetCodeMeaning(), side)


def check_async(case: Case) -> None:
    """A run returns at once, tells how far it is, and Slicer goes on meanwhile."""
    told, done, before = [], [], case.nodes()
    job = case.logic(StandIn()).segmentAsync(case.scan(), lambda *how: told.append(how), done.append)
    case.test.assertEqual((job.state, told), ("running", []))
    case.ended(job)
    case.test.assertEqual((job.state, done), ("done", [job]), job.message)
    case.test.assertEqual([name for name, *_ in job.rows], NAMES)
    case.test.assertTrue(all(len(how) == 3 for how in told) and told)
    case.test.assertIn(job.segmentationNode.GetID(), case.nodes() - before)


def check_cancel(case: Case) -> None:
    """Cancel leaves the scene as it was, within two seconds, and the next run works."""
    scan, slow = case.scan(), StandIn(slow=True)
    logic = case.logic(slow)
    before, job = case.nodes(), logic.segmentAsync(scan)
    case.wait(slow.begun.is_set)
    began = time.monotonic()
    logic.cancel(job)
    case.ended(job, 10)
    case.test.assertLess(time.monotonic() - began, 2)
    case.test.assertEqual((job.state, job.message), ("cancelled", ""))
    case.test.assertEqual(case.nodes(), before)
    logic.segmentFunction = StandIn()
    case.test.assertEqual(case.names(logic.segment(scan)), NAMES)


def check_failure(case: Case) -> None:
    """What goes wrong is one sentence, and leaves the scene as it was."""
    scan, sentence = case.scan(), "The scan is upside down; turn it and try again."
    node = case.logic(StandIn()).segment(scan)
    before = case.nodes()
    for error, message in ((UserError(sentence), sentence), (ValueError("boom"), "ValueError: boom")):
        job = case.ended(case.logic(StandIn(fails=error)).segmentAsync(scan, segmentationNode=node))
        case.test.assertEqual(job.state, "failed")
        case.test.assertIn(message, job.message)
        case.test.assertEqual((case.nodes(), case.names(node)), (before, NAMES))
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    with case.test.assertRaises(UserError):
        case.logic(StandIn()).segment(empty)
    with case.test.assertRaises(Cancelled):
        case.logic(StandIn(fails=Cancelled())).segment(scan)


def check_scene(case: Case) -> None:
    """Closing the scene, or deleting the scan, while a run goes on leaves nothing behind."""
    for leave in (lambda scan: slicer.mrmlScene.Clear(), slicer.mrmlScene.RemoveNode):
        scan, slow = case.scan(), StandIn(slow=True)
        job = case.logic(slow).segmentAsync(scan)
        case.wait(slow.begun.is_set)
        leave(scan)
        case.ended(job, 10)
        case.test.assertEqual(job.state, "cancelled")
        case.test.assertIsNone(slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSegmentationNode"))


def check_restore(case: Case) -> None:
    """Restore brings back what a run overwrote, and again what it restored."""
    scan = case.scan()
    logic = case.logic(StandIn())
    node = logic.segment(scan)
    case.test.assertFalse(logic.canRestore(node))
    node.GetSegmentation().AddEmptySegment("mine", "Mine")
    logic.segmentFunction = StandIn(only=(1,))
    logic.segment(scan, node)
    new, old = [NAMES[0], "Mine"], [*NAMES, "Mine"]
    case.test.assertEqual(case.names(node), new)
    for expected in (old, new, old):
        case.test.assertTrue(logic.canRestore(node))
        logic.restore(node)
        case.test.assertEqual(case.names(node), expected)


def check_uncertainty(case: Case) -> None:
    """The map of where the model is unsure lies over the scan in the slice views."""
    scan = case.scan()
    logic = case.logic(StandIn())
    node = logic.segment(scan, uncertainty=True)
    shown = logic.showUncertainty(node, scan)
    case.test.assertEqual(slicer.util.arrayFromVolume(shown).max(), 0.5)
    views = [slicer.mrmlScene.GetNthNodeByClass(n, "vtkMRMLSliceCompositeNode")
             for n in range(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSliceCompositeNode"))]
    case.test.assertTrue(views or not case.window)
    case.test.assertTrue(all(view.GetForegroundVolumeID() == shown.GetID() for view in views))
    logic.showUncertainty(node, show=False)
    case.test.assertTrue(all(view.GetForegroundVolumeID() != shown.GetID() for view in views))


def check_copies(case: Case) -> None:
    """What Copy as Python and Copy as command give is understood by Python and by the command line."""
    logic, scan = case.logic(), case.scan()
    compile(logic.pythonLines(scan, side="left"), "console", "exec")
    case.test.assertIn("medllmseg segment", logic.commandLine(scan))
    case.test.assertIn("hippocampus-t1", [choice.entry.id for choice in logic.models()])


def check_worker(case: Case) -> None:
    """The worker's own process: the shipped model on a phantom, or one sentence where its packages are missing."""
    missing, logic, told = install.missing_packages(), case.logic(), []
    scan = case.scan()
    before = case.nodes()
    job = logic.segmentAsync(scan, lambda *how: told.append(how[0]), side="left", device="cpu")
    case.ended(job, 300)
    said = f"{job.message} {job.details}"
    case.test.assertIn(job.state, ("done", "failed"), said)
    case.test.assertTrue(told, said)  # the process started and answered
    if missing:
        case.untested.append(f"the shipped model in the worker, as packages are missing: {'; '.join(missing)}")
        case.test.assertEqual(job.state, "failed")
    if job.state == "failed":  # without packages, or as a phantom is no hippocampus
        case.test.assertEqual(job.details, "", said)  # something that was expected
        case.test.assertEqual(case.nodes(), before)
    again = logic.segmentAsync(scan, side="left", device="cpu")  # the same process takes it
    case.wait(lambda: again.stage != "" or not again.running)
    began = time.monotonic()
    logic.cancel(again)
    case.ended(again, 10)
    case.test.assertLess(time.monotonic() - began, 3)


CHECKS = (check_blocking, check_terminology, check_async, check_cancel, check_failure, check_scene, check_restore,
          check_uncertainty, check_copies, check_worker)
