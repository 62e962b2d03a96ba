"""A licence that is not permissive is accepted before the first use of its model."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from MedLLMSegLib import UserError, accept_licence, load_model
from MedLLMSegLib.cli import main as cli
from MedLLMSegLib.registry import licences
from MedLLMSegLib.registry.bundle import write_bundle
from MedLLMSegLib.registry.catalogue import find_model, model_entry
from MedLLMSegLib.registry.licences import ACCEPTED, licence_accepted
from Testing.helpers.heart_bundle import ABOUT, heart_bundle

STRICT = {"id": "strict", "licence": "CC-BY-NC-SA-4.0", "accept_licence": True}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDLLMSEG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


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


def test_two_slicers_that_accept_at_once_lose_nothing(cache, monkeypatch):
    names = ["one", "two", "three"]
    for name in names:
        about = {**ABOUT, **STRICT, "id": name}
        write_bundle(cache / "models" / name, about, {}, "card", "licence")
    read = licences._accepted_licences

    def read_slowly():
        accepted = read()
        time.sleep(0.05)  # the others read the same meanwhile
        return accepted

    monkeypatch.setattr(licences, "_accepted_licences", read_slowly)
    with ThreadPoolExecutor(len(names)) as slicers:
        list(slicers.map(accept_licence, [find_model(name) for name in names]))
    assert set(json.loads((cache / ACCEPTED).read_text())) == set(names)
