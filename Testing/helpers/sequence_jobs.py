"""What the tests of sequence_job share."""

import numpy as np

from MedLLMSegLib.anatomy.structures import cardiac_structures
from MedLLMSegLib.core.segmentation import Segmentation
from MedLLMSegLib.segmentation.selection import only
from MedLLMSegLib.slicer_bridge.scene.map_colours import COLOURS
from Testing.slicer_bridge.stand_in import (
    BallSegmenter,
)

TIMES = ("0", "0.1", "0.25")


def by_brightness(volume, model, **options):
    """More balls, the brighter the image: what is found says which image it was found in."""
    return BallSegmenter(balls=tuple(range(1, 1 + int(volume.array.max()) // 100)))(
        volume, model, **options
    )


def heart_by_brightness(volume, model, structures=(), **options):
    """A heart whose left ventricle has as many voxels as the image is bright, and its right one
    a quarter of that and 100; none in dark images. The wall has 120 voxels.
    """
    labels = np.zeros(volume.array.size, np.uint8)
    bright = int(volume.array.max())
    if bright >= 100:
        labels[:bright] = 3
        labels[1000 : 1100 + bright // 4] = 1
        labels[2000:2120] = 2
    labelled = volume.with_array(labels.reshape(volume.array.shape))
    result = Segmentation(labelled, cardiac_structures(), {}, model=model)
    return only(result, structures) if structures else result


def segment_names(node):
    return [
        node.GetSegmentation().GetSegment(i).GetName()
        for i in node.GetSegmentation().GetSegmentIDs()
    ]


def node_list(scene):
    """(ID, name) of all nodes but the maps' colours: made once for a scene, they stay."""
    nodes = (scene.GetNthNode(n) for n in range(scene.GetNumberOfNodes()))
    return [(node.GetID(), node.GetName()) for node in nodes if not node.GetAttribute(COLOURS)]


def table_columns(node):
    """Column -> values of a vtkMRMLTableNode."""
    table = node.GetTable()
    columns = [table.GetColumn(n) for n in range(table.GetNumberOfColumns())]
    return {
        column.GetName(): [column.GetValue(row) for row in range(column.GetNumberOfTuples())]
        for column in columns
    }


def table_nodes(scene):
    return [
        scene.GetNthNodeByClass(n, "vtkMRMLTableNode")
        for n in range(scene.GetNumberOfNodesByClass("vtkMRMLTableNode"))
    ]
