"""Which models there are, the user's own among them, and licences that have to be accepted
first.
"""

import json

import pytest
import torch

from MedLLMSegLib import UserError, accept_licence, list_models, load_model
from MedLLMSegLib.cli import main as cli
from MedLLMSegLib.registry.bundle import write_bundle
from MedLLMSegLib.registry.catalogue import (
    ACCEPTED,
    BUNDLES,
    METADATA,
    find_model,
    licence_accepted,
    model_entry,
)
from MedLLMSegLib.slicer_bridge.presenter.extra_inputs import ExtraInputs, extra_inputs_of
from Testing.segmentation.test_whole_scan import ABOUT, heart_bundle

STRICT = {"id": "strict", "licence": "CC-BY-NC-SA-4.0", "accept_licence": True}


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
    with pytest.raises(UserError, match=r"is damaged.*is missing or no text"):
        model_entry(folder)


def test_a_licence_is_shown_and_accepted_before_the_first_use(cache, tmp_path, capsys):
    folder = heart_bundle(cache / "models", **STRICT)
    with pytest.raises(UserError, match="medllmseg models --accept strict"):
        load_model("strict", "cpu")
    assert cli.main(["models"]) == 0
    assert "accept it first: medllmseg models --accept strict" in capsys.readouterr().out
    assert cli.main(["models", "--licence", "strict"]) == 0
    assert capsys.readouterr().out == "licence\n"
    assert not licence_accepted(find_model("strict"))
    assert cli.main(["models", "--accept", "strict"]) == 0
    assert capsys.readouterr().out.startswith("licence\nYou accept the licence CC-BY-NC-SA-4.0")
    assert load_model("strict", "cpu").entry.id == "strict"
    assert cli.main(["models"]) == 0
    assert "CC-BY-NC-SA-4.0 (accepted)" in capsys.readouterr().out
    # Another licence is another question.
    heart_bundle(cache / "models", **{**STRICT, "licence": "another"})
    with pytest.raises(UserError, match="is under another"):
        load_model(folder, "cpu")


def test_permissive_models_ask_nothing_and_write_nothing(cache):
    heart_bundle(cache / "models")
    assert load_model("heart", "cpu")
    assert not (cache / ACCEPTED).exists()


def test_acceptance_works_from_python_and_survives_a_damaged_file(cache):
    heart_bundle(cache / "models", **STRICT)
    (cache / ACCEPTED).write_text("[")
    assert not licence_accepted(find_model("strict"))
    accept_licence("strict")
    write_bundle(
        cache / "models" / "other", {**ABOUT, **STRICT, "id": "other"}, {}, "card", "licence"
    )
    assert licence_accepted(find_model("strict"))
    assert not licence_accepted(find_model("other"))
    accept_licence(find_model("other"))
    assert set(json.loads((cache / ACCEPTED).read_text())) == {"strict", "other"}


def test_a_licence_that_cannot_be_read_is_named(cache):
    folder = heart_bundle(cache / "models", **STRICT)
    (folder / "LICENSE").unlink()
    assert cli.main(["models", "--accept", "strict"]) == 2
    assert not licence_accepted(model_entry(folder))


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
