"""The ways a run ends early: an error that the user can fix, and the user's own wish."""


class UserError(Exception):
    """An error that the user can fix.

    The message is one sentence in the user's words: what was found, what was needed, what to do
    next. The command line prints it and exits with 2; the panel shows it. Technical details belong
    in ``__cause__``.
    """


def error_in_short(error: BaseException, longest: int = 200) -> str:
    """Kind and text of an error on one line, for the middle of a sentence."""
    text = in_short(str(error), longest)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def in_short(value: object, longest: int = 200) -> str:
    """A value from a file as it may stand in a sentence: on one line, printable, not too long."""
    text = "".join(c if c.isprintable() else " " for c in str(value))
    text = " ".join(text.split())
    return text if len(text) <= longest else text[: longest - 4] + " ..."


class Cancelled(Exception):
    """Raised by a progress callback to stop the work at its next safe point."""


class TimeIsUp(Cancelled):
    """The time limit is reached; the work so far is saved."""
