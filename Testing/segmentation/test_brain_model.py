"""The model of the whole brain that ships, on heads whose anatomy is known."""

from pathlib import Path

import numpy as np
import pytest

from MedLLMSegLib import UserError, load_volume, segment
from MedLLMSegLib.core.geometry import transform_points
from MedLLMSegLib.core.quality import RED
from Testing.helpers.brain_template import template_path

pytestmark = pytest.mark.slow  # a whole head goes through the network twice
SAMPLES = Path(__file__).parents[3] / "shared/data/samples"
needs_samples = pytest.mark.skipif(
    not SAMPLES.is_dir(), reason="../shared/data/samples: NO REAL HEAD AND NO BODY WAS TESTED"
)
# Left structures of the MNI space, (x, y, z) RAS mm: middles of the Harvard-Oxford atlas, rounded.
PLACES = {
    10: (-11, -18, 7),  # thalamus
    11: (-13, 10, 10),  # caudate
    12: (-25, 2, 0),  # putamen
    13: (-20, -4, 0),  # pallidum
    17: (-26, -22, -13),  # hippocampus
    18: (-23, -4, -18),  # amygdala
}
RIGHT = {10: 49, 11: 50, 12: 51, 13: 52, 17: 53, 18: 54}


@pytest.fixture(scope="module")
def template():
    return segment(load_volume(template_path()), "brain-mr")


def centre(result, label):
    """Mean position of a label, (3,) RAS mm."""
    kji = np.argwhere(result.labels.array == label)
    return transform_points(result.labels.ijk_to_ras, kji[:, ::-1].mean(axis=0))


def test_every_structure_of_the_template_is_found_where_it_lies(template):
    assert len(template.found) == len(template.structures) == 32
    for left, place in PLACES.items():
        mirrored = np.array(place) * (-1, 1, 1)
        assert np.linalg.norm(centre(template, left) - place) < 5, left
        assert np.linalg.norm(centre(template, RIGHT[left]) - mirrored) < 5, RIGHT[left]


def test_its_volumes_are_those_of_a_brain(template):
    volumes = {s.label: template.volumes_ml[s.key] for s in template.structures}
    assert 1000 < sum(volumes.values()) < 2000
    for left, right in RIGHT.items():
        assert volumes[left] == pytest.approx(volumes[right], rel=0.2)
    assert 3 < volumes[17] < 7 and 8 < volumes[10] < 14
    csf = {24}  # it goes with the skull, so nothing is expected of it
    assert set(template.expected_dice) == set(volumes) - csf
    assert template.expected_dice[10] > 0.7 > template.expected_dice[26]  # thalamus, accumbens


def test_the_template_is_of_its_domain(template):
    assert not template.domain.outside
    assert 0.2 < template.domain.distance / template.domain.threshold < 0.9


@needs_samples
def test_a_limb_that_looks_like_a_head_is_outside_its_domain():
    limb = SAMPLES.parent / "sts_petct/ct/STS_019.nii.gz"
    found = segment(load_volume(limb), "brain-mr")
    assert found.domain.outside and found.quality.scan.light == RED
    assert found.notes[0].startswith("The scan is outside the domain")
    assert "synthesised from the training maps" in found.notes[0]


@needs_samples
def test_a_body_is_refused():
    with pytest.raises(UserError, match="No brain was found"):
        segment(load_volume(SAMPLES / "example_mr_sm.nii.gz"), "brain-mr")


@needs_samples
def test_a_real_head_with_its_skull_has_both_halves_of_a_brain():
    (path,) = SAMPLES.glob("*head*")
    result = segment(load_volume(path), "brain-mr")
    assert not result.domain.outside
    volumes = {s.label: result.volumes_ml[s.key] for s in result.structures}
    assert 800 < sum(volumes.values()) < 2000
    for left, right in RIGHT.items():
        assert volumes[left] > 0 and volumes[right] == pytest.approx(volumes[left], rel=0.5)
        assert centre(result, left)[0] < centre(result, right)[0]  # RAS: left is smaller
