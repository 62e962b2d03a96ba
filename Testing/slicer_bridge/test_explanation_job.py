"""A structure of a result is explained: the map lies over the scan, beside the segmentation."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip(
    "slicer_core", reason="slicer-core is not installed: NOTHING ABOUT MRML WAS TESTED"
)
import slicer

from MedLLMSegLib.anatomy.brain import brain_structures
from MedLLMSegLib.anatomy.structures import hippocampus_parts_in_brain, hippocampus_structures
from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.segmentation import Segmentation
from MedLLMSegLib.slicer_bridge.logic.module_logic import SegmentationLogic
from MedLLMSegLib.slicer_bridge.scene.map_roles import is_map
from MedLLMSegLib.slicer_bridge.scene.overlay import evidence_of
from MedLLMSegLib.slicer_bridge.scene.segments import draw
from MedLLMSegLib.slicer_bridge.scene.volume_nodes import read_volume
from MedLLMSegLib.worker.array_files import load_volume, save_explanation
from MedLLMSegLib.worker.protocol import Event
from Testing.helpers.segmentation_jobs import TURN, scene_contents
from Testing.slicer_bridge.stand_in import GRID, OBLIQUE, StandInClient, in_stage, take_along


class ExplainingClient(StandInClient):
    """Its evidence is 1 in the scan's brightest voxel."""

    def _end(self, number, do, fields):
        if do != "explain" or self.fails:
            return super()._end(number, do, fields)
        volume = load_volume(fields["volume"])
        evidence = (volume.array == volume.array.max()).astype(np.float32)
        result = SimpleNamespace(
            evidence=volume.with_array(evidence),
            structure=fields["structure"],
            facts=lambda: f"model {fields['model']}",
            sentences=lambda: ("62 % of it lies inside.",),
        )
        folder = save_explanation(result, Path(fields["output"]))
        return Event(number, "result", folder=str(folder))


BRAIN_STEM = next(s for s in brain_structures() if s.key == "brain_stem")


@pytest.fixture
def scan(add_volume, add_transform):
    array = np.random.default_rng(0).integers(0, 400, GRID).astype(np.int16)
    array[5, 6, 7] = 900
    node = add_volume(array, OBLIQUE, "MRHead")
    node.SetAndObserveTransformNodeID(add_transform(TURN).GetID())
    return node


@pytest.fixture
def client():
    return ExplainingClient()


@pytest.fixture
def logic(client):
    logic = SegmentationLogic(makeClient=lambda: client)
    yield logic
    logic.close()


def test_the_map_of_a_structure_lies_over_its_scan(scene, scan, logic, client):
    result = logic.segment(scan)
    node = logic.explain(result, "Left hippocampus")
    assert client.requests[-1][0] == "explain"
    assert client.requests[-1][1]["structure"] == "Left hippocampus"
    assert client.requests[-1][1]["model"] == client.requests[0][1]["model"]
    assert node.GetName() == "MRHead evidence"
    assert node is evidence_of(result)
    assert is_map(node)
    assert node.GetTransformNodeID() == scan.GetTransformNodeID()
    assert "62 % of it lies inside." in node.GetDescription()
    assert np.argwhere(slicer.util.arrayFromVolume(node)).tolist() == [[5, 6, 7]]
    assert logic.showEvidence(result) is node
    again = logic.explain(result, "Right hippocampus")
    assert again is node  # one map for a segmentation
    assert "Right hippocampus" in node.GetDescription()


def test_the_model_that_drew_a_structure_is_asked_for_it(scene, scan, logic, client):
    """Of a segmentation into which two models drew."""
    result = logic.segment(scan, model="hippocampus-t1")
    client.segment = lambda volume, model, **_options: Segmentation(
        volume.with_array(np.full(GRID, BRAIN_STEM.label, np.uint8)), (BRAIN_STEM,), model=model
    )
    logic.segment(scan, result, model="brain-mr")
    asked = {
        "Brain stem": "brain-mr",
        "Left hippocampus (anterior)": "hippocampus-t1",
        "left_posterior": "hippocampus-t1",
        "Right hippocampus": "hippocampus-t1",
    }
    for structure, model in asked.items():
        logic.explain(result, structure)
        assert client.requests[-1][1]["model"] == model
    logic.explain(result, "Brain stem", model="mine")
    assert client.requests[-1][1]["model"] == "mine"


def test_parts_inside_the_brain_are_told_from_those_of_their_own_model(scan):
    labels = np.full(GRID, 184, np.uint8)
    labels[0] = 16
    structures = (BRAIN_STEM, *hippocampus_parts_in_brain("left", "deep grey"))
    volume = read_volume(scan)
    divided = draw(Segmentation(volume.with_array(labels), structures, model="brain-mr"))
    assert divided.inserted == ("Left hippocampus (anterior)",)
    labels[...] = 1
    own = Segmentation(volume.with_array(labels), hippocampus_structures(lateral=True))
    assert draw(own).inserted == ()


def test_a_new_run_takes_the_map_of_the_segments_before(scene, scan, logic):
    result = logic.segment(scan)
    logic.explain(result, "Left hippocampus")
    logic.segment(scan, result)
    assert evidence_of(result) is None
    with pytest.raises(UserError, match="press Explain"):
        logic.showEvidence(result)
    logic.restore(result)
    assert evidence_of(result) is not None


def test_a_cancelled_or_failed_one_leaves_the_scene_as_it_was(scene, scan, logic, client):
    result = logic.segment(scan)
    before = scene_contents(scene)
    client.hold = "segment"
    job = logic.explainAsync(result, "Left hippocampus")
    take_along(logic, job, in_stage("segment"))
    logic.cancel(job)
    take_along(logic, job)
    assert job.state == "cancelled"
    client.hold, client.fails = None, {"kind": "user", "message": "It has no such structure."}
    with pytest.raises(UserError, match="no such structure"):
        logic.explain(result, "Spleen")
    assert scene_contents(scene) == before


def test_what_is_no_result_of_ours_is_refused_in_a_sentence(scene, scan, logic):
    with pytest.raises(UserError, match="press Segment first"):
        logic.explain(None, "Left hippocampus")
    foreign = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine")
    with pytest.raises(UserError, match="no longer in the scene"):
        logic.explain(foreign, "Left hippocampus")
    with pytest.raises(UserError, match="no segment that a model of ours drew"):
        logic.explain(foreign, "Left hippocampus", volumeNode=scan)
