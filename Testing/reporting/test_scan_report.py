"""The report: what the page says, and where in its pictures things are."""

import io
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from matplotlib.image import imread

from MedLLMSegLib.anatomy.structures import (
    cardiac_structures,
    hippocampus_structures,
    uncoded_structures,
)
from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.geometry import transform_points
from MedLLMSegLib.core.quality import Quality, ScanQuality
from MedLLMSegLib.core.segmentation import Segmentation
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.reporting.scan_report import orientation, quality_paragraph, write_report
from MedLLMSegLib.reporting.slice_drawing import AXIAL, CORONAL, SAGITTAL, draw_slice, square_panels
from MedLLMSegLib.reporting.structure_masks import organs, structure_masks
from MedLLMSegLib.reporting.surface_picture import CAMERAS, camera, mesh_of, surface_picture
from MedLLMSegLib.reporting.volume_table import volume_table

ROOT = Path(__file__).resolve().parents[2]
CENTRE = np.array([-24.0, 12.0, 30.0])  # of the cube, RAS mm: left, a little in front and above
HALF_MM = 9.0


def turned(degrees: float) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.array(
        [[1, 0, 0], [0, c, -s], [0, s, c]]
    )


GRIDS = {
    "flat voxels": np.diag([-0.8, -0.8, 3.0]),
    "permuted": np.eye(3)[:, [2, 0, 1]] * [1.5, 1.0, 1.2],
    "oblique": turned(25) @ np.diag([1.0, -1.0, 2.0]),
}


def make(grid: str, label: int = 1) -> tuple[Volume, Segmentation]:
    """A scan of about 12 cm around the origin with a bright cube on the patient's left, and its
    segmentation.
    """
    matrix = np.eye(4)
    matrix[:3, :3] = GRIDS[grid]
    shape = tuple(int(120 / s) for s in np.linalg.norm(matrix[:3, :3], axis=0))[::-1]
    matrix[:3, 3] = -matrix[:3, :3] @ (np.array(shape[::-1]) - 1) / 2
    ras = transform_points(matrix, np.indices(shape)[::-1].reshape(3, -1).T)
    cube = (np.abs(ras - CENTRE) <= HALF_MM).all(1).reshape(shape)
    array = np.where(cube, 1000, 100 + np.arange(cube.size).reshape(shape) % 50).astype(np.int16)
    volume = Volume(array, matrix, "scan")
    return volume, Segmentation(
        volume.with_array(cube.astype(np.uint8) * label),
        hippocampus_structures(lateral=True),
        {1: 0.934, 2: float("nan")},
        model="hippocampus-t1",
        seconds=3.21,
    )


def pixels(figure) -> np.ndarray:
    data = io.BytesIO()
    figure.savefig(data, format="png")
    data.seek(0)
    return imread(data)[..., :3]


def coloured(image: np.ndarray, color) -> np.ndarray:
    """(n, 2) rows and columns of the pixels in a structure's colour."""
    return np.argwhere(np.abs(image - np.array(color) / 255).max(-1) < 0.12)


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize(
    "view, right_mm, down_mm", [(AXIAL, 24, -12), (CORONAL, 24, -30), (SAGITTAL, -12, -30)]
)  # left is on the viewer's right, front and head up
def test_the_outline_lies_around_the_cube_and_left_is_on_the_right(grid, view, right_mm, down_mm):
    volume, segmentation = make(grid)
    figure, (panel,) = square_panels(1, 1)
    normal = np.cross(view.right, view.down)
    draw_slice(
        panel,
        volume,
        list(structure_masks(segmentation).values()),
        view,
        CENTRE * np.abs(normal),
        120.0,
    )
    image = pixels(figure)
    size = len(image)
    assert image.shape[0] == image.shape[1]
    found = coloured(image, segmentation.structures[0].color)
    mm = (found[:, ::-1] + 0.5 - size / 2) * 120.0 / (0.988 * size)  # right, down from the middle
    low, high = mm.min(0), mm.max(0)
    voxel = max(volume.spacing_mm)
    np.testing.assert_allclose((low + high) / 2, [right_mm, down_mm], atol=voxel)
    np.testing.assert_allclose(
        high - low, 2 * HALF_MM, atol=2.2 * voxel
    )  # as wide as high, whatever the voxels
    # and the outline is a line: in the middle of it one sees the cube itself, white
    row, column = (int(size / 2 + m * 0.988 * size / 120) for m in (down_mm, right_mm))
    assert image[row, column].min() > 0.9


def test_letters_belong_to_their_sides():
    words = {
        "R": (1, 0, 0),
        "L": (-1, 0, 0),
        "A": (0, 1, 0),
        "P": (0, -1, 0),
        "S": (0, 0, 1),
        "I": (0, 0, -1),
    }
    for view in (AXIAL, CORONAL, SAGITTAL):
        left, right, top, bottom = (np.array(words[letter]) for letter in view.letters)
        assert np.array_equal(right, view.right)
        assert np.array_equal(left, -right)
        assert np.array_equal(bottom, view.down)
        assert np.array_equal(top, -bottom)
    assert AXIAL.letters == "RLAP"
    assert CORONAL.letters == "RLSI"


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    volume, segmentation = make("oblique")
    segmentation = replace(segmentation, notes=("Only one side & <no> more.",))
    volume = Volume(volume.array, volume.ijk_to_ras, 'T1 <b>"größe"</b> & more')
    folder = tmp_path_factory.mktemp("out") / "new" / "report"
    page = write_report(volume, segmentation, folder, 'medllmseg segment "a & b.nii" --output <x>')
    return page, page.read_text(encoding="utf-8"), segmentation


class Seen(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.images, self.links, self.text = [], [], [], ""

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.images += [v for k, v in attributes if tag == "img" and k == "src"]
        self.links += [v for k, v in attributes if k in ("href", "src")]

    def handle_data(self, data):
        self.text += data


def test_the_page_is_whole_and_shows_files_that_are_there(report):
    page, html, segmentation = report
    seen = Seen()
    seen.feed(html)
    assert seen.images == ["slices_1.png", "surface.png"]  # only one organ has voxels
    for name in seen.images:
        assert imread(page.parent / name).std() > 0.02
    assert set(seen.links) == set(seen.images)  # nothing from elsewhere
    assert sorted(p.name for p in page.parent.iterdir()) == [
        "report.html",
        "report.txt",
        "slices_1.png",
        "surface.png",
    ]
    # names are text, not HTML
    assert "b" not in seen.tags
    assert "no" not in seen.tags
    assert "x" not in seen.tags
    text = " ".join(seen.text.split())
    for part in (
        'T1 <b>"größe"</b> & more',
        "Only one side & <no> more.",
        'segment "a & b.nii" --output <x>',
        "Left hippocampus (anterior)",
        "hippocampus-t1, 3.2 s",
        "93 %",
        "1 × 1 × 2 mm",
        "turned by up to",
    ):
        assert part in text, part
    assert text.count("Research use only; not a medical device.") == 1
    assert f"{segmentation.volumes_ml['left_anterior']:.3f}" in text
    assert "nan" not in text.lower().replace("anatom", "")


def test_lights_stand_on_the_page_with_words_and_reasons():
    _volume, segmentation = make("oblique")
    label = segmentation.found[0].label
    odd = Quality("amber", ("it is <small>",))
    quality = ScanQuality(odd, {label: odd}, {label: (0.25, 0.5)})
    judged = replace(segmentation, quality=quality, expected_dice={label: 0.71})
    seen = Seen()
    seen.feed(quality_paragraph(judged) + volume_table(judged))
    assert "Quality: amber (look closely): it is <small>" in seen.text
    assert "small" not in seen.tags
    assert "0.250 to 0.500" in seen.text
    assert "0.71" in seen.text
    assert quality_paragraph(segmentation) == ""
    assert "interval" not in volume_table(segmentation)


def test_the_whole_view_shows_the_cube_on_the_right(report):
    page, _, segmentation = report
    image = imread(page.parent / "slices_1.png")[..., :3]
    assert (
        image.shape[1] == 4 * image.shape[0]
    )  # one structure: one row, and the whole scan is the fourth picture
    whole = image[:, 3 * image.shape[0] :]
    columns = coloured(whole, segmentation.structures[0].color)[:, 1]
    assert len(columns) > 20
    assert columns.min() > whole.shape[1] / 2


def test_a_right_sided_structure_is_on_the_left(tmp_path):
    volume, segmentation = make("flat voxels", label=3)
    mirrored = volume.ijk_to_ras.copy()
    mirrored[0] *= -1
    volume = Volume(volume.array, mirrored)
    segmentation = replace(segmentation, labels=Volume(segmentation.labels.array, mirrored))
    write_report(volume, segmentation, tmp_path)
    image = imread(tmp_path / "slices_1.png")[..., :3]
    whole = image[:, 3 * image.shape[0] :]
    columns = coloured(whole, segmentation.structures[2].color)[:, 1]
    assert len(columns) > 20
    assert columns.max() < whole.shape[1] / 2


def test_each_part_of_an_organ_has_its_row(tmp_path):
    volume, segmentation = make("flat voxels")
    segmentation.labels.array[: segmentation.labels.array.shape[0] * 3 // 4] *= 2
    assert set(np.unique(segmentation.labels.array)) == {0, 1, 2}
    write_report(volume, segmentation, tmp_path)
    image = imread(tmp_path / "slices_1.png")
    assert image.shape[1] == 2 * image.shape[0]  # 4 by 2 squares


def test_surfaces_have_the_volume_of_their_voxels_and_look_outward():
    for grid in GRIDS:
        _, segmentation = make(grid)
        mask = structure_masks(segmentation)[1]
        mesh = mesh_of(mask)
        a, b, c = (mesh.points[mesh.faces[:, n]] for n in range(3))
        volume = np.einsum("ij,ij->", a, np.cross(b, c)) / 6
        assert volume / 1000 == pytest.approx(segmentation.volumes_ml["left_anterior"], rel=0.15)
        middle = mesh.points.mean(0)
        np.testing.assert_allclose(middle, CENTRE, atol=max(mask.grid.spacing_mm))
        assert (np.einsum("ij,ij->i", mesh.normals, mesh.points - middle) > 0).mean() > 0.99


def test_from_the_front_left_is_on_the_right():
    right, up, towards = camera(CAMERAS["from the front"])
    np.testing.assert_allclose(
        np.stack([right, up, towards]), [[-1, 0, 0], [0, 0, 1], [0, 1, 0]], atol=1e-12
    )
    for direction in CAMERAS.values():
        axes = camera(direction)
        np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(axes) == pytest.approx(1)  # a mirrored camera would swap the sides
    labels = np.zeros((20, 40, 60), np.uint8)  # k, j, i along S, A, R, 1 mm
    labels[5:15, 30:36, 10:20] = 1  # left, in front
    labels[7:13, 10:16, 12:18] = 2  # behind it, hidden by it
    labels[5:15, 10:16, 40:50] = 4  # right
    segmentation = Segmentation(Volume(labels, np.eye(4)), hippocampus_structures(lateral=True))
    figure = surface_picture(list(structure_masks(segmentation).values()))
    letters = {t.get_text(): t.get_position() for t in figure.axes[0].texts}
    assert letters["L"][0] > letters["S"][0]
    assert letters["S"][1] > letters["L"][1]
    assert "A" not in letters
    image = pixels(figure)
    front = image[:, : image.shape[1] // 2]
    shown = front.max(-1) - front.min(-1) > 0.3
    hue = front[..., 1] / np.maximum(
        front[..., 0], 1e-6
    )  # yellow has as much green as red, orange half of it
    yellow, orange = (np.argwhere(shown & part)[:, 1] for part in (hue > 0.8, hue < 0.7))
    half = front.shape[1] / 2
    assert len(yellow) > 1000
    assert yellow.min() > half
    assert len(orange) > 1000
    assert orange.max() < half


def test_one_voxel_and_none(tmp_path):
    volume, segmentation = make("flat voxels")
    segmentation.labels.array[:] = 0
    page = write_report(volume, segmentation, tmp_path / "none")
    assert sorted(p.name for p in page.parent.iterdir()) == [
        "report.html",
        "report.txt",
        "slices_1.png",
    ]
    segmentation.labels.array[0, 0, 0] = 1  # in the very corner
    page = write_report(volume, segmentation, tmp_path / "one")
    assert (page.parent / "surface.png").is_file()


def test_a_small_crop_is_shown_whole(tmp_path):
    volume = Volume(
        np.random.default_rng(0).random((30, 50, 36)).astype(np.float32), np.diag([1.0, 1, 1, 1])
    )
    labels = np.zeros(volume.array.shape, np.uint8)
    labels[10:20, 5:45, 10:20] = 1
    write_report(
        volume,
        Segmentation(volume.with_array(labels), hippocampus_structures(lateral=False)),
        tmp_path,
    )
    image = imread(tmp_path / "slices_1.png")
    assert image.shape[1] == 3 * image.shape[0]
    sagittal = image[:, 2 * image.shape[0] :, :3].max(-1)
    lit = np.flatnonzero((sagittal > 0.3).sum(0) > 0.3 * len(sagittal))
    assert lit[-1] - lit[0] > 0.9 * len(sagittal)  # its longest side fills the picture


def test_organs_and_orientation():
    assert [o.name for o in organs(hippocampus_structures(True))] == [
        "Left hippocampus",
        "Right hippocampus",
    ]
    assert [o.name for o in organs(hippocampus_structures(False))] == ["Hippocampus"]
    assert [o.name for o in organs(cardiac_structures())] == ["Right ventricle", "Left ventricle"]
    assert [o.name for o in organs(uncoded_structures({1: "liver", 2: "tumour"}))] == [
        "Liver",
        "Tumour",
    ]
    assert orientation(np.diag([-1.0, -2, 3, 1])) == "LPS"
    assert orientation(np.eye(4)[[2, 0, 1, 3]]) == "ASR"  # i runs to A, j to S, k to R
    oblique = np.eye(4)
    oblique[:3, :3] = turned(25)
    assert orientation(oblique) == "RAS turned by up to 35°"


def test_matplotlibs_global_state_is_left_alone(tmp_path):
    """In Slicer or a notebook a backend may be in use: none is chosen here, and pyplot is not
    even loaded.
    """
    code = (
        "import sys, matplotlib; sys.path.insert(0, '.'); from Testing.reporting import"
        " test_scan_report as test_report\ntest_report.write_report(*test_report.make('flat"
        " voxels'), sys.argv[1])\nassert matplotlib.get_backend(auto_select=False) is None\nassert"
        " 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, check=True)


def test_what_cannot_be_written(tmp_path):
    volume, segmentation = make("flat voxels")
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(UserError, match="in the way"):
        write_report(volume, segmentation, tmp_path / "taken")
    with pytest.raises(UserError, match="does not lie on the grid"):
        write_report(Volume(volume.array[1:], volume.ijk_to_ras), segmentation, tmp_path / "x")


def test_a_result_with_other_voxels_than_the_scan_has_a_page_and_one_of_another_place_none(
    tmp_path,
):
    volume, segmentation = make("flat voxels")
    coarse = segmentation.labels.array[:, ::2, ::2]
    matrix = volume.ijk_to_ras.copy()
    matrix[:3, 3] += matrix[:3, :2].sum(1) / 2
    matrix[:3, :2] *= 2
    other = replace(segmentation, labels=Volume(coarse, matrix))
    assert write_report(volume, other, tmp_path / "a").is_file()
    image = imread(tmp_path / "a" / "slices_1.png")[..., :3]
    whole = image[:, 3 * image.shape[0] :]
    columns = coloured(whole, segmentation.structures[0].color)[:, 1]
    assert columns.min() > whole.shape[1] / 2  # the left cube, on the right
    moved = matrix.copy()
    moved[0, 3] += 30
    with pytest.raises(UserError, match="does not lie"):
        write_report(volume, replace(other, labels=Volume(coarse, moved)), tmp_path / "b")
