"""The linear probe by depth: what it learns, and what its controls forget."""

import json

import numpy as np
import pytest
import torch

from MedLLMSegLib import UserError, Volume, save_volume
from MedLLMSegLib.networks.build import build_network
from MedLLMSegLib.networks.segmentation.feature_layers import feature_layers
from MedLLMSegLib.studies.transfer_probe import (
    VOXELS,
    Crops,
    at_voxels,
    crops,
    features_of,
    forget,
    places,
    tables,
    teaching_voxels,
)
from Testing.helpers.tiny_segmenter import TINY

pytest.importorskip("sklearn")
SHAPE = (12, 16, 14)


@pytest.fixture
def data(tmp_path):
    """Crops whose front part lies in front and whose back part behind, one of each head."""
    for folder in ("imagesTr", "labelsTr"):
        (tmp_path / folder).mkdir()
    rng = np.random.default_rng(0)
    names = [f"hippocampus_{n:03d}" for n in (1, 2, 4, 6, 8)]
    for name in names:
        labels = np.zeros(SHAPE, np.uint8)
        labels[4:8, 3:8, 4:9], labels[4:8, 8:13, 4:9] = 2, 1
        image = rng.normal(size=SHAPE).astype(np.float32)
        save_volume(Volume(image, np.eye(4)), tmp_path / "imagesTr" / f"{name}.nii.gz")
        save_volume(Volume(labels, np.eye(4)), tmp_path / "labelsTr" / f"{name}.nii.gz")
    splits = {"train": names[:3], "val": [], "test": names[3:]}
    (tmp_path / "splits.json").write_text(json.dumps(splits), encoding="utf-8")
    return tmp_path


def test_one_crop_of_each_head(data):
    assert [crop.head for crop in crops(data, "train", 9)] == [1, 2]  # 001 and 002 are one head
    assert len(list(crops(data, "train", 1))) == 1
    with pytest.raises(UserError, match="no splits"):
        list(crops(data / "imagesTr", "train", 1))


def test_what_decides_is_learnt_and_noise_is_not(data):
    split = Crops.of(data, 2, 2)
    told = split.probed(lambda c: np.eye(3)[c.labels.ravel()] + 0.01 * places(SHAPE)[:, :3])
    by_place = split.probed(lambda c: places(SHAPE))
    rng = np.random.default_rng(0)
    by_chance = split.probed(lambda c: rng.normal(size=(c.labels.size, 5)))
    mean = [np.mean([row["dice"] for row in rows]) for rows in (told, by_place, by_chance)]
    assert mean[0] > 0.99
    assert mean[0] > mean[1] > mean[2]
    assert mean[2] < 0.1


def test_voxels_that_teach_are_of_every_class():
    labels = np.zeros(SHAPE, np.uint8)
    labels[0], labels[1, :2] = 1, 2
    chosen = labels.ravel()[teaching_voxels(labels, 0)]
    assert np.bincount(chosen).tolist() == [VOXELS // 2, VOXELS // 4, 28]


def test_features_lie_on_the_image_s_voxels_and_forgetting_changes_them():
    torch.manual_seed(7)  # forgetting draws from seed 0
    network = build_network(TINY).eval()
    image = torch.randn(1, 1, *SHAPE)
    before = features_of(network, image)
    assert list(before) == list(feature_layers(network))
    assert at_voxels(before["tokens"], SHAPE, network.patch).shape == (np.prod(SHAPE), 24)
    finest = at_voxels(before["stem1"], SHAPE, network.patch)
    padded = before["stem1"][0, :, : SHAPE[0], : SHAPE[1], : SHAPE[2]]
    np.testing.assert_allclose(finest, padded.flatten(1).T, atol=1e-5)
    forget(network)
    after = features_of(network, image)
    assert not torch.allclose(before["stem1"], after["stem1"])
    assert all(torch.isfinite(each).all() for each in after.values())


def test_the_table_has_a_row_for_each_layer():
    rows = [
        {"weights": weights, "layer": layer, "head": head, "dice": value + head / 100}
        for weights, layer, value in (
            ("trained", "stem1", 0.5),
            ("untrained", "stem1", 0.2),
            ("place alone", "", 0.4),
        )
        for head in (1, 2, 3)
    ]
    text = tables(rows)
    assert "| stem1 | 0.520 (" in text
    assert "+0.300" in text
    assert "the place in the crop" in text
