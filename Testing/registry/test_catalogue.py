"""Which models there are, the user's own among them."""

import json
import shutil

import pytest
import torch

from MedLLMSegLib import UserError, list_models
from MedLLMSegLib.core.safe_files import temporary_path
from MedLLMSegLib.registry import catalogue
from MedLLMSegLib.registry.bundle import write_bundle
from MedLLMSegLib.registry.catalogue import (
    BUNDLES,
    METADATA,
    NOT_MEASURED,
    find_model,
    model_entry,
    read_metadata,
)
from MedLLMSegLib.slicer_bridge.presenter.extra_inputs import ExtraInputs, extra_inputs_of
from Testing.helpers.heart_bundle import ABOUT


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDLLMSEG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_the_users_own_models_are_listed_and_found_by_id(cache, tmp_path):
    write_bundle(
        cache / "models" / "folder",
        {**ABOUT, "id": "mine"},
        {"x": torch.zeros(250_000)},
        "card",
        "licence",
    )
    assert [e.id for e in list_models()][-1] == "mine"
    assert "hippocampus-t1" in [e.id for e in list_models()]
    for name in ("mine", "folder", cache / "models" / "folder"):
        entry = find_model(name)
        assert entry.id == "mine"
        assert 0.5 < entry.size_mb < 0.51
        assert not entry.accept_licence
    with pytest.raises(UserError, match="hippocampus-t1, mine"):
        find_model("spleen")


def test_a_bundle_that_a_killed_program_left_unfinished_is_not_listed(cache):
    about = {**ABOUT, "id": "half"}
    write_bundle(temporary_path(cache / "models"), about, {}, "card", "licence")
    assert "half" not in [entry.id for entry in list_models()]


def test_a_users_model_cannot_take_a_shipped_ones_place(cache):
    write_bundle(
        cache / "models" / "hippocampus-t1",
        {**ABOUT, "id": "hippocampus-t1"},
        {},
        "card",
        "licence",
    )
    assert find_model("hippocampus-t1").folder == BUNDLES / "hippocampus-t1"
    assert [e.id for e in list_models()].count("hippocampus-t1") == 1


def test_a_damaged_model_of_the_users_hides_no_other(cache):
    write_bundle(cache / "models" / "mine", {**ABOUT, "id": "mine"}, {}, "card", "licence")
    write_bundle(cache / "models" / "broken", ABOUT, {}, "card", "licence")
    (cache / "models" / "broken" / METADATA).write_text("{")
    assert [e.id for e in list_models()][-1] == "mine"
    with pytest.raises(UserError, match="is damaged"):
        find_model("broken")


@pytest.mark.parametrize(
    "changed",
    [
        {"modality": None},
        {"title": None},
        {"id": 5},
        {"accuracy": 0.9},
        {"licence": ["MIT"]},
        {"kind": ["segmenter"]},
        {"structures": "spleen"},
        {"structures": None},
        {"structures": [{"name": "spleen"}]},
        {"kind": "classifier"},
        {"kind": "classifier", "classes": [0, 1]},
        {"kind": "classifier", "classes": "finding"},
    ],
    ids=str,
)
def test_a_description_of_other_types_is_damaged_and_hides_no_other(cache, changed):
    write_bundle(cache / "models" / "mine", {**ABOUT, "id": "mine"}, {}, "card", "licence")
    folder = write_bundle(
        cache / "models" / "broken", {**ABOUT, "id": "broken"}, {}, "card", "licence"
    )
    metadata = json.loads((folder / METADATA).read_text())
    (folder / METADATA).write_text(json.dumps({**metadata, **changed}))
    assert [e.folder.name for e in list_models(None) if e.folder.parent == cache / "models"] == [
        "mine"
    ]
    with pytest.raises(UserError, match=r"is damaged.*is missing or not text"):
        model_entry(folder)


@pytest.mark.parametrize("record", [{"numbers": 5}, {"categories": {"sex": 2}}, "age"], ids=str)
def test_a_classifier_whose_record_is_damaged_asks_for_nothing(cache, record):
    about = {
        **ABOUT,
        "id": "mine",
        "kind": "classifier",
        "classes": ["no", "yes"],
        "network": {"record": record},
    }
    folder = write_bundle(cache / "models" / "mine", about, {}, "card", "licence")
    assert extra_inputs_of(model_entry(folder)) == ExtraInputs()


def test_a_model_whose_localizer_is_gone_is_listed_and_the_localizer_named(tmp_path, monkeypatch):
    """What its figures were measured with is then not known, so none is shown."""
    shipped = find_model("hippocampus-t1")
    assert shipped.accuracy != NOT_MEASURED
    shutil.copytree(shipped.folder, tmp_path / "bundles" / "hippocampus-t1")
    monkeypatch.setattr(catalogue, "BUNDLES", tmp_path / "bundles")
    (alone,) = list_models(None)
    assert (alone.id, alone.accuracy) == ("hippocampus-t1", NOT_MEASURED)
    with pytest.raises(UserError, match=r'"brain-t1-localizer", .* is not installed'):
        catalogue.measured_model(read_metadata(alone.folder))
    with pytest.raises(UserError, match='no model called "spleen"'):
        find_model("spleen")
