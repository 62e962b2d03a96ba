"""What the checks of MedLLMSegTest share: a phantom, a stand-in for the network, and waiting."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
import slicer

from MedLLMSegLib.anatomy.structures import hippocampus_structures
from MedLLMSegLib.core.segmentation import Segmentation

BALLS = {1: (6, 8, 8), 2: (6, 20, 8), 3: (6, 8, 26), 4: (6, 20, 26)}  # label -> centre (k, j, i)
SHAPE, RADIUS_VOX, GREY = (12, 28, 34), 4, 100
COS, SIN = 0.96, 0.28
# oblique, LPS
MATRIX = np.array(
    [
        [-1.1 * COS, -1.3 * SIN, 0, 30],
        [1.1 * SIN, -1.3 * COS, 0, 25],
        [0, 0, 2.5, -12],
        [0, 0, 0, 1.0],
    ]
)
NAMES = [s.name for s in hippocampus_structures(lateral=True)]
# views and other modules' singletons come and go
DATA_CLASSES = ("vtkMRMLStorableNode", "vtkMRMLDisplayNode", "vtkMRMLStorageNode")


class PhantomSegmenter:
    """Segments the phantom's balls by their grey values, in place of the network.

    slow: takes ten seconds, and can be cancelled. fails: raised instead of a result. only: the
    labels that are found. begun: set when it has begun.
    """

    def __init__(
        self,
        slow: bool = False,
        fails: Exception | None = None,
        only: tuple[int, ...] = (1, 2, 3, 4),
    ):
        self.slow, self.fails, self.only = slow, fails, only
        self.begun = threading.Event()

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
        return Segmentation(
            volume.with_array(labels),
            hippocampus_structures(lateral=True),
            {1: 0.9},
            model=str(model),
            uncertainty=unsure,
        )


class SelfTestCase:
    """What the checks share.

    test: a unittest.TestCase. window: whether this is Slicer with its window. untested: what could
    not be tested here, and why.
    """

    def __init__(self, test, logicClass):
        self.test, self.logicClass = test, logicClass
        self.logics: list = []
        self.untested: list[str] = []
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
        array = np.zeros(SHAPE, np.int16)
        indices = np.moveaxis(np.indices(SHAPE), 0, -1)  # (k, j, i) of each voxel
        for label in labels:
            distance_vox = np.linalg.norm(indices - BALLS[label], axis=-1)
            array[distance_vox <= RADIUS_VOX] = label * GREY
        return array

    def wait(self, condition: Callable[[], bool], seconds: float = 60) -> None:
        """Process Slicer's events until a condition holds."""
        end = time.monotonic() + seconds
        while not condition():
            self.test.assertLess(time.monotonic(), end, "what was waited for did not happen")
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
        return [
            node.GetSegmentation().GetSegment(i).GetName()
            for i in node.GetSegmentation().GetSegmentIDs()
        ]

    def nodes(self) -> set[str]:
        """The ids of all nodes that hold data or show some."""
        nodes = map(slicer.mrmlScene.GetNthNode, range(slicer.mrmlScene.GetNumberOfNodes()))
        return {node.GetID() for node in nodes if any(node.IsA(kind) for kind in DATA_CLASSES)}
