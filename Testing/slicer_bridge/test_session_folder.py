"""A session's temporary files: each run has its folder, and nothing is left behind."""

import errno
import subprocess
import sys
import tempfile

import pytest

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.slicer_bridge.logic.session_folder import LOCK, PREFIX, SessionFolder

CRASHING = """
import os, sys
from MedLLMSegLib.slicer_bridge.logic.session_folder import SessionFolder
run = SessionFolder(sys.argv[1]).new_run()
(run / "array.npy").write_bytes(bytes(1000))
print(run.parent, flush=True)
os._exit(1)
"""


@pytest.fixture
def make(tmp_path):
    sessions = []

    def new():
        sessions.append(SessionFolder(tmp_path / "temporary"))
        return sessions[-1]

    yield new
    for session in sessions:
        session.close()


def folders(tmp_path):
    return sorted((tmp_path / "temporary").glob(f"{PREFIX}*"))


def test_each_run_has_its_own_folder_in_the_sessions(make, tmp_path):
    session = make()
    assert not folders(tmp_path)  # made for the first run
    one, two = session.new_run(), session.new_run()
    assert one != two
    assert folders(tmp_path) == [one.parent] == [two.parent]
    (one / "array.npy").write_bytes(bytes(10))
    session.close()
    assert not folders(tmp_path)
    assert session.new_run().is_dir()  # a closed one begins anew


def test_what_a_crash_left_goes_when_the_next_session_begins(make, tmp_path):
    make().new_run()
    command = [sys.executable, "-c", CRASHING, str(tmp_path / "temporary")]
    left = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    assert left in map(str, folders(tmp_path))
    make().new_run()
    assert left not in map(str, folders(tmp_path))


def test_a_session_that_lives_and_strangers_folders_stay(make, tmp_path):
    live = make().new_run()
    other = tmp_path / "temporary" / f"{PREFIX}of somebody else"
    other.mkdir()
    (other / "file").write_text("theirs")
    make().new_run()
    assert live.is_dir()
    assert (other / "file").is_file()


def test_a_folder_that_the_system_cleaned_up_is_made_again(make, tmp_path):
    session = make()
    run = session.new_run()
    (run.parent / LOCK).unlink()
    run.rmdir()
    run.parent.rmdir()
    assert session.new_run().is_dir()


def test_a_place_where_nothing_can_be_made_is_one_sentence(make, tmp_path, monkeypatch):
    (tmp_path / "temporary").write_text("a file in the way")
    with pytest.raises(UserError, match="in the way; choose"):
        make().new_run()

    def full(*_args, **_more):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "mkdtemp", full)
    with pytest.raises(UserError, match="disk or quota is full"):
        SessionFolder(tmp_path).new_run()
