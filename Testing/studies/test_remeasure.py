"""One command fills the figures of a card anew; the weights stay, and seen cases are refused."""

import json
from pathlib import Path

import numpy as np
import pytest

from MedLLMSegLib import UserError, Volume, segment
from MedLLMSegLib.cli.main import main
from MedLLMSegLib.core.errors import Cancelled
from MedLLMSegLib.data.case_digest import scan_digest
from MedLLMSegLib.io.volume_files import load_volume, save_volume
from MedLLMSegLib.registry.bundle import read_bundle
from MedLLMSegLib.registry.catalogue import (
    METADATA,
    WEIGHTS,
    list_models,
    model_entry,
    read_metadata,
)
from MedLLMSegLib.registry.own_figures import is_of
from MedLLMSegLib.registry.seen_cases import Marks, SeenCases
from MedLLMSegLib.studies import remeasure as remeasure_module
from MedLLMSegLib.studies.remeasure import MEASURES, Measure, remeasure
from Testing.helpers.tiny_segmenter import oblique, tiny_bundle

CHOSEN = {"step": 3, "val_dice": 0.5, "trained_on": 4, "chosen_on": 1}


@pytest.fixture
def bundle(tmp_path):
    seen = SeenCases(train=Marks(frozenset({"0123456789abcdef"})), known=True)
    return tiny_bundle(tmp_path / "tiny", chosen=CHOSEN, seen=seen.to_dict())


@pytest.fixture
def data(tmp_path, bundle):
    """A scan whose truth is the answer of the tiny model itself."""
    array = np.random.default_rng(4).normal(size=(12, 40, 36)).astype(np.float32)
    image, labels = tmp_path / "cases/imagesTr/s_1.nii.gz", tmp_path / "cases/labelsTr/s_1.nii.gz"
    save_volume(Volume(array, oblique(array.shape, (1.5, 1.5, 5.0))), image)
    truth = segment(load_volume(image), bundle, device="cpu", precision="fp32").labels
    save_volume(truth, labels)
    return tmp_path / "cases"


def test_the_card_is_filled_and_the_weights_stay(bundle, data, tmp_path):
    before = (bundle / WEIGHTS).read_bytes()
    assert model_entry(bundle).accuracy == "not measured"
    command = ["remeasure", str(bundle), "--data", str(data), "--output", str(tmp_path / "out")]
    assert main([*command, "--device", "cpu"]) == 0
    assert (bundle / WEIGHTS).read_bytes() == before
    assert is_of(read_metadata(bundle)["results"], read_bundle(bundle).measured)
    assert model_entry(bundle).accuracy.startswith("mean Dice 1.000 on 1 test case")
    card = " ".join((bundle / "docs/README.md").read_text(encoding="utf-8").split())
    assert "that had no part in training or choosing" in card
    assert "calibration error" in card
    assert (tmp_path / "out/test.csv").is_file()


def test_a_seen_case_is_no_test_case(bundle, data, tmp_path):
    """Whatever its file is called now."""
    digest = scan_digest(load_volume(data / "imagesTr/s_1.nii.gz"))
    seen = SeenCases(val=Marks(frozenset({digest})), known=True)
    metadata = read_metadata(bundle) | {"seen": seen.to_dict()}
    (bundle / METADATA).write_text(json.dumps(metadata))
    with pytest.raises(UserError, match="trained on or chosen by"):
        remeasure(bundle, tmp_path / "out", data, "cpu")
    assert model_entry(bundle).accuracy == "not measured"


def test_a_bundle_keeps_its_figures_until_the_new_ones_are_there(
    bundle, data, tmp_path, monkeypatch
):
    """Its lines are fitted on a copy, as they make another measured model of it."""
    before = {path: path.read_bytes() for path in bundle.rglob("*") if path.is_file()}
    fitted = {"temperature": 1.0, "dice_lines": {"1": [0.0, 1.0]}, "dice_lines_images": 24}

    def fit(arguments):
        lines = arguments[arguments.index("--calibration") + 1]
        Path(lines).write_text(json.dumps(fitted))
        return 0

    def cancelled(*_):
        raise Cancelled

    whole = Measure(data="cases", lines=True)
    monkeypatch.setitem(remeasure_module.MEASURES, model_entry(bundle).id, whole)
    monkeypatch.setattr(remeasure_module.brain_figures, "main", fit)
    with monkeypatch.context() as patched:
        patched.setattr(remeasure_module, "evaluate", cancelled)
        with pytest.raises(Cancelled):
            remeasure(bundle, tmp_path / "out", data.parent, "cpu")
    assert {path: path.read_bytes() for path in before} == before
    remeasure(bundle, tmp_path / "out", data.parent, "cpu")
    about = read_metadata(bundle)
    assert about["calibration"]["dice_lines"] == fitted["dice_lines"]
    assert is_of(about["results"], read_bundle(bundle).measured)


def test_lines_that_are_there_are_kept(bundle, data, tmp_path, monkeypatch):
    """Another fit would make another measured model, and drop whatever is bound to this one."""
    lines = {"temperature": 1.0, "dice_lines": {"1": [0.5, 1.0]}, "dice_lines_images": 24}
    about = read_metadata(bundle) | {"calibration": lines}
    (bundle / METADATA).write_text(json.dumps(about))
    before = read_bundle(bundle).measured.sha256
    whole = Measure(data="cases", lines=True)
    monkeypatch.setitem(remeasure_module.MEASURES, model_entry(bundle).id, whole)
    monkeypatch.setattr(remeasure_module.brain_figures, "main", pytest.fail)
    remeasure(bundle, tmp_path / "out", data.parent, "cpu")
    assert read_bundle(bundle).measured.sha256 == before
    assert is_of(read_metadata(bundle)["results"], read_bundle(bundle).measured)


def test_what_cannot_be_measured_is_said(bundle, tmp_path):
    with pytest.raises(UserError, match="add --data CASES"):
        remeasure(bundle, tmp_path / "out")
    with pytest.raises(UserError, match="evaluate_localizer"):
        remeasure("brain-t1-localizer", tmp_path / "out")
    with pytest.raises(UserError, match="which is no folder"):
        remeasure("hippocampus-t1", tmp_path / "out", tmp_path)


def test_every_model_that_ships_is_measured_by_it():
    assert set(MEASURES) == {e.id for e in list_models(None) if e.kind != "localizer"}


@pytest.mark.parametrize("entry", list_models(None), ids=lambda entry: entry.id)
def test_the_models_that_ship_say_what_they_have_seen(entry):
    """And their figures are of what they are now, on cases that they have not seen."""
    model, results = read_bundle(entry.folder).measured, read_metadata(entry.folder)["results"]
    assert model.seen.known
    assert model.seen.train.scans
    assert is_of(results, model)
