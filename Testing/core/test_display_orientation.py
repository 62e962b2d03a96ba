"""A flat volume is shown as in a slice view however its axes run, and maps return to its voxels."""

from itertools import product

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from MedLLMSegLib import Volume, diagnose
from MedLLMSegLib.core.display_orientation import AS_STORED, DisplayOrientation, upright_orientation
from MedLLMSegLib.diagnosis.heat_map_files import overlay
from MedLLMSegLib.diagnosis.loaded_classifier import load_classifier
from MedLLMSegLib.diagnosis.prepare_radiograph import prepare_radiograph
from MedLLMSegLib.io.lung_masks import lung_mask_of
from MedLLMSegLib.io.radiograph import load_radiograph, radiograph_of
from MedLLMSegLib.io.volume_files import save_volume
from MedLLMSegLib.registry.classifier_config import PreparationConfig
from Testing.helpers.tiny_classifier import write_tiny

# The RAS directions to the right and down in Slicer's views, written down by hand once more
VIEWS = {
    "axial": ((-1, 0, 0), (0, -1, 0)),
    "coronal": ((-1, 0, 0), (0, 0, -1)),
    "sagittal": ((0, -1, 0), (0, 0, -1)),
}
STRAIGHT = np.eye(3)
OBLIQUE = Rotation.from_euler("xyz", (17, -12, 21), degrees=True).as_matrix()
TAGS = {"window_center": 500.0, "window_width": 1200.0}


@pytest.fixture(scope="module")
def picture():
    """Taller than wide, and different in each of its eight orientations."""
    rows, columns = np.mgrid[:90, :70]
    return (
        600
        - 5 * rows
        + 3 * columns
        + 300 * ((rows > 60) & (columns < 20))
        + np.random.default_rng(0).normal(0, 20, (90, 70))
    ).astype(np.float32)


def stored_as(picture, view, orientation, axis, spacing=(0.4, 0.2), turned=STRAIGHT):
    """The picture, as it should be seen in a view, as a volume with one slice along `axis`.

    spacing: mm of its rows' and columns' pixels. turned: (3, 3), a rotation of the whole volume.
    """
    right, below = (turned @ np.array(v, float) for v in VIEWS[view])
    row_step = below * spacing[0] * (-1 if orientation.flip_rows else 1)
    column_step = right * spacing[1] * (-1 if orientation.flip_columns else 1)
    steps = [column_step, row_step] if orientation.transposed else [row_step, column_step]
    steps.insert(axis, np.cross(right, below) * 3)
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack(steps[::-1], 1)
    matrix[:3, 3] = (5, -7, 11)
    array = orientation.to_stored(picture)
    return Volume(np.expand_dims(array, axis).copy(), matrix, "chest", TAGS)


ORIENTATIONS = [DisplayOrientation(*each) for each in product((False, True), repeat=3)]


@pytest.mark.parametrize("turned", (STRAIGHT, OBLIQUE), ids=("straight", "oblique"))
@pytest.mark.parametrize("axis", (0, 1, 2))
@pytest.mark.parametrize("view", VIEWS)
def test_the_image_is_seen_as_it_is_shown(picture, view, axis, turned):
    preparation = PreparationConfig(size=48)
    as_shown = radiograph_of(stored_as(picture, view, AS_STORED, 0))
    wanted, _ = prepare_radiograph(as_shown, preparation)
    for orientation in ORIENTATIONS:
        volume = stored_as(picture, view, orientation, axis, turned=turned)
        assert upright_orientation(volume.ijk_to_ras, axis) == orientation
        seen = radiograph_of(volume)
        np.testing.assert_allclose(seen.array, (picture + 100).clip(0, 1200) / 1200, atol=2e-3)
        assert np.array_equal(lung_mask_of(volume.array > 800, seen), picture > 800)
        prepared, _ = prepare_radiograph(seen, preparation)
        np.testing.assert_allclose(prepared, wanted, atol=1e-4)  # pixel sizes too
        is_noted = any("not stored upright" in note for note in seen.notes)
        assert is_noted == (orientation != AS_STORED)
        assert len(seen.notes) == is_noted


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_the_heat_map_lies_on_the_volumes_own_voxels(picture, tmp_path, orientation):
    model = load_classifier(write_tiny(tmp_path / "tiny"), "cpu")
    lungs = np.zeros((90, 70), bool)
    lungs[10:50, 30:60] = True
    wanted = diagnose(stored_as(picture, "axial", AS_STORED, 0), model, lungs=lungs)
    volume = stored_as(picture, "coronal", orientation, 1, turned=OBLIQUE)
    found = diagnose(volume, model, lungs=orientation.to_stored(lungs))
    assert found.probabilities == pytest.approx(wanted.probabilities, abs=1e-5)
    assert found.heat_map.array.shape == volume.array.shape
    assert np.array_equal(found.heat_map.ijk_to_ras, volume.ijk_to_ras)
    np.testing.assert_allclose(
        found.heat_map.array[:, 0], orientation.to_stored(wanted.heat_map.array[0]), atol=1e-3
    )
    assert np.abs(overlay(found).astype(int) - overlay(wanted)).max() <= 1  # the picture is upright


@pytest.mark.parametrize("suffix", (".nii.gz", ".nrrd", ".mha"))
def test_from_a_file(picture, tmp_path, suffix):
    path = save_volume(
        stored_as(picture, "axial", DisplayOrientation(False, True, True), 0),
        tmp_path / f"x{suffix}",
    )
    assert np.corrcoef(load_radiograph(path).array.ravel(), picture.ravel())[0, 1] > 0.99


def test_a_matrix_that_is_none_turns_nothing():
    assert upright_orientation(np.zeros((4, 4)), 0) == AS_STORED
    assert upright_orientation(np.full((4, 4), np.nan), 1) == AS_STORED


def test_ties_are_not_turned():
    """Seen from 45 degrees nothing is more upright than what is stored."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("z", 45, degrees=True).as_matrix() @ np.diag([-1.0, -1, 1])
    assert not upright_orientation(matrix, 0).transposed
