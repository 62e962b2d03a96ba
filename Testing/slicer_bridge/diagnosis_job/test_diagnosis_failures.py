"""A diagnosis that is cancelled or fails leaves nothing behind."""

import numpy as np
import pytest

pytest.importorskip(
    "slicer_core", reason="slicer-core is not installed: NOTHING ABOUT MRML WAS TESTED"
)
import slicer

from MedLLMSegLib import Cancelled, UserError
from MedLLMSegLib.slicer_bridge.scene.map_colours import COLOURS
from Testing.slicer_bridge.stand_in import in_stage, take_along


def node_list(scene):
    """(ID, name) of all nodes but the maps' colours: made once for a scene, they stay."""
    scene.GetSubjectHierarchyNode()  # which makes it
    nodes = (scene.GetNthNode(n) for n in range(scene.GetNumberOfNodes()))
    return [(node.GetID(), node.GetName()) for node in nodes if not node.GetAttribute(COLOURS)]


def test_cancelled_while_it_runs(scene, logic, client, flat, bundles):
    client.hold, before = True, node_list(scene)
    ended = []
    job = logic.diagnoseAsync(flat, onDone=ended.append, model=bundles["flat"])
    take_along(logic, job, in_stage("load"))
    logic.cancel(job)
    assert job.state == "cancelling"
    take_along(logic, job)
    assert job.state == "cancelled"
    assert ended == [job]
    assert node_list(scene) == before
    assert job.tableNode is None
    client.hold = False
    assert logic.diagnose(flat, bundles["flat"], device="cpu")[0] is not None


def test_cancelled_from_the_progress_callback_and_the_image_removed(
    scene, logic, client, flat, bundles
):
    def cancel(stage, fraction):
        raise Cancelled

    before = node_list(scene)
    client.hold = True
    with pytest.raises(Cancelled):
        logic.diagnose(flat, bundles["flat"], cancel)
    assert node_list(scene) == before
    job = take_along(logic, logic.diagnoseAsync(flat, model=bundles["flat"]), in_stage("load"))
    scene.RemoveNode(flat)
    take_along(logic, job)
    assert job.state == "cancelled"
    assert "removed" in job.message
    assert not scene.GetNumberOfNodesByClass("vtkMRMLTableNode")


def test_refusals_are_one_sentence_and_change_nothing(
    scene, logic, client, flat, bundles, add_volume
):
    deep = add_volume(np.random.default_rng(0).normal(0, 100, (5, 40, 40)), name="scan")
    before = node_list(scene)
    for node, options, words in (
        (deep, {"model": bundles["flat"]}, "is a 3D scan"),
        (None, {}, "No image is selected"),
        (flat, {"model": "hippocampus-t1"}, "outlines structures"),
        (flat, {"model": "gone"}, "no model called"),
        (flat, {"model": bundles["flat"], "record": {"age": 3}}, "reads images alone"),
    ):
        with pytest.raises(UserError, match=words):
            logic.diagnose(node, **({"model": bundles["flat"]} | options))
    assert node_list(scene) == before


@pytest.mark.parametrize("step", ["map_node", "name_map", "place_next_to"])
def test_a_failure_while_it_is_written_takes_all_back(
    scene, logic, flat, bundles, monkeypatch, step
):
    from MedLLMSegLib.slicer_bridge.logic import diagnosis_job as diagnoses

    def fail(*arguments):
        raise MemoryError

    hierarchy = scene.GetSubjectHierarchyNode()
    hierarchy.CreateItem(hierarchy.GetSceneItemID(), flat)
    before, items = node_list(scene), hierarchy.GetNumberOfItems()
    with monkeypatch.context() as broken:
        broken.setattr(diagnoses, step, fail)
        with pytest.raises(MemoryError):
            logic.diagnose(flat, bundles["flat"], device="cpu")
    assert node_list(scene) == before
    assert hierarchy.GetNumberOfItems() == items


def node_ids(scene):
    """The nodes that somebody made; Slicer's own come when they are first asked for."""
    nodes = (scene.GetNthNode(n) for n in range(scene.GetNumberOfNodes()))
    made = (n for n in nodes if not n.GetSingletonTag())
    return {n.GetID() for n in made if not n.IsA("vtkMRMLSubjectHierarchyNode")}


def test_an_image_that_changed_its_size_meanwhile(scene, logic, client, flat, bundles):
    client.hold = True
    before = node_ids(scene)
    job = take_along(logic, logic.diagnoseAsync(flat, model=bundles["flat"]), in_stage("load"))
    slicer.util.updateVolumeFromArray(flat, np.zeros((1, 50, 50), np.int16))
    client.hold = False
    take_along(logic, job)
    assert job.state == "failed"
    assert "was changed" in job.message
    assert node_ids(scene) == before
