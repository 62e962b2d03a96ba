"""What the tests of sequence_job share."""

from MedLLMSegLib.slicer_bridge.scene.map_colours import TAG
from Testing.slicer_bridge.stand_in import (
    BallSegmenter,
)

TIMES = ("0", "0.1", "0.25")


def by_brightness(volume, model, **options):
    """More balls, the brighter the image: what is found says which image it was found in."""
    return BallSegmenter(balls=tuple(range(1, 1 + int(volume.array.max()) // 100)))(
        volume, model, **options
    )


def segment_names(node):
    return [
        node.GetSegmentation().GetSegment(i).GetName()
        for i in node.GetSegmentation().GetSegmentIDs()
    ]


def node_list(scene):
    """(ID, name) of all nodes but the maps' colours: made once for a scene, they stay."""
    nodes = (scene.GetNthNode(n) for n in range(scene.GetNumberOfNodes()))
    return [(node.GetID(), node.GetName()) for node in nodes if node.GetSingletonTag() != TAG]
