"""The two ways a run ends early: something the user can mend, and the user's own wish."""


class UserError(Exception):
    """Something the user can mend.

    The message is one sentence in a user's words: what was found, what was needed, what to do next.
    The command line prints it and exits with 2; the panel shows it. Details belong in
    ``__cause__``.
    """


class Cancelled(Exception):
    """Raised by a progress callback to stop the work at its next safe point."""


class TimeIsUp(Cancelled):
    """The minutes that were given are over; what was begun is saved."""
