"""A lock keeps other programs out for a moment, and says so when it does not come free."""

import pytest

from MedLLMSegLib.core import file_lock
from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.file_lock import locked, try_lock


def test_a_lock_is_held_in_the_block_and_free_after_it(tmp_path):
    path = tmp_path / "new" / "a.lock"
    with locked(path), open(path, "ab") as other:
        assert try_lock(other) is False
    with open(path, "ab") as other:
        assert try_lock(other) is True


def test_a_lock_that_stays_taken_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(file_lock, "LONGEST_WAIT_S", 0.05)
    path = tmp_path / "a.lock"
    with locked(path), pytest.raises(UserError, match=r"a\.lock.*try again"), locked(path):
        pass
