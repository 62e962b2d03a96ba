"""Synthesised training images: what is said to be somewhere must be there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from MedLLMSegLib.training.localizer import (
    localizer_batches,
    localizer_pose,
    train_localizer,
    validate_localizer,
)
from MedLLMSegLib.training.localizer import synthesis as synth
from MedLLMSegLib.training.localizer.localizer_batches import (
    HELD_OUT,
    LocalizerSettings,
    load_heads,
    make_batch,
)
from MedLLMSegLib.training.localizer.localizer_contrast import draw_contrast
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
    for number, (centre, radius) in enumerate(zip(centres, radii, strict=True)):
        inside = sum((a - c) ** 2 for a, c in zip(axes, centre, strict=True)) < radius**2
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
    assert np.array_equal(one.image, two.image)
    assert np.array_equal(one.target, two.target)


@pytest.mark.parametrize("seed", range(8))
def test_targets_are_shares_that_sum_to_one_and_images_lie_in_0_to_1(seed):
    sample = synth.draw_sample([ball_head()], np.random.default_rng(seed), (48, 64, 48))
    assert sample.image.shape == (48, 64, 48)
    assert sample.image.dtype == np.float32
    assert np.isfinite(sample.image).all()
    assert sample.image.min() >= 0
    assert sample.image.max() <= 1
    np.testing.assert_allclose(sample.target.sum(0), 1, atol=1e-5)


def test_a_pose_moves_image_and_target_alike(monkeypatch):
    subject = ball_head()
    bright = (subject.tissues == NAMES.index("hippocampus")).astype(np.float32)
    monkeypatch.setattr(localizer_pose, "painted", lambda subject, rng: (bright, 0.0))
    for seed in range(6):
        posed = localizer_pose.posed(subject, np.random.default_rng(seed), (64, 64, 64))
        hippocampi = localizer_pose.centroid(posed.classes[:2].sum(0))
        np.testing.assert_allclose(localizer_pose.centroid(posed.image), hippocampi, atol=1e-3)


def test_without_bending_the_centres_are_where_the_matrix_says(monkeypatch):
    subject, turn = ball_head(), localizer_pose.turned((20, -10, 15)).numpy() / 1.1
    monkeypatch.setattr(
        localizer_pose, "smooth_field", lambda shape, *rest: np.zeros((3, *shape), np.float32)
    )

    class NoBend:  # the sampling points draw one more array of chance for the bending
        standard_normal = staticmethod(np.zeros)
        uniform = staticmethod(lambda low, high: 0.0)

    points = localizer_pose.sampling_points(
        subject, turn, np.array([6.0, -9.0, 3.0]), NoBend, (64, 64, 64)
    )
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
        mirrored += np.linalg.det(localizer_pose.draw_pose(np.random.default_rng(seed))[0]) < 0
        classes = localizer_pose.posed(head, rng, (96, 96, 96)).classes
        assert localizer_pose.centroid(classes[0])[2] < localizer_pose.centroid(classes[1])[2]
        assert localizer_pose.centroid(classes[2])[2] < localizer_pose.centroid(classes[3])[2]
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
        assert sample.visible == (0.0, 0.0)
        assert np.all(sample.target[0] == 1)
        assert sample.image.std() > 0


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
    assert blank.classes is None
    assert not np.array_equal(blank.tissues[inner], head.tissues[inner])


def test_loading_a_label_map_keeps_volumes_and_sides(head):
    left, right = (head.classes[n].astype(float) for n in (0, 1))
    assert left.sum() / 255 * 8 == pytest.approx(4021, rel=0.02)  # mm3 of label 17 in the file
    # i runs to the right
    assert localizer_pose.centroid(left)[2] < localizer_pose.centroid(right)[2]


def test_t1_draws_have_white_brighter_than_grey_brighter_than_fluid():
    ordered = 0
    white, grey, fluid = (NAMES.index(n) for n in ("white matter", "cortex", "ventricles"))
    for seed in range(100):
        means, deviations = draw_contrast(np.random.default_rng(seed))
        assert means.shape == deviations.shape == (len(TISSUES),)
        assert deviations.min() >= 0
        ordered += means[white] > means[grey] > means[fluid]
    assert 78 < ordered < 96  # 85 of 100 by design, one in six of the rest by chance


def test_an_unknown_label_is_named():
    with pytest.raises(ValueError, match="999"):
        tissues_of(np.array([[[0, 999]]]))


def test_training_goes_on_from_its_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(train_localizer, "load_heads", lambda folder, held_out: [ball_head()])
    small = LocalizerSettings(sizes=(32,), sizes_p=(1.0,), batch=1)
    monkeypatch.setattr(
        localizer_batches, "make_batch", lambda heads, recipe, step: make_batch(heads, small, step)
    )
    config = train_localizer.LocalizerConfig(channels=(4, 8), residual_units=1)

    def train(minutes):
        weights = train_localizer.train_localizer("unused", tmp_path, minutes, config=config)
        return torch.load(weights, weights_only=True)

    first = train(0.02)
    second = train(first["minutes"] + 0.02)
    assert second["step"] > first["step"] > 0
    assert not torch.equal(*(next(iter(s["tensors"].values())) for s in (first, second)))
    validate_localizer.load_trained(tmp_path / train_localizer.WEIGHTS)
    history = json.loads((tmp_path / "history.json").read_text())
    assert history[-1] == {"step": second["step"], "val_dice": history[-1]["val_dice"]}


def test_a_batch_is_named_by_seed_and_step():
    recipe = LocalizerSettings(sizes=(32,), sizes_p=(1.0,), batch=2)
    image, target = make_batch([ball_head()], recipe, 5)
    assert image.shape == (2, 1, 32, 32, 32)
    assert target.shape == (2, 6, 32, 32, 32)
    assert torch.equal(image, make_batch([ball_head()], recipe, 5)[0])
    assert not torch.equal(image, make_batch([ball_head()], recipe, 6)[0])


def test_kept_out_heads_are_never_trained_on(monkeypatch):
    if not LABELMAPS.exists():
        pytest.skip(f"NO LABEL MAPS at {LABELMAPS}: the split was NOT tested")
    loaded = []
    monkeypatch.setattr(localizer_batches, "load_head", loaded.append)
    load_heads(LABELMAPS, held_out=False)
    assert len(loaded) == 15
    assert not any(f"_{n}." in path.name for n in HELD_OUT for path in loaded)


def test_figures_count_what_was_missed_swapped_and_false(monkeypatch):
    """Three images: both sides found; swapped; the right one out of view and yet reported."""
    centres = {"left": np.zeros(3), "right": np.array([30.0, 0, 0])}
    visible = [(1.0, 1.0), (1.0, 1.0), (1.0, 0.0)]
    found = [
        {"left": np.array([3.0, 4, 0])},
        {"left": centres["right"], "right": centres["left"]},
        {"left": centres["left"], "right": centres["right"]},
    ]
    images = iter(
        synth.Sample(np.zeros((2, 2, 2)), np.zeros((6, 2, 2, 2)), v, "head") for v in visible
    )
    answers = iter(found)
    monkeypatch.setattr(validate_localizer, "draw_sample", lambda heads, rng: next(images))
    monkeypatch.setattr(validate_localizer, "_found_centres", lambda *arguments: next(answers))
    monkeypatch.setattr(validate_localizer, "_true_centres", lambda sample: centres)
    figures = validate_localizer.validate(None, [], 3)
    assert figures == {
        "images": 3,
        "sides_in_view": 5,
        "median_mm": 17.5,
        "p95_mm": 30.0,
        "worst_mm": 30.0,
        "swapped": 2,
        "missed": 1,
        "sides_out_of_view": 1,
        "false": 1,
    }
