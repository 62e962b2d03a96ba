"""What the tests of scene_nodes share."""

import numpy as np
import slicer
import vtk

from MedLLMSegLib.anatomy.structures import hippocampus_structures
from MedLLMSegLib.core.geometry import transform_points
from MedLLMSegLib.core.segmentation import Segmentation
from MedLLMSegLib.slicer_bridge.scene import segments
from MedLLMSegLib.slicer_bridge.scene import volume_nodes as nodes

SHAPE = (12, 14, 16)  # k, j, i


def rotation_of(x_deg, y_deg, z_deg):
    matrix = np.eye(3)
    for axis, degrees in enumerate((x_deg, y_deg, z_deg)):
        c, s, (a, b) = (
            np.cos(np.deg2rad(degrees)),
            np.sin(np.deg2rad(degrees)),
            [n for n in range(3) if n != axis],
        )
        turn = np.eye(3)
        turn[[a, a, b, b], [a, b, a, b]] = c, -s, s, c
        matrix = turn @ matrix
    return matrix


def make_grid(axes, spacing_mm, origin=(-10.0, 20.0, 5.0)):
    matrix = np.eye(4)
    matrix[:3, :3] = np.asarray(axes, float) @ np.diag(spacing_mm)
    matrix[:3, 3] = origin
    return matrix


GRIDS = {
    "straight": make_grid(np.eye(3), (1, 1, 1)),
    "LPS": make_grid(np.diag([-1, -1, 1]), (1, 1, 1)),
    "flipped, left-handed": make_grid(np.diag([-1, 1, 1]), (1.5, 0.7, 3)),
    "permuted": make_grid(np.eye(3)[:, [2, 0, 1]], (0.9, 2, 1.2)),
    "oblique, anisotropic": make_grid(rotation_of(20, -35, 50), (0.6, 1.1, 3)),
}
MOVED = make_grid(rotation_of(10, 25, -40), (1, 1, 1), (30, -15, 8))
SHEARED = np.array([[1.1, 0.2, 0, 4], [0, 0.9, 0.1, 5], [0, 0, 1, 6], [0, 0, 0, 1]])


def two_sided_labels():
    """Four boxes, none touching the edge, all of different sizes so that no flip or swap maps
    them onto themselves.
    """
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:4, 3:8, 2:4] = 1
    labels[4:9, 3:6, 2:4] = 2
    labels[2:4, 3:5, 9:15] = 3
    labels[5:7, 7:12, 10:13] = 4
    return labels


def result_on(volume, labels=None, lateral=True, model="hippocampus-t1"):
    labels = two_sided_labels() if labels is None else labels
    return Segmentation(volume.with_array(labels), hippocampus_structures(lateral), model=model)


def write_result(volume_node, segmentation_node=None, **options):
    result = result_on(nodes.read_volume(volume_node), **options)
    return nodes.write_drawing(segments.draw(result), volume_node, segmentation_node)[0]


def segment_names(node):
    segments = node.GetSegmentation()
    return [segments.GetSegment(i).GetName() for i in segments.GetSegmentIDs()]


def segment_of(node, name):
    segments = node.GetSegmentation()
    return segments.GetSegment(segments.GetSegmentIdBySegmentName(name))


def world_points(node, name):
    """Centres (n, 3) in world RAS of a segment's voxels, from the node's own data alone."""
    segment = segment_of(node, name)
    image = segment.GetRepresentation("Binary labelmap")
    i0, _, j0, _, k0, _ = image.GetExtent()
    array = vtk.util.numpy_support.vtk_to_numpy(image.GetPointData().GetScalars())
    inside = array.reshape(image.GetDimensions()[::-1]) == segment.GetLabelValue()
    kji = np.argwhere(inside) + np.array([k0, j0, i0])
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    to_world = vtk.vtkGeneralTransform()
    if node.GetParentTransformNode():
        node.GetParentTransformNode().GetTransformToWorld(to_world)
    local = transform_points(slicer.util.arrayFromVTKMatrix(matrix), kji[:, ::-1])
    return np.array([to_world.TransformPoint(p) for p in local])


def place_in_folders(scene, node, *folders):
    """Put a node into nested subject hierarchy folders, as the user or DICOM import does; the
    last one's item.
    """
    hierarchy = scene.GetSubjectHierarchyNode()
    parent = hierarchy.GetSceneItemID()
    for name in folders:
        parent = hierarchy.CreateFolderItem(parent, name)
    if hierarchy.GetItemByDataNode(node):
        hierarchy.SetItemParent(hierarchy.GetItemByDataNode(node), parent)
    else:
        hierarchy.CreateItem(parent, node)
    return parent


def add_user_segment(node, scan, name, array):
    segment_id = node.GetSegmentation().AddEmptySegment("", name)
    slicer.util.updateSegmentBinaryLabelmapFromArray(array.astype(np.uint8), node, segment_id, scan)


def display_values(node):
    """What the user has changed below, of every segment."""
    segments, display = node.GetSegmentation(), node.GetDisplayNode()
    return {
        i: (
            segments.GetSegment(i).GetName(),
            segments.GetSegment(i).GetColor(),
            display.GetSegmentVisibility(i),
            display.GetSegmentVisibility3D(i),
            display.GetSegmentVisibility2DFill(i),
            display.GetSegmentOpacity3D(i),
            display.GetSegmentOpacity2DFill(i),
            tuple(display.GetSegmentOverrideColor(i)[n] for n in range(3)),
        )
        for i in segments.GetSegmentIDs()
    }


def restyle(node, first=0):
    """As a user would; all segments from the ``first`` on."""
    segments, display = node.GetSegmentation(), node.GetDisplayNode()
    for n, segment_id in list(enumerate(segments.GetSegmentIDs()))[first:]:
        segments.GetSegment(segment_id).SetName(f"mine {n}")
        segments.GetSegment(segment_id).SetColor(0.25 * n, 0.5, 0.75)
        display.SetSegmentVisibility(segment_id, bool(n % 2))
        display.SetSegmentVisibility3D(segment_id, not n % 2)
        display.SetSegmentVisibility2DFill(segment_id, bool(n % 2))
        display.SetSegmentOpacity3D(segment_id, 0.1 * n + 0.1)
        display.SetSegmentOpacity2DFill(segment_id, 0.1 * n + 0.2)
    display.SetSegmentOverrideColor(segment_id, 0.5, 0.25, 0.0)
