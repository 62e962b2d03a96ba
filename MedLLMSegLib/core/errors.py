"""The ways a run ends early: an error that the user can fix, and the user's own wish."""


class UserError(Exception):
    """An error that the user can fix.

    The message is one sentence in the user's words: what was found, what was needed, what to do
    next. The command line prints it and exits with 2; the panel shows it. Technical details belong
    in ``__cause__``.
    """


class Cancelled(Exception):
    """Raised by a progress callback to stop the work at its next safe point."""


class TimeIsUp(Cancelled):
    """The time limit is reached; the work so far is saved."""
