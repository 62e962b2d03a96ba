"""No test reads or writes the home or cache folder of whoever runs it.

Two tests look at files that `medllmseg llm fetch` puts into the user's cache. They read them only
where MEDLLMSEG_TEST_CACHE names that folder (`helpers.user_cache`).
"""

import os
import site
from itertools import count
from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def temporary_home(tmp_path_factory):
    """A home folder for the session, for fixtures of a module and the processes they start, too.

    What pip and Python read from the real one stays as it is: the tests of `llm fetch` run pip.
    """
    home = tmp_path_factory.mktemp("home")
    real = Path.home()
    pip_settings = real / ".config" / "pip" / "pip.conf"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONUSERBASE", site.getuserbase())
        if pip_settings.is_file() and "PIP_CONFIG_FILE" not in os.environ:
            patch.setenv("PIP_CONFIG_FILE", str(pip_settings))
        for name in ("HOME", "USERPROFILE"):
            patch.setenv(name, str(home))
        for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "LOCALAPPDATA"):
            patch.delenv(name, raising=False)
        patch.setenv("MEDLLMSEG_CACHE", str(home / "cache"))
        yield home


_NUMBERS = count()


@pytest.fixture(autouse=True)
def temporary_cache(temporary_home):
    """An empty cache for each test that does not set one of its own. The folder is not made."""
    folder = temporary_home / "caches" / str(next(_NUMBERS))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDLLMSEG_CACHE", str(folder))
        yield folder
