"""No test reads or writes the home or cache folder of whoever runs it.

Two tests look at files that `medllmseg llm fetch` puts into the user's cache. They read them only
where MEDLLMSEG_TEST_CACHE names that folder (`helpers.user_cache`).
"""

import os
import shutil
import site
import tempfile
from itertools import count
from pathlib import Path

import pytest

from Testing.helpers.slicer_scene import slicer_scene  # noqa: F401  (a fixture)

_SESSION = pytest.MonkeyPatch()
_HOME = Path(tempfile.gettempdir()) / f"medllmseg-home-{os.getpid()}"
_NUMBERS = count()


def pytest_configure():
    """A home folder for the session: before modules are imported, and for the processes that tests
    start, too.

    What pip and Python read from the real one stays as it is: the tests of `llm fetch` run pip.
    """
    pip_settings = Path.home() / ".config" / "pip" / "pip.conf"
    if pip_settings.is_file() and "PIP_CONFIG_FILE" not in os.environ:
        _SESSION.setenv("PIP_CONFIG_FILE", str(pip_settings))
    _SESSION.setenv("PYTHONUSERBASE", site.getuserbase())
    _HOME.mkdir()
    for name in ("HOME", "USERPROFILE"):
        _SESSION.setenv(name, str(_HOME))
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "LOCALAPPDATA"):
        _SESSION.delenv(name, raising=False)
    _SESSION.setenv("MEDLLMSEG_CACHE", str(_HOME / "cache"))


def pytest_unconfigure():
    _SESSION.undo()
    shutil.rmtree(_HOME, ignore_errors=True)


@pytest.fixture(autouse=True)
def temporary_cache():
    """An empty cache for each test that does not set one of its own. The folder is not made."""
    folder = _HOME / "caches" / str(next(_NUMBERS))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDLLMSEG_CACHE", str(folder))
        yield folder


@pytest.fixture
def brain_of_any_shape(monkeypatch):
    """What an untrained network finds does not lie as in a head, and the network is unsure of it;
    it is not refused for that.
    """
    from MedLLMSegLib.segmentation import brain_checks

    monkeypatch.setattr(brain_checks, "MOST_OUT_OF_PLACE", float("inf"))
    monkeypatch.setattr(brain_checks, "LEAST_MEDIAN_CERTAINTY", 0.0)


LOADS_ENGINES = ("Testing/engines/", "Testing/edge/", "Testing/studies/test_engines.py")


def pytest_collection_modifyitems(items):
    """Tests of OpenVINO and ONNX Runtime come last: a training by torch that follows them in the
    same process ended it at times (docs/edge.md).
    """
    items.sort(key=lambda item: item.nodeid.startswith(LOADS_ENGINES))
