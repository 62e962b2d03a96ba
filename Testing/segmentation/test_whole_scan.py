"""Models of whole scans: every structure lands where it lies, whatever the scan's grid; large
scans fit into memory.
"""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import torch

from MedLLMSegLib import UserError, Volume, load_model, load_volume, save_volume, segment
from MedLLMSegLib.anatomy.structures import cardiac_structures, uncoded_structures
from MedLLMSegLib.cli import main as cli
from MedLLMSegLib.core.geometry import aligned_grid
from MedLLMSegLib.registry.catalogue import ModelEntry
from MedLLMSegLib.segmentation import finish, outline, way_back
from MedLLMSegLib.segmentation.pipeline import SegmenterModel, predict_probabilities
from MedLLMSegLib.segmentation.restore import restore_slabs
from MedLLMSegLib.segmentation.scores import Scores
from Testing.helpers.grids import GRIDS, dice, ellipsoid, make_grid
from Testing.helpers.heart_bundle import heart_bundle

CPU = torch.device("cpu")


TWO = uncoded_structures({2: "dim thing", 5: "bright thing"})  # labels need not follow each other


class Shades(torch.nn.Module):
    """Class 0 where dark, 1 where dim, 2 where bright. A voxel at a time, so that no window or
    position can matter.
    """

    def __init__(self, levels=(0.0, 2.0, 4.0), sharpness=8.0):
        super().__init__()
        self.levels, self.sharpness, self.windows = levels, sharpness, []

    def forward(self, image):  # (B, 1, K, J, I) -> (B, 3, K, J, I)
        self.windows.append(tuple(image.shape[2:]))
        return -self.sharpness * torch.cat([(image - level).abs() for level in self.levels], 1)


def shades_model(**settings):
    entry = ModelEntry("two-things", "", "segmenter", "", (), "", "", "0" * 64, None)
    return SegmenterModel(
        entry,
        Shades(),
        {"spacing_mm": 1.0, "window": [96, 96, 96], **settings},
        None,
        None,
        CPU,
        "0" * 64,
        TWO,
        precision="fp32",
    )


def two_things(grid):
    """A scan whose grey values, once normalised, are near the levels of `Shades`, and where the
    two things lie in it.
    """
    dim, bright = (
        ellipsoid(grid),
        ellipsoid(grid, centre=(-8.0, -30.0, 20.0), radii=(9.0, 7.0, 8.0)),
    )
    values = 0.0 + 2.0 * dim + 4.0 * bright
    truth = np.zeros(grid.shape, np.uint8)
    truth[dim], truth[bright] = 2, 5
    return Volume((values * 300 + 50).astype(np.float32), grid.ijk_to_ras, "things"), truth


@pytest.fixture(autouse=True)
def normalised(monkeypatch):
    """Grey values as `two_things` has them, so that thresholds are known; the percentiles of
    real scans are not at stake.
    """

    def normalise(values, grey):
        values[...] = (values - 50) / 300

    monkeypatch.setattr("MedLLMSegLib.segmentation.prepare.normalise_in_place", normalise)


@pytest.mark.parametrize(
    "name",
    (
        "flipped (-1, 1, -1)",
        "permuted (2, 0, 1)",
        "anisotropic",
        "oblique",
        "oblique, flipped, permuted, anisotropic",
    ),
)
def test_each_structure_lies_where_it_is_in_the_scan(name):
    volume, truth = two_things(GRIDS[name])
    result = segment(volume, shades_model())
    assert np.array_equal(result.labels.ijk_to_ras, volume.ijk_to_ras)
    assert result.labels.array.shape == truth.shape
    assert set(np.unique(result.labels.array)) == {0, 2, 5}
    # The rim of the bright thing fades through the dim one's shade on the network's grid, so that
    # it is a little smaller.
    assert dice(result.labels.array == 5, truth == 5) > 0.85
    assert dice(result.labels.array > 0, truth > 0) > 0.9
    assert [s.key for s in result.structures] == ["dim_thing", "bright_thing"]
    assert not result.notes


def test_a_header_in_micrometres_is_one_sentence():
    volume = Volume(
        np.random.default_rng(0).random((40, 50, 60), np.float32),
        np.diag([1000.0, 1000, 1000, 1]),
        "things",
    )
    with pytest.raises(
        UserError, match=r'"things" covers 60.0 m, which is 1.2e[+]14 voxels.*correct the spacing'
    ):
        segment(volume, shades_model())


@pytest.mark.parametrize("degrees", ((0, 0, 0), (10, 25, -12)))
def test_thick_slices_on_their_own_axes_come_back_to_the_voxel(degrees):
    grid = make_grid((2, 0, 1), (-1, 1, -1), (0.8, 0.8, 3.0), degrees)
    volume, truth = two_things(grid)
    own = aligned_grid(grid, grid.spacing_mm)
    model = shades_model(spacing_mm=list(own.spacing_mm), axes="scan", window=[4, 32, 32])
    result = segment(volume, model)
    assert np.array_equal(result.labels.array, truth)
    assert set(model.network.windows) == {(4, 32, 32)}  # and the bundle's own window was used


def test_structures_that_are_not_there_are_named():
    volume, truth = two_things(make_grid())
    result = segment(
        volume.with_array(np.where(truth == 5, 50, volume.array).astype(np.float32)), shades_model()
    )
    assert result.notes == ("Not found in this scan: bright thing.",)
    assert np.isnan(result.confidence[5])
    dark = volume.with_array(
        np.where(np.indices(truth.shape).sum(0) % 2, 50, 60).astype(np.float32)
    )
    result = segment(dark, shades_model())  # nothing at all is an answer too: a scan may be healthy
    assert not result.labels.array.any()
    assert result.notes == ("Not found in this scan: dim thing, bright thing.",)


def test_a_side_is_refused():
    with pytest.raises(UserError, match='"two-things" outlines no left and right organ'):
        segment(two_things(make_grid())[0], shades_model(), side="left")


def test_small_islands_stay_unless_the_model_says_otherwise():
    volume, _ = two_things(make_grid())
    array = volume.array.copy()
    array[2:5, 2:5, 2:5] = 650  # a second, small dim thing
    scan = volume.with_array(array)
    assert (segment(scan, shades_model()).labels.array[2:5, 2:5, 2:5] == 2).all()
    for how in (True, "each"):  # true: as bundles said it before there was a choice
        cleaned = segment(scan, shades_model(keep_largest=how))
        assert np.array_equal(cleaned.labels.array, segment(volume, shades_model()).labels.array)
    together = segment(scan, shades_model(keep_largest="together"))
    # the two things do not touch
    assert set(np.unique(together.labels.array)) == {0, 2}
    assert together.notes


def test_probabilities_agree_with_labels_and_with_those_of_a_bare_network():
    volume, _ = two_things(GRIDS["oblique"])
    model = shades_model()
    result = segment(volume, model, probabilities=True)
    bare = predict_probabilities(model.network, volume, model.settings, CPU)
    assert bare.shape == (3, *volume.array.shape)
    assert np.allclose(bare.sum(0), 1, atol=1e-4)
    assert np.array_equal(result.probabilities.array, bare[1:])
    assert np.array_equal(np.array([0, 2, 5])[bare.argmax(0)], result.labels.array)
    inside = result.labels.array == 5
    assert result.confidence[5] == pytest.approx(bare[2][inside].mean(), abs=1e-3)


def test_a_temperature_softens_probabilities_and_leaves_the_labels():
    volume, _ = two_things(make_grid())
    sharp = segment(volume, shades_model())
    soft = segment(volume, replace(shades_model(), temperature=8.0))
    assert np.array_equal(sharp.labels.array, soft.labels.array)
    assert soft.confidence[5] < sharp.confidence[5] - 0.05


def test_slabs_change_nothing(monkeypatch):
    volume, _ = two_things(GRIDS["oblique, flipped, permuted, anisotropic"])
    first = segment(volume, shades_model(), probabilities=True, uncertainty=True)
    monkeypatch.setattr(finish, "restore_slabs", lambda p, way: restore_slabs(p, way, slab_bytes=1))
    monkeypatch.setattr(way_back, "SLAB_VOX", 1)
    monkeypatch.setattr(way_back, "CHUNK_VALUES", 100)
    again = segment(volume, shades_model(), probabilities=True, uncertainty=True)
    for name in ("labels", "probabilities", "uncertainty"):
        assert np.array_equal(getattr(first, name).array, getattr(again, name).array)


@pytest.mark.parametrize("spacing_mm", (0.7, [3.0, 1.0, 2.0]))
@pytest.mark.parametrize(
    "name", ("anisotropic", "oblique", "oblique, flipped, permuted, anisotropic")
)
def test_keeping_all_classes_only_where_they_are_needed_changes_no_label(name, spacing_mm):
    volume, _ = two_things(GRIDS[name])
    model = shades_model(spacing_mm=spacing_mm)
    fast, full = segment(volume, model), segment(volume, model, probabilities=True)
    assert np.array_equal(fast.labels.array, full.labels.array)
    assert fast.confidence == pytest.approx(full.confidence, abs=1e-3)


def test_a_large_scan_of_many_structures_takes_little_memory(monkeypatch):
    """All maps on the scan's grid would take 100 MB here; at 512 x 512 x 512 voxels and four
    classes 2 GB.
    """
    many = uncoded_structures({n: f"thing {n}" for n in range(1, 12)})
    scan = Volume(np.zeros((128, 128, 128), np.int16), np.diag([0.5, 0.5, 0.5, 1.0]), "large")
    scan.array[40:90, 40:90, 40:90] = 500
    network = Shades(levels=tuple(np.linspace(0, 4, 12)))
    model = replace(
        shades_model(spacing_mm=2.0, window=[16, 16, 16]), network=network, structures=many
    )
    monkeypatch.setattr(way_back, "SLAB_VOX", 200_000)
    segment(scan, model)  # imports
    tracemalloc.start()
    result = segment(scan, model)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert result.labels.array.any()
    assert peak < 45e6


def test_progress_rises(monkeypatch):
    seen = []
    monkeypatch.setattr(way_back, "SLAB_VOX", 10_000)
    segment(
        two_things(make_grid())[0],
        shades_model(window=[24, 24, 24]),
        augment=1,
        progress=lambda stage, f: seen.append((stage, f)),
    )
    fractions = [f for _, f in seen]
    assert fractions == sorted(fractions)
    assert seen[-1] == ("done", 1.0)
    assert {s for s, _ in seen} == {"load", "segment", "restore", "done"}


@pytest.fixture
def scan_file(tmp_path):
    grid = make_grid(spacing=(1.6, 1.6, 7.0), degrees=(15, -20, 40))
    return save_volume(two_things(grid)[0], tmp_path / "scan.nii.gz")


def test_a_bundle_on_disk_runs_from_the_command_line(tmp_path, scan_file, capsys):
    folder = heart_bundle(tmp_path)
    model = load_model(folder, "cpu")
    assert model.structures == cardiac_structures()
    assert model.temperature == 1.5
    assert model.anatomy is None
    assert model.settings["flips"] == [2]
    result = segment(load_volume(scan_file), model, uncertainty=True, augment=1)
    command = [
        "segment",
        str(scan_file),
        "--model",
        str(folder),
        "--output",
        str(tmp_path / "out.nii.gz"),
        "--device",
        "cpu",
        "--uncertainty",
        str(tmp_path / "unsure.nii.gz"),
        "--augment",
        "1",
    ]
    assert cli.main(command) == 0
    assert "Left ventricle (cavity)" in capsys.readouterr().out
    assert np.array_equal(load_volume(tmp_path / "out.nii.gz").array, result.labels.array)
    assert np.allclose(
        load_volume(tmp_path / "unsure.nii.gz").array, result.uncertainty.array, atol=1e-6
    )


def test_an_empty_result_can_be_saved_with_a_report(tmp_path, scan_file, monkeypatch):
    folder = heart_bundle(tmp_path)
    monkeypatch.setattr(
        outline,
        "predict_scores",
        lambda network, array, *a, reading, reach, **k: Scores.of_values(
            reading,
            torch.stack([torch.ones(array.shape), *3 * [torch.zeros(array.shape)]]),
            reach,
        ),
    )
    assert (
        cli.main(
            [
                "segment",
                str(scan_file),
                "--model",
                str(folder),
                "--output",
                str(tmp_path / "out"),
                "--report",
            ]
        )
        == 0
    )
    assert not load_volume(tmp_path / "out/scan.nii.gz").array.any()
    assert (tmp_path / "out/scan_report/report.html").exists()


def test_bad_options_are_refused_before_any_work(tmp_path, scan_file, capsys):
    def run(*more):
        output = tmp_path / "out.nii.gz"
        return cli.main(["segment", str(scan_file), "--output", str(output), *map(str, more)])

    assert run("--augment", -1) == 2
    assert "--augment is -1" in capsys.readouterr().err
    assert run("--uncertainty", tmp_path / "out.nii.gz") == 2
    assert "same file" in capsys.readouterr().err
    assert run("--uncertainty", tmp_path / "map.docx") == 2
    assert "map.docx" in capsys.readouterr().err
    with pytest.raises(UserError, match="0 or more"):
        segment(load_volume(scan_file), shades_model(), augment=-1)
