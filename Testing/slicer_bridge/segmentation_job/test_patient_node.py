"""All images of a patient in one node, for a model that takes several: a sequence or a vector
volume, through the logic and the worker's files.
"""

import shutil

import numpy as np
import pytest

pytest.importorskip(
    "slicer_core", reason="slicer-core is not installed: NOTHING ABOUT MRML WAS TESTED"
)
import slicer

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.slicer_bridge.scene.patient_images import count_images
from MedLLMSegLib.worker.array_files import load_volume
from Testing.helpers.segmentation_jobs import TURN, scene_contents
from Testing.helpers.two_channels import CHANNELS, two_channel_bundle
from Testing.slicer_bridge.stand_in import GRID, OBLIQUE, BallSegmenter, StandInClient

VALUES = (100, 200)  # of the voxels of the first image and of the second, but for one voxel


def _image(value):
    array = np.full(GRID, value, np.int16)
    array[0, 0, 0] = 0
    return array


class SeeingClient(StandInClient):
    """A worker that keeps the images that it was given."""

    def __init__(self):
        super().__init__(BallSegmenter())
        self.images = []

    def _end(self, number, do, fields):
        places = [fields["volume"], *fields.get("further", ())]
        self.images = [load_volume(place) for place in places]
        self.images = [image.with_array(image.array.copy()) for image in self.images]
        return super()._end(number, do, fields)


@pytest.fixture
def client():
    return SeeingClient()


@pytest.fixture
def model(tmp_path_factory):
    """A model of a CT and a PET."""
    folder = tmp_path_factory.mktemp("models")
    plain = [{"name": c["name"], "modality": "", "unit": ""} for c in CHANNELS]
    yield str(two_channel_bundle(folder / "petct", plain))
    shutil.rmtree(folder)


@pytest.fixture
def vector(scene):
    """A volume of two values in each voxel."""
    node = scene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "both")
    array = np.stack(list(map(_image, VALUES)), -1)
    slicer.util.updateVolumeFromArray(node, array)
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(OBLIQUE))
    return node


def sequence_of(scene, arrays, matrices=(OBLIQUE, OBLIQUE, OBLIQUE)):
    """(sequence, the node that shows it)"""
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "both")
    for n, (array, matrix) in enumerate(zip(arrays, matrices, strict=False)):
        volume = slicer.vtkMRMLScalarVolumeNode()
        slicer.util.updateVolumeFromArray(volume, array)
        volume.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(matrix))
        sequence.SetDataNodeAtValue(volume, str(n))
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "browser")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
    return sequence, browser.GetProxyNode(sequence)


@pytest.fixture
def frames():
    return list(map(_image, VALUES))


def test_a_sequence_is_all_images_of_the_patient(
    scene, logic, client, model, frames, add_transform
):
    sequence, shown = sequence_of(scene, frames)
    shown.SetAndObserveTransformNodeID(add_transform(TURN).GetID())
    assert count_images(shown) == 2
    for node in (shown, sequence):
        found = logic.segment(node, model=model)
        assert [image.array.max() for image in client.images] == list(VALUES)
        np.testing.assert_allclose(client.images[1].ijk_to_ras, TURN @ OBLIQUE, atol=1e-6)
        assert found.GetTransformNodeID() == shown.GetTransformNodeID()
        assert found.GetNodeReference(found.GetReferenceImageGeometryReferenceRole()) is shown
        assert found.GetSegmentation().GetNumberOfSegments() == 4


def test_the_order_is_said(scene, logic, model, frames):
    job = logic.segmentAsync(sequence_of(scene, frames)[1], model=model)
    while job.running:
        logic.poll()
    assert job.notes[0] == 'The 2 images in "both" were taken as ct, pet, in this order.'


def test_a_vector_volume_is_all_images_of_the_patient(logic, client, model, vector):
    assert count_images(vector) == 2
    found = logic.segment(vector, model=model)
    assert [image.array.max() for image in client.images] == list(VALUES)
    assert client.images[1].array.shape == GRID
    np.testing.assert_allclose(client.images[1].ijk_to_ras, OBLIQUE, atol=1e-6)
    assert found.GetSegmentation().GetNumberOfSegments() == 4


def test_more_or_fewer_images_are_refused(scene, logic, model, frames):
    _, shown = sequence_of(scene, [*frames, frames[0]])
    before = scene_contents(scene)
    with pytest.raises(UserError, match=r"holds 3 images, and the model .* takes 2 .*: ct, pet;"):
        logic.segment(shown, model=model)
    with pytest.raises(UserError, match="A sequence and further images"):
        logic.segment(shown, model=model, furtherNodes=[shown])
    assert scene_contents(scene) == before


def test_the_shown_image_alone_is_one_image(scene, logic, client, model, frames):
    _, shown = sequence_of(scene, frames)
    job = logic.segmentAsync(shown, model=model, wholeSequence=False)
    while job.running:
        logic.poll()
    assert len(client.images) == 1  # and the worker says how many the model takes
    assert not any("were taken as" in note for note in job.notes)


def test_the_copied_command_asks_for_a_file_of_all_images(scene, logic, vector, frames):
    sequence, shown = sequence_of(scene, frames)
    for node in (vector, sequence, shown):
        note, command = logic.commandLine(node).splitlines()
        assert "4D NIfTI file, both.nii.gz" in note
        assert command.startswith("medllmseg segment both.nii.gz ")
    alone = logic.commandLine(shown, wholeSequence=False)
    assert "save the scan as both.nrrd" in alone
    assert "4D" not in alone


def test_images_on_several_grids_lie_over_the_first(scene, logic, model, frames):
    frames[1] = frames[1][:8]
    sequence, shown = sequence_of(scene, frames)
    logic.segment(shown, model=model)
    browser = scene.GetFirstNodeByClass("vtkMRMLSequenceBrowserNode")
    browser.SetSelectedItemNumber(1)
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
    with pytest.raises(UserError, match="go to the first image"):
        logic.segment(shown, model=model)
    assert sequence.GetNumberOfDataNodes() == 2


def test_a_sequence_that_nothing_shows(scene, logic, model, frames):
    sequence, shown = sequence_of(scene, frames)
    scene.RemoveNode(scene.GetFirstNodeByClass("vtkMRMLSequenceBrowserNode"))
    scene.RemoveNode(shown)
    with pytest.raises(UserError, match="is not shown"):
        logic.segment(sequence, model=model)


def test_a_model_of_one_image_takes_them_as_before(scene, logic, client, vector, frames):
    with pytest.raises(UserError, match="holds 2 values in each voxel"):
        logic.segment(vector)
    job = logic.segmentAsync(sequence_of(scene, frames)[1])
    while job.running:
        logic.poll()
    assert len(job.itemRows) == 2
    assert len(client.images) == 1
