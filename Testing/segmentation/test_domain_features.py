"""A segmenter tells a scan of another domain by its encoder's features, and says so."""

import json
from dataclasses import replace

import numpy as np
import pytest

from MedLLMSegLib import Volume, load_model, save_volume, segment
from MedLLMSegLib.cli.main import main
from MedLLMSegLib.evaluation import fit_scan_domain
from MedLLMSegLib.registry.catalogue import METADATA, read_metadata
from MedLLMSegLib.segmentation.domain_features import scan_verdict, window_features
from MedLLMSegLib.worker.array_files import load_segmentation, save_segmentation
from Testing.helpers.tiny_segmenter import oblique, tiny_bundle


def scan(seed, period=9.0, noise=0.05):
    """Waves of a period in voxels, with some noise: scans of one kind have one period."""
    rng = np.random.default_rng(seed)
    k, j, i = np.indices((8, 48, 40)) / period
    waves = np.sin(j + rng.uniform(0, 6)) * np.sin(i + rng.uniform(0, 6)) + 0.2 * k
    array = (waves + noise * rng.normal(size=waves.shape)).astype(np.float32)
    return Volume(array, oblique(array.shape, (1.5, 1.5, 5.0)), f"scan {seed}")


def change_metadata(folder, **fields):
    text = json.dumps(read_metadata(folder) | fields)
    (folder / METADATA).write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A tiny model that was told which scans are its own, by the command."""
    folder = tmp_path_factory.mktemp("domain")
    bundle, data = tiny_bundle(folder / "tiny"), folder / "own"
    for part in ("imagesTr", "labelsTr"):
        (data / part).mkdir(parents=True)
    for number in range(24):
        volume = scan(number)
        labels = np.zeros(volume.array.shape, np.uint8)
        labels[2:5, 10:20, 10:20], labels[5:7, 10:20, 10:20] = 1, 2
        save_volume(volume, data / "imagesTr" / f"case_{number:02d}.nii.gz")
        save_volume(
            volume.with_array(labels, "labels"), data / "labelsTr" / f"case_{number:02d}.nii.gz"
        )
    given = ["domain", "--fit", str(data), "--model", str(bundle), "--device", "cpu"]
    with pytest.MonkeyPatch.context() as patched:  # a wrong name is found before anything is seen
        patched.delattr(fit_scan_domain, "scan_features")
        assert main([*given, "--others", str(folder / "fra")]) == 2
    (folder / "far").mkdir()
    save_volume(scan(50, period=1.2, noise=0.5), folder / "far" / "far.nii.gz")
    assert main([*given, "--others", str(folder / "far")]) == 0
    return bundle


def test_own_scans_pass_and_another_is_named_in_the_notes(fitted):
    model = load_model(fitted, "cpu", "fp32")
    own, other = segment(scan(90), model), segment(scan(91, period=1.2, noise=0.5), model)
    assert not own.domain.outside
    assert not any("domain" in note for note in own.notes)
    assert other.domain.outside
    assert other.notes[0].startswith("The scan is outside the domain: its features lie ")
    assert "training scans of own" in other.notes[0]


def test_what_was_measured_stands_beside_the_reference(fitted):
    figures = {row["images"]: row for row in read_metadata(fitted)["domain"]["figures"]}
    assert figures["validation scans"]["outside"] == 0
    assert (figures["far"]["n"], figures["far"]["outside"]) == (1, 1)


def test_a_model_without_a_reference_does_not_look(tmp_path):
    assert segment(scan(0), tiny_bundle(tmp_path / "tiny"), device="cpu").domain is None


def test_a_spacing_beyond_the_training_is_told_in_one_note(tmp_path):
    bundle = tiny_bundle(tmp_path / "tiny")
    change_metadata(bundle, trained_range={"pixel_mm": [1.0, 2.0], "slice_mm": [3.0, 8.0]})
    model, volume = load_model(bundle, "cpu", "fp32"), scan(0)
    assert not any("trained on" in note for note in segment(volume, model).notes)
    thick = replace(volume, ijk_to_ras=oblique(volume.array.shape, (1.5, 1.5, 9.0)))
    (note,) = (note for note in segment(thick, model).notes if "trained on" in note)
    assert note.startswith("The scan has slices every 9 mm, where the model was trained on 3 to 8")


def test_the_verdict_travels_from_the_worker_to_its_owner(fitted, tmp_path):
    found = segment(scan(92, period=1.2, noise=0.5), fitted, device="cpu", precision="fp32")
    assert load_segmentation(save_segmentation(found, tmp_path / "answer")).domain == found.domain


def test_features_are_of_the_middle_and_of_no_corner(fitted):
    model = load_model(fitted, "cpu", "fp32")
    array = np.random.default_rng(0).normal(size=(24, 64, 56)).astype(np.float32)
    window = (16, 32, 24)
    features = window_features(model.network, array, window, model.device)
    array[:4], array[20:], array[:, :16], array[:, 48:] = 9, 9, 9, 9
    array[:, :, :16], array[:, :, 40:] = 9, 9
    same = window_features(model.network, array, window, model.device)
    assert np.array_equal(features, same)
    array[12, 32, 28] = 9
    assert not np.array_equal(features, window_features(model.network, array, window, model.device))


def test_of_several_looks_the_farthest_counts(fitted):
    model = load_model(fitted, "cpu", "fp32")
    mean = model.domain.features.mean.astype(np.float32)
    far = mean + 100 * model.domain.features.scale.astype(np.float32)
    assert scan_verdict(model.domain, [mean, far, None]).outside
    assert not scan_verdict(model.domain, [mean]).outside
    assert scan_verdict(model.domain, [None]) is None
    assert scan_verdict(None, [mean]) is None
