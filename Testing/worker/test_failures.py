"""What an error event tells the user and the log."""

import weakref

import numpy as np

from MedLLMSegLib import UserError
from MedLLMSegLib.core.errors import Cancelled
from MedLLMSegLib.worker.failures import describe_error, release_frames


def test_errors_are_described_in_a_users_words():
    assert describe_error(UserError("One\n  sentence."))["message"] == "One sentence."
    assert len(describe_error(ValueError("x" * 5000))["message"]) < 600
    assert len(describe_error(ValueError("x" * 5000))["details"]) > 5000
    assert describe_error(Cancelled()) == {"kind": "cancelled", "message": "", "details": ""}


def test_an_error_that_lives_on_holds_no_scan():
    held = []

    def read():
        scan = np.zeros(3)
        held.append(weakref.ref(scan))
        raise OSError("the disk")

    def segment():
        scan = np.zeros(3)
        held.append(weakref.ref(scan))
        try:
            read()
        except OSError as error:
            raise UserError("One sentence.") from error

    try:
        segment()
    except UserError as error:
        kept = error
        assert all(scan() is not None for scan in held)
        release_frames(error)
    assert len(held) == 2
    assert [scan() for scan in held] == [None, None]
    assert str(kept.__cause__) == "the disk"
