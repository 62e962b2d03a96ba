"""A result file is complete or does not exist, and the reason is one sentence for the user."""

import errno
import os
import time

import pytest

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.safe_files import (
    OUTDATED_S,
    TEMPORARY,
    atomic_write,
    check_writable,
    make_folder,
    remove_leftovers,
    temporary_path,
    write_error,
    write_text,
)


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_text_is_written_as_it_is(tmp_path):
    path = write_text(tmp_path / "new" / "größe.txt", "ä\n頭\r\n")
    assert path.read_bytes() == "ä\n頭\r\n".encode()
    assert names_in(path.parent) == ["größe.txt"]


@pytest.mark.parametrize("error", [RuntimeError("writer"), KeyboardInterrupt()])
def test_after_a_failure_the_old_file_is_still_there(tmp_path, error):
    path = write_text(tmp_path / "a.txt", "old")
    with pytest.raises(type(error)), atomic_write(path) as temporary:
        temporary.write_bytes(b"half of the new one")
        raise error
    assert path.read_text(encoding="utf-8") == "old"
    assert names_in(tmp_path) == ["a.txt"]


def test_the_writer_sees_the_suffix_that_it_needs(tmp_path):
    with atomic_write(tmp_path / "scan.nii.gz", ".nii.gz") as temporary:
        assert temporary.name.endswith(".nii.gz")
        temporary.write_bytes(b"x")
    assert names_in(tmp_path) == ["scan.nii.gz"]


def test_a_writer_that_writes_nothing_is_an_error(tmp_path):
    with pytest.raises(UserError, match="could not be written"), atomic_write(tmp_path / "a.txt"):
        pass
    assert names_in(tmp_path) == []


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path):
    write_text(tmp_path / "out", "")
    for folder in (tmp_path / "out", tmp_path / "out" / "deep"):
        with pytest.raises(UserError, match="is in the way; choose another place"):
            make_folder(folder)


def test_checking_a_folder_leaves_nothing_behind(tmp_path):
    check_writable(tmp_path / "new" / "deep")
    assert names_in(tmp_path) == []
    write_text(tmp_path / "out", "")
    with pytest.raises(UserError, match="is a file; choose another place"):
        check_writable(tmp_path / "out" / "deep")


@pytest.mark.parametrize(
    "code, sentence",
    [
        (errno.EACCES, "no permission"),
        (errno.EISDIR, "is in the way"),
        (errno.ENAMETOOLONG, "the name is too long"),
        (errno.ENOSPC, "the disk or quota is full"),
        (errno.EIO, "could not be written completely"),
    ],
)
def test_each_cause_has_its_sentence(tmp_path, code, sentence):
    error = write_error(tmp_path / "a.txt", OSError(code, "reason"))
    assert sentence in str(error)
    assert str(error).endswith(".")


@pytest.mark.parametrize(
    "free_mb, raised, sentence",
    [
        (0.5, None, "the disk or quota is full"),
        (0.5, RuntimeError("a writer's own"), "the disk or quota is full"),
        (0.5, OSError(errno.ENOENT, "no such folder"), "No such file"),
        (500.0, None, "500 MB are free there"),
        (None, None, "could not be written completely; check"),
    ],
)
def test_a_full_disk_is_named_where_nothing_else_is_known(
    tmp_path, monkeypatch, free_mb, raised, sentence
):
    monkeypatch.setattr("MedLLMSegLib.core.safe_files._free_mb", lambda folder: free_mb)
    assert sentence in str(write_error(tmp_path / "a.txt", raised))


def test_what_a_killed_program_left_goes_after_an_hour(tmp_path):
    old, young = temporary_path(tmp_path, ".nii.gz"), temporary_path(tmp_path, ".csv")
    folder, growing = temporary_path(tmp_path), temporary_path(tmp_path)
    for path in (old, young, folder / "a.txt", growing / "a.txt", tmp_path / ".theirs"):
        write_text(path, "half")
    hours_ago = time.time() - 2 * OUTDATED_S
    for path in (old, folder / "a.txt", folder, growing, tmp_path / ".theirs"):
        os.utime(path, (hours_ago, hours_ago))
    remove_leftovers(tmp_path)
    assert names_in(tmp_path) == sorted([".theirs", young.name, growing.name])
    remove_leftovers(tmp_path / "missing")


def test_a_temporary_file_of_a_write_is_known_as_one(tmp_path):
    with atomic_write(tmp_path / "a.txt") as temporary:
        temporary.write_bytes(b"half")
        assert temporary.name.startswith(TEMPORARY)
