"""Where the hippocampi are: the decision on made-up probabilities, and the shipped bundle on
heads and on non-heads.
"""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.geometry import centred_grid, transform_points
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.networks.segmentation.localizer_network import (
    CLASSES,
    MIRRORED,
    LocalizerConfig,
    LocalizerNet,
)
from MedLLMSegLib.registry.catalogue import BUNDLES
from MedLLMSegLib.segmentation.hippocampus_candidates import (
    Candidate,
    Limits,
    accept_candidates,
    find_candidates,
)
from MedLLMSegLib.segmentation.localize import is_crop, localize
from MedLLMSegLib.segmentation.localizer import Localizer, predict_both_views, to_unit_range

DATA = Path(__file__).parents[3] / "shared" / "data"
BUNDLE = BUNDLES / "brain-t1-localizer"
GOOD_LEFT = Candidate("left", (-26.0, -20.0, -12.0), 0.9, 3.0, 0.5, 60.0, 0.95)
GOOD_RIGHT = Candidate("right", (27.0, -20.0, -11.0), 0.9, 3.1, 0.5, 60.0, 0.95)


def probabilities(shape=(48, 48, 48), left=(20, 22, 15), right=(22, 22, 33)) -> np.ndarray:
    """Class probabilities [6, k, j, i] of a head with two balls for hippocampi."""
    axes, out = np.indices(shape), np.zeros((len(CLASSES), *shape), np.float32)
    out[3, :, :, :24], out[4, :, :, 24:] = 1, 1
    for channel, centre in ((1, left), (2, right)):
        ball = (
            (
                2
                * np.exp(
                    -sum((a - c) ** 2 for a, c in zip(axes, centre, strict=True)) / (2 * 1.6**2)
                )
            )
            .clip(0, 1)
            .astype(np.float32)
        )
        out *= 1 - ball
        out[channel] += ball
    return out


# --- the decision
# -----------------------------------------------------------------------------------------------


def test_two_good_sides_are_both_reported_left_first():
    assert [p.side for p in accept_candidates("anyone", [GOOD_LEFT, GOOD_RIGHT], Limits())] == [
        "left",
        "right",
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"centre_ras": (27.0, 30.0, -12.0)},  # almost where the other one is
        {"centre_ras": (80.0, -20.0, -12.0)},  # left lies right of right
        {"centre_ras": (-90.0, -20.0, -12.0)},  # too far away
    ],
)
def test_two_sides_in_impossible_places_are_refused(change):
    with pytest.raises(UserError, match=r"anyone.*apart.*load a T1 MRI"):
        accept_candidates("anyone", [replace(GOOD_LEFT, **change), GOOD_RIGHT], Limits())


@pytest.mark.parametrize(
    "change",
    [
        {"confidence": 0.2},
        {"volume_ml": 0.1},
        {"volume_ml": 60.0},
        {"mirror_gap_mm": 20.0},
        {"cerebrum_ml": 1.0},
        {"own_side": 0.2},
    ],
)
def test_an_implausible_side_is_left_out_and_alone_it_is_refused(change):
    bad = replace(GOOD_LEFT, **change)
    assert [p.side for p in accept_candidates("anyone", [bad, GOOD_RIGHT], Limits())] == ["right"]
    with pytest.raises(UserError, match='No hippocampus was found in "anyone"'):
        accept_candidates("anyone", [bad], Limits())


def test_a_side_alone_has_to_be_surer_than_two():
    weak = replace(GOOD_RIGHT, confidence=0.6)
    assert (
        len(accept_candidates("anyone", [replace(GOOD_LEFT, confidence=0.6), weak], Limits())) == 2
    )
    with pytest.raises(UserError):
        accept_candidates("anyone", [weak], Limits())


def test_nothing_at_all_is_refused_in_one_sentence():
    with pytest.raises(UserError) as error:
        accept_candidates("anyone", [], Limits())
    assert str(error.value).count(".") == 1 and "\n" not in str(error.value)


# --- from probabilities to places
# -------------------------------------------------------------------------------


def test_centres_are_found_to_a_fraction_of_a_voxel():
    grid = centred_grid((5, -10, 20), (48, 48, 48), 3.0)
    maps = probabilities(left=(20.4, 22.3, 15.0), right=(22.0, 22.0, 33.6))
    for candidate, centre in zip(
        find_candidates(maps, maps, grid),
        ((15.0, 22.3, 20.4), (33.6, 22.0, 22.0)),
        strict=True,
    ):
        np.testing.assert_allclose(
            candidate.centre_ras, transform_points(grid.ijk_to_ras, centre), atol=0.3
        )
        assert (
            candidate.own_side > 0.9
            and candidate.mirror_gap_mm < 0.1
            and not candidate.faults(Limits())
        )


def test_views_that_disagree_on_the_place_are_distrusted():
    grid = centred_grid((0, 0, 0), (48, 48, 48), 3.0)
    elsewhere = probabilities(left=(35, 35, 10))
    left = find_candidates(probabilities(), elsewhere, grid)[0]
    assert left.mirror_gap_mm > 8 and left.faults(Limits())


def test_a_stray_blob_does_not_pull_the_centre():
    grid, maps = centred_grid((0, 0, 0), (48, 48, 48), 3.0), probabilities()
    stray = maps.copy()
    stray[1, 40:42, 40:42, 5:7] = 0.9
    one, two = (find_candidates(m, m, grid)[0] for m in (maps, stray))
    np.testing.assert_allclose(one.centre_ras, two.centre_ras, atol=1e-3)


def test_the_mirrored_view_comes_back_with_axes_and_sides_restored():
    class Halves(torch.nn.Module):
        """Calls the left half of the picture left cerebrum and the right half right cerebrum,
        whatever it shows.
        """

        config = LocalizerConfig()

        def forward(self, image):
            logits = torch.zeros(1, 6, *image.shape[2:])
            logits[:, 3, ..., :16], logits[:, 4, ..., 16:] = 9.0, 9.0
            return logits

    plain, mirrored = predict_both_views(np.zeros((32, 32, 32), np.float32), Halves(), "cpu")
    np.testing.assert_allclose(plain, mirrored, atol=1e-6)


def test_mirrored_classes_are_an_exchange_of_sides():
    for number, name in enumerate(CLASSES):
        other = CLASSES[MIRRORED[number]]
        assert other == name.replace("left", "?").replace("right", "left").replace("?", "right")


def test_normalising_ignores_a_few_extreme_voxels_and_survives_a_constant():
    image = np.random.default_rng(0).uniform(0, 100, (20, 20, 20))
    image[0, 0, :3] = 1e9
    assert 0.4 < to_unit_range(image).mean() < 0.6
    assert np.all(to_unit_range(np.full((4, 4, 4), 7.0)) == 0)


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


def test_the_config_comes_back_from_json():
    import json

    config = LocalizerConfig(channels=(8, 16, 24))
    assert LocalizerConfig(**json.loads(json.dumps(config.to_dict()))) == config
    with pytest.raises(ValueError, match="channels"):
        LocalizerConfig(channels=(8,))


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


# --- the shipped bundle
# -----------------------------------------------------------------------------------------


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
    assert 40 < apart[0] < 70 and abs(apart[1]) < 12 and abs(apart[2]) < 12


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
    assert set(places) == {"left"} and np.linalg.norm(places["left"] - centres["left"]) < 5


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


def test_training_can_begin_with_a_bundles_weights(localizer, tmp_path):
    from MedLLMSegLib.training.localizer.localizer_batches import LocalizerRecipe
    from MedLLMSegLib.training.localizer.train_localizer import _begin_or_resume

    state = _begin_or_resume(tmp_path, localizer.config, LocalizerRecipe(), "cpu", localizer)
    expected = localizer.network.state_dict()
    assert state.step == 0 and all(
        torch.equal(v, expected[k]) for k, v in state.network.state_dict().items()
    )
    assert all(torch.equal(v, expected[k]) for k, v in state.average.state_dict().items())
