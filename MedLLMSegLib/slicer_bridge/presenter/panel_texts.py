"""The texts that several sections of the panel show."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Sequence

from MedLLMSegLib.slicer_bridge.install.licence_consent import conditions

from .panel_state import Panel
from .translation import _

# The colour of the mark before a message: it stands out from light and dark backgrounds. The text
# itself keeps the theme's colour.
MARK_COLOURS = {"failed": "#d9534f", "ask": "#c77700", "done": "#2f9e44"}
# The stages that the worker reports (worker/protocol.py), as the user reads them.
STAGES = {
    "start": _("Starting Python"),
    "wait": _("Waiting for the run before this one"),
    "read": _("Reading the scan"),
    "load": _("Loading the model"),
    "localize": _("Looking for the organ"),
    "segment": _("Outlining"),
    "explain": _("Looking for the evidence"),
    "restore": _("Back onto the scan's grid"),
    "done": _("Finishing"),
    "write": _("Writing the result"),
    "diagnose": _("Judging the image"),
}
DETAILS = {
    "left": _("left side"),
    "right": _("right side"),
    "in smaller tiles": _("in smaller tiles"),
    "on the CPU": _("on the CPU"),
}


def time_left(seconds: float | None) -> str:
    """ "about 12 s left", or nothing if it is not known."""
    if seconds is None or not math.isfinite(seconds) or seconds < 0:
        return ""
    if seconds < 100:
        return _("about {seconds} s left").format(seconds=max(1, round(seconds)))
    if seconds < 5400:
        return _("about {minutes} min left").format(minutes=round(seconds / 60))
    return _("about {hours} h left").format(hours=round(seconds / 3600, 1))


def stage_text(panel: Panel) -> str:
    """What a run is doing and how long it still takes, or what is being installed."""
    if panel.state == "installing":
        what = panel.stage or _("this takes minutes")
        return _("Python packages are being installed: {what}").format(what=what)
    return ", ".join(filter(None, (stage_name(panel.stage), time_left(panel.seconds_left))))


def stage_name(stage: str) -> str:
    """A stage as the user reads it: "2 of 9: segment left" is "2 of 9: outlining, left side".

    An unknown stage stays as it is.
    """
    counted = re.match(r"(?:\d+ of \d+: )+", stage)
    count = counted[0] if counted else ""
    text = stage[len(count) :]
    name, _space, detail = text.partition(" ")
    if name in STAGES:
        text = ", ".join(filter(None, (STAGES[name], DETAILS.get(detail, detail))))
    return count + text[:1].lower() + text[1:] if count else text[:1].upper() + text[1:]


def breakable(text: str) -> str:
    """A text whose long words, such as names of files and scans, may be broken into lines.

    Otherwise Qt would widen the panel.
    """
    return re.sub(
        r"\S{30,}", lambda word: re.sub(r"([_.]|\w{25})(?=\w)", "\\1\u200b", word[0]), text
    )


def with_mark(text: str, mark: str | None) -> str:
    """A message as rich text, with a coloured mark before it."""
    lines = html.escape(breakable(text)).replace("\n", "<br>")
    dot = f'<font color="{MARK_COLOURS[mark]}">●</font> ' if mark else ""
    return f"<span>{dot}{lines}</span>" if text else ""


def facts_table(facts: Sequence[tuple[str, str]]) -> str:
    """(name, text) pairs as rich text in two columns."""
    rows = "".join(
        f"<tr><td>{html.escape(name)}:&nbsp;&nbsp;</td><td>{html.escape(breakable(text))}</td></tr>"
        for name, text in facts
    )
    return f'<table cellspacing="0" cellpadding="0">{rows}</table>'


def memory_text(choice) -> str:
    """Whether a model fits this computer's memory. choice: a `ModelChoice`."""
    text = choice.memory_text
    return (
        _("fits: {text}").format(text=text)
        if choice.fits_memory
        else _("may not fit: {text}").format(text=text)
    )


def packages_text(packages: Sequence[str]) -> str:
    """The text before anything is installed."""
    return "\n".join(
        (
            _("Python packages are missing, and would be installed into Slicer once:"),
            *(f"– {package}" for package in packages),
            _(
                "They come from the internet; Slicer's own packages stay as they are, and nothing"
                " of yours is sent."
            ),
        )
    )


def licence_text(entry) -> str:
    """The text before the first use of a model whose licence is not permissive.

    entry: its `ModelEntry`.
    """
    limits = ", ".join(conditions(entry.licence))
    named = f"{entry.licence} ({limits})" if limits else entry.licence
    return "\n".join(
        (
            _('The model "{model}" is under the licence {licence}.').format(
                model=entry.title, licence=named
            ),
            _(
                "It can be read in full with Licence in the section Models; accepting it once is"
                " enough."
            ),
        )
    )


def consent_text(panel: Panel) -> str:
    """What the panel asks for; "" unless it waits for the user's consent."""
    if panel.state == "needs_packages":
        return packages_text(panel.packages)
    if panel.state == "needs_licence" and panel.licensed is not None:
        return licence_text(panel.licensed)
    return ""
