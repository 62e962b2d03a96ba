"""A radiograph goes onto the square that a classifier sees, and maps come back from it."""

import numpy as np
import pytest

from MedLLMSegLib.diagnosis.prepare_radiograph import prepare_radiograph
from MedLLMSegLib.registry.classifier_config import PreparationConfig
from Testing.helpers.flat_images import blob


@pytest.mark.parametrize(
    "shape, spacing",
    (
        ((300, 200), (1, 1)),
        ((200, 300), (1, 1)),
        ((300, 200), (0.2, 0.4)),
        ((50, 40), (1, 1)),
        ((900, 700), (0.143, 0.143)),
    ),
)
def test_the_square_and_back(shape, spacing):
    """A bright spot lies where it should on the square, and a map of it comes back to its pixel."""
    row, column = 0.7 * shape[0], 0.3 * shape[1]
    radiograph = blob(*shape, row, column, spacing)
    array, box = prepare_radiograph(radiograph, PreparationConfig(size=96))
    assert array.shape == (1, 96, 96)
    assert array.dtype == np.float32
    place = np.array(np.unravel_index(array[0].argmax(), (96, 96)))
    size_mm = np.array(shape) * spacing
    wanted = ((np.array([row, column]) + 0.5) * spacing - size_mm / 2) / size_mm.max() * 96 + 47.5
    assert np.abs(place - wanted).max() <= 1.01
    back = box.to_image(array[0])
    found = np.array(np.unravel_index(back.argmax(), shape))
    assert back.shape == shape
    assert np.abs((found - [row, column]) * spacing).max() <= 1.5 * size_mm.max() / 96
    coarse = np.zeros((6, 6))
    coarse[tuple((place // 16).astype(int))] = 1  # as a heat map of few cells
    spot = np.array(np.unravel_index(box.to_image(coarse).argmax(), shape))
    assert np.abs((spot - [row, column]) * spacing).max() <= 0.75 * size_mm.max() / 6 + 1


def test_each_image_is_normalised_and_what_is_beyond_it_is_zero():
    radiograph = blob(120, 60, 50, 30)
    array, _ = prepare_radiograph(radiograph, PreparationConfig(size=60))
    assert (array[0, :, :15] == 0).all()
    assert (array[0, :, 45:] == 0).all()
    assert (array[0, :, 15:45] != 0).all()
    assert abs(array[0, :, 15:45].mean()) < 1e-5
    assert abs(array[0, :, 15:45].std() - 1) < 1e-4
    fixed, _ = prepare_radiograph(
        radiograph, PreparationConfig(size=60, normalise="fixed", mean=0.5, std=0.5)
    )
    assert fixed.min() == pytest.approx(-1, abs=1e-3)
    assert (fixed[0, :, :15] == 0).all()


def test_lungs_are_cropped_to_with_a_margin_and_maps_stay_within():
    radiograph = blob(120, 60, 50, 30)
    lungs = np.zeros((120, 60), bool)
    lungs[40:60, 10:20] = lungs[40:80, 40:50] = True
    _, box = prepare_radiograph(radiograph, PreparationConfig(size=64, margin=0.1), lungs)
    assert box.rows == (36, 84)
    assert box.columns == (6, 54)
    back = box.to_image(np.ones((7, 7)))
    assert (back[36:84, 6:54] == 1).all()
    assert back.sum() == 48 * 48
    _, box = prepare_radiograph(radiograph, PreparationConfig(size=64, crop="none"), lungs)
    assert box.rows == (0, 120)
    assert box.columns == (0, 60)
    assert prepare_radiograph(radiograph, PreparationConfig(size=64))[1].rows == (0, 120)
