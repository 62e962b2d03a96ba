"""A model that tells sides apart gives a head the same labels in whatever order its axes are
stored: all 48 ways.
"""

from dataclasses import replace
from itertools import permutations, product

import numpy as np
import pytest
import torch

from MedLLMSegLib.anatomy.brain import brain_label_table, brain_structures
from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.networks.build import build_network
from MedLLMSegLib.registry.catalogue import ModelEntry
from MedLLMSegLib.registry.network_config import BRAIN
from MedLLMSegLib.registry.segmenter_settings import window_for
from MedLLMSegLib.segmentation import result_maps
from MedLLMSegLib.segmentation.pipeline import SegmenterModel, segment

pytestmark = pytest.mark.usefixtures("brain_of_any_shape")
TINY = replace(BRAIN, stem_channels=(4, 8, 8, 8), width=24, heads=2, depth=1, llm=None)
FLUID = 16  # its class
ORDERS = list(product(permutations(range(3)), product((1, -1), repeat=3)))


@pytest.fixture(scope="module")
def model():
    """A network that was never trained, with decided logits."""
    torch.manual_seed(1)
    network = build_network(TINY, None).eval()
    with torch.no_grad():
        network.decoder.head.queries.mul_(20)
        network.decoder.head.bias[[0, FLUID]] = -50.0  # else little of a brain is found
    return SegmenterModel(
        ModelEntry("tiny-brain", "", "segmenter", "", (), "", "", "0" * 64, None),
        network,
        {"spacing_mm": 1.0, "axes": "ras", "window": [64, 64, 64]},
        None,
        None,
        torch.device("cpu"),
        "0" * 64,
        brain_structures(),
        precision="fp32",
        label_table=tuple(map(tuple, brain_label_table().tolist())),
    )


def head(spacing_mm):
    """Blobs without any symmetry, float32 [k, j, i]."""
    rng = np.random.default_rng(5)
    coarse = rng.normal(size=(5, 6, 4)).astype(np.float32)
    array = coarse.repeat(4, 0).repeat(4, 1).repeat(5, 2)[1:, :-1]
    matrix = np.diag([*spacing_mm, 1.0])
    matrix[:3, 3] = -11.3, 20.7, 5.1
    return Volume(array, matrix, "head")


def stored_as(volume, axes, signs):
    """The same scan with its axes [k, j, i] in another order, some of them backwards."""
    array = volume.array.transpose(axes)[tuple(slice(None, None, sign) for sign in signs)]
    columns = [2 - axis for axis in axes]  # of (k, j, i) in the matrix's (i, j, k)
    matrix = volume.ijk_to_ras.copy()
    for place, (column, sign, length) in enumerate(zip(columns, signs, array.shape, strict=True)):
        own = volume.ijk_to_ras[:3, column]
        matrix[:3, 2 - place] = sign * own
        if sign < 0:
            matrix[:3, 3] += (length - 1) * own
    return Volume(np.ascontiguousarray(array), matrix, volume.name)


def as_it_was(array, axes, signs):
    turned = array[tuple(slice(None, None, sign) for sign in signs)]
    return turned.transpose(np.argsort(axes))


@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (0.8, 1.3, 2.0)])
def test_all_48_orders_of_the_axes_give_the_same_labels(model, spacing_mm):
    scan = head(spacing_mm)
    wanted = segment(scan, model).labels.array
    assert len(np.unique(wanted)) > 6
    assert {2, 41} & set(np.unique(wanted)) or {3, 42} & set(np.unique(wanted))
    for axes, signs in ORDERS:
        found = segment(stored_as(scan, axes, signs), model).labels.array
        np.testing.assert_array_equal(as_it_was(found, axes, signs), wanted, f"{axes} {signs}")


def test_a_mirrored_head_is_another_head(model):
    """The test above would not see a network that ignores where right is."""
    scan = head((1.0, 1.0, 1.0))
    mirrored = Volume(scan.array[:, :, ::-1].copy(), scan.ijk_to_ras, "mirrored")
    found = segment(mirrored, model).labels.array[:, :, ::-1]
    assert (found != segment(scan, model).labels.array).any()


def test_a_head_goes_through_whole_up_to_a_number_of_voxels(model):
    settings = {"window": [16, 16, 32], "whole_vox": 20 * 24 * 20}
    assert all(
        w >= n for w, n in zip(window_for(settings, (20, 24, 20)), (20, 24, 20), strict=True)
    )
    assert window_for(settings, (20, 24, 21)) == (16, 16, 32)
    assert window_for({"window": [16, 16, 32]}, (20, 24, 20)) == (16, 16, 32)


def test_maps_that_do_not_fit_are_refused_before_the_work(model, monkeypatch):
    scan = head((1.0, 1.0, 1.0))
    monkeypatch.setattr(result_maps, "free_memory_gb", lambda: 1e-3)
    with pytest.raises(UserError, match=r"32 structures take .* GB for this scan, and 0.0 GB"):
        segment(scan, model, probabilities=True)
    assert segment(scan, model).probabilities is None
    monkeypatch.setattr(result_maps, "free_memory_gb", lambda: None)  # not known: it is tried
    assert len(segment(scan, model, probabilities=True).probabilities.array) == 32


def test_maps_come_back_in_the_order_of_the_scans_axes(model):
    scan, order = head((1.0, 1.0, 1.0)), ((2, 0, 1), (-1, 1, -1))
    wanted = segment(scan, model, probabilities=True, uncertainty=True)
    found = segment(stored_as(scan, *order), model, probabilities=True, uncertainty=True)
    np.testing.assert_array_equal(
        as_it_was(found.uncertainty.array, *order), wanted.uncertainty.array
    )
    for channel in (3, 20):
        np.testing.assert_array_equal(
            as_it_was(found.probabilities.array[channel], *order),
            wanted.probabilities.array[channel],
        )
