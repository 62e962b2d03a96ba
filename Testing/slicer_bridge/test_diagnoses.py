"""From an image's node to a table and a heat map, on Slicer's real nodes, with the library's own
work on a tiny random classifier.
"""

import tempfile

import numpy as np
import pytest

pytest.importorskip(
    "slicer_core", reason="slicer-core is not installed: NOTHING ABOUT MRML WAS TESTED"
)
import slicer
import vtk
from PIL import Image

from MedLLMSegLib import Cancelled, UserError, Volume, diagnose
from MedLLMSegLib.diagnosis.input_description import InputConfig
from MedLLMSegLib.registry.user_models import import_model
from MedLLMSegLib.slicer_bridge.logic.module_logic import SegmentationLogic
from MedLLMSegLib.slicer_bridge.scene import flat_images as images
from MedLLMSegLib.slicer_bridge.scene.map_roles import is_map
from MedLLMSegLib.slicer_bridge.scene.overlay import heat_map_of
from MedLLMSegLib.worker.protocol import Event
from MedLLMSegLib.worker.tasks import Tasks, library_engine
from Testing.helpers.dicom_writer import write_dicom
from Testing.helpers.tiny_classifier import tiny_network, volumes, write_tiny
from Testing.slicer_bridge.stand_in import OBLIQUE, in_stage, take_along


class LibraryClient:
    """A worker in this process: its real tasks, all at once in one poll. hold: it stays in
    "load" until that is False.
    """

    def __init__(self):
        self.tasks, self.open, self.requests, self.cancelled, self.hold = (
            Tasks(library_engine()),
            {},
            [],
            [],
            False,
        )

    def submit(self, do, **fields):
        self.requests.append((do, fields))
        self.open[len(self.requests)] = (do, fields)
        return len(self.requests)

    def cancel(self, number):
        self.cancelled.append(number)

    def close(self):
        pass

    def poll(self):
        return [event for number in list(self.open) for event in self._go_on(number)]

    def _go_on(self, number):
        if self.hold and number not in self.cancelled:
            return [Event(number, "progress", stage="load", fraction=0.2)]
        do, fields = self.open.pop(number)
        if number in self.cancelled:
            return [Event(number, "error", kind="cancelled")]
        events = []
        try:
            answer = getattr(self.tasks, do)(
                fields,
                lambda *step: events.append(
                    Event(number, "progress", stage=step[0], fraction=step[1])
                ),
            )
        except UserError as error:
            return [Event(number, "error", kind="user", message=str(error))]
        return [*events, Event(number, "result", **answer)]


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    """Folders of tiny classifiers: of radiographs, of slices of a CT, of frames."""
    place = tmp_path_factory.mktemp("bundles")
    frames = InputConfig("frames", ("MR",), "", ())
    return {
        "flat": write_tiny(place / "tiny"),
        "slices": write_tiny(
            place / "slices", tiny_network(kind="cnn-lstm"), id="slices", input=volumes()
        ),
        "frames": write_tiny(
            place / "frames",
            tiny_network(kind="cnn-lstm", classes=("a", "b", "c")),
            id="frames",
            input=frames,
            threshold=None,
        ),
    }


@pytest.fixture
def client():
    return LibraryClient()


@pytest.fixture
def logic(client, tmp_path, monkeypatch):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setenv("MEDLLMSEG_CACHE", str(tmp_path / "cache"))
    logic = SegmentationLogic(makeClient=lambda: client)
    yield logic
    logic.close()
    assert not list((tmp_path / "temporary").iterdir())


@pytest.fixture
def pixels():
    """Of a radiograph, 12 bit, brighter on one side: an image that was turned or mirrored is
    another one.
    """
    noise = np.random.default_rng(0).normal(0, 150, (90, 70))
    return np.clip(1200 + 20 * np.arange(70) + 8 * np.arange(90)[:, None] + noise, 0, 4095).astype(
        np.uint16
    )


@pytest.fixture
def flat(add_volume, pixels):
    return add_volume(pixels[None], np.diag([-0.2, -0.2, 1, 1.0]), "chest")


def load(path, name="chest"):
    """As Slicer's DICOM and Volumes modules load a file."""
    return slicer.modules.volumes.logic().AddArchetypeVolume(str(path), name, 0)


def columns(table):
    found = table.GetTable()
    return {
        found.GetColumnName(c): [
            found.GetValue(r, c).ToString() if c == 0 else found.GetValue(r, c).ToDouble()
            for r in range(found.GetNumberOfRows())
        ]
        for c in range(found.GetNumberOfColumns())
    }


def nodes(scene):
    scene.GetSubjectHierarchyNode()  # which makes it
    return [
        (scene.GetNthNode(n).GetID(), scene.GetNthNode(n).GetName())
        for n in range(scene.GetNumberOfNodes())
    ]


def matrix(node):
    found = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(found)
    return found


def same(table, heat, wanted):
    got = columns(table)
    assert got["class"] == list(wanted.probabilities)
    np.testing.assert_allclose(got["probability"], list(wanted.probabilities.values()), atol=1e-6)
    np.testing.assert_allclose(slicer.util.arrayFromVolume(heat), wanted.heat_map.array, atol=1e-5)


def test_a_table_and_a_heat_map_on_the_images_grid(
    scene, logic, client, flat, bundles, pixels, add_transform
):
    flat.SetAndObserveTransformNodeID(add_transform(OBLIQUE).GetID())
    seen = []
    table, heat = logic.diagnose(
        flat, bundles["flat"], lambda *step: seen.append(step[0]), device="cpu"
    )
    volume = Volume(pixels[None], OBLIQUE @ slicer.util.arrayFromVTKMatrix(matrix(flat)), "chest")
    wanted = diagnose(volume, bundles["flat"], device="cpu")
    same(table, heat, wanted)
    got = columns(table)
    assert list(got) == ["class", "probability", "threshold", "positive", "confidence"]
    assert np.isnan(got["threshold"][0]) and got["threshold"][1] == pytest.approx(0.4)
    assert got["positive"] == [float(name == wanted.answer) for name in got["class"]]
    assert got["confidence"] == pytest.approx([wanted.confidence] * 2)
    assert (table.GetName(), heat.GetName()) == ("chest diagnosis", "chest heat map")
    assert (
        "not a medical device" in table.GetDescription()
        and table.GetAttribute("MedLLMSeg.model") == "tiny"
    )
    assert (
        heat.GetTransformNodeID() == flat.GetTransformNodeID()
        and "load" in seen
        and "write" in seen
    )
    np.testing.assert_array_equal(
        slicer.util.arrayFromVTKMatrix(matrix(heat)), slicer.util.arrayFromVTKMatrix(matrix(flat))
    )


def test_the_heat_map_is_a_colour_overlay_beside_the_image(scene, logic, flat, bundles):
    hierarchy = scene.GetSubjectHierarchyNode()
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "study")
    hierarchy.CreateItem(study, flat)
    view = scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    table, heat = logic.diagnose(flat, bundles["flat"], device="cpu")
    assert [
        hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) for node in (table, heat)
    ] == [study, study]
    assert heat_map_of(table) is heat and is_map(heat) and not is_map(flat)
    assert (
        heat.GetDisplayNode().GetColorNodeID() == "vtkMRMLColorTableNodeIron"
        and heat.GetDisplayNode().GetApplyThreshold()
    )
    assert logic.showHeatMap(table, flat) is heat
    assert (view.GetBackgroundVolumeID(), view.GetForegroundVolumeID()) == (
        flat.GetID(),
        heat.GetID(),
    )
    logic.showHeatMap(table, show=False)
    assert view.GetForegroundVolumeID() is None and view.GetBackgroundVolumeID() == flat.GetID()
    scene.RemoveNode(heat)
    with pytest.raises(UserError, match="no heat map"):
        logic.showHeatMap(table)
    assert logic.diagnose(flat, bundles["flat"], device="cpu", heatMap=False)[1] is None


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_a_dicom_image_is_read_from_its_file(
    scene, logic, client, bundles, pixels, tmp_path, photometric
):
    """Windows count in the stored values, which Slicer's voxels of a MONOCHROME1 image are not."""
    path = write_dicom(
        tmp_path / "chest.dcm",
        pixels,
        PhotometricInterpretation=photometric,
        WindowCenter=[2000, 900],
        WindowWidth=[3000, 700],
        ViewPosition="LL",
    )
    node = load(path)
    table, heat = logic.diagnose(node, bundles["flat"], device="cpu", window=2)
    assert client.requests[0][1]["image"] == str(path)
    wanted = diagnose(path, bundles["flat"], device="cpu", window=2)
    same(table, heat, wanted)
    assert "lateral" in table.GetDescription()
    file = np.squeeze(slicer.util.arrayFromVolume(node)).astype(float)
    assert (
        abs(np.corrcoef(file.ravel(), pixels.ravel())[0, 1]) > 0.999
    )  # the heat map's rows and columns are the node's


def test_a_dicom_image_without_a_file_of_its_own_is_found_in_the_database(
    logic, client, bundles, pixels, tmp_path, monkeypatch, flat
):
    path = write_dicom(tmp_path / "chest.dcm", pixels, WindowCenter=2000, WindowWidth=3000)
    database = type(
        "Database", (), {"fileForInstance": lambda self, uid: str(path) if uid == "1.2.3" else ""}
    )()
    monkeypatch.setattr(slicer, "dicomDatabase", database, raising=False)
    flat.SetAttribute("DICOM.instanceUIDs", "1.2.3")
    logic.diagnose(flat, bundles["flat"], device="cpu")
    flat.SetAttribute("DICOM.instanceUIDs", "1.2.3 1.2.4")  # a stack of two is no single file
    logic.diagnose(flat, bundles["flat"], device="cpu")
    assert [request.get("image") for _, request in client.requests] == [str(path), None]


def test_a_picture_is_read_from_its_file_unless_it_was_changed(
    logic, client, bundles, add_volume, pixels, tmp_path
):
    path, array = tmp_path / "chest.png", (pixels / 16).astype(np.uint8)
    Image.fromarray(array).save(path)
    node = add_volume(array[None], name="chest")  # slicer-core cannot read PNG
    node.AddDefaultStorageNode()
    node.GetStorageNode().SetFileName(str(tmp_path / "chest.nrrd"))
    assert node.GetStorageNode().WriteData(node)
    node.GetStorageNode().SetFileName(str(path))
    same(
        *logic.diagnose(node, bundles["flat"], device="cpu"),
        diagnose(path, bundles["flat"], device="cpu"),
    )
    slicer.util.updateVolumeFromArray(node, 255 - array[None])
    logic.diagnose(node, bundles["flat"], device="cpu")
    assert ["image" in request for _, request in client.requests] == [True, False]


def test_a_grey_picture_that_slicer_loads_in_colours(scene, logic, bundles, pixels):
    array = (pixels / 16).astype(np.uint8)
    node = scene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "chest")
    slicer.util.updateVolumeFromArray(node, np.repeat(array[None, ..., None], 3, -1))
    table, heat = logic.diagnose(node, bundles["flat"], device="cpu")
    same(
        table,
        heat,
        diagnose(Volume(array[None], np.eye(4), "chest"), bundles["flat"], device="cpu"),
    )
    assert "stored in colour" in table.GetDescription()


def test_a_window_and_the_direction_of_grey_go_along_with_voxels(
    logic, client, bundles, flat, pixels, scene
):
    flat.CreateDefaultDisplayNodes()
    display = flat.GetDisplayNode()
    assert images.read_image(flat).tags == {}  # Slicer's own choice of a window is nobody's
    display.AutoWindowLevelOff()
    display.SetWindowLevel(1500, 2200)
    display.SetAndObserveColorNodeID(images.INVERTED)
    tags = {"window_center": 2200, "window_width": 1500, "inverted": 1}
    assert images.read_image(flat).tags == tags
    hierarchy = scene.GetSubjectHierarchyNode()
    item = hierarchy.CreateItem(hierarchy.GetSceneItemID(), flat)
    hierarchy.SetItemAttribute(item, "DICOM.Modality", "CR")
    table, heat = logic.diagnose(flat, bundles["flat"], device="cpu", view="lateral")
    same(
        table,
        heat,
        diagnose(
            Volume(pixels[None], np.diag([-0.2, -0.2, 1, 1.0]), "chest", tags),
            bundles["flat"],
            device="cpu",
        ),
    )
    assert "lateral" in table.GetDescription() and client.requests[0][1]["modality"] == "CR"
    hierarchy.SetItemAttribute(item, "DICOM.Modality", "CT")
    with pytest.raises(UserError, match="is a CT image"):
        logic.diagnose(flat, bundles["flat"], device="cpu")


def test_a_lung_mask_is_a_label_map_or_a_segmentation(scene, logic, client, bundles, flat, pixels):
    lungs = np.zeros(pixels.shape, np.uint8)
    lungs[20:70, 10:50] = 1
    mask = slicer.util.addVolumeFromArray(
        lungs[None], name="lungs", nodeClassName="vtkMRMLLabelMapVolumeNode"
    )
    wanted = diagnose(
        Volume(pixels[None], np.diag([-0.2, -0.2, 1, 1.0]), "chest"),
        bundles["flat"],
        device="cpu",
        lungs=lungs > 0,
    )
    same(*logic.diagnose(flat, bundles["flat"], device="cpu", lungs=mask), wanted)
    drawn = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "lungs, drawn")
    drawn.SetReferenceImageGeometryParameterFromVolumeNode(flat)
    for name, half in (("left", slice(10, 30)), ("right", slice(30, 50))):  # one segment each
        part = np.zeros_like(lungs)
        part[:, half] = lungs[:, half]
        drawn.GetSegmentation().AddEmptySegment(name, name)
        slicer.util.updateSegmentBinaryLabelmapFromArray(part[None], drawn, name, flat)
    same(*logic.diagnose(flat, bundles["flat"], device="cpu", lungs=drawn), wanted)
    assert not slicer.util.arrayFromVolume(
        logic.diagnose(flat, bundles["flat"], device="cpu", lungs=mask)[1]
    )[0, :20].any()


def test_a_scan_in_slices(logic, bundles, add_volume):
    array = np.random.default_rng(1).normal(0, 300, (6, 40, 30)).astype(np.float32)
    scan = add_volume(array, OBLIQUE, "scan")
    same(
        *logic.diagnose(scan, bundles["slices"], device="cpu"),
        diagnose(Volume(array, OBLIQUE, "scan"), bundles["slices"], device="cpu"),
    )
    with pytest.raises(UserError, match="one image.*sequence"):
        logic.diagnose(scan, bundles["frames"], device="cpu")


@pytest.fixture
def cine(scene):
    """(sequence, its browser, the frames' arrays)"""
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "cine")
    arrays = [
        np.random.default_rng(n).normal(100, 20, (4, 36, 30)).astype(np.float32) for n in range(3)
    ]
    for n, array in enumerate(arrays):
        volume = slicer.vtkMRMLScalarVolumeNode()
        slicer.util.updateVolumeFromArray(volume, array)
        volume.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(OBLIQUE))
        sequence.SetDataNodeAtValue(volume, str(n))
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "browser")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
    return sequence, browser, arrays


@pytest.mark.parametrize("by", ["sequence", "image that is shown"])
def test_a_sequence_is_diagnosed_as_a_whole(logic, client, bundles, cine, add_transform, by):
    sequence, browser, arrays = cine
    proxy = browser.GetProxyNode(sequence)
    proxy.SetAndObserveTransformNodeID(add_transform(OBLIQUE).GetID())
    table, heat = logic.diagnose(
        sequence if by == "sequence" else proxy, bundles["frames"], device="cpu"
    )
    wanted = diagnose(
        [Volume(array, OBLIQUE @ OBLIQUE, f"t{n}") for n, array in enumerate(arrays)],
        bundles["frames"],
        device="cpu",
    )
    same(table, heat, wanted)
    assert (
        len(client.requests[0][1]["volumes"]) == 3
        and heat.GetTransformNodeID() == proxy.GetTransformNodeID()
    )
    assert np.isnan(columns(table)["threshold"]).all() and sum(columns(table)["positive"]) == 1
    assert table.GetName() == "cine diagnosis"


def test_the_shown_image_of_a_sequence_by_itself_and_several_nodes_together(
    logic, bundles, cine, add_volume
):
    sequence, browser, arrays = cine
    proxy = browser.GetProxyNode(sequence)
    same(
        *logic.diagnose(proxy, bundles["slices"], device="cpu"),
        diagnose(Volume(arrays[0], OBLIQUE), bundles["slices"], device="cpu"),
    )
    with pytest.raises(UserError, match="is a sequence"):
        logic.diagnose(sequence, bundles["slices"], device="cpu")
    frames = [add_volume(array, OBLIQUE, f"phase {n}") for n, array in enumerate(arrays)]
    wanted = diagnose([Volume(array, OBLIQUE) for array in arrays], bundles["frames"], device="cpu")
    same(*logic.diagnose(frames, bundles["frames"], device="cpu"), wanted)


# what goes wrong leaves nothing


def test_cancelled_while_it_runs(scene, logic, client, flat, bundles):
    client.hold, before = True, nodes(scene)
    ended = []
    job = logic.diagnoseAsync(flat, onDone=ended.append, model=bundles["flat"])
    take_along(logic, job, in_stage("load"))
    logic.cancel(job)
    assert job.state == "cancelling"
    take_along(logic, job)
    assert (
        job.state == "cancelled"
        and ended == [job]
        and nodes(scene) == before
        and job.tableNode is None
    )
    client.hold = False
    assert logic.diagnose(flat, bundles["flat"], device="cpu")[0] is not None


def test_cancelled_from_the_progress_callback_and_the_image_removed(
    scene, logic, client, flat, bundles
):
    def cancel(stage, fraction):
        raise Cancelled

    before = nodes(scene)
    client.hold = True
    with pytest.raises(Cancelled):
        logic.diagnose(flat, bundles["flat"], cancel)
    assert nodes(scene) == before
    job = take_along(logic, logic.diagnoseAsync(flat, model=bundles["flat"]), in_stage("load"))
    scene.RemoveNode(flat)
    take_along(logic, job)
    assert job.state == "cancelled" and "removed" in job.message
    assert not scene.GetNumberOfNodesByClass("vtkMRMLTableNode")


def test_refusals_are_one_sentence_and_change_nothing(
    scene, logic, client, flat, bundles, add_volume
):
    deep = add_volume(np.random.default_rng(0).normal(0, 100, (5, 40, 40)), name="scan")
    before = nodes(scene)
    for node, options, words in (
        (deep, {"model": bundles["flat"]}, "is a 3D scan"),
        (None, {}, "No image is selected"),
        (flat, {"model": "hippocampus-t1"}, "outlines structures"),
        (flat, {"model": "gone"}, "no model called"),
        (flat, {"model": bundles["flat"], "record": {"age": 3}}, "reads images alone"),
    ):
        with pytest.raises(UserError, match=words):
            logic.diagnose(node, **({"model": bundles["flat"]} | options))
    assert nodes(scene) == before


@pytest.mark.parametrize("step", ["map_node", "name_map", "place_next_to"])
def test_a_failure_while_it_is_written_takes_all_back(
    scene, logic, flat, bundles, monkeypatch, step
):
    from MedLLMSegLib.slicer_bridge.logic import diagnosis_job as diagnoses

    def fail(*arguments):
        raise MemoryError

    hierarchy = scene.GetSubjectHierarchyNode()
    hierarchy.CreateItem(hierarchy.GetSceneItemID(), flat)
    before, items = nodes(scene), hierarchy.GetNumberOfItems()
    with monkeypatch.context() as broken:
        broken.setattr(diagnoses, step, fail)
        with pytest.raises(MemoryError):
            logic.diagnose(flat, bundles["flat"], device="cpu")
    assert nodes(scene) == before and hierarchy.GetNumberOfItems() == items


def test_an_image_that_changed_its_size_meanwhile(scene, logic, client, flat, bundles):
    client.hold, before = True, scene.GetNumberOfNodes()
    job = take_along(logic, logic.diagnoseAsync(flat, model=bundles["flat"]), in_stage("load"))
    slicer.util.updateVolumeFromArray(flat, np.zeros((1, 50, 50), np.int16))
    client.hold = False
    take_along(logic, job)
    assert (
        job.state == "failed"
        and "was changed" in job.message
        and scene.GetNumberOfNodes() == before
    )


def test_what_can_be_chosen_is_classifiers_alone(logic, bundles):
    shipped = {choice.entry.id for choice in logic.classifiers()}
    import_model(bundles["flat"])
    found = {choice.entry.id: choice for choice in logic.classifiers()}
    assert set(found) - shipped == {"tiny"} and found["tiny"].entry.classes == (
        "no finding",
        "pneumonia",
    )
    assert "tiny" not in {choice.entry.id for choice in logic.models()}


def test_channels_are_nodes_in_order_and_a_missing_one_is_none(
    scene, logic, client, add_volume, pixels, tmp_path
):
    """Each is read from its file where it has one; the panel gives the first channel alone."""
    asked = InputConfig(modalities=("PT",), body_part="", views=(), channels={"ct": ("CT",)})
    bundle = write_tiny(
        tmp_path / "pet-ct",
        tiny_network(kind="fusion", channels=2, record=None),
        id="pet-ct",
        input=asked,
    )
    files = [
        write_dicom(
            tmp_path / f"{modality}.dcm",
            pixels,
            Modality=modality,
            WindowCenter=2000,
            WindowWidth=width,
        )
        for modality, width in (("PT", 3000), ("CT", 900))
    ]
    pet, ct = (load(path, path.stem) for path in files)
    same(*logic.diagnose([pet, ct], bundle, device="cpu"), diagnose(files, bundle, device="cpu"))
    assert client.requests[-1][1]["volumes"] == [str(path) for path in files]
    table, heat = logic.diagnose(pet, bundle, device="cpu")
    assert (
        "1 of the model's 2 channels are missing (ct)." in table.GetDescription()
        and heat is not None
    )
    table, heat = logic.diagnose([None, ct], bundle, device="cpu")
    wanted = diagnose([None, files[1]], bundle, device="cpu")
    assert heat is None and columns(table)["probability"] == pytest.approx(
        list(wanted.probabilities.values()), abs=1e-6
    )
    drawn = add_volume(
        (pixels.astype(np.int16) - 1024)[None],
        slicer.util.arrayFromVTKMatrix(matrix(pet)),
        "no file of its own",
    )
    hierarchy = scene.GetSubjectHierarchyNode()
    hierarchy.SetItemAttribute(
        hierarchy.CreateItem(hierarchy.GetSceneItemID(), drawn), "DICOM.Modality", "CT"
    )
    wanted = diagnose(
        [
            files[0],
            Volume(
                (pixels.astype(np.int16) - 1024)[None],
                slicer.util.arrayFromVTKMatrix(matrix(drawn)),
                "ct",
            ),
        ],
        bundle,
        device="cpu",
    )
    assert columns(logic.diagnose([pet, drawn], bundle, device="cpu")[0])[
        "probability"
    ] == pytest.approx(list(wanted.probabilities.values()), abs=1e-6)
    for nodes_, words in (
        ([drawn, pet], "is a CT image"),
        ([pet, pet], "as its channel ct"),
        ([None, None], "No image is selected"),
        ([pet, ct, ct], "3 images"),
    ):
        with pytest.raises(UserError, match=words):
            logic.diagnose(nodes_, bundle, device="cpu")
