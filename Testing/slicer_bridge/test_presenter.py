"""The panel's behaviour without Qt: what it shows in each state."""

import html
import re
import types
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from MedLLMSegLib.registry.catalogue import ModelEntry, plain_id
from MedLLMSegLib.registry.memory_estimate import ModelChoice
from MedLLMSegLib.slicer_bridge.presenter.models_view import matching, model_details
from MedLLMSegLib.slicer_bridge.presenter.panel_state import Panel
from MedLLMSegLib.slicer_bridge.presenter.panel_texts import (
    MARK_COLOURS,
    breakable,
    stage_name,
    time_left,
    with_mark,
)
from MedLLMSegLib.slicer_bridge.presenter.segment_view import row_texts, table_text, with_job
from MedLLMSegLib.slicer_bridge.presenter.train_view import history_text, with_training
from MedLLMSegLib.slicer_bridge.presenter.view import view

UI = ElementTree.parse(
    Path(__file__).resolve().parents[2] / "MedLLMSeg/Resources/UI/MedLLMSeg.ui"
).getroot()
BUSY = ("installing", "running", "cancelling")
STATES = ("idle", "needs_licence", "needs_packages", "failed", *BUSY)
ROWS = (("Left", 1.5321, 0.9134), ("Right", 0.05, float("nan")))


def choice(name="hippocampus-t1", fits=True, title="Hippocampus in T1 MRI", **more):
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


READY = Panel(models=(choice(),), model="hippocampus-t1", input="MRHead", scans=1)


def job(state, **more):
    about = dict(
        kind="segment",
        message="",
        stage="",
        fraction=0.0,
        secondsLeft=None,
        rows=(),
        notes=(),
        segmentationNode=None,
        needsScene=True,
        kept="",
    )
    return types.SimpleNamespace(**{**about, "state": state, **more})


def looks(panel, name):
    return types.SimpleNamespace(
        **{"visible": True, "enabled": True, "text": "", "toolTip": "", **view(panel).widgets[name]}
    )


def said(panel, name="statusLabel"):
    """A label's text without its tags."""
    return html.unescape(re.sub("<[^>]*>", "", looks(panel, name).text)).removeprefix("● ")


# everywhere


@pytest.mark.parametrize("task", ["segment", "train"])
@pytest.mark.parametrize("state", STATES)
def test_every_disabled_button_says_what_is_missing(state, task):
    for panel in (
        Panel(state=state, task=task),
        replace(READY, state=state, task=task, packages=("monai (2 MB)",)),
    ):
        for name, properties in view(panel).widgets.items():
            if name.endswith("Button"):
                assert properties.get("toolTip") or properties.get("enabled", True), (name, state)


def test_every_widget_that_is_described_is_in_the_ui_file():
    assert set(view(READY).widgets) <= {widget.get("name") for widget in UI.iter("widget")}


def test_no_selector_of_nodes_chooses_by_itself():
    """One without None takes whatever is left when its node is deleted: a map of uncertainty,
    for example.
    """
    selectors = [w for w in UI.iter("widget") if w.get("class") == "qMRMLNodeComboBox"]
    assert len(selectors) >= 6
    for widget in selectors:
        values = {p.get("name"): "".join(p.itertext()).strip() for p in widget.iter("property")}
        assert values["noneEnabled"] == "true" and values["addEnabled"] == "false", widget.get(
            "name"
        )


@pytest.mark.parametrize("state", STATES)
def test_the_same_properties_are_set_in_every_state(state):
    """Else what one state showed would stay in the next."""
    first = {name: set(properties) for name, properties in view(READY).widgets.items()}
    for task in ("segment", "train"):
        panel = replace(READY, state=state, task=task)
        assert {name: set(properties) for name, properties in view(panel).widgets.items()} == first


# before a run


def test_with_a_scan_and_a_model_it_can_begin():
    button = looks(READY, "segmentButton")
    assert (button.text, button.enabled) == (
        "Segment",
        True,
    ) and button.toolTip == "Outline anterior, posterior in MRHead."


@pytest.mark.parametrize(
    "missing, says",
    [
        (dict(input=None, scans=0), "Load a scan, or the sample head"),
        (dict(input=None), "Choose a scan"),
        (dict(model="gone"), "Choose a model"),
        (dict(models=()), "import one in the section Models"),
        (dict(state="running", task="train"), "being trained"),
        (dict(state="installing", task="train"), "being installed"),
    ],
)
def test_what_is_missing_is_said(missing, says):
    button = looks(replace(READY, **missing), "segmentButton")
    assert not button.enabled and says in button.toolTip and button.text == "Segment"


def test_an_empty_scene_offers_the_sample_until_there_is_a_scan():
    assert looks(Panel(), "sampleButton").visible and not looks(READY, "sampleButton").visible
    loading = looks(replace(READY, loading_sample=True), "sampleButton")
    assert loading.visible and not loading.enabled and loading.text.startswith("Loading")


@pytest.mark.parametrize(
    "search, found",
    [
        ("", ["a", "b"]),
        ("ct", ["b"]),
        ("spleen CT", ["b"]),
        ("MR apache", []),
        ("cc-by", ["a"]),
        ("posterior", ["a"]),
        ("x", []),
    ],
)
def test_search_looks_for_every_word(search, found):
    models = (
        choice("a"),
        choice("b", title="Spleen", modality="CT", structures=("spleen",), licence="Apache-2.0"),
    )
    assert [m.entry.id for m in matching(models, search)] == found
    assert [row[0] for row in view(replace(READY, models=models, search=search)).models] == found


def test_a_model_is_described_before_it_is_used():
    text = model_details(choice(accuracy="<0.9 & measured>"))
    for part in (
        "MR T1",
        "anterior, posterior",
        "&lt;0.9 &amp; measured&gt;",
        "CC-BY-SA-4.0",
        "12 MB",
        "fits: needs about 1.2 GB",
    ):
        assert part in text
    assert "may not fit" in model_details(choice(fits=False))
    assert view(replace(READY, models=(choice(fits=False),))).models[0][1].endswith("(too large)")


# while it runs


def test_progress_has_stage_percent_and_time():
    panel = replace(READY, state="running", stage="segment left", fraction=0.431, seconds_left=12.4)
    bar = view(panel).widgets["progressBar"]
    assert bar == {"visible": True, "maximum": 100, "value": 43}
    assert said(panel) == "Outlining, left side, about 12 s left"
    button = looks(panel, "segmentButton")
    assert (button.text, button.enabled) == ("Cancel", True)


def test_cancelling_can_only_be_waited_for():
    button = looks(replace(READY, state="cancelling"), "segmentButton")
    assert (button.text, button.enabled) == ("Cancelling...", False)


@pytest.mark.parametrize(
    "seconds, text",
    [
        (None, ""),
        (float("nan"), ""),
        (float("inf"), ""),
        (-1, ""),
        (0, "about 1 s left"),
        (12.4, "about 12 s left"),
        (99, "about 99 s left"),
        (150, "about 2 min left"),
        (3000, "about 50 min left"),
        (9000, "about 2.5 h left"),
    ],
)
def test_time_left(seconds, text):
    assert time_left(seconds) == text


@pytest.mark.parametrize(
    "stage, text",
    [
        ("start", "Starting Python"),
        ("segment", "Outlining"),
        ("segment right", "Outlining, right side"),
        ("segment on the CPU", "Outlining, on the CPU"),
        ("2 of 9: segment left", "2 of 9: outlining, left side"),
        ("3 of 9: load", "3 of 9: loading the model"),
        ("Collecting scan 1 of 3", "Collecting scan 1 of 3"),
        ("step 80 of 400", "Step 80 of 400"),
        ("", ""),
    ],
)
def test_stages_in_words(stage, text):
    assert stage_name(stage) == text


def test_every_stage_of_the_worker_has_words():
    from MedLLMSegLib.slicer_bridge.presenter.panel_texts import STAGES
    from MedLLMSegLib.worker import protocol

    said = re.search(r"Stages\s+of\s+segment: (.*?)\.\s+Of\s+train", protocol.__doc__, re.DOTALL)[1]
    assert set(re.findall(r"\b[a-z]+\b", re.sub(r"\(.*?\)", "", said))) <= set(STAGES)


# how it ends


def test_a_finished_run_is_told_with_its_notes():
    node = types.SimpleNamespace(GetName=lambda: "MRHead segmentation")
    notes = ("The right hippocampus was not found.",)
    panel = with_job(
        replace(READY, state="running", fraction=0.9, seconds_left=1, result="MRHead segmentation"),
        job("done", rows=ROWS, notes=notes, segmentationNode=node),
        seconds=14.23,
    )
    assert (
        said(panel)
        == "MRHead segmentation: 2 structures in 14.2 s. The right hippocampus was not found."
    )
    assert (
        MARK_COLOURS["done"] in looks(panel, "statusLabel").text
        and not looks(panel, "progressBar").visible
    )
    assert view(panel).rows == (("Left", "1.53", "0.91"), ("Right", "0.05", "–"))
    assert looks(panel, "resultWidget").visible and looks(panel, "resultTable").visible


def test_a_failed_run_leaves_what_was_there_and_the_next_can_begin():
    panel = with_job(
        replace(READY, state="running", rows=ROWS), job("failed", message="The scan is flat.")
    )
    assert panel.state == "failed" and said(panel) == "The scan is flat." and panel.rows == ROWS
    assert (
        MARK_COLOURS["failed"] in looks(panel, "statusLabel").text
        and looks(panel, "segmentButton").enabled
    )
    assert said(with_job(READY, job("failed")))


def test_a_cancelled_run_says_that_nothing_changed():
    assert "scene is as it was" in said(
        with_job(replace(READY, state="cancelling"), job("cancelled"))
    )
    assert (
        said(with_job(READY, job("cancelled", message="The scan was removed.")))
        == "The scan was removed."
    )


def test_messages_are_no_markup():
    assert "&lt;b&gt;" in with_mark('"<b>" & more', "failed") and with_mark("", "failed") == ""


def test_long_words_may_be_broken_into_lines_and_short_ones_are_left():
    name = "sub_0042_ses_02_acq_highres_run_01_desc_defaced_n4corrected_T1w"
    text = looks(replace(READY, message=f"{name} has 3 time_points."), "statusLabel").text
    parts = re.search(r"sub\S+", text)[0].split("\u200b")
    assert "".join(parts) == name and max(map(len, parts)) < 30 and "time_points" in text
    assert max(map(len, breakable("x" * 90).split("\u200b"))) < 30
    assert (
        breakable("The model is ready, and chosen above.")
        == "The model is ready, and chosen above."
    )


def test_rows_and_the_table_for_a_spreadsheet():
    assert row_texts("Left", 0.004, None) == ("Left", "0.00", "–")
    assert (
        table_text(ROWS)
        == "Structure\tVolume (mL)\tMean confidence\nLeft\t1.53\t0.91\nRight\t0.05\t–\n"
    )


def test_restore_is_there_when_something_was_overwritten():
    assert not looks(replace(READY, result="x"), "restoreButton").enabled
    assert looks(replace(READY, result="x", can_restore=True), "restoreButton").enabled
    busy = looks(replace(READY, result="x", can_restore=True, state="running"), "restoreButton")
    assert not busy.enabled and "Wait" in busy.toolTip


def test_a_result_without_a_table_still_has_its_buttons():
    panel = replace(READY, result="from a saved scene")
    assert looks(panel, "resultWidget").visible and not looks(panel, "resultTable").visible
    assert (
        not looks(panel, "copyTableButton").enabled and not looks(Panel(), "resultWidget").visible
    )


def test_the_overlay_says_when_a_run_is_needed():
    assert (
        "once more" in looks(replace(READY, rows=ROWS, mapped=False), "uncertaintyCheckBox").toolTip
    )
    assert (
        "once more"
        not in looks(replace(READY, rows=ROWS, mapped=True), "uncertaintyCheckBox").toolTip
    )


# packages


@pytest.mark.parametrize(
    "task, button, other, status",
    [
        ("segment", "segmentButton", "trainButton", "statusLabel"),
        ("train", "trainButton", "segmentButton", "trainStatusLabel"),
    ],
)
def test_consent_comes_before_an_installation(task, button, other, status):
    panel = replace(
        READY,
        task=task,
        state="needs_packages",
        packages=("PyTorch (200 MB)", "monai (2 MB)"),
        pairs=(("a", "b"), ("c", "d")),
        train_name="mine",
    )
    assert (
        "– PyTorch (200 MB)<br>– monai (2 MB)<br>" in looks(panel, status).text
        and MARK_COLOURS["ask"] in looks(panel, status).text
    )
    assert looks(panel, button).text.startswith("Install and ") and not looks(
        panel, other
    ).text.startswith("Install")
    shown = [looks(panel, name).visible for name in ("notNowButton", "trainNotNowButton")]
    assert shown == [task == "segment", task == "train"]
    installing = replace(panel, state="installing")
    assert (
        looks(installing, button).text == "Installing..." and not looks(installing, button).enabled
    )
    bar = "progressBar" if task == "segment" else "trainProgressBar"
    assert (
        view(installing).widgets[bar]["maximum"] == 0 and view(READY).widgets[bar]["maximum"] == 100
    )


# models


def test_only_the_users_own_models_can_be_deleted():
    assert not looks(READY, "deleteModelButton").enabled
    own = replace(READY, own=frozenset({"hippocampus-t1"}))
    assert (
        looks(own, "deleteModelButton").enabled
        and not looks(replace(own, state="running"), "deleteModelButton").enabled
    )
    assert (
        not looks(Panel(), "verifyModelButton").enabled
        and looks(Panel(), "importModelButton").enabled
    )


# training

TRAINABLE = replace(READY, pairs=(("a", "b"), ("c", "d")), train_name="My spleen")


@pytest.mark.parametrize(
    "missing, says",
    [
        (dict(pairs=(("a", "b"),)), "at least 2 pairs"),
        (dict(train_name=" . "), "name"),
        (dict(train_name="Hippocampus T1"), "already"),
        (dict(state="running"), "being segmented"),
    ],
)
def test_what_a_training_needs(missing, says):
    button = looks(replace(TRAINABLE, **missing), "trainButton")
    assert not button.enabled and says in button.toolTip
    assert looks(TRAINABLE, "trainButton").enabled


def test_a_training_as_it_goes():
    history = (
        {"step": 40, "loss": 0.52341},
        {"step": 40, "val_dice": 0.81},
        {"step": 80, "loss": 0.31},
        {"step": 80, "val_dice": 0.79},
    )
    panel = replace(
        TRAINABLE,
        state="running",
        task="train",
        pair_chosen=True,
        stage="step 80 of 400, 2:10 left, loss 0.310",
        fraction=0.2,
        seconds_left=130,
        history=history,
    )
    text = "Step 80 of 400, about 2 min left, loss 0.310, validation Dice 0.790, best 0.810"
    assert said(panel, "trainStatusLabel") == text and said(panel) == ""
    assert (
        looks(panel, "trainButton").text == "Cancel" and not looks(panel, "addPairButton").enabled
    )
    assert looks(panel, "curveButton").enabled and not looks(TRAINABLE, "curveButton").enabled
    assert (
        view(panel).widgets["trainProgressBar"]["value"] == 20
        and not looks(panel, "progressBar").visible
    )
    done = with_training(panel, job("done"))
    assert "is ready" in said(done, "trainStatusLabel") and "best 0.810" in said(
        done, "trainStatusLabel"
    )
    failed = with_training(panel, job("failed", message="The pairs differ."))
    assert (
        said(failed, "trainStatusLabel").startswith("The pairs differ")
        and MARK_COLOURS["failed"] in looks(failed, "trainStatusLabel").text
    )
    assert "no model was made" in said(
        with_training(replace(panel, history=()), job("cancelled")), "trainStatusLabel"
    )
    later = said(
        with_training(replace(panel, history=()), job("cancelled", kept="/c/trainings/x")),
        "trainStatusLabel",
    )
    assert (
        "no model was made" in later
        and "goes on from where it was last saved" in later
        and "goes on" not in said(with_training(panel, job("cancelled")), "trainStatusLabel")
    )
    assert 'copies of the scans are kept in "/c/trainings/x"' in later
    dead = said(
        with_training(panel, job("failed", message="The worker stopped.", kept="/c/trainings/x")),
        "trainStatusLabel",
    )
    assert dead.startswith("The worker stopped. With the same") and '"/c/trainings/x"' in dead
    assert history_text(()) == ""


def test_what_is_kept_of_trainings_can_be_discarded_when_nothing_runs():
    kept = replace(TRAINABLE, unfinished=("x", "y"))
    assert looks(kept, "discardButton").visible and "x, y" in looks(kept, "discardButton").toolTip
    for panel in (
        TRAINABLE,
        *(replace(kept, task="train", state=state) for state in (*BUSY, "needs_licence")),
    ):
        assert not looks(panel, "discardButton").visible


def test_a_training_can_start_from_every_model_or_nothing():
    assert [row[0] for row in view(READY).starts] == ["hippocampus-t1", None]


def test_names_of_models():
    assert (
        plain_id("  My Spleen (CT)! ") == "my-spleen-ct"
        and plain_id("...") == ""
        and len(plain_id("a" * 99)) == 60
    )


def test_a_name_in_another_script_is_a_name():
    named = lambda name, **more: looks(replace(TRAINABLE, train_name=name, **more), "trainButton")
    ids = {plain_id(name) for name in ("肝臓モデル", "心臓モデル", "Печень", "كبد")}
    assert len(ids) == 4 and all(re.fullmatch("model-[0-9a-f]{6}", each) for each in ids)
    assert plain_id("が ") == plain_id("か\u3099")  # one letter, composed or not
    for one, other, readable in (
        ("肝臓 CT", "心臓 CT", "ct"),
        ("Печень 1", "Почка 1", "1"),
        ("Lésion", "Lesion", "lesion"),
    ):
        assert plain_id(one) != plain_id(other) and re.fullmatch(
            f"{readable}-[0-9a-f]{{6}}", plain_id(one)
        )
        assert named(other, models=(*READY.models, choice(plain_id(one)))).enabled
    assert plain_id("肝臓 CT") == plain_id(" 肝臓 ct") and plain_id("CT – 2") == "ct-2"
    assert named("肝臓モデル").enabled and not named(" 。 ").enabled
    taken = (*READY.models, choice(plain_id("肝臓モデル")))
    assert (
        "already" in named("肝臓モデル", models=taken).toolTip
        and named("心臓モデル", models=taken).enabled
    )
