"""Results on another grid than the scan's: cubes along its own axes."""

import json
from dataclasses import replace

import numpy as np
import pytest

from MedLLMSegLib import UserError, Volume, load_model, load_volume, save_volume, segment
from MedLLMSegLib.cli import main as cli
from MedLLMSegLib.cli.common_options import length_mm
from MedLLMSegLib.core.geometry import transform_points
from MedLLMSegLib.core.volume import NiftiForms
from MedLLMSegLib.segmentation.result_grid import on_grid, result_grid
from Testing.helpers.bright_organ import bright_organ_model, bright_organ_scan
from Testing.helpers.grids import GRIDS, centroid_ras, dice, ellipsoid, make_grid
from Testing.helpers.tiny_segmenter import oblique, tiny_bundle

THICK = make_grid((2, 0, 1), (-1, 1, -1), (0.8, 0.8, 3.0), (10, 25, -12))


def scan_on(grid):
    return Volume(np.zeros(grid.shape, np.uint8), grid.ijk_to_ras, "scan")


@pytest.mark.parametrize("name", sorted(GRIDS))
@pytest.mark.parametrize("resolution_mm", (1.0, 0.7, 2.5))
def test_it_is_the_smallest_of_cubes_along_the_scans_axes_that_covers_the_scan(name, resolution_mm):
    scan = GRIDS[name]
    grid = result_grid(scan_on(scan), resolution_mm)
    assert grid.spacing_mm == pytest.approx((resolution_mm,) * 3)
    assert grid.directions == pytest.approx(scan.directions)  # order and direction
    assert grid.centre_ras() == pytest.approx(scan.centre_ras())
    corners_ijk = transform_points(np.linalg.inv(grid.ijk_to_ras), scan.corners_ras())
    beyond = -0.5 - corners_ijk.min(0)  # voxels by which the scan sticks out, on each side
    assert beyond.max() < 1e-3
    assert beyond.min() > -0.5  # with one voxel less it would not cover the scan


def test_a_scan_of_such_cubes_keeps_its_grid_to_the_last_bit():
    volume = scan_on(GRIDS["off the lattice"])
    assert np.array_equal(result_grid(volume, 1.0).ijk_to_ras, volume.ijk_to_ras)
    assert np.array_equal(result_grid(scan_on(THICK), None).ijk_to_ras, THICK.ijk_to_ras)
    assert result_grid(volume, 1.0).shape == volume.array.shape


@pytest.mark.parametrize("resolution_mm", (0.0, 0.01, -1.0, 50.0, float("nan")))
def test_a_resolution_that_makes_no_sense_is_refused(resolution_mm):
    with pytest.raises(UserError, match=r"0\.1 to 20 mm are possible"):
        result_grid(scan_on(THICK), resolution_mm)


def test_too_many_voxels_are_refused():
    volume = Volume(np.zeros((9, 9, 9), np.uint8), np.diag((50.0, 50.0, 50.0, 1.0)), "whale")
    with pytest.raises(UserError, match='"whale" would have 4500 x 4500 x 4500 voxels'):
        result_grid(volume, 0.1)


def test_a_result_states_its_position_as_the_scans_file_does():
    volume = replace(scan_on(THICK), forms=NiftiForms((1, 2), np.eye(4)))
    grid = result_grid(volume, 1.0)
    placed = on_grid(volume, grid, np.zeros(grid.shape))
    assert placed.forms.codes == (1, 2)
    assert placed.forms.other_ijk_to_ras is None  # that was of the scan's own voxels
    assert on_grid(volume, volume.grid, volume.array).forms is not None


def test_an_organ_lies_where_it_is_and_has_its_volume():
    """On slices of 3 mm its outline cannot be as fine as on cubes."""
    scan = bright_organ_scan(THICK)
    model = bright_organ_model()
    options = dict(side="left", probabilities=True, uncertainty=True)
    fine = segment(scan, model, resolution_mm=1.0, **options)
    grid = fine.labels.grid
    assert grid.spacing_mm == pytest.approx((1.0, 1.0, 1.0))
    assert fine.probabilities.array.shape == (4, *grid.shape)
    assert fine.uncertainty.array.shape == grid.shape
    assert np.array_equal(fine.probabilities.ijk_to_ras, grid.ijk_to_ras)
    organ = fine.labels.array > 0
    assert centroid_ras(organ, grid) == pytest.approx((10.0, -17.0, 35.0), abs=0.3)
    assert dice(organ, ellipsoid(grid)) > 0.93
    plain = segment(scan, model, **options)
    assert np.array_equal(plain.labels.ijk_to_ras, scan.ijk_to_ras)
    ml, plain_ml = sum(fine.volumes_ml.values()), sum(plain.volumes_ml.values())
    assert ml == pytest.approx(plain_ml, rel=0.05)


def test_a_whole_scan_model_agrees_with_itself_on_the_scans_own_grid(tmp_path):
    model = load_model(str(tiny_bundle(tmp_path / "tiny")), "cpu")
    array = np.random.default_rng(0).normal(size=(10, 40, 36)).astype(np.float32)
    scan = Volume(array, oblique(array.shape, (1.5, 1.5, 5.0)), "scan")
    plain = segment(scan, model)
    same = segment(Volume(array, scan.ijk_to_ras, "scan"), model, resolution_mm=None)
    assert np.array_equal(plain.labels.array, same.labels.array)
    cubes = segment(scan, model, resolution_mm=1.5, probabilities=True)
    assert cubes.labels.array.shape == (34, 40, 36)
    assert cubes.probabilities.array.shape == (2, 34, 40, 36)
    assert {s.label for s in cubes.found} == {s.label for s in plain.found} != set()


def test_the_command_line_writes_and_records_it(tmp_path, capsys):
    bundle = tiny_bundle(tmp_path / "tiny")
    array = np.random.default_rng(0).normal(size=(10, 40, 36)).astype(np.float32)
    path = save_volume(Volume(array, np.diag((1.5, 1.5, 5.0, 1.0)), "scan"), tmp_path / "s.nii.gz")
    out = tmp_path / "out"
    line = ["segment", str(path), "--model", str(bundle), "--device", "cpu", "--output", str(out)]
    assert cli.main([*line, "--resolution", "2mm"]) == 0
    assert load_volume(out / "s.nii.gz").spacing_mm == pytest.approx((2.0, 2.0, 2.0))
    assert load_volume(out / "s.seg.nrrd").array.shape == load_volume(out / "s.nii.gz").array.shape
    assert json.loads((out / "s.medllmseg.json").read_text())["resolution_mm"] == 2.0
    assert cli.main([*line, "--resolution", "2"]) == 0
    assert "finished before, skipped" in capsys.readouterr().out
    assert cli.main(line) == 0  # another grid is another result
    assert load_volume(out / "s.nii.gz").array.shape == array.shape
    assert "resolution_mm" not in json.loads((out / "s.medllmseg.json").read_text())


def test_the_report_shows_the_scan_below_the_labels(tmp_path):
    pytest.importorskip("matplotlib")
    bundle = tiny_bundle(tmp_path / "tiny")
    array = np.random.default_rng(0).normal(size=(10, 40, 36)).astype(np.float32)
    path = save_volume(Volume(array, np.diag((1.5, 1.5, 5.0, 1.0)), "scan"), tmp_path / "s.nii.gz")
    line = ["segment", str(path), "--model", str(bundle), "--device", "cpu", "--report"]
    assert cli.main([*line, "--output", str(tmp_path / "out"), "--resolution", "1.5mm"]) == 0
    page = (tmp_path / "out/s_report/report.html").read_text(encoding="utf-8")
    assert "1.5 × 1.5 × 1.5 mm" in page


@pytest.mark.parametrize("text, mm", (("1mm", 1.0), ("1", 1.0), ("0.8 mm", 0.8), (".5mm", 0.5)))
def test_lengths_as_they_are_typed(text, mm):
    assert length_mm(text) == mm


@pytest.mark.parametrize("text", ("", "mm", "1cm", "-1mm", "1,5mm", "one", "nan", "1e-3"))
def test_what_is_no_length_is_one_sentence(text):
    with pytest.raises(UserError, match="not a length in millimetres; write 1mm"):
        length_mm(text)
