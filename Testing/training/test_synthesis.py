"""Synthesised training images: what is said to be somewhere must be there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from MedLLMSegLib.training.localizer import synthesis as synth
from MedLLMSegLib.training.localizer.subjects import (
    FIRST_OUTSIDE,
    NAMES,
    TISSUES,
    Subject,
    blobs,
    body,
    load_head,
    tissues_of,
    without_brain,
    without_face,
    without_skull,
)
from MedLLMSegLib.training.localizer.train_localizer import (
    HELD_OUT,
    LocalizerRecipe,
    make_batch,
    train_localizer,
)

LABELMAPS = Path(__file__).parents[3] / "shared" / "data" / "brain_labelmaps"


def ball_head() -> Subject:
    """A 'head' whose left hippocampus is a ball at x < middle and whose right one is a smaller
    ball higher up.
    """
    shape, centres, radii = (60, 70, 64), ((30, 35, 20), (38, 35, 44)), (6, 4)
    axes = np.indices(shape)
    tissues, classes = (
        np.full(shape, NAMES.index("cortex"), np.uint8),
        np.zeros((5, *shape), np.uint8),
    )
    for number, (centre, radius) in enumerate(zip(centres, radii)):
        inside = sum((a - c) ** 2 for a, c in zip(axes, centre)) < radius**2
        tissues[inside] = NAMES.index("hippocampus")
        classes[number][inside] = 255
    cerebrum = 255 - classes[:2].sum(0)
    classes[2, :, :, :32], classes[3, :, :, 32:] = cerebrum[:, :, :32], cerebrum[:, :, 32:]
    return Subject(tissues, classes, (30.0, 35.0, 32.0), "head")


@pytest.fixture(scope="module")
def head() -> Subject:
    path = LABELMAPS / "training_seg_16.nii.gz"
    if not path.exists():
        pytest.skip(f"NO LABEL MAPS at {LABELMAPS}: synthesis from a real head was NOT tested")
    return load_head(path)


def test_the_same_seed_gives_the_same_image():
    one, two = (
        synth.draw_sample([ball_head()], np.random.default_rng([3, 4]), (48, 48, 48))
        for _ in range(2)
    )
    assert np.array_equal(one.image, two.image) and np.array_equal(one.target, two.target)


@pytest.mark.parametrize("seed", range(8))
def test_targets_are_shares_that_sum_to_one_and_images_lie_in_0_to_1(seed):
    sample = synth.draw_sample([ball_head()], np.random.default_rng(seed), (48, 64, 48))
    assert sample.image.shape == (48, 64, 48) and sample.image.dtype == np.float32
    assert np.isfinite(sample.image).all() and sample.image.min() >= 0 and sample.image.max() <= 1
    np.testing.assert_allclose(sample.target.sum(0), 1, atol=1e-5)


def test_a_pose_moves_image_and_target_alike(monkeypatch):
    subject = ball_head()
    bright = (subject.tissues == NAMES.index("hippocampus")).astype(np.float32)
    monkeypatch.setattr(synth, "_painted", lambda subject, rng: (bright, 0.0))
    for seed in range(6):
        image, classes, _ = synth._posed(subject, np.random.default_rng(seed), (64, 64, 64))
        np.testing.assert_allclose(
            synth._centroid(image), synth._centroid(classes[:2].sum(0)), atol=1e-3
        )


def test_without_bending_the_centres_are_where_the_matrix_says(monkeypatch):
    subject, turn = ball_head(), synth._rotation((20, -10, 15)) / 1.1
    monkeypatch.setattr(
        synth, "smooth_field", lambda shape, *rest: np.zeros((3, *shape), np.float32)
    )

    class NoBend:  # the sampling points draw one more array of chance for the bending
        standard_normal = staticmethod(lambda shape: np.zeros(shape))
        uniform = staticmethod(lambda low, high: 0.0)

    points = synth._sampling_points(subject, turn, np.array([6.0, -9.0, 3.0]), NoBend, (64, 64, 64))
    voxel = (12, 40, 33)
    millimetres = turn @ (3.0 * (np.array(voxel) - 31.5) - np.array([6.0, -9.0, 3.0]))
    expected = (
        2
        * (np.array(subject.centre_vox) + millimetres / 2.0)
        / (np.array(subject.tissues.shape) - 1)
        - 1
    )
    np.testing.assert_allclose(points[voxel][::-1], expected, atol=1e-5)


def test_a_mirrored_head_keeps_left_on_the_left(head):
    """Whatever the pose, left is where x is smaller (the poses turn by less than 45 degrees)."""
    mirrored = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        mirrored += np.linalg.det(synth.draw_pose(np.random.default_rng(seed))[0]) < 0
        _, classes, _ = synth._posed(head, rng, (96, 96, 96))
        assert synth._centroid(classes[0])[2] < synth._centroid(classes[1])[2]
        assert synth._centroid(classes[2])[2] < synth._centroid(classes[3])[2]
    assert 0 < mirrored < 12


def test_what_lies_outside_the_field_of_view_is_not_in_the_target(head):
    cut = 0
    for seed in range(10):
        sample = synth.synthesise(head, np.random.default_rng(seed), (64, 64, 64))
        cut += min(sample.visible) < 0.5
        for side, visible in enumerate(sample.visible):
            assert (sample.target[1 + side].sum() > 0) == (visible > 0)
    assert cut  # some draws cut a hippocampus away


@pytest.mark.parametrize("make", [body, blobs])
def test_bodies_and_blobs_have_no_hippocampus(make):
    for seed in range(3):
        sample = synth.synthesise(
            make(np.random.default_rng(seed)), np.random.default_rng(seed), (48, 48, 48)
        )
        assert (
            sample.visible == (0.0, 0.0)
            and np.all(sample.target[0] == 1)
            and sample.image.std() > 0
        )


def test_stripping_keeps_the_brain_and_blanking_takes_it(head):
    rng = np.random.default_rng(0)
    inner = (
        (head.tissues > 0)
        & (head.tissues < FIRST_OUTSIDE)
        & (head.tissues != NAMES.index("fluid around the brain"))
    )
    for edit in (without_skull, without_face):
        edited = edit(head, rng)
        assert np.array_equal(edited.tissues[inner], head.tissues[inner])
        assert (edited.tissues >= FIRST_OUTSIDE).sum() < (head.tissues >= FIRST_OUTSIDE).sum()
    blank = without_brain(head, rng)
    assert blank.classes is None and not np.array_equal(blank.tissues[inner], head.tissues[inner])


def test_loading_a_label_map_keeps_volumes_and_sides(head):
    left, right = (head.classes[n].astype(float) for n in (0, 1))
    assert left.sum() / 255 * 8 == pytest.approx(4021, rel=0.02)  # mm3 of label 17 in the file
    assert synth._centroid(left)[2] < synth._centroid(right)[2]  # i runs to the right


def test_t1_draws_have_white_brighter_than_grey_brighter_than_fluid():
    ordered = 0
    white, grey, fluid = (NAMES.index(n) for n in ("white matter", "cortex", "ventricles"))
    for seed in range(100):
        means, deviations = synth.draw_contrast(np.random.default_rng(seed))
        assert means.shape == deviations.shape == (len(TISSUES),) and deviations.min() >= 0
        ordered += means[white] > means[grey] > means[fluid]
    assert 78 < ordered < 96  # 85 of 100 by design, one in six of the rest by chance


def test_thick_slices_keep_the_mean_and_smear_a_point():
    matrix = synth._slices(40, 2.0, 0.5)
    np.testing.assert_allclose(matrix.sum(1), 1, atol=1e-5)
    assert matrix[20].max() < 0.6


def test_an_unknown_label_is_named():
    with pytest.raises(ValueError, match="999"):
        tissues_of(np.array([[[0, 999]]]))


def test_training_goes_on_from_its_checkpoint(tmp_path, monkeypatch):
    from MedLLMSegLib.training.localizer import train_localizer as training

    monkeypatch.setattr(training, "load_heads", lambda folder, held_out: [ball_head()])
    original = training.make_batch
    small = LocalizerRecipe(sizes=(32,), sizes_p=(1.0,), batch=1)
    monkeypatch.setattr(
        training, "make_batch", lambda heads, recipe, step: original(heads, small, step)
    )
    config = training.LocalizerConfig(channels=(4, 8), residual_units=1)
    weights = train_localizer("unused", tmp_path, minutes=0.02, config=config)
    first = torch.load(weights, weights_only=True)
    second = torch.load(
        train_localizer("unused", tmp_path, minutes=0.04, config=config), weights_only=True
    )
    assert second["step"] > first["step"] > 0
    assert not torch.equal(*(next(iter(s["tensors"].values())) for s in (first, second)))
    training.load_trained(weights)


def test_a_batch_is_named_by_seed_and_step():
    recipe = LocalizerRecipe(sizes=(32,), sizes_p=(1.0,), batch=2)
    image, target = make_batch([ball_head()], recipe, 5)
    assert image.shape == (2, 1, 32, 32, 32) and target.shape == (2, 6, 32, 32, 32)
    assert torch.equal(image, make_batch([ball_head()], recipe, 5)[0])
    assert not torch.equal(image, make_batch([ball_head()], recipe, 6)[0])


def test_kept_out_heads_are_never_trained_on():
    from MedLLMSegLib.training.localizer import train_localizer as training

    if not LABELMAPS.exists():
        pytest.skip(f"NO LABEL MAPS at {LABELMAPS}: the split was NOT tested")
    loaded = []
    original, training.load_head = training.load_head, loaded.append
    try:
        training.load_heads(LABELMAPS, held_out=False)
    finally:
        training.load_head = original
    assert len(loaded) == 15 and not any(f"_{n}." in path.name for n in HELD_OUT for path in loaded)
