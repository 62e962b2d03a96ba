"""Windows: where MONAI lays them, weighted as MONAI weighs them, with no plane missing."""

import pytest
import torch
from monai.data.utils import compute_importance_map, dense_patch_slices
from monai.inferers import sliding_window_inference

from MedLLMSegLib.segmentation import windows
from MedLLMSegLib.segmentation.windows import WindowPlan, gaussian_weights, slabs_of_logits


class Edges(torch.nn.Module):
    """Depends on where a voxel lies in its window, so that weights and places matter."""

    def forward(self, image):  # (1, 1, k, j, i) -> (1, 2, k, j, i)
        place = torch.linspace(-1, 1, image.shape[2])[:, None, None]
        place = place + torch.linspace(-1, 1, image.shape[3])[:, None] ** 2
        place = place + torch.linspace(0, 2, image.shape[4])
        return torch.cat((image * place, image - place), 1)


def gathered(image, tile, overlap=0.5):
    """Logits (2, K, J, I) from the slabs."""
    plan = WindowPlan.of(tuple(image.shape[2:]), tile, overlap)
    slabs = [s / w for s, w in slabs_of_logits(Edges(), image, plan, lambda done: None)]
    return torch.cat(slabs, dim=1).movedim(1, plan.axis + 1)


@pytest.mark.parametrize("tile", ((96, 96, 96), (32, 40, 17), (7, 96, 96), (1, 2, 3)))
def test_weights_are_monais(tile):
    expected = compute_importance_map(tile, mode="gaussian", sigma_scale=0.125)
    assert torch.allclose(gaussian_weights(tile), expected, atol=1e-6)


@pytest.mark.parametrize("overlap", (0.25, 0.5, 0.7))
@pytest.mark.parametrize(
    ("shape", "tile"),
    (
        ((40, 52, 33), (16, 16, 16)),
        ((52, 40, 33), (16, 40, 11)),
        ((20, 20, 47), (20, 20, 16)),
        ((31, 9, 30), (8, 9, 30)),
    ),
)
def test_logits_are_monais(shape, tile, overlap):
    image = torch.randn((1, 1, *shape), generator=torch.Generator().manual_seed(0))
    steps = [s if s == n else int(s * (1 - overlap)) for s, n in zip(tile, shape, strict=True)]
    plan = WindowPlan.of(shape, tile, overlap)
    corners = {tuple(s.start for s in place) for place in dense_patch_slices(shape, tile, steps)}
    ours = [corner for _, row in plan.rows() for corner in row]
    assert set(ours) == corners
    assert plan.count == len(ours)
    expected = sliding_window_inference(image, tile, 1, Edges(), overlap, mode="gaussian")[0]
    assert torch.allclose(gathered(image, tile, overlap), expected, atol=1e-4)


def test_many_classes_are_summed_in_half_precision(monkeypatch):
    image = torch.randn((1, 1, 40, 30, 20), generator=torch.Generator().manual_seed(0))
    exact = gathered(image, (16, 16, 16))
    monkeypatch.setattr(windows, "MOST_BYTES", 0)
    half = gathered(image, (16, 16, 16))
    assert 0 < (half - exact).abs().max() < 0.02


def test_sums_in_half_precision_hardly_move_a_label(monkeypatch):
    """33 classes with smooth borders: as near to a tie as labels come."""
    levels = torch.linspace(-2, 2, 33)[None, :, None, None, None]
    points = torch.randn((1, 1, 5, 5, 5), generator=torch.Generator().manual_seed(0))
    image = torch.nn.functional.interpolate(points, (64, 48, 48), mode="trilinear")

    def labels():
        plan = WindowPlan.of((64, 48, 48), (24, 24, 24), 0.5)
        slabs = slabs_of_logits(
            lambda window: -40 * (window - levels).square(), image, plan, lambda done: None
        )
        return torch.cat([sums.max(dim=0).indices for sums, _ in slabs])

    exact = labels()
    monkeypatch.setattr(windows, "MOST_BYTES", 0)
    moved = (labels() != exact).float().mean()
    assert moved < 1e-3
    monkeypatch.setattr(windows, "LARGEST_HALF", 1.0)  # logits above it stay in float32
    assert torch.equal(labels(), exact)


def test_few_planes_are_held():
    """Slabs as deep as a window's step leave as soon as nothing can change them."""
    image = torch.zeros((1, 1, 200, 20, 20))
    plan = WindowPlan.of((200, 20, 20), (16, 16, 16), 0.5)
    done, depths = [], []
    for sums, _ in slabs_of_logits(Edges(), image, plan, done.append):
        depths.append(sums.shape[1])
    assert sum(depths) == 200
    assert max(depths) == 16  # the last
    assert set(depths[:-1]) == {8}
    assert done == list(range(plan.count))
