"""The way back: the same labels as from interpolating every class at every voxel of the scan."""

from itertools import permutations, product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from MedLLMSegLib.core.geometry import Grid, inside_mask, voxel_map
from MedLLMSegLib.core.progress import Progress
from MedLLMSegLib.segmentation import scores as scores_module
from MedLLMSegLib.segmentation.inference import predict_scores
from MedLLMSegLib.segmentation.prepare import Restore
from MedLLMSegLib.segmentation.scores import Reading, Scores, ScoresGather, differs
from MedLLMSegLib.segmentation.way_back import find_on_scan, reach_of
from Testing.helpers.grids import make_grid

CROP = Grid((19, 16, 23), np.diag([1.5, 1.5, 1.5, 1.0]))


def smooth_probabilities(classes, shape, seed=0, dtype=torch.float32):
    """(classes, K, J, I): a few blobs of each class, more background than anything else."""
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.normal(size=(classes, *shape)), (0, 2, 2, 2))
    logits = torch.from_numpy(noise / noise.std() * 6)
    logits[0] += 3
    return logits.softmax(0).to(dtype)


def interpolated(probabilities, crop, scan):
    """(classes, k, j, i) on the scan, the slow way; beyond the crop's faces background."""
    matrix = voxel_map(crop, scan)
    values = np.zeros((len(probabilities), *scan.shape))
    for number, probability in enumerate(probabilities.double().numpy()):
        ndimage.affine_transform(
            probability,
            matrix[:3, :3],
            matrix[:3, 3],
            output_shape=scan.shape,
            output=values[number],
            order=1,
            mode="nearest",
        )
    outside = ~inside_mask(crop, scan)
    values[:, outside] = 0
    values[0, outside] = 1
    return values


def on_scan(found, shape):
    numbers, certainty = np.zeros(shape, np.uint8), np.ones(shape, np.float32)
    numbers[found.box], certainty[found.box] = found.numbers, found.certainty
    return numbers, certainty


def check(probabilities, crop, scan):
    way_back = Restore(scan, crop)
    scores = Scores.of_values(Reading(len(probabilities)), probabilities, reach_of(way_back))
    numbers, certainty = on_scan(find_on_scan(scores, way_back, Progress()), scan.shape)
    values = interpolated(probabilities, crop, scan)
    other = numbers != values.argmax(0)
    runner_up, winner = np.sort(values, axis=0)[-2:]
    assert np.all((winner - runner_up)[other] < 1e-5)  # nothing but ties
    assert (values.argmax(0) > 0).any()
    sure = numbers > 0
    assert np.allclose(certainty[sure], values.max(0)[sure], atol=2e-3)


@settings(max_examples=12, deadline=None)
@given(
    classes=st.integers(2, 40),
    spacing=st.tuples(*[st.floats(0.6, 8.0)] * 3),
    degrees=st.sampled_from([(0, 0, 0), (0, 0, 0), (7, 0, 0), (20, -35, 10)]),
    seed=st.integers(0, 1000),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_the_winner_is_that_of_interpolating_everything(classes, spacing, degrees, seed, dtype):
    scan = make_grid(spacing=spacing, degrees=degrees, field_mm=28.0, centre=CROP.centre_ras() + 2)
    check(smooth_probabilities(classes, CROP.shape, seed, dtype), CROP, scan)


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_every_orientation_of_the_scan(order):
    probabilities = smooth_probabilities(3, CROP.shape)
    for flips in product((1, -1), repeat=3):
        scan = make_grid(order, flips, (1.2, 1.0, 3.4), field_mm=30.0, centre=CROP.centre_ras())
        check(probabilities, CROP, scan)


def test_equal_grids_need_nothing_but_the_winners():
    probabilities = smooth_probabilities(3, CROP.shape)
    assert reach_of(Restore(CROP, CROP)) == (0, 0, 0)
    check(probabilities, CROP, CROP)
    scores = Scores.of_values(Reading(len(probabilities)), probabilities, (0, 0, 0))
    assert len(scores.table) == 0


@pytest.mark.parametrize("slab", (1, 3, 19))
@pytest.mark.parametrize("reach", ((1, 1, 1), (4, 0, 2)))
@pytest.mark.parametrize("axis", (0, 1))
@pytest.mark.parametrize("dense_share", (0.0, 1.0))
def test_scores_are_the_same_in_whatever_slabs_they_come(
    slab, reach, axis, dense_share, monkeypatch
):
    monkeypatch.setattr(scores_module, "DENSE_SHARE", 1.0 - dense_share)
    logits = smooth_probabilities(4, CROP.shape).log()
    whole = ScoresGather(Reading(4), reach, CROP.shape)
    whole.add(logits)
    expected = whole.finish()
    monkeypatch.setattr(scores_module, "DENSE_SHARE", dense_share)
    gather = ScoresGather(Reading(4), reach, CROP.shape, axis)
    weights = torch.rand(CROP.shape) + 0.5
    for planes, weight in zip(
        (logits * weights).movedim(axis + 1, 1).contiguous().split(slab, 1),
        weights.movedim(axis, 0).contiguous().split(slab),
        strict=True,
    ):
        gather.add(planes, weight)
    scores = gather.finish()
    assert torch.equal(scores.winner, expected.winner)
    assert torch.equal(scores.row >= 0, differs(expected.winner, reach))
    kept = scores.row >= 0
    values = scores.table[scores.row[kept].long()]
    assert torch.allclose(values, expected.table[expected.row[kept].long()], atol=1e-5)
    counted = expected.winner > 0  # of agreeing background it is never read
    assert torch.allclose(scores.certainty[counted], expected.certainty[counted], atol=1e-3)


def test_a_side_counts_where_its_structure_is_paired():
    """Class 1 is paired, class 2 is not; the output of the side says right in class 2 alone."""
    reading = Reading(3, paired=(False, True, False))
    logits = torch.full((4, 1, 1, 6), -9.0)
    logits[1, ..., :3] = 9.0
    logits[2, ..., 3:] = 9.0
    logits[3, ..., :2], logits[3, ..., 2], logits[3, ..., 3:] = -9.0, 9.0, 90.0
    assert reading.winners(logits).flatten().tolist() == [1, 1, 4, 2, 2, 2]
    values = reading.values(logits.reshape(4, 6))
    assert reading.winners_of_values(values)[0].tolist() == [1, 1, 4, 2, 2, 2]
    between = 0.6 * values[:, 1] + 0.4 * values[:, 4]  # a left one, beside what has no side
    assert reading.winners_of_values(between[:, None])[0].tolist() == [1]


def test_what_lies_beyond_the_network_grid_is_background():
    probabilities = torch.zeros((2, *CROP.shape))
    probabilities[1] = 1
    for degrees in ((0, 0, 0), (10, 0, 0)):
        scan = make_grid(spacing=(1.0,) * 3, degrees=degrees, centre=CROP.centre_ras())
        scores = Scores.of_values(Reading(len(probabilities)), probabilities, (1, 1, 1))
        numbers, _ = on_scan(find_on_scan(scores, Restore(scan, CROP), Progress()), scan.shape)
        assert np.array_equal(numbers == 1, inside_mask(CROP, scan))


def test_an_empty_result_is_an_empty_box():
    probabilities = torch.zeros((2, *CROP.shape))
    probabilities[0] = 1
    for degrees in ((0, 0, 0), (10, 0, 0)):
        way_back = Restore(make_grid(degrees=degrees), CROP)
        scores = Scores.of_values(Reading(len(probabilities)), probabilities, (1, 1, 1))
        assert find_on_scan(scores, way_back, Progress()).numbers.size == 0


class Padded(torch.nn.Module):
    """Like ours, it repeats an image's edge to a multiple of 8 voxels, and cuts that off again."""

    def forward(self, image):  # (1, 1, K, J, I) -> (1, 3, K, J, I), not contiguous
        k, j, i = image.shape[2:]
        padded = torch.nn.functional.pad(image, (0, -i % 8, 0, -j % 8, 0, -k % 8), "replicate")
        levels = torch.tensor([0.0, 1.0, 2.0])[:, None, None, None]
        return (-4 * (padded - levels).square())[:, :, :k, :j, :i]


@pytest.mark.parametrize("shape", ((16, 18, 21), (11, 16, 24)))
def test_a_network_that_cuts_its_padding_off_is_read_right(shape):
    rng = np.random.default_rng(0)
    image = ndimage.gaussian_filter(rng.normal(size=shape), 2).astype(np.float32) * 20
    cpu, reach = torch.device("cpu"), (1, 1, 1)
    scores = predict_scores(Padded(), image, cpu, shape, reading=Reading(3), reach=reach)
    gather = ScoresGather(Reading(3), reach, shape)
    gather.add(Padded()(torch.from_numpy(image)[None, None])[0].contiguous())
    expected = gather.finish()
    assert len(scores.table) > 500
    assert torch.equal(scores.table, expected.table)
    assert torch.equal(scores.certainty, expected.certainty)


def test_numbers_fit_into_a_byte():
    assert Reading(255).numbers == 255
    with pytest.raises(ValueError, match="256"):
        Reading(256)
    with pytest.raises(ValueError, match="260"):
        Reading(130, paired=(False, *129 * [True]))


def test_254_labels_find_their_way():
    probabilities = torch.full((255, *CROP.shape), 1e-6)
    labels = torch.from_numpy(np.random.default_rng(0).integers(0, 255, (4, 4, 4)))
    cubes = labels.repeat_interleave(4, 0).repeat_interleave(4, 1).repeat_interleave(4, 2)
    probabilities[:, :16, :16, :16].scatter_(0, cubes[None], 1.0)
    probabilities[0, 16:] = 1
    probabilities[0, :, :, 16:] = 1
    check(probabilities, CROP, make_grid(field_mm=28.0, centre=CROP.centre_ras() + 0.3))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("degrees", ((0, 0, 0), (20, -35, 10)))
def test_a_gpu_finds_the_same(degrees):
    probabilities = smooth_probabilities(5, CROP.shape)
    scan = make_grid(
        spacing=(1.1, 0.9, 2.3), degrees=degrees, field_mm=28.0, centre=CROP.centre_ras()
    )
    way_back = Restore(scan, CROP)

    def found(device):
        gather = ScoresGather(Reading(5), reach_of(way_back), CROP.shape, device=device)
        gather.add(probabilities.log().to(device))
        return on_scan(find_on_scan(gather.finish(), way_back, Progress()), scan.shape)

    numbers, certainty = found("cpu")
    on_gpu, sure_on_gpu = found("cuda")
    assert (numbers != on_gpu).mean() < 1e-4  # ties
    assert np.allclose(certainty, sure_on_gpu, atol=2e-3)
