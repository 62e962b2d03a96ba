"""Models of whole scans through the bridge: their own names, colours, codes and label values
reach the segments.
"""

import numpy as np
import pytest

pytest.importorskip(
    "slicer_core", reason="slicer-core is not installed: NOTHING ABOUT MRML WAS TESTED"
)
import slicer
import torch

from MedLLMSegLib.anatomy.structures import cardiac_structures, uncoded_structures
from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.registry.catalogue import ModelEntry
from MedLLMSegLib.segmentation.pipeline import SegmenterModel, segment
from MedLLMSegLib.slicer_bridge.logic.module_logic import SegmentationLogic
from MedLLMSegLib.slicer_bridge.scene import segments


class Shades(torch.nn.Module):
    """A class for each quarter of the grey values, dark to bright."""

    def forward(self, image):  # (B, 1, K, J, I) -> (B, 4, K, J, I)
        scaled = (image - image.min()) / (image.max() - image.min())
        return torch.cat([-50 * (scaled - level / 3).abs() for level in range(4)], 1)


@pytest.fixture
def scan(add_volume):
    array = np.zeros((8, 20, 24), np.int16)
    array[2:6, 2:8, 3:9], array[2:6, 8:14, 3:9], array[2:6, 8:14, 12:20] = 100, 200, 300
    return add_volume(
        array, np.array([[-1.5, 0, 0, 9], [0, 0, 8, -20], [0, 1.5, 0, 4], [0, 0, 0, 1.0]]), "cine"
    )


def run(scan, structures, **options):
    entry = ModelEntry("whole", "", "segmenter", "", (), "", "", "0" * 64, None)
    settings = {"spacing_mm": [8.0, 1.5, 1.5], "axes": "scan"}
    model = SegmenterModel(
        entry, Shades(), settings, None, None, torch.device("cpu"), "0" * 64, structures
    )
    logic = SegmentationLogic()
    logic.segmentFunction = segment
    return logic.segment(scan, model=model, **options)


def entry_of(segment):
    entry = slicer.vtkSlicerTerminologyEntry()
    tag = segments.tag(segment, segment.GetTerminologyEntryTagName())
    assert slicer.modules.terminologies.logic().DeserializeTerminologyEntry(tag, entry)
    return entry


@pytest.mark.parametrize(
    "structures",
    (cardiac_structures(), uncoded_structures({2: "tumour", 7: "edema", 9: "cyst"})),
    ids=("heart", "a user's labels"),
)
def test_segments_carry_the_models_own_words(scan, structures):
    segmentation = run(scan, structures).GetSegmentation()
    segments = [segmentation.GetSegment(i) for i in segmentation.GetSegmentIDs()]
    assert [s.GetName() for s in segments] == [s.name for s in structures]
    assert [tuple(round(255 * c) for c in s.GetColor()) for s in segments] == [
        s.color for s in structures
    ]
    assert [s.GetLabelValue() for s in segments] == [s.label for s in structures]
    for segment_, structure in zip(segments, structures, strict=True):
        entry = entry_of(segment_)
        assert entry.GetCategoryObject().GetCodeMeaning() == structure.category.meaning
        assert (entry.GetTypeObject().GetCodeValue(), entry.GetTypeObject().GetCodeMeaning()) == (
            structure.type.value,
            structure.type.meaning,
        )
        assert not entry.GetTypeModifierObject().GetCodeValue()


def test_segments_cover_their_shades(scan):
    node = run(scan, cardiac_structures())
    array = slicer.util.arrayFromVolume(scan)
    for number, segment_id in enumerate(node.GetSegmentation().GetSegmentIDs(), start=1):
        mask = slicer.util.arrayFromSegmentBinaryLabelmap(node, segment_id, scan)
        assert np.array_equal(mask > 0, array == 100 * number)


def test_nothing_found_leaves_the_scene_as_it_was(scene, scan, monkeypatch):
    monkeypatch.setattr(
        Shades, "forward", lambda self, image: torch.cat((image * 0 + 9, *3 * [image * 0]), 1)
    )
    with pytest.raises(UserError, match='Nothing was found in "cine"'):
        run(scan, cardiac_structures())
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0


def test_a_cine_sequence_becomes_a_sequence_of_hearts(scene):
    """Thick slices, one time point after the other, in which the right ventricle grows."""
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "cine")
    for phase in range(3):
        image = slicer.vtkMRMLScalarVolumeNode()
        array = np.zeros((8, 20, 24), np.int16)
        array[2:6, 2:8, 3 : 9 + phase], array[2:6, 8:14, 3:9] = 100, 200
        array[2:6, 8:14, 12:20] = 300
        slicer.util.updateVolumeFromArray(image, array)
        image.SetSpacing(1.5, 1.5, 8)
        sequence.SetDataNodeAtValue(image, str(phase))
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "browser")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
    shown = browser.GetProxyNode(sequence)
    node = run(shown, cardiac_structures(), wholeSequence=True)
    for phase in range(3):
        browser.SetSelectedItemNumber(phase)
        slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
        segments_ = node.GetSegmentation()
        named = {segments_.GetSegment(i).GetName(): i for i in segments_.GetSegmentIDs()}
        right = slicer.util.arrayFromSegmentBinaryLabelmap(node, named["Right ventricle"], shown)
        names = [structure.name for structure in cardiac_structures()]
        assert right.sum() == 4 * 6 * (6 + phase)
        assert list(named) == names
