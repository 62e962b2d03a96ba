"""The whole of it on Slicer's own nodes: the template read by Slicer, the shipped models, a
segmentation node.
"""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip(
    "slicer_core", reason="slicer-core is not installed: NOTHING ABOUT MRML WAS TESTED"
)
import slicer

from MedLLMSegLib.slicer_bridge.logic.module_logic import SegmentationLogic


@pytest.mark.slow
def test_the_template_becomes_a_segmentation_node(scene, add_transform, tmp_path):
    folder = Path(importlib.util.find_spec("nilearn").origin).parent / "datasets/data"
    volumes = slicer.modules.volumes.logic()
    scan = volumes.AddArchetypeVolume(str(next(folder.glob("mni_icbm152_t1_*.nii.gz"))), "template")
    turn = np.array(
        [[0.94, -0.34, 0, 12], [0.34, 0.94, 0, -7], [0, 0, 1, 5], [0, 0, 0, 1.0]]
    )  # 20 degrees, shifted
    scan.SetAndObserveTransformNodeID(add_transform(turn).GetID())
    logic = SegmentationLogic()
    node = logic.segment(scan, model="hippocampus-t1")
    centres = {
        node.GetSegmentation().GetSegment(i).GetName(): np.array(node.GetSegmentCenterRAS(i))
        for i in node.GetSegmentation().GetSegmentIDs()
    }
    assert list(centres) == [
        "Left hippocampus (anterior)",
        "Left hippocampus (posterior)",
        "Right hippocampus (anterior)",
        "Right hippocampus (posterior)",
    ]
    for side, x in (("Left", -26), ("Right", 26)):  # MNI space, carried along by the transform
        middle = (
            centres[f"{side} hippocampus (anterior)"] + centres[f"{side} hippocampus (posterior)"]
        ) / 2
        assert np.linalg.norm(middle - (turn @ (x, -24, -13, 1))[:3]) < 7, middle
    assert all(1 < ml < 4 for ml in logic.result.volumes_ml.values())
