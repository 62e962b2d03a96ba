"""Where the hippocampi are: the shipped bundle on heads and on scans without one."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.geometry import transform_points
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.networks.segmentation.localizer_network import LocalizerConfig, LocalizerNet
from MedLLMSegLib.registry.catalogue import BUNDLES
from MedLLMSegLib.segmentation.localize import is_crop, localize
from MedLLMSegLib.segmentation.localizer import Localizer
from MedLLMSegLib.segmentation.precision import cpu_has_bf16

DATA = Path(__file__).parents[3] / "shared" / "data"


BUNDLE = BUNDLES / "brain-t1-localizer"


@pytest.mark.parametrize("millimetres, crop", [(70, True), (90, False)])
def test_a_scan_as_small_as_a_crop_needs_no_localizer(millimetres, crop):
    volume = Volume(np.zeros((30, 35, 40), np.float32), np.diag([millimetres / 40, 1.2, 1.1, 1.0]))
    assert is_crop(volume) is crop


def test_an_untrained_network_finds_nothing():
    torch.manual_seed(0)
    scan = Volume(
        np.random.default_rng(0).random((40, 40, 40)), np.diag([4.0, 4.0, 4.0, 1.0]), "static"
    )
    with pytest.raises(UserError, match='No hippocampus was found in "static"'):
        localize(scan, Localizer(LocalizerNet(LocalizerConfig(channels=(4, 8)))))


def test_a_voxel_size_beyond_a_persons_is_refused_before_it_fills_the_memory():
    scan = Volume(
        np.random.default_rng(0).random((40, 40, 40)),
        np.diag([1000.0, 1000.0, 1000.0, 1.0]),
        "planet",
    )
    with pytest.raises(UserError, match="voxel size"):
        localize(scan, Localizer(LocalizerNet(LocalizerConfig(channels=(4, 8)))))


def test_the_variants_of_a_scan_keep_every_point_in_its_place():
    """What `evaluate_localizer` calls the same head has to be the same head."""
    from scipy import ndimage

    from MedLLMSegLib.evaluation.localizer_test_scans import variants

    matrix, peak = np.diag([-1.8, 1.5, 2.0, 1.0]), np.array([33, 40, 30])
    ball = np.exp(
        -sum((a - c) ** 2 for a, c in zip(np.indices((70, 80, 60)), peak, strict=True)) / 30
    ).astype(np.float32)
    point, shift = transform_points(matrix, peak[::-1]), np.array([25, 0, 0])
    for group, scan in variants(
        Volume(ball, matrix), {"left": point - shift, "right": point + shift}
    ):
        seen = transform_points(
            scan.ijk_to_ras, ndimage.center_of_mass(np.where(scan.array > 0.5, scan.array, 0))[::-1]
        )
        assert np.linalg.norm(seen - point) < 0.2, group


@pytest.fixture(scope="module")
def localizer() -> Localizer:
    from MedLLMSegLib.registry.bundle import read_bundle

    if not (BUNDLE / "configs" / "metadata.json").exists():
        pytest.skip(f"NO LOCALIZER BUNDLE at {BUNDLE}: finding hippocampi was NOT tested")
    return Localizer.from_bundle(read_bundle(BUNDLE))


@pytest.fixture(scope="module", params=("sample", "template"))
def head(request) -> Volume:
    """A whole head with its skull from the shared data, and the skull-stripped template that
    every clone has.
    """
    from MedLLMSegLib.io.volume_files import load_volume

    if request.param == "template":
        folder = Path(importlib.util.find_spec("nilearn").origin).parent / "datasets/data"
        return load_volume(next(folder.glob("mni_icbm152_t1_*.nii.gz")))
    path = DATA / "samples" / "head_t1.nii.gz"
    if not path.exists():
        pytest.skip(f"NO SAMPLES at {path}: the localizer was NOT tested on a real head")
    return load_volume(path)


@pytest.fixture(scope="module")
def centres(head, localizer) -> dict[str, np.ndarray]:
    return {p.side: np.array(p.centre_ras) for p in localize(head, localizer)}


@pytest.mark.slow
def test_both_sides_of_a_real_head_are_found_about_5_cm_apart(centres):
    assert set(centres) == {"left", "right"}
    apart = centres["right"] - centres["left"]
    assert 40 < apart[0] < 70
    assert abs(apart[1]) < 12
    assert abs(apart[2]) < 12


@pytest.mark.slow
@pytest.mark.skipif(
    not cpu_has_bf16(), reason="NOT TESTED: this processor works bf16 out in software, for minutes"
)
def test_bf16_moves_the_centres_by_less_than_a_tenth_of_a_millimetre(head, localizer, centres):
    places = localize(head, localizer, precision="bf16")
    assert {place.side for place in places} == set(centres)
    for place in places:
        assert np.linalg.norm(np.array(place.centre_ras) - centres[place.side]) < 0.1


@pytest.mark.slow
def test_orientation_slices_and_field_of_view_move_the_centres_by_less_than_3_mm(
    head, localizer, centres
):
    from MedLLMSegLib.evaluation.evaluate_localizer import find_centres
    from MedLLMSegLib.evaluation.localizer_test_scans import variants

    chosen = {}
    for group, scan in variants(head, centres):
        chosen.setdefault(group, []).append(scan)
    for group, scans in chosen.items():
        for scan in scans[-2:]:  # two of each; evaluate_localizer has them all
            places = find_centres(scan, localizer)
            assert set(places) == {"left", "right"}, f"{scan.name} ({group})"
            for side in places:
                assert np.linalg.norm(places[side] - centres[side]) < 3, f"{scan.name} ({group})"


@pytest.mark.slow
def test_a_mirrored_header_exchanges_the_sides(head, localizer, centres):
    mirror = np.diag([-1.0, 1.0, 1.0, 1.0])
    places = localize(Volume(head.array, mirror @ head.ijk_to_ras, "mirrored"), localizer)
    for place in places:
        other = "right" if place.side == "left" else "left"
        np.testing.assert_allclose(place.centre_ras, centres[other] * (-1, 1, 1), atol=3)
    assert len(places) == 2


def test_half_a_head_gives_its_one_side(head, localizer, centres):
    from MedLLMSegLib.evaluation.evaluate_localizer import find_centres
    from MedLLMSegLib.evaluation.localizer_test_scans import cropped

    middle = (centres["left"][0] + centres["right"][0]) / 2
    places = find_centres(
        cropped(head, np.full(3, -np.inf), (middle, np.inf, np.inf), "left half"), localizer
    )
    assert set(places) == {"left"}
    assert np.linalg.norm(places["left"] - centres["left"]) < 5


@pytest.mark.slow
@pytest.mark.parametrize("number", (16, 20))
def test_kept_out_heads_are_found_where_their_labels_are(number, localizer):
    from MedLLMSegLib.evaluation.evaluate_localizer import find_centres
    from MedLLMSegLib.evaluation.localizer_test_scans import synthetic_scan

    path = DATA / "brain_labelmaps" / f"training_seg_{number}.nii.gz"
    if not path.exists():
        pytest.skip(f"NO LABEL MAPS at {path}: the localizer was NOT tested on kept-out heads")
    scan, truth = synthetic_scan(path, np.random.default_rng(number))
    places = find_centres(scan, localizer)
    for side in ("left", "right"):
        assert np.linalg.norm(places[side] - truth[side]) < 8


@pytest.mark.slow
def test_scans_without_a_hippocampus_are_refused(localizer):
    from MedLLMSegLib.evaluation.localizer_test_scans import scans_without_hippocampi

    if not (DATA / "samples").exists():
        pytest.skip(f"NO SAMPLES at {DATA}: refusals were NOT tested")
    for scan in scans_without_hippocampi(DATA):
        if scan.name != "example_ct_dicom":  # the same kind of scan as example_ct, and slow to read
            with pytest.raises(UserError, match="No hippocampus was found"):
                localize(scan, localizer)


def test_progress_can_cancel(head, localizer):
    from MedLLMSegLib.core.errors import Cancelled

    def stop(stage, fraction):
        raise Cancelled

    with pytest.raises(Cancelled):
        localize(head, localizer, progress=stop)


def test_it_can_be_cancelled_between_any_two_calls_of_the_network(head, localizer):
    """Each call takes a few tenths of a second, and each is followed by a report."""
    from MedLLMSegLib.core.errors import Cancelled

    calls = []
    count = localizer.network.register_forward_hook(lambda *_: calls.append(len(reports)))
    reports: list[float] = []

    def listen(stage, fraction):
        reports.append(fraction)
        if len(calls) == 3:
            raise Cancelled

    with count, pytest.raises(Cancelled):
        localize(head, localizer, progress=listen)
    assert len(calls) == 3
    assert len(set(calls)) == 3  # there were reports between the calls
    assert reports == sorted(reports)


def test_training_can_begin_with_a_bundles_weights(localizer):
    from MedLLMSegLib.training.localizer.train_localizer import beginning

    network = beginning(localizer.config, 0, localizer)
    expected = localizer.network.state_dict()
    assert network.state_dict().keys() == expected.keys()
    assert all(torch.equal(v, expected[k]) for k, v in network.state_dict().items())
