"""Each change that `--augmentation scanners` adds keeps what it promises."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.training.segmenter.case_recipe import LabelledCases
from MedLLMSegLib.training.segmenter.request import TrainRequest
from MedLLMSegLib.training.segmenter.samples.augmentation import (
    VolumeAugmentation,
    training_transform,
)
from MedLLMSegLib.training.segmenter.samples.grey_changes import (
    BRIGHT,
    RandomBlobs,
    RandomClip,
    RandomCoilBias,
    RandomGreyCurve,
    RandomPlaneResolution,
    RandomTissues,
)
from MedLLMSegLib.training.segmenter.samples.pose_changes import (
    MOST_CUT,
    SIZES,
    SLICES,
    RandomCutStack,
    RandomLostSlice,
    RandomPose,
)
from MedLLMSegLib.training.segmenter.samples.sampling import SampleDataset, changed_case
from MedLLMSegLib.training.segmenter.train_config import TrainConfig

SHAPE = (10, 48, 48)
THICK = VolumeAugmentation((60.0, 0.0, 0.0), 0.25, flips=(0, 1, 2)).for_scanners()
GREYS = (
    RandomTissues,
    RandomGreyCurve,
    RandomClip,
    RandomCoilBias,
    RandomBlobs,
    RandomPlaneResolution,
)


def sample(seed=0):
    """A disc of two labels in every slice, in textured surroundings; mean 0, deviation 1."""
    rng = np.random.default_rng(seed)
    _, j, i = np.indices(SHAPE)
    label = np.where(np.hypot(j - 24, i - 24) < 10, np.where(i < 24, 1, 2), 0)
    image = 1.5 * label + rng.normal(0, 0.3, SHAPE) + 0.02 * j
    image = (image - image.mean()) / image.std()
    return {
        "image": torch.from_numpy(image[None].astype(np.float32)),
        "label": torch.from_numpy(label[None].astype(np.float32)),
    }


def after(change, seed=0, given=None):
    change.set_random_state(seed)
    return change(given or sample())


@pytest.mark.parametrize("kind", GREYS)
def test_a_change_of_grey_values_is_drawn_anew_and_spares_the_label(kind):
    before = sample()
    first, again, other = after(kind(1.0), 1), after(kind(1.0), 1), after(kind(1.0), 2)
    assert torch.equal(first["label"], before["label"])
    assert torch.equal(first["image"], again["image"])
    assert float((first["image"] - before["image"]).abs().mean()) > 0.002
    assert not torch.equal(first["image"], other["image"])
    assert torch.equal(before["image"], sample()["image"])  # in place it would spoil the case
    assert torch.equal(after(kind(0.0), 1)["image"], before["image"])


@pytest.mark.parametrize("kind", [RandomGreyCurve, RandomClip, RandomCoilBias])
def test_the_normalisation_stays(kind):
    for seed in range(5):
        image = after(kind(1.0), seed)["image"]
        assert float(image.mean()) == pytest.approx(0, abs=1e-3)
        assert float(image.std()) == pytest.approx(1, abs=1e-2)


def test_a_grey_curve_rises_mostly_and_now_and_then_inverts():
    ramp = torch.linspace(-2, 2, 1000).reshape(1, 10, 10, 10)
    curves = [
        after(RandomGreyCurve(1.0), seed, {"image": ramp, "label": torch.zeros_like(ramp)})
        for seed in range(40)
    ]
    rises = [bool((torch.diff(c["image"].flatten()) >= -1e-6).all()) for c in curves]
    assert 25 <= sum(rises) < 40


def test_each_tissue_moves_by_its_own_amount():
    before, moved = sample(), after(RandomTissues(1.0), 3)
    steps = (moved["image"] - before["image"])[0]
    label = before["label"][0]
    assert float(steps[label == 0].abs().max()) == 0
    one, two = (steps[label == value] for value in (1, 2))
    assert float(one.std()) < 1e-6
    assert float(two.std()) < 1e-6
    assert abs(float(one.mean() - two.mean())) > 0.01


def test_what_is_clipped_has_flat_ends():
    image = after(RandomClip(1.0), 0)["image"]
    assert float((image == image.max()).float().mean()) > 0.004
    assert float((image == image.min()).float().mean()) > 0.004


def test_blobs_are_bright_and_leave_the_labelled_alone():
    before = sample()
    for seed in range(5):
        changed = after(RandomBlobs(1.0), seed)["image"] - before["image"]
        inside = before["label"] > 0
        assert float(changed[inside].abs().max()) == 0
        assert float(changed[~inside].max()) > 0
    assert BRIGHT[0] > 0


def test_resolution_is_lost_in_the_plane_and_not_across_slices():
    checks = torch.zeros(1, *SHAPE)
    checks[0, ::2] = 1  # every other slice
    given = {"image": checks, "label": torch.zeros_like(checks)}
    assert torch.allclose(after(RandomPlaneResolution(1.0), 0, given)["image"], checks, atol=1e-5)
    rows = torch.zeros(1, *SHAPE)
    rows[0, :, ::2] = 1
    blurred = after(RandomPlaneResolution(1.0), 0, {"image": rows, "label": torch.zeros_like(rows)})
    assert float(blurred["image"].std()) < 0.8 * float(rows.std())


def pose(flat=True, window=SHAPE, turns=(180.0, 0.0, 0.0), shear=0.05):
    return RandomPose(window, turns, shear, flat)


def drawn(change, count=300):
    change.set_random_state(0)
    return [change.draw_matrix() for _ in range(count)]


def test_thick_slices_are_turned_any_way_in_their_plane_and_stay_slices():
    matrices = drawn(pose())
    for matrix in matrices:
        assert np.allclose(matrix[0, 1:3], 0)
        assert np.allclose(matrix[1:3, 0], 0)
    angles = np.degrees([np.arctan2(m[2, 1], m[1, 1]) for m in matrices])
    counts, _ = np.histogram(angles, np.linspace(-180, 180, 9))
    assert counts.min() > 15  # of 37 in each eighth of a turn
    assert all(np.linalg.det(m[:3, :3]) > 0 for m in matrices)  # mirrored by `flips` alone


def test_sizes_span_pixels_of_0_7_to_2_2_mm_and_the_usual_half_of_the_time():
    matrices = drawn(pose())
    sizes = np.array([1 / np.sqrt(np.linalg.det(m[1:3, 1:3])) for m in matrices])
    assert sizes.min() > SIZES[0] - 0.01
    assert sizes.max() < SIZES[1] + 0.01
    assert np.allclose(SIZES, (1.5 / 2.2, 1.5 / 0.7))
    assert sizes.min() < 0.75
    assert sizes.max() > 1.9
    assert 0.5 < np.mean((sizes > 1 / 1.21) & (sizes < 1.21)) < 0.9
    along = np.array([1 / m[0, 0] for m in matrices])
    assert along.min() > SLICES[0] - 0.01
    assert along.max() < SLICES[1] + 0.01
    shifts = np.array([m[0, 3] for m in matrices])
    assert (-0.5 <= shifts.min() < -0.4) and (0.4 < shifts.max() <= 0.5)


def test_thin_slices_are_as_large_along_all_axes():
    for matrix in drawn(pose(flat=False, turns=(0.0, 0.0, 0.0), shear=0.0), 20):
        sizes = 1 / np.diag(matrix)[:3]
        assert sizes.max() / sizes.min() < 1.07
        assert matrix[0, 3] == 0


def test_image_and_labels_move_together():
    label = sample()["label"]
    hot = torch.nn.functional.one_hot(label[0].long(), 3).movedim(-1, 0).float()
    for seed in range(4):
        moved = after(pose(), seed, {"image": 1 - hot[:1], "label": hot})
        assert torch.allclose(
            torch.as_tensor(moved["image"])[0], 1 - torch.as_tensor(moved["label"])[0], atol=1e-4
        )


def numbered():
    """Slice k holds k in the image and in the label."""
    ramp = torch.arange(10.0).view(1, 10, 1, 1).expand(1, 10, 4, 4)
    return {"image": ramp, "label": ramp}


def slices_of(moved):
    assert torch.equal(moved["image"], moved["label"])
    return moved["image"][0, :, 0, 0].int().tolist()


def test_a_cut_stack_lacks_slices_of_one_end():
    found = {tuple(slices_of(after(RandomCutStack(1.0), seed, numbered()))) for seed in range(60)}
    ends = {
        tuple(np.clip(np.arange(10), low, high))
        for n in range(1, MOST_CUT + 1)
        for low, high in ((n, 9), (0, 9 - n))
    }
    assert {tuple(map(int, each)) for each in ends} == found
    few = {key: value[:, :3] for key, value in numbered().items()}
    assert slices_of(after(RandomCutStack(1.0), 0, few)) == [0, 1, 2]


def test_a_lost_slice_is_none_of_the_ends():
    for seed in range(20):
        kept = slices_of(after(RandomLostSlice(1.0), seed, numbered()))
        assert kept[0] == 0
        assert kept[-2:] == [9, 9]
        assert len(set(kept)) == 9
        assert len(kept) == 10


def test_the_recipe_holds_them_all_and_the_usual_one_none():
    names = {type(t) for t in training_transform(SHAPE, 3, THICK).transforms}
    assert {*GREYS, RandomPose, RandomCutStack, RandomLostSlice} <= names
    usual = {type(t) for t in training_transform(SHAPE, 3).transforms}
    assert not usual & {*GREYS, RandomPose, RandomCutStack, RandomLostSlice}
    thin = training_transform((32, 32, 32), 3, VolumeAugmentation().for_scanners()).transforms
    assert RandomPose in map(type, thin)
    assert not {RandomCutStack, RandomLostSlice} & set(map(type, thin))
    assert VolumeAugmentation().for_scanners().rotate_deg == VolumeAugmentation().rotate_deg


def test_a_turned_window_of_a_scanner_looks_at_the_scan_and_not_at_repeated_edges():
    window = (6, 12, 10)
    reach = THICK.reach(window)
    change = pose(window=window)
    for n, wanted in ((1, False), (0.5, True)):
        part = [int(n * r) + 2 for r in reach[1:]]
        edge = torch.ones(1, reach[0] + 2, *part)
        edge[0, 1:-1, 1:-1, 1:-1] = 0
        given = {"image": edge, "label": edge}
        seen = [
            bool((torch.as_tensor(after(change, seed, given)["image"]) > 0.9).any())
            for seed in range(60)
        ]
        assert any(seen) == wanted


def test_of_several_images_each_is_changed_by_itself_and_the_label_is_theirs():
    case = sample()
    case["image"] = case["image"].repeat(2, 1, 1, 1)
    upright = replace(THICK, rotate_deg=(0.0, 0.0, 0.0), flips=())
    transform = training_transform(SHAPE, 3, upright, channels=2)
    transform.set_random_state(3)
    changed = transform(case)
    assert changed["image"].shape == (2, *SHAPE)
    assert changed["label"].shape == (1, *SHAPE)
    assert float((changed["image"][0] - changed["image"][1]).abs().mean()) > 0.01
    whole = {key: value.numpy() for key, value in case.items()} | {"id": "anna"}
    assert changed_case(whole, 3, THICK, 0)["image"].shape == (2, *SHAPE)


def test_a_changed_case_is_the_same_each_time_and_whole():
    case = {key: value.numpy() for key, value in sample().items()} | {"id": "anna"}
    case["label"] = case["label"].astype(np.uint8)
    one, again, other = (changed_case(case, 3, THICK, n) for n in (0, 0, 1))
    assert one["image"].shape == one["label"].shape == (1, *SHAPE)
    assert np.array_equal(one["image"], again["image"])
    assert not np.array_equal(one["image"], other["image"])
    assert set(np.unique(one["label"])) <= {0, 1, 2}
    assert one["label"].dtype == np.uint8
    assert one["id"] != "anna"


def test_weights_are_chosen_on_cases_as_they_are_and_changed():
    case = {key: value.numpy() for key, value in sample().items()} | {"id": "anna", "voxels": []}
    config = TrainConfig(window=SHAPE, augmentation=THICK)
    chosen_by = LabelledCases(3, config, [case], [case, case]).val
    assert [each["id"] for each in chosen_by] == ["anna", "anna changed"] * 2
    assert not np.array_equal(chosen_by[1]["image"], chosen_by[3]["image"])
    usual = TrainConfig(window=SHAPE)
    assert len(LabelledCases(3, usual, [case], [case, case]).val) == 2
    assert TrainConfig.from_dict(json.loads(json.dumps(asdict(config)))) == config


def test_two_in_five_samples_are_changed_as_usual_alone():
    case = {key: value.numpy() for key, value in sample().items()} | {"id": "anna", "voxels": []}
    data = SampleDataset([case], SHAPE, 3, THICK, 0.0, seed=0)
    names = []

    def named(name):
        class Named:
            def set_random_state(self, seed):
                names.append(name)

            def __call__(self, cut):
                return cut

        return Named()

    data.transform, data.usual = named("scanners"), named("usual")
    for number in range(200):
        data[number]
    assert 0.3 < names.count("usual") / 200 < 0.5
    assert SampleDataset([case], SHAPE, 3, VolumeAugmentation(), 0.0, seed=0).usual is None


def test_an_unknown_augmentation_is_one_sentence():
    with pytest.raises(UserError, match="usual, strong or scanners"):
        TrainRequest("cases", "run", augmentation="wild")
