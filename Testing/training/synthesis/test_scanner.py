"""A scanner's faults: each keeps what it must keep and changes what it says it changes."""

import pytest
import torch

from MedLLMSegLib.training.synthesis.draw import Draw
from MedLLMSegLib.training.synthesis.scanner import (
    ScannerConfig,
    draw_spacing,
    ghosted,
    moved,
    noisy,
    resolved,
    scanned,
    slice_matrix,
    with_gamma,
)

IMAGE = torch.rand(24, 28, 26, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("thickness", [1.3, 2.0, 3.7, 8.0, 40.0])
@pytest.mark.parametrize("phase", [0.0, 0.4, 0.99])
def test_thick_slices_keep_a_constant_and_the_place_of_a_blob(thickness, phase):
    matrix = slice_matrix(32, thickness, phase)
    assert matrix.shape == (32, 32)
    assert torch.allclose(matrix.sum(1), torch.ones(32), atol=1e-5)
    assert matrix[16].max() < (0.6 if thickness >= 2 else 0.8)  # a point is smeared
    if thickness < 5:
        blob = torch.exp(-((torch.arange(32.0) - 15.5) ** 2) / 18)
        seen = matrix @ blob
        centre = float((seen * torch.arange(32.0)).sum() / seen.sum())
        assert abs(centre - 15.5) < 0.25


def test_slices_are_thick_along_their_axis_alone():
    rough = resolved(IMAGE, (6.0, 1.0, 1.0), Draw(0))
    change = [float(rough.diff(dim=axis).abs().mean()) for axis in range(3)]
    assert change[0] < 0.4 * min(change[1:])


def test_spacings_are_from_one_to_eight_millimetres():
    drawn = [draw_spacing(Draw(n), ScannerConfig(thick=1.0)) for n in range(100)]
    assert all(1.0 <= size <= 8.0 for spacing in drawn for size in spacing)
    assert max(max(spacing) for spacing in drawn) > 7
    assert {s.index(max(s)) for s in drawn} == {
        0,
        1,
        2,
    }


def test_noise_is_as_strong_as_it_says_and_none_is_none():
    assert torch.equal(noisy(IMAGE, Draw(1), 0.0), IMAGE)
    strongest = max(float((noisy(IMAGE, Draw(n), 0.1) - IMAGE).std()) for n in range(20))
    assert 0.03 < strongest < 0.15


def test_a_ghost_lies_elsewhere_and_motion_keeps_the_mean():
    blob = torch.zeros(24, 24, 24)
    blob[10:14, 10:14, 10:14] = 1
    assert (ghosted(blob, Draw(0)) - blob)[blob == 0].max() > 0.01
    shaken = moved(IMAGE, Draw(0))
    assert float(shaken.mean()) == pytest.approx(float(IMAGE.mean()), abs=1e-4)
    assert not torch.allclose(shaken, IMAGE, atol=1e-2)


def test_gamma_keeps_the_order_of_grey_values():
    curved = with_gamma(IMAGE, 0.7)
    order = IMAGE.flatten().argsort()
    assert (curved.flatten()[order].diff() >= 0).all()
    assert curved.min() >= 0
    assert curved.max() <= 1


def test_a_whole_scan_stays_finite_and_on_its_grid():
    for seed in range(12):
        image = scanned(IMAGE, Draw(seed), ScannerConfig(ghosts=0.5, motion=0.5))
        assert image.shape == IMAGE.shape
        assert torch.isfinite(image).all()
