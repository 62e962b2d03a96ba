"""What an "error" event says about an exception."""

from __future__ import annotations

import traceback

from MedLLMSegLib.core.errors import Cancelled, UserError, in_short
from MedLLMSegLib.core.memory import OUT_OF_MEMORY_MESSAGE, is_out_of_memory
from MedLLMSegLib.core.types import Json

LONGEST_TEXT = 400  # characters that a panel can show


def describe_error(error: BaseException) -> Json:
    """The kind, message and details of an "error" event."""
    if isinstance(error, Cancelled):
        return {"kind": "cancelled", "message": "", "details": ""}
    details = "".join(traceback.format_exception(error))
    if isinstance(error, UserError):
        return {"kind": "user", "message": one_line(error), "details": details}
    if is_out_of_memory(error):
        return {"kind": "user", "message": OUT_OF_MEMORY_MESSAGE, "details": details}
    if isinstance(error, OSError) and error.filename and error.strerror:
        message = (
            f'"{in_short(error.filename)}" could not be used ({error.strerror}); check the path,'
            " its permissions and the space on the disk."
        )
        return {"kind": "user", "message": message, "details": details}
    message = (
        f"Something unexpected went wrong ({type(error).__name__}: {one_line(error)}); the log has"
        " the details."
    )
    return {"kind": "unexpected", "message": message, "details": details}


def release_frames(error: BaseException) -> None:
    """Drop what the functions that an error came through still hold, such as a scan's mapped file:
    Windows removes no file that is mapped.
    """
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            traceback.clear_frames(each.__traceback__)
            waiting += [each.__cause__, each.__context__]


def one_line(error: BaseException) -> str:
    """An error's text without line breaks, cut to `LONGEST_TEXT` characters."""
    text = " ".join(str(error).split())
    return text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + " ..."
