"""Who installed without the extra [train] is told so in one sentence."""

import importlib.machinery
import sys

import pytest

from MedLLMSegLib.cli import main as cli
from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.training.packages import require_for_training


def test_a_missing_package_is_named_with_the_way_to_get_it():
    with pytest.raises(UserError, match=r'package nonesuch.*pip install "medllmseg\[train\]"'):
        require_for_training("nonesuch")
    require_for_training("json")


def test_training_without_monai_ends_in_that_sentence(tmp_path, monkeypatch, capsys):
    class Without(importlib.machinery.PathFinder):
        @classmethod
        def find_spec(cls, name, path=None, target=None):
            return None if name == "monai" else super().find_spec(name, path, target)

    monkeypatch.delitem(sys.modules, "monai", raising=False)
    finders = [f for f in sys.meta_path if f is not importlib.machinery.PathFinder]
    monkeypatch.setattr(sys, "meta_path", [*finders, Without])
    code = cli.main(["train", "--data", str(tmp_path), "--output", str(tmp_path / "run")])
    assert code == 2
    assert 'run `pip install "medllmseg[train]"`.' in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
