"""What the tests of presenter share."""

import html
import re
import types
from dataclasses import replace
from pathlib import Path

from MedLLMSegLib.registry.catalogue import ModelEntry
from MedLLMSegLib.registry.memory_estimate import ModelChoice
from MedLLMSegLib.slicer_bridge.presenter.panel_state import Panel
from MedLLMSegLib.slicer_bridge.presenter.view import view

BUSY = ("installing", "running", "cancelling")


def model_choice(name="hippocampus-t1", fits=True, title="Hippocampus in T1 MRI", **more):
    about = dict(
        modality="MR T1",
        structures=("anterior", "posterior"),
        licence="CC-BY-SA-4.0",
        accuracy="Dice 0.876",
    )
    about.update(more)
    entry = ModelEntry(
        name, title, "segmenter", sha256="0", folder=Path("nowhere"), size_mb=11.9, **about
    )
    return ModelChoice(entry, fits, "needs about 1.2 GB of memory")


READY = Panel(models=(model_choice(),), model="hippocampus-t1", input="MRHead", scans=1)


def ended_job(state, **more):
    about = dict(
        kind="segment",
        message="",
        stage="",
        fraction=0.0,
        secondsLeft=None,
        rows=(),
        volumetry=None,
        quality=None,
        heart=None,
        planned=0,
        scans=(),
        notes=(),
        segmentationNode=None,
        needsScene=True,
        kept="",
        sentences=(),
        drawnBy="",
        inserted=(),
        structure="",
    )
    return types.SimpleNamespace(**{**about, "state": state, **more})


def widget_properties(panel, name):
    return types.SimpleNamespace(
        **{"visible": True, "enabled": True, "text": "", "toolTip": "", **view(panel).widgets[name]}
    )


def shown_text(panel, name="statusLabel"):
    """A label's text without its tags."""
    return html.unescape(re.sub("<[^>]*>", "", widget_properties(panel, name).text)).removeprefix(
        "● "
    )


TRAINABLE = replace(READY, pairs=(("a", "b"), ("c", "d")), train_name="My spleen")
