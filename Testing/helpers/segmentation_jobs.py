"""What the tests of segmentation_job share."""

import numpy as np
import slicer

TURN = np.array([[0.98, -0.17, 0, 3], [0.17, 0.98, 0, -2], [0, 0, 1, 1.5], [0, 0, 0, 1]])


def scene_contents(scene):
    """All nodes, the contents of the segmentations among them, and the subject hierarchy."""
    hierarchy, nodes = scene.GetSubjectHierarchyNode(), []
    for n in range(scene.GetNumberOfNodes()):
        node = scene.GetNthNode(n)
        nodes.append((node.GetID(), node.GetName()))
        if node.IsA("vtkMRMLSegmentationNode"):
            nodes.append(
                (
                    segment_contents(node),
                    node.GetTransformNodeID(),
                    hierarchy.GetItemByDataNode(node),
                )
            )
    return nodes


def segment_contents(node):
    """Segment id -> (name, voxels in its own box)."""
    segments = node.GetSegmentation()
    found = {}
    for segment_id in segments.GetSegmentIDs():
        image = segments.GetSegment(segment_id).GetRepresentation("Binary labelmap")
        array = slicer.util.arrayFromSegmentInternalBinaryLabelmap(node, segment_id)
        found[segment_id] = (
            segments.GetSegment(segment_id).GetName(),
            image.GetExtent(),
            int((array == segments.GetSegment(segment_id).GetLabelValue()).sum()),
        )
    return found


def segment_centres(node):
    return {
        node.GetSegmentation().GetSegment(i).GetName(): np.array(node.GetSegmentCenterRAS(i))
        for i in node.GetSegmentation().GetSegmentIDs()
    }


def start_run(logic, scan, **options):
    """A job, and the list of its callbacks' arguments, which grows."""
    calls = []

    def onProgress(*progress):
        calls.append(progress)

    return logic.segmentAsync(scan, onProgress, calls.append, **options), calls
