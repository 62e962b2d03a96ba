"""Each change of a training sample is really made, within its bounds, and none of the grey
values' touches the label.
"""

import numpy as np
import pytest
import torch

from MedLLMSegLib.training.segmenter.samples.augmentation import (
    VolumeAugmentation,
    training_transform,
)

GREY = (
    "RandBiasFieldd",
    "RandAdjustContrastd",
    "RandSimulateLowResolutiond",
    "RandGaussianSmoothd",
    "RandGaussianNoised",
    "RandScaleIntensityd",
    "RandShiftIntensityd",
)
SHAPE = (16, 20, 18)


def by_name(*augmentation):
    """Class name -> transform, of the usual augmentation or a given one."""
    return {type(t).__name__: t for t in training_transform(SHAPE, 3, *augmentation).transforms}


def sample():
    """A textured box, like a normalised image; labels 1 and 2."""
    rng = np.random.default_rng(0)
    label = np.zeros((1, *SHAPE), np.float32)
    label[0, 4:12, 5:10, 5:13], label[0, 4:12, 10:15, 5:13] = 1, 2
    image = label + 0.3 * rng.standard_normal(label.shape).astype(np.float32)
    return {
        "image": torch.from_numpy((image - image.mean()) / image.std()),
        "label": torch.from_numpy(label),
    }


@pytest.mark.parametrize("name", GREY)
def test_each_change_of_grey_values_is_made_and_spares_the_label(name):
    transform, before = by_name()[name], sample()
    assert 0 < transform.prob < 1
    transform.prob = 1.0
    transform.set_random_state(1)
    after = [transform(sample()) for _ in range(3)]
    assert all(torch.equal(torch.as_tensor(a["label"]), before["label"]) for a in after)
    apart = [float((torch.as_tensor(a["image"]) - before["image"]).abs().mean()) for a in after]
    assert max(apart) > 0.02 and max(apart) < 1.5 and len(set(apart)) == 3, (
        apart
    )  # drawn anew each time, and no other image


def test_the_bounds_are_those_that_the_pages_name():
    known = by_name()
    assert tuple(known["RandAdjustContrastd"].adjuster.gamma) == (0.7, 1.4)
    assert max(known["Rand3DElasticd"].rand_3d_elastic.sigma_range) == 10
    assert known["RandSimulateLowResolutiond"].sim_lowres_tfm.zoom_range == (0.4, 1.0)


@pytest.mark.parametrize("name", ["RandAffined", "Rand3DElasticd"])
def test_warps_move_image_and_label_together(name):
    transform, before = by_name()[name], sample()
    transform.prob = 1.0
    hot = (
        torch.nn.functional.one_hot(before["label"][0].long(), 3).movedim(-1, 0).float()
    )  # (3, K, J, I)
    moved = []
    for seed in range(6):
        transform.set_random_state(seed)
        after = transform({"image": (before["label"] > 0).float(), "label": hot.clone()})
        assert torch.allclose(
            torch.as_tensor(after["image"])[0], 1 - torch.as_tensor(after["label"])[0], atol=1e-4
        )
        moved.append(float((torch.as_tensor(after["label"]) - hot).abs().mean()))
    assert min(moved) > 0.003, moved


def test_elastic_deformation_moves_voxels_a_few_at_most():
    """A ramp along k shows how far each voxel came: some 2.6 voxels for a magnitude of 1000."""
    transform = by_name()["Rand3DElasticd"]
    transform.prob = 1.0
    k = torch.arange(SHAPE[0], dtype=torch.float32).view(1, -1, 1, 1).expand(1, *SHAPE).contiguous()
    shifts = []
    for seed in range(6):
        transform.set_random_state(seed)
        after = torch.as_tensor(transform({"image": k.clone(), "label": k.clone()})["image"])
        shifts.append(float((after - k)[:, 4:-4, 4:-4, 4:-4].abs().max()))
    assert 0.3 < max(shifts) < 4, shifts


@pytest.mark.parametrize("elastic, warped", [(1.0, 8), (0.0, 0)])
def test_elastic_deformation_is_part_of_the_training_transform(elastic, warped):
    """With every other change switched off, a sample differs only where it was warped."""
    how = VolumeAugmentation((1e-9, 1e-9, 1e-9), 0.0, 0.0, elastic=elastic, intensity=0.0)
    transform, before, changed = training_transform(SHAPE, 3, how), sample(), 0
    for seed in range(8):
        transform.set_random_state(seed)
        after = torch.as_tensor(transform(sample())["image"])
        changed += float((after - before["image"]).abs().mean()) > 0.01
    assert changed == warped
    assert by_name(VolumeAugmentation())["Rand3DElasticd"].prob == 0.2


def seen_edge(how, window, part, seeds=60):
    """How many turned windows show the edge of a part of a scan, which is 1 there and 0 within."""
    edge = torch.ones(1, *part)
    edge[0, 1:-1, 1:-1, 1:-1] = 0
    turn = {type(t).__name__: t for t in training_transform(window, 2, how).transforms}[
        "RandAffined"
    ]
    turn.prob, found = 1.0, 0
    for seed in range(seeds):
        turn.set_random_state(seed)
        found += bool(
            (
                torch.as_tensor(turn({"image": edge.clone(), "label": edge.clone()})["image"]) > 0.9
            ).any()
        )
    return found


@pytest.mark.parametrize(
    "how, window",
    [
        (VolumeAugmentation(), (12, 16, 14)),
        (VolumeAugmentation().stronger(), (12, 16, 14)),
        (VolumeAugmentation((60.0, 0.0, 0.0), 0.25), (10, 24, 20)),
    ],
)
def test_a_turned_window_looks_at_the_scan_and_not_at_repeated_edges(how, window):
    reach = how.reach(window)
    assert seen_edge(how, window, tuple(n + 2 for n in reach)) == 0
    assert (
        seen_edge(how, window, tuple(max(4, int(0.75 * n)) for n in reach)) > 0
    )  # a smaller part would not do
    assert VolumeAugmentation((0.0, 0.0, 0.0), 0.0, 0.0).reach(window) == window


def test_thick_slices_are_sheared_in_their_plane_alone():
    """A column through all slices stays straight, and a square in each becomes a rhombus."""
    how = VolumeAugmentation(rotate_deg=(1e-6, 0.0, 0.0), scale=0.0, shear=0.3)
    turn = {type(t).__name__: t for t in training_transform((6, 24, 24), 2, how).transforms}[
        "RandAffined"
    ]
    turn.prob = 1.0
    j, i = (
        ramp.float() for ramp in torch.meshgrid(torch.arange(24), torch.arange(24), indexing="ij")
    )
    moved = []
    for seed in range(8):
        turn.set_random_state(seed)
        warped = turn(
            {"image": j.expand(1, 6, 24, 24).clone(), "label": i.expand(1, 6, 24, 24).clone()}
        )
        rows, columns = (
            torch.as_tensor(warped[key])[0] for key in ("image", "label")
        )  # (6, 24, 24) each
        for ramp in (rows, columns):
            assert torch.allclose(ramp, ramp[:1].expand_as(ramp), atol=1e-3)  # all slices alike
        moved.append((float(rows[0, 12, 12:20].std()), float(columns[0, 12:20, 12].std())))
    assert min(np.max(moved, axis=0)) > 0.2  # j changes along a row, and i along a column


def test_strong_is_stronger_and_thick_slices_are_not_bent():
    usual, strong = VolumeAugmentation(), VolumeAugmentation().stronger()
    assert strong.rotate_deg[0] > usual.rotate_deg[0]
    assert strong.elastic > usual.elastic
    for name in GREY:
        assert by_name(strong)[name].prob > by_name(usual)[name].prob
    thick = VolumeAugmentation(rotate_deg=(60.0, 0.0, 0.0))
    assert thick.stronger().rotate_deg == thick.rotate_deg
    assert by_name(thick.stronger())["Rand3DElasticd"].prob == 0
