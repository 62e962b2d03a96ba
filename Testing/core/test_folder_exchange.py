"""Two folders change places, or nothing happens."""

import sys

import pytest

from MedLLMSegLib.core.folder_exchange import exchange_folders


def folders(tmp_path):
    made = tmp_path / "Größe", tmp_path / "other"
    for folder in made:
        folder.mkdir()
        (folder / "name").write_text(folder.name, encoding="utf-8")
    return made


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone exchanges folders")
def test_they_change_places(tmp_path):
    one, other = folders(tmp_path)
    if not exchange_folders(one, other):
        pytest.skip("this file system exchanges no folders")
    assert (one / "name").read_text(encoding="utf-8") == "other"
    assert (other / "name").read_text(encoding="utf-8") == "Größe"


def test_where_one_is_missing_nothing_happens(tmp_path):
    one = folders(tmp_path)[0]
    assert not exchange_folders(one, tmp_path / "missing")
    assert (one / "name").read_text(encoding="utf-8") == "Größe"
    assert not (tmp_path / "missing").exists()


def test_other_systems_say_that_they_cannot(tmp_path, monkeypatch):
    one, other = folders(tmp_path)
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not exchange_folders(one, other)
    assert (one / "name").read_text(encoding="utf-8") == "Größe"
