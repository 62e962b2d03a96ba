"""What MedLLMSegTest runs inside Slicer, run here on Slicer's core: a mistake in it must not wait for a desktop."""
import tempfile
import unittest

import pytest

pytest.importorskip("slicer_core", reason="slicer-core is not installed: NOTHING ABOUT MRML WAS TESTED")

from MedLLMSegLib.slicer_bridge import install, selftest, selftest_panel, selftest_scene  # noqa: E402
from MedLLMSegLib.slicer_bridge.logic import SegmentationLogic  # noqa: E402

WITHOUT_WORKER = tuple(check for check in selftest.CHECKS if check is not selftest.check_worker)


def test_every_check_is_run_and_says_what_it_is_for():
    for module in (selftest, selftest_scene, selftest_panel):
        checks = {value for name, value in vars(module).items() if name.startswith("check_")}
        assert checks == set(module.CHECKS) and all(check.__doc__ for check in checks)


def test_it_passes_and_says_what_it_could_not_test(scene, monkeypatch, capsys):
    monkeypatch.setattr(selftest, "CHECKS", WITHOUT_WORKER)
    untested = selftest.run(unittest.TestCase(), SegmentationLogic)
    assert any("the panel" in text for text in untested) and "NOT TESTED: the panel" in capsys.readouterr().out
    assert scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0


@pytest.mark.parametrize("break_it", ["segment", "cancel", "restore", "showUncertainty"])
def test_it_fails_where_the_logic_is_broken(scene, monkeypatch, break_it):
    broken = type("Broken", (SegmentationLogic,), {break_it: lambda self, *a, **o: None})
    monkeypatch.setattr(selftest.Case, "wait", _impatient(selftest.Case.wait))
    monkeypatch.setattr(selftest, "CHECKS", WITHOUT_WORKER)
    with pytest.raises((AssertionError, AttributeError)):
        selftest.run(unittest.TestCase(), broken)


def _impatient(wait):
    return lambda case, until, seconds=60: wait(case, until, 3)


def test_the_worker_without_its_packages_says_so(scene, tmp_path, monkeypatch):
    """As in a Slicer where nothing was installed yet: a python without torch."""
    import sys

    from MedLLMSegLib.slicer_bridge import parts

    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')")
    monkeypatch.setattr(parts, "environment", lambda: {"PYTHONPATH": str(tmp_path), "PATH": ""})
    monkeypatch.setenv("MEDLLMSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(install, "missing_packages", lambda task="segment": ["PyTorch"])
    case = selftest.Case(unittest.TestCase(), SegmentationLogic)
    try:
        selftest.check_worker(case)
    finally:
        for logic in case.logics:
            logic.close()
    assert case.untested == ["the shipped model in the worker, as packages are missing: PyTorch"] and sys.executable


def test_the_worker_with_its_packages(scene):
    case = selftest.Case(unittest.TestCase(), SegmentationLogic)
    try:
        selftest.check_worker(case)
    finally:
        for logic in case.logics:
            logic.close()
    assert not case.untested
