"""Volume nodes in, segmentation nodes out, on Slicer's real nodes: places, names, codes, and
what must not change.
"""

import numpy as np
import pytest

pytest.importorskip(
    "slicer_core", reason="slicer-core is not installed: NOTHING ABOUT MRML WAS TESTED"
)
import slicer
import vtk

from MedLLMSegLib.anatomy.structures import ANTERIOR_COLOR, POSTERIOR_COLOR, hippocampus_structures
from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.geometry import transform_points
from MedLLMSegLib.core.segmentation import Segmentation
from MedLLMSegLib.slicer_bridge.scene import segments
from MedLLMSegLib.slicer_bridge.scene import volume_nodes as nodes

SHAPE = (12, 14, 16)  # k, j, i
SIDES = {"Left": "7771000", "Right": "24028007"}  # SNOMED CT


def _rotation(x_deg, y_deg, z_deg):
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


def _grid(axes, spacing_mm, origin=(-10.0, 20.0, 5.0)):
    matrix = np.eye(4)
    matrix[:3, :3] = np.asarray(axes, float) @ np.diag(spacing_mm)
    matrix[:3, 3] = origin
    return matrix


GRIDS = {
    "straight": _grid(np.eye(3), (1, 1, 1)),
    "LPS": _grid(np.diag([-1, -1, 1]), (1, 1, 1)),
    "flipped, left-handed": _grid(np.diag([-1, 1, 1]), (1.5, 0.7, 3)),
    "permuted": _grid(np.eye(3)[:, [2, 0, 1]], (0.9, 2, 1.2)),
    "oblique, anisotropic": _grid(_rotation(20, -35, 50), (0.6, 1.1, 3)),
}
MOVED = _grid(_rotation(10, 25, -40), (1, 1, 1), (30, -15, 8))
SHEARED = np.array([[1.1, 0.2, 0, 4], [0, 0.9, 0.1, 5], [0, 0, 1, 6], [0, 0, 0, 1]])


def _labels():
    """Four boxes, none touching the edge, all of different sizes so that no flip or swap maps
    them onto themselves.
    """
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:4, 3:8, 2:4] = 1
    labels[4:9, 3:6, 2:4] = 2
    labels[2:4, 3:5, 9:15] = 3
    labels[5:7, 7:12, 10:13] = 4
    return labels


def _result(volume, labels=None, lateral=True, model="hippocampus-t1"):
    labels = _labels() if labels is None else labels
    return Segmentation(volume.with_array(labels), hippocampus_structures(lateral), model=model)


def _write(volume_node, segmentation_node=None, **options):
    result = _result(nodes.read_volume(volume_node), **options)
    return nodes.write_drawing(segments.draw(result), volume_node, segmentation_node)[0]


def _names(node):
    segments = node.GetSegmentation()
    return [segments.GetSegment(i).GetName() for i in segments.GetSegmentIDs()]


def _segment(node, name):
    segments = node.GetSegmentation()
    return segments.GetSegment(segments.GetSegmentIdBySegmentName(name))


def _world_points(node, name):
    """Centres (n, 3) in world RAS of a segment's voxels, from the node's own data alone."""
    segment = _segment(node, name)
    image = segment.GetRepresentation("Binary labelmap")
    i0, _, j0, _, k0, _ = image.GetExtent()
    array = vtk.util.numpy_support.vtk_to_numpy(image.GetPointData().GetScalars())
    kji = np.argwhere(array.reshape(image.GetDimensions()[::-1]) == segment.GetLabelValue()) + (
        k0,
        j0,
        i0,
    )
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    to_world = vtk.vtkGeneralTransform()
    if node.GetParentTransformNode():
        node.GetParentTransformNode().GetTransformToWorld(to_world)
    local = transform_points(slicer.util.arrayFromVTKMatrix(matrix), kji[:, ::-1])
    return np.array([to_world.TransformPoint(p) for p in local])


def _expected_points(label, ijk_to_world):
    return transform_points(ijk_to_world, np.argwhere(_labels() == label)[:, ::-1])


def _assert_same_points(found, expected):
    assert len(found) == len(expected)

    def order(points):
        return points[np.lexsort(np.round(points, 3).T)]

    np.testing.assert_allclose(order(found), order(expected), atol=1e-4)


@pytest.fixture
def scan(add_volume):
    return add_volume(
        np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE), GRIDS["oblique, anisotropic"]
    )


# reading


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_a_volume_node_is_read_as_it_lies(add_volume, grid):
    array = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    volume = nodes.read_volume(add_volume(array, grid, "T1"))
    np.testing.assert_array_equal(volume.array, array)
    np.testing.assert_allclose(volume.ijk_to_ras, grid, atol=1e-9)
    assert volume.name == "T1" and volume.array.dtype == np.float32


def test_linear_parent_transforms_are_part_of_where_it_lies(scan, add_transform):
    scan.SetAndObserveTransformNodeID(add_transform(MOVED, parent=add_transform(SHEARED)).GetID())
    expected = SHEARED @ MOVED @ GRIDS["oblique, anisotropic"]
    np.testing.assert_allclose(nodes.read_volume(scan).ijk_to_ras, expected, atol=1e-9)


def test_what_is_read_is_a_copy(scan):
    volume = nodes.read_volume(scan)
    volume.array[:] = 7
    assert slicer.util.arrayFromVolume(scan).max() > 7


def _no_volume(scene):
    return None


def _segmentation_node(scene):
    return scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "seg")


def _label_map(scene):
    return slicer.util.addVolumeFromArray(
        np.ones(SHAPE, np.uint8), name="seg", nodeClassName="vtkMRMLLabelMapVolumeNode"
    )


def _colour_volume(scene):
    return slicer.util.addVolumeFromArray(
        np.ones((*SHAPE, 3), np.uint8), name="photo", nodeClassName="vtkMRMLVectorVolumeNode"
    )


def _colour_in_scalar_node(scene):
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "photo")
    image = vtk.vtkImageData()
    image.SetDimensions(4, 4, 4)
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 3)
    node.SetAndObserveImageData(image)
    return node


def _no_image(scene):
    return scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")


def _image_without_voxels(scene):
    node = _no_image(scene)
    node.SetAndObserveImageData(vtk.vtkImageData())
    return node


def _image_of_size_zero(scene):
    node = _image_without_voxels(scene)
    node.GetImageData().SetDimensions(0, 0, 0)
    node.GetImageData().AllocateScalars(vtk.VTK_SHORT, 1)
    return node


def _bent(scene):
    node = slicer.util.addVolumeFromArray(np.ones(SHAPE, np.uint8), name="head")
    bend = scene.AddNewNodeByClass("vtkMRMLTransformNode", "warp")
    spline = vtk.vtkThinPlateSplineTransform()
    spline.SetBasisToR()
    source, target = vtk.vtkPoints(), vtk.vtkPoints()
    for point in ((0, 0, 0), (9, 0, 0), (0, 9, 0), (0, 0, 9), (5, 5, 5)):
        source.InsertNextPoint(point)
        target.InsertNextPoint(point[0], point[1], point[2] + (1 if sum(point) == 15 else 0))
    spline.SetSourceLandmarks(source)
    spline.SetTargetLandmarks(target)
    bend.SetAndObserveTransformToParent(spline)
    node.SetAndObserveTransformNodeID(bend.GetID())
    return node


@pytest.mark.parametrize(
    "make, says",
    [
        (_no_volume, "choose it as the input"),
        (_segmentation_node, "choose it as the input"),
        (_label_map, "label map"),
        (_colour_volume, "3 values in each voxel"),
        (_colour_in_scalar_node, "3 values in each voxel"),
        (_no_image, "no image data"),
        (_image_without_voxels, "no image data"),
        (_image_of_size_zero, "no image data"),
        (_bent, "non-linear transform"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_is_no_scan_is_refused_with_one_sentence(scene, make, says):
    with pytest.raises(UserError) as refusal:
        nodes.read_volume(make(scene))
    message = str(refusal.value)
    assert (
        says in message
        and message.endswith(".")
        and message.count(". ") == 0
        and "\n" not in message
    )


# writing


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
@pytest.mark.parametrize("parent", [None, MOVED, SHEARED], ids=["no transform", "moved", "sheared"])
def test_a_shape_is_found_where_it_was_in_the_world(add_volume, add_transform, grid, parent):
    volume_node = add_volume(np.zeros(SHAPE, np.int16), grid)
    if parent is not None:
        volume_node.SetAndObserveTransformNodeID(add_transform(parent).GetID())
    node = _write(volume_node)
    world = grid if parent is None else parent @ grid
    for structure in hippocampus_structures(lateral=True):
        _assert_same_points(
            _world_points(node, structure.name), _expected_points(structure.label, world)
        )


@pytest.mark.parametrize("parent", [None, MOVED], ids=["no transform", "moved"])
def test_slicer_itself_reads_the_same_labels_on_the_scans_grid(scan, add_transform, parent):
    if parent is not None:
        scan.SetAndObserveTransformNodeID(add_transform(parent).GetID())
    node = _write(scan)
    for structure in hippocampus_structures(lateral=True):
        segment_id = node.GetSegmentation().GetSegmentIdBySegmentName(structure.name)
        for reference in (scan, None):  # None: the node's own reference geometry
            array = slicer.util.arrayFromSegmentBinaryLabelmap(node, segment_id, reference)
            np.testing.assert_array_equal(array, _labels() == structure.label)


def test_the_result_follows_when_the_scans_transform_is_changed(scan, add_transform):
    transform = add_transform(np.eye(4))
    scan.SetAndObserveTransformNodeID(transform.GetID())
    node = _write(scan)
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(MOVED))
    _assert_same_points(
        _world_points(node, "Left hippocampus (anterior)"),
        _expected_points(1, MOVED @ GRIDS["oblique, anisotropic"]),
    )


def test_names_colours_and_codes(scan):
    node = _write(scan)
    assert node.GetName() == "MRHead segmentation"
    assert _names(node) == [
        "Left hippocampus (anterior)",
        "Left hippocampus (posterior)",
        "Right hippocampus (anterior)",
        "Right hippocampus (posterior)",
    ]
    colours = [
        tuple(round(255 * c) for c in _segment(node, name).GetColor()) for name in _names(node)
    ]
    assert colours == [ANTERIOR_COLOR, POSTERIOR_COLOR] * 2
    logic = slicer.modules.terminologies.logic()
    for name in _names(node):
        segment, entry = _segment(node, name), slicer.vtkSlicerTerminologyEntry()
        tag = segments.tag(segment, segment.GetTerminologyEntryTagName())
        assert logic.DeserializeTerminologyEntry(tag, entry)
        assert (
            entry.GetTerminologyContextName()
            == "Segmentation category and type - DICOM master list"
        )
        assert entry.GetCategoryObject().GetCodeValue() == "123037004"
        assert entry.GetTypeObject().GetCodeValue() == "5366008"
        assert entry.GetTypeObject().GetCodeMeaning() == "Hippocampus"
        side = entry.GetTypeModifierObject()
        assert (side.GetCodeMeaning(), side.GetCodeValue()) == (
            name.split()[0],
            SIDES[name.split()[0]],
        )
        assert not (segment.GetNameAutoGenerated() or segment.GetColorAutoGenerated())


def test_slicers_term_list_knows_the_codes(scene):
    """Against the transcript of Slicer's lists in conftest: the codes are in the list that we
    name, and in no other.
    """
    structure = hippocampus_structures(lateral=True)[0]
    found, codes = vtk.vtkCollection(), (structure.category, structure.type, structure.modifier)
    names = slicer.modules.terminologies.logic().FindTerminologyNames(
        *(text for code in codes for text in (code.scheme, code.value)), [], found
    )
    assert names == ("Segmentation category and type - DICOM master list",)
    assert found.GetItemAsObject(0).GetCodeMeaning() == structure.type.meaning


def test_a_crop_of_unspecified_side_has_no_side(scan):
    node = _write(scan, labels=np.minimum(_labels(), 2), lateral=False)
    assert _names(node) == ["Hippocampus (anterior)", "Hippocampus (posterior)"]
    entry = slicer.vtkSlicerTerminologyEntry()
    segment = _segment(node, "Hippocampus (anterior)")
    tag = segments.tag(segment, segment.GetTerminologyEntryTagName())
    assert slicer.modules.terminologies.logic().DeserializeTerminologyEntry(tag, entry)
    assert not entry.GetTypeModifierObject().GetCodeValue()


def test_the_scan_is_the_reference_geometry(scan):
    node = _write(scan)
    assert node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole()) is scan
    text = node.GetSegmentation().GetConversionParameter("Reference image geometry")
    numbers = [float(x) for x in text.rstrip(";").split(";")]
    np.testing.assert_allclose(
        np.reshape(numbers[:16], (4, 4)), GRIDS["oblique, anisotropic"], atol=1e-6
    )
    assert numbers[16:] == [0, 15, 0, 13, 0, 11]


def _place(scene, node, *folders):
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


def _parent(scene, node):
    hierarchy = scene.GetSubjectHierarchyNode()
    return hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node))


@pytest.mark.parametrize("folders", [("patient", "study"), ()], ids=["in a study", "at the top"])
@pytest.mark.parametrize("existing", [False, True], ids=["new node", "empty node"])
def test_it_lies_beside_the_scan_in_the_subject_hierarchy(scene, scan, folders, existing):
    parent = _place(scene, scan, *folders)
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine") if existing else None
    if existing:
        _place(scene, node)
    node = _write(scan, node)
    assert _parent(scene, node) == _parent(scene, scan) == parent
    assert node.GetDisplayNode() is not None and node.GetDisplayNode().GetVisibility()


def test_a_scan_without_an_item_gets_one_beside_its_result(scene, scan):
    node = _write(scan)
    assert (
        _parent(scene, node)
        == _parent(scene, scan)
        == scene.GetSubjectHierarchyNode().GetSceneItemID()
    )


def test_a_folder_that_the_user_chose_is_kept(scene, scan):
    _place(scene, scan, "study")
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine")
    folder = _place(scene, node, "my results")
    assert _parent(scene, _write(scan, node)) == folder


def test_what_was_not_found_gets_no_segment(scan):
    labels = np.where(_labels() > 2, 0, _labels()).astype(np.uint8)
    assert _names(_write(scan, labels=labels)) == [
        "Left hippocampus (anterior)",
        "Left hippocampus (posterior)",
    ]


def test_the_segments_can_be_turned_into_surfaces(scan):
    node = _write(scan)
    assert node.CreateClosedSurfaceRepresentation()
    for name in _names(node):
        surface = _segment(node, name).GetRepresentation("Closed surface")
        assert surface.GetNumberOfPoints() > 0
    bounds = np.array(
        _segment(node, "Left hippocampus (anterior)")
        .GetRepresentation("Closed surface")
        .GetBounds()
    )
    points = _expected_points(1, GRIDS["oblique, anisotropic"])
    np.testing.assert_allclose(
        bounds.reshape(3, 2).mean(1), (points.min(0) + points.max(0)) / 2, atol=0.5
    )


# updating


def _add_user_segment(node, scan, name, array):
    segment_id = node.GetSegmentation().AddEmptySegment("", name)
    slicer.util.updateSegmentBinaryLabelmapFromArray(array.astype(np.uint8), node, segment_id, scan)


def _array(node, name, scan):
    segment_id = node.GetSegmentation().GetSegmentIdBySegmentName(name)
    return slicer.util.arrayFromSegmentBinaryLabelmap(node, segment_id, scan)


def test_another_run_replaces_ours_and_leaves_the_users(scan):
    lesion, vessel = _labels() == 0, np.zeros(SHAPE, bool)
    lesion[:, :9], vessel[10:, 12:, 14:] = False, True
    node = _write(scan)
    _add_user_segment(node, scan, "lesion", lesion)
    _add_user_segment(node, scan, "vessel", vessel)
    node.GetSegmentation().SetSegmentIndex(
        (
            "vessel"
            if node.GetSegmentation().GetSegment("vessel")
            else node.GetSegmentation().GetSegmentIdBySegmentName("vessel")
        ),
        1,
    )
    before, moved = _names(node), np.roll(_labels(), 1, axis=2)
    again = _write(scan, node, labels=moved)
    assert again is node and _names(node) == before and before[1] == "vessel"
    np.testing.assert_array_equal(_array(node, "lesion", scan), lesion)
    np.testing.assert_array_equal(_array(node, "vessel", scan), vessel)
    for structure in hippocampus_structures(lateral=True):
        np.testing.assert_array_equal(_array(node, structure.name, scan), moved == structure.label)


def test_a_structure_that_is_no_longer_found_goes_and_a_new_one_comes_last(scan):
    node = _write(scan, labels=np.where(_labels() == 1, 0, _labels()).astype(np.uint8))
    _add_user_segment(node, scan, "lesion", _labels() == 1)
    _write(scan, node, labels=np.where(_labels() == 2, 0, _labels()).astype(np.uint8))
    assert _names(node) == [
        "Right hippocampus (anterior)",
        "Right hippocampus (posterior)",
        "lesion",
        "Left hippocampus (anterior)",
    ]


def test_a_copy_that_the_user_made_of_a_segment_stays(scan):
    node = _write(scan)
    copy = slicer.vtkSegment()
    copy.DeepCopy(_segment(node, "Left hippocampus (anterior)"))
    copy.SetName("first try")
    node.GetSegmentation().AddSegment(copy)
    _write(scan, node, labels=np.roll(_labels(), 2, axis=2))
    np.testing.assert_array_equal(_array(node, "first try", scan), _labels() == 1)


def test_segments_of_another_model_stay(scan):
    node = _write(scan, labels=np.minimum(_labels(), 2), lateral=False, model="another")
    _write(scan, node)
    assert len(_names(node)) == 6 and _names(node)[:2] == [
        "Hippocampus (anterior)",
        "Hippocampus (posterior)",
    ]


def test_a_side_less_result_of_the_same_model_is_replaced(scan):
    node = _write(scan, labels=np.minimum(_labels(), 2), lateral=False)
    _write(scan, node)
    assert len(_names(node)) == 4


def test_a_run_for_one_side_leaves_what_was_found_on_the_other(scan):
    node, moved = _write(scan), np.roll(_labels(), 1, axis=2)
    before, left = _names(node), np.where(moved <= 2, moved, 0).astype(np.uint8)
    nodes.write_drawing(
        segments.draw(_result(nodes.read_volume(scan), labels=left)), scan, node, side="left"
    )
    assert _names(node) == before
    np.testing.assert_array_equal(_array(node, "Left hippocampus (anterior)", scan), left == 1)
    np.testing.assert_array_equal(
        _array(node, "Right hippocampus (anterior)", scan), _labels() == 3
    )


def _looks(node):
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


def _restyle(node, first=0):
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


@pytest.mark.parametrize("surfaces", [False, True])
def test_what_the_user_has_styled_and_named_stays_so(scan, surfaces):
    node = _write(scan)
    if surfaces:
        node.CreateClosedSurfaceRepresentation()
    _restyle(node)
    before = _looks(node)
    assert before == {
        **before,
        **{i: (f"mine {n}", *rest[1:]) for n, (i, rest) in enumerate(before.items())},
    }
    _write(scan, node, labels=np.roll(_labels(), 1, axis=2))
    assert _looks(node) == before
    assert node.GetSegmentation().ContainsRepresentation("Closed surface") is surfaces


def test_what_is_restored_looks_as_it_did(scan):
    from MedLLMSegLib.slicer_bridge.scene.restore_point import NodeState

    node = _write(scan)
    _restyle(node)
    before, kept = _looks(node), NodeState(node)
    _write(
        scan, node, labels=np.where(_labels() == 1, 0, _labels()).astype(np.uint8)
    )  # one is no longer found
    assert len(_looks(node)) == 3
    node.GetDisplayNode().SetSegmentOpacity3D(list(before)[2], 0.77)  # chosen meanwhile
    kept.put_back(node)
    wanted = {
        i: (*rest[:5], 0.77 if n == 2 else rest[5], *rest[6:])
        for n, (i, rest) in enumerate(before.items())
    }
    assert _looks(node) == wanted


def test_the_codes_are_written_as_in_our_files():
    from MedLLMSegLib.io.seg_nrrd import terminology_entry
    from MedLLMSegLib.slicer_bridge.scene import segments

    for structure in (
        *hippocampus_structures(lateral=True),
        *hippocampus_structures(lateral=False),
    ):
        assert segments.terminology_entry(structure) == terminology_entry(structure)


def test_segments_under_another_transform_stay_in_place_and_ours_lie_on_the_scan(
    scene, scan, add_transform
):
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine")
    node.SetReferenceImageGeometryParameterFromVolumeNode(scan)
    _add_user_segment(node, scan, "lesion", _labels() == 3)
    node.SetAndObserveTransformNodeID(add_transform(MOVED).GetID())
    lesion = _world_points(node, "lesion")
    scan.SetAndObserveTransformNodeID(add_transform(SHEARED).GetID())
    _write(scan, node)
    _assert_same_points(_world_points(node, "lesion"), lesion)
    _assert_same_points(
        _world_points(node, "Right hippocampus (posterior)"),
        _expected_points(4, SHEARED @ GRIDS["oblique, anisotropic"]),
    )


def test_an_empty_node_takes_the_scans_transform(scene, scan, add_transform):
    transform = add_transform(MOVED)
    scan.SetAndObserveTransformNodeID(transform.GetID())
    node = _write(scan, scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "empty"))
    assert node.GetParentTransformNode() is transform and node.GetName() == "empty"


# failing


def _state(scene):
    """All that a user could notice of a scene: nodes, segments, their voxels, transforms, places
    in the hierarchy.
    """
    hierarchy = scene.GetSubjectHierarchyNode()
    state = [hierarchy.GetNumberOfItems()]
    for index in range(scene.GetNumberOfNodes()):
        node = scene.GetNthNode(index)
        item = hierarchy.GetItemByDataNode(node)
        state.append(
            (node.GetID(), node.GetName(), hierarchy.GetItemParent(item) if item else None)
        )
        if node.IsA("vtkMRMLSegmentationNode"):
            role = node.GetReferenceImageGeometryReferenceRole()
            state.append((node.GetTransformNodeID(), node.GetNodeReferenceID(role)))
            state += [_looks(node)] if node.GetDisplayNode() else []
            state += [
                (n, len(_world_points(node, n)), tuple(np.round(_world_points(node, n).mean(0), 3)))
                for n in _names(node)
            ]
    return state


@pytest.mark.parametrize(
    "file, step",
    [
        ("nodes", "set_segments"),
        ("nodes", "place_next_to"),
        ("segments", "_labelmap"),
        ("segments", "_segment"),
    ],
)
@pytest.mark.parametrize("target", ["new", "empty", "with segments"])
def test_a_failure_leaves_the_scene_as_it_was(
    scene, scan, add_transform, monkeypatch, file, step, target
):
    from MedLLMSegLib.slicer_bridge.scene import segments

    module = {"nodes": nodes, "segments": segments}[file]
    node = None
    if target != "new":
        node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine")
    if target == "with segments":
        _write(scan, node)
        _add_user_segment(node, scan, "lesion", _labels() == 1)
        _restyle(node)
    _place(scene, scan, "study")
    scan.SetAndObserveTransformNodeID(add_transform(MOVED).GetID())
    before, real = _state(scene), getattr(module, step)

    def fails_at_its_end(*args):
        real(*args)
        raise RuntimeError("out of memory")

    monkeypatch.setattr(module, step, fails_at_its_end)
    with pytest.raises(RuntimeError, match="out of memory"):
        _write(scan, node, labels=np.roll(_labels(), 1, axis=0))
    assert _state(scene) == before


def test_an_empty_result_is_refused(scene, scan):
    before = _state(scene)
    with pytest.raises(UserError, match="Nothing was found"):
        _write(scan, labels=np.zeros(SHAPE, np.uint8))
    assert _state(scene) == before


def test_a_scan_that_was_removed_or_changed_meanwhile_is_refused(scene, scan):
    result = _result(nodes.read_volume(scan))
    slicer.util.updateVolumeFromArray(scan, np.zeros((3, 4, 5), np.int16))
    with pytest.raises(UserError, match="was changed"):
        nodes.write_drawing(segments.draw(result), scan)
    scan.SetAndObserveImageData(None)
    with pytest.raises(UserError, match="was changed"):
        nodes.write_drawing(segments.draw(result), scan)
    scene.RemoveNode(scan)
    with pytest.raises(UserError, match="was removed"):
        nodes.write_drawing(segments.draw(result), scan)


def test_surfaces_are_not_overwritten(scene, scan):
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "from STL")
    node.SetSourceRepresentationToClosedSurface()
    sphere = vtk.vtkSphereSource()
    sphere.Update()
    node.AddSegmentFromClosedSurfaceRepresentation(sphere.GetOutput(), "sphere")
    with pytest.raises(UserError, match="made of surfaces"):
        _write(scan, node)
    assert (
        _names(node) == ["sphere"]
        and node.GetSegmentation().GetSourceRepresentationName() == "Closed surface"
    )
