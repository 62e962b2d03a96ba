"""All 32 structures of the brain as segments: names, colours and codes, as Slicer reads them."""

import numpy as np
import pytest

pytest.importorskip(
    "slicer_core", reason="slicer-core is not installed: NOTHING ABOUT MRML WAS TESTED"
)
import slicer

from MedLLMSegLib.anatomy.brain import NOT_IN_SLICERS_LIST, brain_structures
from MedLLMSegLib.core.segmentation import Segmentation
from MedLLMSegLib.slicer_bridge.scene import segments, volume_nodes
from Testing.helpers.scene_nodes import SHAPE


@pytest.fixture
def brain(scan):
    """A segmentation node of a label map in which every structure has some voxels."""
    numbers = np.array([s.label for s in brain_structures()], np.uint8)
    labels = numbers[np.arange(np.prod(SHAPE)).reshape(SHAPE) % len(numbers)]
    volume = volume_nodes.read_volume(scan)
    result = Segmentation(volume.with_array(labels), brain_structures(), model="brain-mr")
    return volume_nodes.write_drawing(segments.draw(result), scan)[0]


def test_there_are_32_segments_with_our_names_and_colours_on_one_layer(brain):
    found = brain.GetSegmentation()
    names = [found.GetSegment(n).GetName() for n in found.GetSegmentIDs()]
    assert names == [s.name for s in brain_structures()]
    colours = [found.GetSegment(n).GetColor() for n in found.GetSegmentIDs()]
    np.testing.assert_allclose(
        np.array(colours) * 255, [s.color for s in brain_structures()], atol=1e-3
    )
    assert found.GetNumberOfLayers() == 1


def test_slicer_reads_the_codes_also_those_that_its_list_lacks(brain):
    found, logic = brain.GetSegmentation(), slicer.modules.terminologies.logic()
    for structure in brain_structures():
        segment = found.GetSegment(found.GetSegmentIdBySegmentName(structure.name))
        entry = slicer.vtkSlicerTerminologyEntry()
        tag = segments.tag(segment, segment.GetTerminologyEntryTagName())
        assert logic.DeserializeTerminologyEntry(tag, entry)
        kind, side = entry.GetTypeObject(), entry.GetTypeModifierObject()
        assert kind.GetCodeValue() == structure.type.value
        assert kind.GetCodingSchemeDesignator() == structure.type.scheme
        assert (side.GetCodeMeaning() or "").lower() == structure.side
    lacking = {s.type for s in brain_structures()} & set(NOT_IN_SLICERS_LIST)
    assert len(lacking) == 3
