"""A region of interest: nothing outside is looked at, and the result lies on the whole grid."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from MedLLMSegLib import Region, UserError, Volume, load_model, load_volume, save_volume, segment
from MedLLMSegLib.anatomy.brain import brain_structures
from MedLLMSegLib.cli import main as cli
from MedLLMSegLib.core.geometry import transform_points
from MedLLMSegLib.core.quality import GREEN
from MedLLMSegLib.segmentation.region import cropped, on_whole
from Testing.helpers.grids import GRIDS
from Testing.helpers.shapes import STRUCTURES, fit, organ
from Testing.helpers.tiny_segmenter import oblique, tiny_bundle
from Testing.helpers.two_hippocampi import two_hippocampi_model

SCAN = Volume(
    np.random.default_rng(0).normal(size=(12, 30, 40)).astype(np.float32),
    np.diag((1.5, 1.5, 5.0, 1.0)),
    "scan",
)  # 0 to 58.5, 43.5 and 55 mm between centres


def voxels_inside(grid, faces):
    """Which voxels of a grid have their centres inside a box along the body's axes."""
    k, j, i = np.indices(grid.shape)
    world = transform_points(grid.ijk_to_ras, np.stack([i, j, k], -1))
    return ((world >= faces[:3]) & (world <= faces[3:])).all(-1)


@pytest.mark.parametrize("name", sorted(GRIDS))
def test_its_box_is_the_smallest_that_holds_all_voxels_inside(name):
    grid = GRIDS[name]
    centre = grid.centre_ras()
    faces = (*(centre - np.array([9, 6, 7])), *(centre + np.array([5, 11, 8])))
    box, inside = Region.from_faces(faces).box_on(grid), voxels_inside(grid, faces)
    assert inside.any()
    outside = inside.copy()
    outside[box] = False
    assert not outside.any()
    # and no plane of it lies beyond the box in space: its corners touch every face
    corners = transform_points(
        np.linalg.inv(grid.ijk_to_ras), Region.from_faces(faces).corners_ras
    )[:, ::-1]
    for axis, part in enumerate(box):
        assert part.start <= max(0, corners[:, axis].min() + 0.5) < part.start + 1.01
        assert part.stop - 1.01 < min(grid.shape[axis], corners[:, axis].max() + 0.5) <= part.stop


def test_a_box_that_ends_between_two_voxels_takes_neither_twice():
    region = Region.from_faces((-0.75, -0.75, -2.5, 2.25, 2.25, 7.5))  # on the faces of voxels
    assert region.box_on(SCAN.grid) == (slice(0, 2), slice(0, 2), slice(0, 2))


def test_a_turned_box_counts_with_the_box_around_it():
    around = Region.from_faces((10, 10, 10, 30, 30, 30))
    turn = np.eye(4)
    angle = np.pi / 4
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    centre = np.array([20.0, 20.0, 20.0])
    corners = transform_points(turn, np.array(around.corners_ras) - centre) + centre
    turned = Region(tuple(map(tuple, corners)))
    half = 10 * np.sqrt(2)
    assert turned.faces == pytest.approx((20 - half, 20 - half, 10, 20 + half, 20 + half, 30))
    k, j, i = turned.box_on(SCAN.grid)
    plain = around.box_on(SCAN.grid)
    assert k == plain[0]
    assert i.start < plain[2].start
    assert j.stop > plain[1].stop


@pytest.mark.parametrize(
    "faces, says",
    [
        ((30, 0, 0, 10, 20, 20), "left face lies at 30 mm and its right one at 10 mm"),
        ((0, 0, 20, 10, 20, 20), "inferior face"),
        ((0, 0, float("nan"), 10, 20, 20), "six numbers"),
        ((0, 0, 0, 10), "L P I R A S, in RAS mm"),
    ],
)
def test_faces_that_make_no_box_are_refused(faces, says):
    with pytest.raises(UserError, match=says):
        Region.from_faces(faces)


@pytest.mark.parametrize("faces", [(100, 100, 100, 120, 120, 120), (0, 0, 0, 60, 45, 1)])
def test_a_region_with_less_than_two_planes_of_the_scan_is_refused(faces):
    with pytest.raises(UserError, match='holds nothing of "scan"'):
        cropped(SCAN, Region.from_faces(faces))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_model(str(tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")), "cpu")


@pytest.mark.parametrize("matrix", [SCAN.ijk_to_ras, oblique((12, 30, 40), (1.5, 1.5, 5.0))])
@pytest.mark.parametrize("resolution_mm", [None, 1.5])
def test_the_result_is_that_of_the_crop_on_the_grid_of_the_whole(model, matrix, resolution_mm):
    scan = Volume(SCAN.array, matrix, "scan")
    centre = scan.grid.centre_ras()
    region = Region.from_faces((*(centre - 12), *(centre + 12)))
    options = dict(resolution_mm=resolution_mm, probabilities=True, uncertainty=True)
    whole = segment(scan, model, **options)
    result = segment(scan, model, region=region, **options)
    assert np.array_equal(result.labels.ijk_to_ras, whole.labels.ijk_to_ras)
    assert result.labels.array.shape == whole.labels.array.shape
    box = region.box_on(result.labels.grid)
    outside = np.ones(result.labels.array.shape, bool)
    outside[box] = False
    for array in (result.labels.array, result.uncertainty.array, *result.probabilities.array):
        assert not array[outside].any()
    assert result.found
    assert "Only the region was searched" in result.notes[0]
    if resolution_mm is None:
        alone = segment(cropped(scan, region), model)
        assert np.array_equal(result.labels.array[box], alone.labels.array)
        assert result.confidence == pytest.approx(alone.confidence, nan_ok=True)


def test_a_search_that_finds_nothing_names_the_region(model):
    region = Region.from_faces((5, 5, 5, 40, 40, 40))
    with pytest.raises(UserError, match=r"no side can be asked for.*Only the region was searched"):
        segment(SCAN, model, side="left", region=region)


def test_a_result_without_maps_has_none_on_the_whole_grid(model):
    region = Region.from_faces((5, 5, 5, 40, 40, 40))
    crop = cropped(SCAN, region)
    whole = on_whole(segment(crop, model), SCAN, region)
    assert whole.labels.array.shape == SCAN.array.shape
    assert (whole.probabilities, whole.uncertainty) == (None, None)


class BrightIsStem(torch.nn.Module):
    """Of the 32 structures of a brain, the brain stem where it is bright, and nothing else."""

    def forward(self, image):  # (B, 1, K, J, I) -> (B, 33, K, J, I)
        bright = 20 * (image[:, 0] - (image.min() + image.max()) / 2)
        logits = torch.full((33,), -99.0)[None, :, None, None, None].expand(
            -1, -1, *bright.shape[1:]
        )
        logits = logits.clone()
        logits[:, 0] = -bright
        logits[:, [n for n, s in enumerate(brain_structures(), 1) if s.label == 16]] = bright
        return logits


def test_a_thin_region_is_told_of_as_few_slices():
    """The scan has 30, the region 6: what counts is what the network sees."""
    array = np.full((30, 60, 60), 100, np.float32)
    array[5:25, 10:50, 10:50] = 1000
    scan = Volume(array, np.diag((1.0, 1.0, 1.0, 1.0)), "head")
    model = replace(two_hippocampi_model(brain_structures()), network=BrightIsStem())
    thin = Region.from_faces((-1, -1, 11.6, 61, 61, 17.4))
    whole, part = segment(scan, model), segment(scan, model, region=thin)
    assert not any("slices" in note for note in whole.notes)
    assert sum("has only 6 slices" in note for note in part.notes) == 1
    assert "6 of 60 x 60 x 30 voxels" in part.notes[0]


def test_the_command_line_takes_it_and_records_it(tmp_path, capsys):
    bundle = tiny_bundle(tmp_path / "tiny")
    path, out = save_volume(SCAN, tmp_path / "s.nii.gz"), tmp_path / "out"
    line = ["segment", str(path), "--model", str(bundle), "--device", "cpu", "--output", str(out)]
    roi = ["--roi", "-10", "5", "5", "40", "40", "40"]
    assert cli.main([*line, *roi]) == 0
    labels = load_volume(out / "s.nii.gz")
    assert labels.array.shape == SCAN.array.shape
    region = Region.from_faces((-10, 5, 5, 40, 40, 40))
    inside = np.zeros(labels.array.shape, bool)
    inside[region.box_on(labels.grid)] = True
    assert labels.array[inside].any()
    assert not labels.array[~inside].any()
    record = json.loads((out / "s.medllmseg.json").read_text())
    assert record["region"] == [-10, 5, 5, 40, 40, 40]
    assert cli.main([*line, *roi]) == 0
    assert "finished before, skipped" in capsys.readouterr().out
    assert cli.main(line) == 0  # the whole scan is another result
    assert load_volume(out / "s.nii.gz").array[~inside].any()


def test_the_command_line_refuses_a_box_turned_inside_out(tmp_path, capsys):
    path = save_volume(SCAN, tmp_path / "s.nii.gz")
    roi = ["--roi", "40", "5", "5", "-10", "40", "40"]
    assert cli.main(["segment", str(path), "--output", str(tmp_path / "out"), *roi]) == 2
    assert "larger number" in capsys.readouterr().err


class AsLabelled(torch.nn.Module):
    """Grey values of 0, 500 and 1000 are background, core and shell."""

    def forward(self, image):  # (B, 1, K, J, I) -> (B, 3, K, J, I)
        return torch.cat([-20 * (image - value) ** 2 for value in (-1.0, 0.0, 1.0)], 1)


def test_what_lies_outside_a_region_or_is_cut_off_by_it_makes_no_light():
    labels = organ(9.0)
    scan = labels.with_array((500.0 * labels.array).astype(np.float32))
    model = replace(two_hippocampi_model(STRUCTURES), network=AsLabelled(), quality=fit())
    assert segment(scan, model).quality.scan.light == GREEN
    core = Region.from_faces((12, 10, 9, 36, 34, 31))  # ends within the shell
    found = segment(scan, model, region=core).quality
    assert found.scan.light == GREEN
    assert set(found.structures) == set(found.intervals_ml) == {1}
    everything = segment(scan, model, region=Region.from_faces((-9, -9, -9, 99, 99, 99))).quality
    assert set(everything.structures) == {1, 2}
    half = Region.from_faces((-1, -1, -1, 24, 99, 99))  # cuts all that is there
    assert segment(scan, model, region=half).quality is None
