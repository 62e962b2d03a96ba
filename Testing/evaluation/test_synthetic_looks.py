"""A model of the whole brain knows its domain from heads that are synthesised from label maps."""

import json
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk

from MedLLMSegLib import load_model, segment
from MedLLMSegLib.cli.main import main
from MedLLMSegLib.evaluation import fit_scan_domain, synthetic_looks
from MedLLMSegLib.evaluation.fit_scan_domain import closer_features
from MedLLMSegLib.io.volume_files import save_volume
from MedLLMSegLib.registry.catalogue import read_metadata
from MedLLMSegLib.segmentation import domain_features
from MedLLMSegLib.segmentation.region import Region
from MedLLMSegLib.training.synthesis.sample import SynthesisConfig
from Testing.helpers.tiny_brain import tiny_brain, tiny_scan

SHAPE = (32, 32, 32)


def label_map(path, seed):
    """A head of nested boxes with FreeSurfer's numbers."""
    labels = np.zeros((48, 48, 48), np.int16)
    labels[4:44, 4:44, 4:44] = 516
    labels[8:40, 8:40, 8:40] = 24
    labels[10:38, 10:38, 10:24], labels[10:38, 10:38, 24:38] = 42, 3
    labels[14:34, 14:34, 14:24], labels[14:34, 14:34, 24:34] = 41, 2
    labels[20 + seed : 26, 20:26, 18:22], labels[20 + seed : 26, 20:26, 26:30] = 43, 4
    sitk.WriteImage(sitk.GetImageFromArray(labels), str(path))


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """(bundle, folder of maps) of a tiny model that was fitted by the command."""
    folder = tmp_path_factory.mktemp("brain")
    maps, splits = folder / "maps", {"train": ["a", "b"], "val": ["c"], "test": ["d"]}
    maps.mkdir()
    for seed, name in enumerate("abcd"):
        label_map(maps / f"{name}.nii.gz", seed)
    (maps / "splits.json").write_text(json.dumps(splits))
    save_volume(tiny_scan(), folder / "blobs.nii.gz")
    bundle = tiny_brain(folder / "tiny")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(fit_scan_domain, "is_whole_brain", lambda structures: True)
        patched.setattr(synthetic_looks, "HEADS", {"train": 8, "val": 3, "test": 2})
        patched.setattr(synthetic_looks, "LIKE_CLOSER_LOOK", SynthesisConfig(shape=SHAPE))
        patched.setattr(synthetic_looks, "CLOSER_LOOK", SHAPE)
        given = ["domain", "--fit", str(maps), "--model", str(bundle), "--device", "cpu"]
        assert main([*given, "--others", str(folder / "blobs.nii.gz")]) == 0
        (folder / "empty").mkdir()
        assert main(["domain", "--fit", str(folder / "empty"), *given[3:]]) == 2
    return bundle, maps


def test_heads_of_each_split_are_counted_with_the_others(fitted):
    stored = read_metadata(fitted[0])["domain"]
    assert stored["images"] == "8 heads synthesised from the training maps of maps"
    counts = {row["images"]: row["n"] for row in stored["figures"]}
    assert counts == {"validation heads": 3, "test heads": 2, "blobs.nii.gz": 1}
    assert "--fit" in stored["command"]


def test_a_head_is_the_same_each_time_and_no_two_are_alike(fitted):
    model = load_model(fitted[0], "cpu", "fp32")
    maps = fitted[1]
    head = synthetic_looks.load_head_map(maps / "a.nii.gz")
    one, again, other = (synthetic_looks._features(model, head, seed) for seed in (1, 1, 2))
    assert np.array_equal(one, again) and not np.allclose(one, other)


def test_the_closer_look_alone_tells_the_domain(fitted, monkeypatch):
    model, seen = load_model(fitted[0], "cpu", "fp32"), []
    look = domain_features.window_features

    def counted(network, array, window, device):
        seen.append((array.shape, look(network, array, window, device)))
        return seen[-1][1]

    monkeypatch.setattr(domain_features, "window_features", counted)
    result = segment(tiny_scan(), model)
    assert len(seen) == 1
    assert result.domain.distance == pytest.approx(model.domain.verdict(seen[0][1]).distance)
    features = closer_features(model, tiny_scan())
    assert np.allclose(features, seen[0][1], atol=1e-5)


def test_where_no_closer_look_is_worth_it_the_first_one_tells(fitted):
    model = load_model(fitted[0], "cpu", "fp32")
    wide = replace(model, settings={**model.settings, "closer_look_mm": 500.0})
    assert segment(tiny_scan(), wide).domain is not None
    assert segment(tiny_scan(), replace(wide, domain=None)).domain is None


def test_of_a_part_of_a_head_no_domain_is_told(fitted):
    model, scan = load_model(fitted[0], "cpu", "fp32"), tiny_scan()
    low, high = np.sort(scan.grid.corners_ras(), axis=0)[[0, -1]]
    whole = segment(scan, model, region=Region.from_faces((*low, *high)))
    assert whole.domain is not None
    half = segment(scan, model, region=Region.from_faces((*low, (low[0] + high[0]) / 2, *high[1:])))
    assert half.domain is None
    assert any("only a region was searched" in note for note in half.notes)
    assert not any("was not asked" in note for note in whole.notes)
