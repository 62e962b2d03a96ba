"""Which sample comes when, from where in a case, and changed how."""

import numpy as np
import torch

from MedLLMSegLib.training.batches import BatchNumbers
from MedLLMSegLib.training.segmenter.samples.augmentation import (
    VolumeAugmentation,
    noise_sample,
    training_transform,
)
from MedLLMSegLib.training.segmenter.samples.sampling import SampleDataset, cut_sample
from Testing.helpers.toy_training import toy_cases


def test_samples_depend_on_their_number_alone():
    samples = SampleDataset(toy_cases(), (16, 24, 16), 3, VolumeAugmentation(), 0.0, seed=1)
    first = [samples[n] for n in range(8)]
    again = [samples[n] for n in (5, 0, 7)]
    for n, sample in zip((5, 0, 7), again, strict=True):
        assert torch.equal(first[n]["image"], sample["image"])
        assert torch.equal(first[n]["label"], sample["label"])
    assert (
        sorted(s["case"] for s in first[:4])
        == sorted(s["case"] for s in first[4:])
        == [f"case{n}" for n in range(4)]
    )
    assert not torch.equal(first[0]["image"], first[1]["image"])


def test_processes_share_a_batch():
    whole = [n for batch in BatchNumbers(3, 5, 4) for n in batch]
    parts = [list(BatchNumbers(3, 5, 4, rank, 2)) for rank in (0, 1)]
    assert whole == list(range(12, 20))
    assert [sorted(a + b) for a, b in zip(*parts, strict=True)] == [
        [12, 13, 14, 15],
        [16, 17, 18, 19],
    ]


def test_a_window_smaller_than_the_case_often_shows_the_organ():
    shape = (40, 60, 60)
    label = np.zeros(shape, np.uint8)
    label[5:9, 50:56, 4:8] = 1
    case = {
        "id": "a",
        "image": np.zeros((1, *shape), np.float32),
        "label": label[None],
        "voxels": [np.argwhere(label)],
    }
    rng = np.random.default_rng(0)
    seen = [
        bool(cut_sample(case, (16, 16, 16), (16, 16, 16), rng)["label"].any()) for _ in range(300)
    ]
    blind = [
        bool(cut_sample({**case, "voxels": []}, (16, 16, 16), (16, 16, 16), rng)["label"].any())
        for _ in range(300)
    ]
    assert np.mean(seen) > 0.3 > np.mean(blind)


def test_a_samples_place_is_jittered_by_up_to_15_percent_of_the_window():
    """A case of the window's size, whose voxels tell where along k they lie."""
    ramp = np.broadcast_to(np.arange(20, dtype=np.float32)[:, None, None], (20, 20, 20))
    case = {"id": "a", "image": ramp[None], "label": np.zeros((1, 20, 20, 20)), "voxels": []}
    rng, size = np.random.default_rng(0), (20, 20, 20)
    middles = [float(cut_sample(case, size, size, rng)["image"][0, 10, 0, 0]) for _ in range(200)]
    assert set(middles) == {7, 8, 9, 10, 11, 12, 13}


def test_a_case_smaller_than_the_window_is_centred_and_its_edge_repeated():
    image = np.arange(4, dtype=np.float32).reshape(1, 4, 1, 1) * np.ones((1, 4, 30, 30), np.float32)
    part = cut_sample(
        {"id": "a", "image": image, "label": np.zeros((1, 4, 30, 30), np.uint8), "voxels": []},
        (8, 16, 16),
        (8, 16, 16),
        np.random.default_rng(0),
    )
    values = part["image"][0, :, 0, 0].numpy()
    assert part["image"].shape == (1, 8, 16, 16)
    assert set(values) == {0, 1, 2, 3}
    assert (np.diff(values) >= 0).all()
    assert values[0] == 0
    assert values[-1] == 3


def test_no_more_is_cut_than_a_case_has():
    image = np.random.default_rng(1).normal(size=(1, 10, 30, 30)).astype(np.float32)
    case = {"id": "a", "image": image, "label": np.zeros((1, 10, 30, 30), np.uint8), "voxels": []}
    for seed in range(5):
        part = cut_sample(case, (8, 16, 16), (100, 100, 100), np.random.default_rng(seed))["image"][
            0
        ].numpy()
        assert part.shape[0] <= 2 * 10
        assert max(part.shape[1:]) <= 2 * 30 + 2
        assert np.isin(image, part).all()  # all of the case is there: the window may look anywhere


def test_image_and_label_are_warped_together():
    transform = training_transform((20, 28, 20), 3)
    transform.set_random_state(3)
    case = toy_cases(1)[0]
    overlaps = []
    for _ in range(6):
        warped = transform(
            {
                "image": torch.from_numpy(case["label"] > 0).float() * 4,
                "label": torch.from_numpy(case["label"]).float(),
            }
        )
        bright = warped["image"][0] > warped["image"][0].mean() + warped["image"][0].std()
        organ = torch.as_tensor(warped["label"][0]) > 0
        overlaps.append(float(2 * (bright & organ).sum() / (bright.sum() + organ.sum())))
    assert np.median(overlaps) > 0.8


def test_flips_and_turns_stay_in_the_plane_for_thick_slices():
    how = VolumeAugmentation(rotate_deg=(20.0, 0.0, 0.0), flips=(2,), elastic=1.0)
    transform = training_transform((6, 24, 24), 3, how)
    label = torch.zeros(1, 6, 24, 24)
    label[:, 2, 8:16, 4:10] = 1
    for seed in range(5):
        transform.set_random_state(seed)
        warped = transform({"image": torch.zeros(1, 6, 24, 24), "label": label.clone()})
        slices = torch.as_tensor(warped["label"])[0].amax(dim=(1, 2))
        # a change of scale may touch a neighbour, a turn would touch all
        assert slices[2] == 1
        assert slices.sum() <= 2


def test_noise_samples_hold_no_organ():
    sample = noise_sample((8, 9, 10), np.random.default_rng(0))
    assert sample["image"].shape == sample["label"].shape == (1, 8, 9, 10)
    assert not sample["label"].any()
