"""The panel's state, and the texts that several of its sections show. Neither Qt nor MRML here."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from MedLLMSegLib.slicer_bridge.install.licences import conditions
from MedLLMSegLib.slicer_bridge.translation import _

from .record_fields import Asks

BUSY = ("installing", "running", "cancelling")
ASKS = ("needs_licence", "needs_packages")  # waits for the user's consent
LEAST_PAIRS = 2  # one case to train on, one to choose the best weights by

# The mark before a message; these three stand out from light and dark backgrounds, and the text
# keeps the theme's colour.
MARKS = {"failed": "#d9534f", "ask": "#c77700", "done": "#2f9e44"}

# What the worker calls the parts of its work (worker/protocol.py), in words.
STAGES = {
    "start": _("Starting Python"),
    "wait": _("Waiting for the run before this one"),
    "read": _("Reading the scan"),
    "load": _("Loading the model"),
    "localize": _("Looking for the organ"),
    "segment": _("Outlining"),
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


@dataclass(frozen=True)
class Panel:
    """Everything the panel's looks depend on.

    state: "idle", "needs_licence" or "needs_packages" (asked for consent), "installing", "running",
    "cancelling" or "failed". task: what is or was run, "segment", "train" or "diagnose". input: the
    scan's name. scans: how many are in the scene. models: `ModelChoice`s. own: ids of models that
    the user may delete; sided: of those that outline an organ with two sides. packages: what would
    be installed, with sizes. licensed: the `ModelEntry` whose licence is asked for. managed: the id
    of the model, of either kind, in the section Models; models_busy: files of one are read or
    written. fraction: 0 to 1, None if not known. stoppable: an installation can be cancelled. rows:
    (structure, volume in mL, mean confidence). result: name of the segmentation that the last run
    wrote. mapped: it has a map of uncertainty. pairs: names of (volume, segmentation) to train on.
    pair_chosen: two nodes are selected that can be added. history: rows of a training's
    history.json. unfinished: ids of trainings that are kept to go on from, with copies of their
    scans. classifiers: `ModelChoice`s; classifier: the chosen one's id; asks: what it asks for
    besides the image. image: name of the image to be diagnosed; diagnosed: of the one that is or
    was. diagnosis: (class, probability, threshold or None, whether it is the answer). heat: the
    heat map is to be shown; heated: there is one.
    """

    state: str = "idle"
    task: str = "segment"
    input: str | None = None
    scans: int = 0
    loading_sample: bool = False
    models: tuple = ()
    model: str = ""
    search: str = ""
    own: frozenset[str] = frozenset()
    sided: frozenset[str] = frozenset()
    models_message: str = ""
    models_busy: bool = False
    managed: str = ""
    packages: tuple[str, ...] = ()
    licensed: Any = None
    stage: str = ""
    fraction: float | None = 0.0
    stoppable: bool = False
    seconds_left: float | None = None
    message: str = ""
    notes: tuple[str, ...] = ()
    result: str | None = None
    rows: tuple[tuple[str, float, float], ...] = ()
    can_restore: bool = False
    uncertainty: bool = False
    mapped: bool = False
    pairs: tuple[tuple[str, str], ...] = ()
    pair_chosen: bool = False
    pair_selected: bool = False
    train_name: str = ""
    train_message: str = ""
    train_failed: bool = False
    history: tuple[dict, ...] = ()
    unfinished: tuple[str, ...] = ()
    classifiers: tuple = ()
    classifier: str = ""
    asks: Asks = Asks()
    image: str | None = None
    diagnosed: str = ""
    diagnosis: tuple[tuple[str, float, float | None, bool], ...] = ()
    diagnose_message: str = ""
    diagnose_notes: tuple[str, ...] = ()
    diagnose_failed: bool = False
    heat: bool = True
    heated: bool = False

    @property
    def chosen(self):
        """The chosen model's `ModelEntry`, or None."""
        return next((m.entry for m in self.models if m.entry.id == self.model), None)

    @property
    def chosen_classifier(self):
        """The chosen classifier's `ModelEntry`, or None."""
        return next((m.entry for m in self.classifiers if m.entry.id == self.classifier), None)

    @property
    def managed_entry(self):
        """The `ModelEntry` that the section Models is about: of the managed model, else of the
        one that is chosen to segment.
        """
        named = next(
            (m.entry for m in (*self.models, *self.classifiers) if m.entry.id == self.managed), None
        )
        return named or self.chosen


def emptied(panel: Panel) -> Panel:
    """The panel when the scene is closed: what was said of its nodes goes."""
    return replace(
        panel,
        input=None,
        scans=0,
        result=None,
        rows=(),
        notes=(),
        message="",
        mapped=False,
        history=(),
        pairs=(),
        train_message="",
        image=None,
        diagnosis=(),
        diagnose_message="",
        diagnose_notes=(),
        diagnose_failed=False,
        heated=False,
    )


def time_left(seconds: float | None) -> str:
    """ "about 12 s left", or nothing if it is not known."""
    if seconds is None or not math.isfinite(seconds) or seconds < 0:
        return ""
    if seconds < 100:
        return _("about {seconds} s left").format(seconds=max(1, round(seconds)))
    if seconds < 5400:
        return _("about {minutes} min left").format(minutes=round(seconds / 60))
    return _("about {hours} h left").format(hours=round(seconds / 3600, 1))


def progress(panel: Panel) -> dict:
    """Qt properties of the progress bar of what goes on; Qt shows a range of nothing as a bar
    that moves to and fro.
    """
    known = panel.fraction is not None and (panel.state != "installing" or panel.fraction > 0)
    return {"maximum": 100 if known else 0, "value": round(100 * panel.fraction) if known else 0}


def stage_text(panel: Panel) -> str:
    """What a run is doing, and how long it still takes; of an installation, what is being
    installed.
    """
    if panel.state == "installing":
        what = panel.stage or _("this takes minutes")
        return _("Python packages are being installed: {what}").format(what=what)
    return ", ".join(
        part for part in (stage_name(panel.stage), time_left(panel.seconds_left)) if part
    )


def stage_name(stage: str) -> str:
    """A stage in words: "2 of 9: segment left" is "2 of 9: outlining, left side"; what is not
    known stays as it is.
    """
    count, item, rest = re.fullmatch(r"((\d+ of \d+): )?(.*)", stage, re.DOTALL).groups()
    head, _space, detail = rest.partition(" ")
    if head in STAGES:
        rest = ", ".join(part for part in (STAGES[head], DETAILS.get(detail, detail)) if part)
    return f"{item}: {rest[:1].lower()}{rest[1:]}" if count else rest[:1].upper() + rest[1:]


def breakable(text: str) -> str:
    """A text whose long words, as files and scans are named, may be broken into lines: Qt widens
    the panel for them else.
    """
    return re.sub(
        r"\S{30,}", lambda word: re.sub(r"([_.]|\w{25})(?=\w)", "\\1\u200b", word[0]), text
    )


def marked(text: str, mark: str | None) -> str:
    """A message as rich text, with a coloured mark before it."""
    lines = html.escape(breakable(text)).replace("\n", "<br>")
    dot = f'<font color="{MARKS[mark]}">●</font> ' if mark else ""
    return f"<span>{dot}{lines}</span>" if text else ""


def facts(lines: Sequence[tuple[str, str]]) -> str:
    """What is to be known of something, (name, text) each, as rich text in two columns."""
    rows = "".join(
        f"<tr><td>{html.escape(name)}:&nbsp;&nbsp;</td><td>{html.escape(breakable(text))}</td></tr>"
        for name, text in lines
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
    """What is said before anything is installed."""
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
    """What is said before the first use of a model whose licence is not permissive. entry: its
    `ModelEntry`.
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
    return (
        licence_text(panel.licensed)
        if panel.state == "needs_licence" and panel.licensed is not None
        else ""
    )


def busy_elsewhere(panel: Panel, task: str) -> str:
    """Why a task has to wait for what runs in another section, in one sentence; "" if nothing
    does.
    """
    if panel.state not in BUSY or panel.task == task:
        return ""
    if panel.state == "installing":
        return _("Python packages are being installed; wait for it.")
    return {
        "segment": _("A scan is being segmented; wait for it, or cancel it."),
        "train": _("A model is being trained; wait for it, or cancel it in the section Train."),
        "diagnose": _(
            "An image is being diagnosed; wait for it, or cancel it in the section Diagnose."
        ),
    }[panel.task]


def task_button(
    panel: Panel, task: str, missing: str, ready: tuple[str, str], asks: dict[str, tuple[str, str]]
) -> dict:
    """The Qt properties of the button that begins a task, and that becomes Cancel.

    missing: what is not there yet, "" if nothing. ready: text and tooltip when it can be pressed.
    asks: those for each state of `ASKS`, in which the press agrees.
    """
    if panel.task == task and (busy := busy_button(panel)):
        looks = busy
    elif panel.task == task and panel.state in asks and not missing:
        looks = (asks[panel.state][0], True, asks[panel.state][1])
    else:
        looks = (ready[0], not missing, missing or ready[1])
    return dict(zip(("text", "enabled", "toolTip"), looks))


def busy_button(panel: Panel) -> tuple[str, bool, str] | None:
    """Text, enabled and tooltip of the button that began what is going on; None when nothing is."""
    stoppable = panel.state == "installing" and panel.stoppable
    return {
        "running": (
            _("Cancel"),
            True,
            {"train": _("Stop the training; no model is made.")}.get(
                panel.task, _("Stop; the scene stays as it is.")
            ),
        ),
        "cancelling": (
            _("Cancelling..."),
            False,
            _("It is being stopped, which takes two seconds at most."),
        ),
        "installing": (
            (_("Cancel"), True, _("Stop the download; nothing is installed."))
            if stoppable
            else (
                _("Installing..."),
                False,
                _("Python packages are being installed; this takes minutes."),
            )
        ),
    }.get(panel.state)
