"""Workers for the tests of this folder."""

import subprocess
import sys
import time

import pytest

from Testing.helpers.worker_owner import Owner


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A worker that nothing in these tests ends."""
    with Owner(tmp_path_factory.mktemp("shared")) as owner:
        yield owner


@pytest.fixture
def make(tmp_path):
    owners = []

    def start(**more):
        owners.append(Owner(tmp_path, **more))
        return owners[-1]

    yield start
    for owner in owners:
        owner.close()


@pytest.fixture(scope="session")
def slack():
    """Seconds that this machine, busy as it may be, adds by itself: half a second for the
    messages' way, and a multiple of what a bare Python takes.
    """
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    return 0.5 + 5 * max(0.0, time.monotonic() - began - 0.05)
