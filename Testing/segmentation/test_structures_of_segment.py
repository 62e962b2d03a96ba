"""`segment(structures=...)`: the result has what was asked for, and nothing else changes."""

import numpy as np
import pytest

from MedLLMSegLib import UserError, Volume, load_model, segment, segment_frames
from Testing.helpers.tiny_segmenter import oblique, tiny_bundle
from Testing.helpers.two_hippocampi import two_hippocampi_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")
    return load_model(folder, device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def scan():
    shape = (6, 24, 20)
    array = np.random.default_rng(0).normal(100, 20, shape).astype(np.float32)
    return Volume(array, oblique(shape, (2.0, 2.0, 8.0)))


@pytest.mark.parametrize("structures", ["four", ["Four"], ("FOUR",)])
def test_the_named_ones_alone_are_in_the_result(model, scan, structures):
    whole = segment(scan, model, probabilities=True)
    some = segment(scan, model, probabilities=True, structures=structures)
    assert [s.key for s in some.structures] == ["four"]
    assert (some.labels.array == np.where(whole.labels.array == 4, 4, 0)).all()
    assert (some.labels.array == 4).any()
    assert some.probabilities.array.shape[0] == 1
    assert np.array_equal(some.probabilities.array[0], whole.probabilities.array[1])


def test_a_wrong_name_is_refused_before_the_work(model, scan):
    stages = []
    with pytest.raises(UserError, match='no structure or group "fuor"; it has four, one'):
        segment(scan, model, structures="fuor", progress=lambda stage, _: stages.append(stage))
    assert stages == ["load"]
    with pytest.raises(UserError, match="names none"):
        segment(scan, model, structures=" , ")


def test_what_was_not_asked_for_is_not_missed(head):
    """The stand-in never finds a brain stem."""
    missing = "Not found in this scan: brain stem."
    assert missing in segment(head[0], two_hippocampi_model()).notes
    some = segment(head[0], two_hippocampi_model(), structures="hippocampus")
    assert not any("brain stem" in note for note in some.notes)
    asked = segment(head[0], two_hippocampi_model(), structures="brain_stem")
    assert missing in asked.notes


def test_every_image_of_a_series(model, scan):
    images = Volume(np.stack([scan.array, scan.array[::-1]]), scan.ijk_to_ras)
    series = segment_frames(images, model, structures=["four"])
    assert list(series.volumes_ml) == ["four"]
