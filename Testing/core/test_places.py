"""Where fetched files and the user's own models lie."""

import sys
from pathlib import Path

import pytest

from MedLLMSegLib.core.places import cache_dir, user_models_dir


def test_the_variable_names_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("MEDLLMSEG_CACHE", str(tmp_path / "mine"))
    assert cache_dir() == tmp_path / "mine"
    assert user_models_dir() == tmp_path / "mine" / "models"
    assert not (tmp_path / "mine").exists()


def test_a_tilde_stands_for_the_home_folder(monkeypatch):
    monkeypatch.setenv("MEDLLMSEG_CACHE", "~/mine")
    assert cache_dir() == Path.home() / "mine"


def test_without_it_the_cache_lies_in_the_systems_cache_folder(monkeypatch):
    monkeypatch.delenv("MEDLLMSEG_CACHE")
    assert cache_dir().name.lower() == "medllmseg"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="XDG's folders are Linux's")
def test_linux_has_a_variable_for_caches(monkeypatch, tmp_path):
    monkeypatch.delenv("MEDLLMSEG_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir() == tmp_path / "medllmseg"
