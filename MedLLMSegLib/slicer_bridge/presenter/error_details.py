"""What **Copy details** copies of an error: versions, what computed, and the error without patient
data.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version

from MedLLMSegLib.core.version import __version__

from .panel_state import Failure, Panel
from .private_text import without_private_data
from .translation import _

PACKAGES = ("torch", "monai", "numpy", "SimpleITK")
SHA_DIGITS = 12  # of a sha256: enough to tell one from another

Fact = tuple[str, str]  # a label, and what there is


def failure_of(sentence: str, details: str, task: str, private: Iterable[str]) -> Failure:
    """What is kept of an error. details: its traceback, or what the worker said of it.

    private: what the scene and the computer hold now, as for `without_private_data`.
    """
    private = tuple(private)
    clean = [without_private_data(text, private) for text in (sentence, details) if text.strip()]
    return Failure(task, sentence, "\n".join(clean))


def details_text(panel: Panel, slicer_version: str, device: str) -> str:
    """The text for the clipboard, one line a fact and then the error. English, for its readers."""
    facts = [
        ("MedLLMSeg", __version__),
        ("Slicer", slicer_version),
        ("Python", platform.python_version()),
        *((name, _package_version(name)) for name in PACKAGES),
        ("system", platform.platform()),
        ("device", device),
    ]
    if panel.failure is None:
        return _lines(facts)
    facts += [("model", _model_text(panel)), ("task", panel.failure.task)]
    return f"{_lines(facts)}\n{panel.failure.clean_text}\n"


def _lines(facts: Sequence[Fact]) -> str:
    width = max(len(label) for label, _text in facts) + 2
    return "".join(f"{label:<{width}}{text}\n" for label, text in facts)


def _model_text(panel: Panel) -> str:
    """The model of the failed task. A model of the user's own is not named, as nobody knows after
    whom it is called.
    """
    is_diagnosis = panel.failure is not None and panel.failure.task == "diagnose"
    entry = panel.chosen_classifier if is_diagnosis else panel.chosen
    if entry is None:
        return "none"
    name = "one of the user's own" if entry.id in panel.own else entry.id
    return f"{name}, sha256 {entry.sha256[:SHA_DIGITS]}"


def _package_version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def copy_details_button(panel: Panel, shown: str) -> dict:
    """Qt properties of a section's button Copy details. shown: the section's message."""
    failure = panel.failure
    return {
        "visible": failure is not None and bool(failure.sentence) and failure.sentence in shown,
        "toolTip": _("Copy the error with versions and no patient data, for a bug report."),
    }
