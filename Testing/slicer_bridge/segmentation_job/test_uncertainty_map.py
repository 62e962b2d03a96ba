"""The map of uncertainty over the scan."""

import numpy as np
import pytest

pytest.importorskip(
    "slicer_core", reason="slicer-core is not installed: NOTHING ABOUT MRML WAS TESTED"
)
import slicer
from vtk.util.numpy_support import vtk_to_numpy

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.slicer_bridge.logic.module_logic import SegmentationLogic
from MedLLMSegLib.slicer_bridge.scene.map_colours import colour_table
from MedLLMSegLib.slicer_bridge.scene.map_layer import layer_of
from MedLLMSegLib.slicer_bridge.scene.overlay import name_map, show_overlay
from Testing.helpers.saved_scene import add_file_managers
from Testing.helpers.segmentation_jobs import (
    TURN,
    scene_contents,
    start_run,
)
from Testing.slicer_bridge.stand_in import (
    BALLS_RAS,
    GRID,
    OBLIQUE,
    BallSegmenter,
    take_along,
)


def test_the_uncertainty_map_lies_over_the_scan(scene, scan, logic, add_transform):
    scan.SetAndObserveTransformNodeID(add_transform(TURN).GetID())
    views = [scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode") for _ in range(3)]
    job, _ = start_run(logic, scan, uncertainty=True)
    take_along(logic, job)
    shown = logic.showUncertainty(job, scan)
    assert shown is job.uncertaintyNode is logic.showUncertainty(job.segmentationNode)
    assert shown.GetName() == "MRHead uncertainty"
    assert shown.GetTransformNodeID() == scan.GetTransformNodeID()
    array = slicer.util.arrayFromVolume(shown)
    assert array.shape == GRID
    assert array.dtype == np.float32
    assert array.max() == 0.5
    grids = [slicer.util.arrayFromVTKMatrix(_ijk_to_ras(node)) for node in (shown, scan)]
    np.testing.assert_allclose(*grids)
    display = shown.GetDisplayNode()
    assert not display.GetApplyThreshold()  # which would draw an edge
    assert display.GetWindow() == 1
    assert scene.GetNodeByID(display.GetColorNodeID()) is not None
    assert {(v.GetBackgroundVolumeID(), v.GetForegroundVolumeID()) for v in views} == {
        (scan.GetID(), layer_of(shown).GetID())
    }
    layer = layer_of(shown)
    assert layer.GetTransformNodeID() == scan.GetTransformNodeID()
    np.testing.assert_allclose(slicer.util.arrayFromVTKMatrix(_ijk_to_ras(layer)), grids[0])
    assert np.array_equal(slicer.util.arrayFromVolume(layer), np.round(255 * array))
    assert not layer.GetHideFromEditors()  # or the views' selectors would not list it
    assert all(0 < v.GetForegroundOpacity() < 1 for v in views)
    assert logic.showUncertainty(job, opacity=0.25) is shown
    assert {v.GetForegroundOpacity() for v in views} == {0.25}
    logic.showUncertainty(job, show=False)
    assert {v.GetForegroundVolumeID() for v in views} == {None}
    assert layer.GetScene() is None


LIGHTNESS = np.array([0.2126, 0.7152, 0.0722])  # of linear RGB


class SliceView:
    """A slice view over a scan, without a window."""

    def __init__(self, scene, scan):
        self.logic = slicer.vtkMRMLSliceLogic()
        self.logic.SetMRMLScene(scene)
        view = self.logic.AddSliceNode("Red")
        self.logic.GetSliceCompositeNode().SetBackgroundVolumeID(scan.GetID())
        view.SetDimensions(256, 4, 1)
        view.SetFieldOfView(256, 4, 1)
        middle = np.eye(4)
        middle[:3, 3] = (127.5, 1.5, 1.5)
        view.GetSliceToRAS().DeepCopy(slicer.util.vtkMatrixFromArray(middle))
        view.UpdateMatrices()

    def row(self):
        """The pixels of its middle row, (256, 3) from 0 to 255."""
        self.logic.UpdatePipeline()
        producer = self.logic.GetImageDataConnection().GetProducer()
        producer.Update()
        pixels = vtk_to_numpy(producer.GetOutputDataObject(0).GetPointData().GetScalars())
        return pixels.reshape(4, 256, -1)[2, :, :3].astype(int)


@pytest.fixture
def own_scene():
    """A scene of its own, with Slicer's colours: a slice view outlives what it shows."""
    scene, colours = slicer.vtkMRMLScene(), slicer.vtkMRMLColorLogic()
    colours.SetMRMLScene(scene)
    colours.AddDefaultColorNodes()
    yield scene
    colours.SetMRMLScene(None)


def _volume(scene, array):
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    slicer.util.updateVolumeFromArray(node, array)
    return node


@pytest.mark.parametrize("below", [20, 235], ids=["dark tissue", "bright tissue"])
def test_the_map_lets_the_anatomy_through_where_it_is_low(own_scene, below):
    """Nothing is hidden at zero, there is no edge, and a high value is seen on any tissue."""
    grey = _volume(own_scene, np.full((4, 4, 256), below, np.int16))
    grey.CreateDefaultDisplayNodes()
    display = grey.GetDisplayNode()
    display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeGrey")
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(0, 255)
    unsure = _volume(own_scene, np.tile(np.linspace(0, 1, 256, dtype=np.float32), (4, 4, 1)))
    name_map(own_scene.AddNewNodeByClass("vtkMRMLTableNode"), unsure)
    view = SliceView(own_scene, grey)
    show_overlay(unsure, opacity=1.0)
    seen = view.row()
    assert seen[0].tolist() == [below] * 3
    assert np.abs(np.diff(seen, axis=0)).max() <= 8  # of 255, from one value to the next
    np.testing.assert_allclose(seen[-1], 255 * colour_table()[-1], atol=4)
    assert np.abs(seen[128] - below).max() > 40
    show_overlay(unsure, opacity=0.2)
    faint = view.row()
    assert np.abs(faint - below).max() < 0.25 * np.abs(seen - below).max()


def test_the_colours_grow_lighter_in_equal_steps():
    linear = np.where(
        colour_table() <= 0.04045, colour_table() / 12.92, ((colour_table() + 0.055) / 1.055) ** 2.4
    )
    luminance = linear @ LIGHTNESS
    lightness = np.where(
        luminance > 0.008856, 116 * np.cbrt(luminance) - 16, 903.3 * luminance
    )  # CIE L*
    steps = np.diff(lightness)
    assert (steps > 0).all()
    assert lightness[-1] - lightness[0] > 70
    assert steps.max() < 2.5 * steps.mean()


def test_a_run_that_updates_a_map_updates_what_is_shown(scene, scan, logic):
    scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    node = logic.segment(scan, uncertainty=True)
    layer = layer_of(logic.showUncertainty(node, scan))
    before = slicer.util.arrayFromVolume(layer).copy()
    logic.segment(scan, node, side="left", uncertainty=True)
    after = slicer.util.arrayFromVolume(layer)
    assert (after > 0).sum() < (before > 0).sum()


def test_the_users_own_foreground_comes_back_when_the_map_goes(scene, scan, logic, add_volume):
    other, third = (
        add_volume(np.ones(GRID), OBLIQUE, "PET"),
        add_volume(np.ones(GRID), OBLIQUE, "CT"),
    )
    red, green, yellow = (scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode") for _ in range(3))
    for view, node, opacity in ((red, other, 0.3), (green, third, 1.0)):
        view.SetForegroundVolumeID(node.GetID())
        view.SetForegroundOpacity(opacity)
    yellow.SetForegroundOpacity(0.0)
    first, second = (logic.segment(scan, uncertainty=True) for _ in range(2))

    def shown():
        views = (red, green, yellow)
        return [(view.GetForegroundVolumeID(), view.GetForegroundOpacity()) for view in views]

    before = shown()
    for node in (first, first, second):  # twice, and one after another
        laid = logic.showUncertainty(node, scan)
    assert {name for name, _ in shown()} == {layer_of(laid).GetID()}
    green.SetForegroundVolumeID(scan.GetID())  # the user's hand goes before ours
    logic.showUncertainty(second, show=False)
    assert shown() == [before[0], (scan.GetID(), shown()[1][1]), before[2]]
    logic.showUncertainty(second)
    scene.RemoveNode(other)
    logic.showUncertainty(second, show=False)
    assert red.GetForegroundVolumeID() is None
    assert green.GetForegroundVolumeID() == scan.GetID()


def _ijk_to_ras(node):
    matrix = slicer.util.vtkMatrixFromArray(np.eye(4))
    node.GetIJKToRASMatrix(matrix)
    return matrix


def test_a_map_is_used_again_goes_with_its_run_and_comes_back_with_restore(
    scene, scan, logic, client
):
    node = logic.segment(scan, uncertainty=True)
    shown = logic.showUncertainty(node)
    first, count = slicer.util.arrayFromVolume(shown).copy(), scene.GetNumberOfNodes()
    client.segment = BallSegmenter(radius_mm=3)
    logic.segment(scan, node, uncertainty=True)
    assert logic.showUncertainty(node) is shown
    assert scene.GetNumberOfNodes() == count
    assert not np.array_equal(slicer.util.arrayFromVolume(shown), first)
    logic.restore(node)
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(shown), first)
    logic.segment(scan, node)
    with pytest.raises(
        UserError, match="tick Uncertainty"
    ):  # an older run's map says nothing of this one
        logic.showUncertainty(node)


def test_a_failing_run_leaves_the_map_as_it_was(scene, scan, logic, monkeypatch):
    from MedLLMSegLib.slicer_bridge.scene import volume_nodes as nodes

    node = logic.segment(scan, uncertainty=True)
    shown, before = logic.showUncertainty(node), scene_contents(scene)
    first = slicer.util.arrayFromVolume(shown).copy()
    place = nodes.place_next_to
    monkeypatch.setattr(
        nodes, "place_next_to", lambda node, *more: 1 / 0 if more[1:] else place(node, *more)
    )
    for asked in (node, None):
        job, _ = start_run(logic, scan, segmentationNode=asked, uncertainty=True)
        take_along(logic, job)
        assert job.state == "failed"
        assert scene_contents(scene) == before
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(logic.showUncertainty(node)), first)


def test_the_slice_views_move_to_what_was_found(scene, add_volume):
    from MedLLMSegLib.slicer_bridge.scene.overlay import look_at

    view = slicer.vtkMRMLSliceNode()
    view.SetLayoutName("Red")
    view = scene.AddNode(view)
    scan = add_volume(np.zeros(GRID, np.int16), OBLIQUE)
    look_at(scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "empty"))
    assert view.GetSliceToRAS().GetElement(2, 3) == 0
    look_at(SegmentationLogic(BallSegmenter()).segment(scan))
    assert view.GetSliceToRAS().GetElement(2, 3) == pytest.approx(
        BALLS_RAS[1][2], abs=2.4
    )  # mm; an axial view, thick slices


def colours_in(scene, name):
    """A colour node's RGB, (n, 3), by its name."""
    table = scene.GetFirstNodeByName(name).GetLookupTable()
    return np.array([table.GetTableValue(n)[:3] for n in range(table.GetNumberOfTableValues())])


def write(scene, folder):
    """Save a scene as a bundle in a new folder."""
    folder.mkdir()
    add_file_managers(scene, folder)
    assert scene.WriteToMRB(str(folder / "scene.mrb"))


def read(folder):
    """What was saved there, in a scene of its own."""
    scene = slicer.vtkMRMLScene()
    add_file_managers(scene, folder)
    assert scene.ReadFromMRB(str(folder / "scene.mrb"), True)
    return scene


def add_map(scene):
    """A map in a scene without a segmentation."""
    unsure = _volume(scene, np.ones((4, 4, 4), np.float32))
    name_map(scene.AddNewNodeByClass("vtkMRMLTableNode"), unsure)
    return unsure


def add_users_colours(scene):
    node = scene.AddNewNodeByClass("vtkMRMLColorTableNode", "users")
    node.SetTypeToUser()
    node.SetNumberOfColors(2)
    for n in range(2):
        node.SetColor(n, str(n), 0, 1, n)


def test_the_colours_are_saved_with_the_scene(scene, scan, logic, tmp_path):
    """A map looks the same when the scene is loaded, by whomever."""
    logic.segment(scan, uncertainty=True)
    write(scene, tmp_path / "map")
    found = read(tmp_path / "map")
    display = found.GetFirstNodeByName("MRHead uncertainty").GetDisplayNode()
    assert display.GetColorNode() is found.GetFirstNodeByName("MedLLMSeg map")
    np.testing.assert_allclose(colours_in(found, "MedLLMSeg map"), colour_table(), atol=1 / 255)


def test_the_colours_of_one_scene_do_not_meet_those_of_the_next(own_scene, tmp_path):
    """A scene with a map is saved and closed, and one with a colour table of the user's own is
    opened: each keeps its colours, in the scene and in the file.
    """
    add_users_colours(own_scene)
    write(own_scene, tmp_path / "users")
    own_scene.Clear(0)
    add_map(own_scene)
    write(own_scene, tmp_path / "map")
    own_scene.Clear(0)
    assert own_scene.ReadFromMRB(str(tmp_path / "users" / "scene.mrb"), True)
    add_map(own_scene)
    write(own_scene, tmp_path / "both")
    for scene in (own_scene, read(tmp_path / "both")):
        np.testing.assert_allclose(colours_in(scene, "MedLLMSeg map"), colour_table(), atol=1 / 255)
        np.testing.assert_array_equal(colours_in(scene, "users"), [[0, 1, 0], [0, 1, 1]])


def test_the_colours_go_with_their_scene(own_scene):
    before = own_scene.GetNumberOfNodesByClass("vtkMRMLColorTableNode")
    for _ in range(2):
        for _ in range(2):
            show_overlay(add_map(own_scene))
        assert own_scene.GetNumberOfNodesByClass("vtkMRMLColorTableNode") == before + 1
        own_scene.Clear(0)
        assert own_scene.GetNumberOfNodesByClass("vtkMRMLColorTableNode") == before
