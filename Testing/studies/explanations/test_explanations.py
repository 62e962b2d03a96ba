"""The study of explanations: its curves tell a good map from chance, and its tables say so."""

import json

import numpy as np
import pytest
import torch

from MedLLMSegLib import UserError, Volume, load_model
from MedLLMSegLib.core.geometry import Grid
from MedLLMSegLib.networks.build import build_network
from MedLLMSegLib.segmentation.explanation.grad_cam import CamSettings
from MedLLMSegLib.studies.explanations import __main__ as study
from MedLLMSegLib.studies.explanations.curves import MULTIPLES, blurred, curves, ranked
from MedLLMSegLib.studies.explanations.rival_maps import border_first, inside_first, random_map
from MedLLMSegLib.studies.explanations.shuffled_weights import rank_correlation, shuffled
from MedLLMSegLib.studies.explanations.subjects import HEART, Subject, subjects
from Testing.helpers.tiny_segmenter import TINY, oblique, tiny_bundle

GRID = Grid((16, 20, 12), np.diag([2.0, 1.0, 3.0, 1.0]))


@pytest.fixture
def region():
    mask = np.zeros(GRID.shape, bool)
    mask[6:10, 8:12, 4:8] = True
    return mask


def test_a_map_of_what_counts_has_the_larger_area(region):
    rng = np.random.default_rng(0)
    array = rng.normal(size=GRID.shape).astype(np.float32)
    counting = np.zeros(GRID.shape, bool)
    counting[2:6, 2:6, 2:6] = True  # not in the region at all

    def score(image):
        return float((image[counting] == array[counting]).mean())

    def areas(values):
        found = curves(array, hidden, ranked(values), int(region.sum()), score)
        assert len(found.insertion) == len(found.deletion) == len(MULTIPLES)
        return found.insertion_area, found.deletion_area

    hidden = blurred(array, GRID)
    shown, gone = areas(counting.astype(float))
    by_chance = areas(random_map(GRID.shape, (4, 5, 3), 1))
    nearest = areas(inside_first(region, GRID))
    assert shown > by_chance[0] + 0.3
    assert gone < by_chance[1] - 0.3
    assert shown > nearest[0]
    assert shown + gone == pytest.approx(1.0)


def test_equal_voxels_come_in_random_order_and_the_highest_first():
    values = np.zeros(100)
    values[[7, 3]] = 2, 1
    order = ranked(values)
    assert order[:2].tolist() == [7, 3]
    assert sorted(order) == list(range(100))
    assert order[2:12].tolist() != list(range(10))


def test_maps_that_are_blind_to_the_image_go_by_millimetres(region):
    inside, border = inside_first(region, GRID), border_first(region, GRID)
    assert inside[region].min() > 0 > inside[~region].max()
    assert inside[7, 9, 9] == pytest.approx(-4.0)  # i is 2 mm wide, and 7 the last inside
    assert inside[12, 9, 6] == pytest.approx(-9.0)
    assert border.max() <= 0
    assert border[region].mean() > border[~region].mean()


def test_hidden_is_flat():
    array = np.random.default_rng(0).normal(size=GRID.shape).astype(np.float32)
    assert blurred(array, GRID).std() < 0.2 * array.std()


def test_shuffling_takes_the_stage_alone_and_keeps_the_numbers():
    torch.manual_seed(0)
    network = build_network(TINY)
    changed = dict(shuffled(network, "logits").named_parameters())
    for name, weight in network.named_parameters():
        same = torch.equal(weight, changed[name])
        assert same != (name == "decoder.head.weight") or weight.numel() < 5, name
    everything = shuffled(network, "all").state_dict()["embedding.stages.0.conv1.weight"]
    own = network.state_dict()["embedding.stages.0.conv1.weight"]
    assert not torch.equal(everything, own)
    assert torch.equal(everything.flatten().sort().values, own.flatten().sort().values)


def test_rank_correlation_sees_order_alone():
    one = np.arange(20.0)
    assert rank_correlation(one, one**3) == pytest.approx(1)
    assert rank_correlation(one, -one) == pytest.approx(-1)
    assert rank_correlation(one, np.zeros(20)) == 0


def test_rows_and_tables_from_a_model_to_the_page(tmp_path, monkeypatch):
    model = load_model(tiny_bundle(tmp_path / "tiny", id=HEART), "cpu", "fp32")
    rng = np.random.default_rng(0)

    def people(_model, _data, _split, most):
        for n in range(min(most, 2)):
            array = rng.normal(size=(8, 40, 40)).astype(np.float32)
            array[3:6, 12:28, 12:28] += 4
            volume = Volume(array, oblique(array.shape, (1.5, 1.5, 5.0)), f"heart {n}")
            yield Subject(f"p{n}", volume, ("one",))

    monkeypatch.setattr(study, "subjects", people)
    rows = study.run(tmp_path, tmp_path / "out", model, "test", 2, study.Progress())
    assert [row["person"] for row in rows] == ["p0", "p1"]
    assert 0 <= rows[0]["hidden"] <= 1
    text = study.tables(rows)
    assert f"{HEART}, test: one, 2 people" in text
    assert "border first" in text
    assert "better in" in text
    assert "nearness" in text
    files = sorted((tmp_path / "out" / "rows").iterdir())
    kept = [path.read_text(encoding="utf-8") for path in files]
    assert len(kept) == 2

    def never(*arguments):
        raise AssertionError("measured twice")

    monkeypatch.setattr(study, "measure", never)
    again = study.run(tmp_path, tmp_path / "out", model, "test", 2, study.Progress())
    assert json.loads(kept[0]) == again[0]
    for setting, other in (("MULTIPLES", (0.5, 1.0)), ("BLUR_MM", 4.0)):
        with monkeypatch.context() as changed:
            changed.setattr(study, setting, other)
            with pytest.raises(AssertionError, match="measured twice"):
                study.run(tmp_path, tmp_path / "out", model, "test", 2, study.Progress())


def test_on_val_every_layer_and_way_is_measured(tmp_path):
    model = load_model(tiny_bundle(tmp_path / "tiny"), "cpu", "fp32")
    ways = study.candidates(model, "val")
    assert CamSettings("tokens", "place", "logit") in ways
    assert len(ways) == 12
    assert len(study.candidates(model, "test")) == 1


def test_data_that_are_not_there_are_one_sentence(tmp_path):
    with pytest.raises(UserError, match="has no splits"):
        list(subjects(HEART, tmp_path, "test", 1))
    with pytest.raises(UserError, match="no subjects"):
        list(subjects("mine", tmp_path, "test", 1))
