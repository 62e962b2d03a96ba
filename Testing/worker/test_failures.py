"""What an error event tells the user and the log."""

from MedLLMSegLib import UserError
from MedLLMSegLib.core.errors import Cancelled
from MedLLMSegLib.worker.failures import describe_error


def test_errors_are_described_in_a_users_words():
    assert describe_error(UserError("One\n  sentence."))["message"] == "One sentence."
    assert len(describe_error(ValueError("x" * 5000))["message"]) < 600
    assert len(describe_error(ValueError("x" * 5000))["details"]) > 5000
    assert describe_error(Cancelled()) == {"kind": "cancelled", "message": "", "details": ""}
