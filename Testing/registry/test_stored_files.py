"""What is kept on this computer, with sizes, and its deletion: the library and the command line."""

import pytest

from MedLLMSegLib import UserError
from MedLLMSegLib.cli import main as cli
from MedLLMSegLib.core.file_lock import try_lock
from MedLLMSegLib.registry.catalogue import list_models
from MedLLMSegLib.registry.stored_files import delete_stored, stored_files
from MedLLMSegLib.registry.user_models import import_model
from Testing.helpers.tiny_segmenter import tiny_bundle


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache with something of everything."""
    monkeypatch.setenv("MEDLLMSEG_CACHE", str(tmp_path / "cache"))
    for name, size in (
        ("llm/smollm2-layer3.safetensors", 3_000_000),
        ("precision/abc.json", 1000),
        ("trainings/spleen/cases/scan.nii.gz", 2_000_000),
        ("trainings/spleen/run/last.pt", 500_000),
        ("worker.log", 100),
        ("licences.json", 50),
    ):
        path = tmp_path / "cache" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * size)
    (tmp_path / "cache/trainings/spleen.lock").touch()
    return tmp_path / "cache"


def kept():
    return {stored.key: stored.size_mb for stored in stored_files()}


def test_models_and_cache_are_listed_with_sizes_and_nothing_that_is_empty(cache, tmp_path):
    model = import_model(tiny_bundle(tmp_path / "tiny"))
    found = kept()
    assert found.pop(model.id) == pytest.approx(model.size_mb)
    assert found == pytest.approx(
        {"llm": 3.0, "precision": 0.001, "trainings": 2.5, "logs": 0.0001}
    )
    assert [stored.is_model for stored in stored_files()] == [True, *[False] * 4]


@pytest.mark.parametrize("key", ["llm", "precision", "trainings", "logs"])
def test_a_part_of_the_cache_is_deleted_and_the_rest_stays(cache, key):
    before = kept()
    delete_stored(key)
    assert kept() == {name: size for name, size in before.items() if name != key}
    assert (cache / "licences.json").exists()


def test_a_model_is_deleted_and_a_shipped_one_is_not(cache, tmp_path):
    model = import_model(tiny_bundle(tmp_path / "tiny"))
    delete_stored(model.id)
    assert model.id not in kept()
    with pytest.raises(UserError, match='Nothing called "hippocampus-t1" is kept'):
        delete_stored("hippocampus-t1")
    assert "hippocampus-t1" in {entry.id for entry in list_models()}


def test_a_training_that_runs_stays(cache):
    with (cache / "trainings/spleen.lock").open("wb") as file:
        assert try_lock(file) is not False
        with pytest.raises(UserError, match="In use, and not deleted: spleen"):
            delete_stored("trainings")
    assert (cache / "trainings/spleen/run/last.pt").exists()
    delete_stored("trainings")
    assert not (cache / "trainings/spleen").exists()


def test_the_command_lists_and_asks_before_it_deletes(cache, capsys, monkeypatch):
    assert cli.main(["models", "--stored"]) == 0
    printed = capsys.readouterr().out
    assert "llm              3.0 MB  fetched layers" in printed
    assert f"5.5 MB in {cache}" in printed
    asked = []
    for answer, gone in (("n", False), ("", False), ("y", True)):
        monkeypatch.setattr("builtins.input", lambda text, a=answer: asked.append(text) or a)
        assert cli.main(["models", "--delete", "llm"]) == 0
        assert "3.0 MB? [y/N]" in asked[-1]
        assert ("llm" not in kept()) is gone
    assert "llm was deleted." in capsys.readouterr().out
    assert cli.main(["models", "--delete", "trainings", "--yes"]) == 0
    assert "trainings" not in kept()
    assert cli.main(["models", "--delete", "llm", "--yes"]) == 0  # there is nothing left to delete


def test_without_anybody_to_answer_nothing_is_deleted(cache, monkeypatch):
    def nobody(text):
        raise EOFError

    monkeypatch.setattr("builtins.input", nobody)
    assert cli.main(["models", "--delete", "llm"]) == 0
    assert "llm" in kept()


def test_an_unknown_name_is_answered_with_what_there_is(cache, capsys):
    assert cli.main(["models", "--delete", "lllm", "--yes"]) == 2
    assert "llm, logs, precision, trainings" in capsys.readouterr().err
