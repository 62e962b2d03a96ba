"""What the panel says of a heart's function."""

import types
from dataclasses import replace

import pytest

from MedLLMSegLib.metrics.heart_function import heart_function
from MedLLMSegLib.slicer_bridge.presenter.panel_state import without_scene
from MedLLMSegLib.slicer_bridge.presenter.person_view import person_options
from MedLLMSegLib.slicer_bridge.presenter.segment_view import with_job
from Testing.helpers.panel_states import (
    READY,
    ended_job,
    model_choice,
    shown_text,
    widget_properties,
)

VOLUMES = {"left_ventricle": [100, 41], "myocardium": [90, 90]}


@pytest.mark.parametrize(
    ("right", "said"), [([80, 40], "right ventricle 50 %"), ([80, 0], "right ventricle not avail")]
)
def test_a_finished_cine_names_both_ejection_fractions(right, said):
    function = heart_function({**VOLUMES, "right_ventricle": right})
    job = ended_job(
        "done",
        heart=function,
        heartNode=types.SimpleNamespace(GetName=lambda: "cine heart function"),
        segmentationNode=types.SimpleNamespace(GetName=lambda: "cine segmentation"),
    )
    text = shown_text(with_job(replace(READY, state="running"), job, seconds=9.0))
    assert "left ventricle 59 %" in text
    assert said in text
    assert 'in the table "cine heart function"' in text


def heart_panel(**fields):
    heart = model_choice(
        "cardiac-cine-mr", structures=("right ventricle", "wall", "left ventricle")
    )
    return replace(READY, models=(*READY.models, heart), model="cardiac-cine-mr", **fields)


PERSON = ("heightLabel", "heightSpinBox", "weightSpinBox")


def test_height_and_weight_are_asked_for_beside_a_model_of_the_heart_alone():
    for panel, wanted in (
        (READY, False),
        (heart_panel(), True),
        (heart_panel(all_scans=True, scans=2), False),  # of several persons, perhaps
        (replace(heart_panel(), model="nothing"), False),
    ):
        shown = [widget_properties(panel, name).visible for name in PERSON]
        assert shown == [wanted] * 3


def test_height_and_weight_reach_the_logic_where_they_are_known_and_asked_for():
    known = {"height_cm": 178, "weight_kg": 81}
    assert person_options(heart_panel(**known)) == {"heightCm": 178, "weightKg": 81}
    assert person_options(heart_panel()) == {}
    assert person_options(replace(READY, **known)) == {}
    assert person_options(heart_panel(all_scans=True, scans=2, **known)) == {}


@pytest.mark.parametrize(
    ("known", "words"),
    [
        ({"height_cm": 178}, "needed together"),
        ({"weight_kg": 81}, "needed together"),
        ({"height_cm": 2, "weight_kg": 81}, "in cm"),
    ],
)
def test_half_a_person_or_an_impossible_one_is_refused_before_the_work(known, words):
    button = widget_properties(heart_panel(**known), "segmentButton")
    assert not button.enabled
    assert words in button.toolTip
    assert widget_properties(heart_panel(height_cm=178, weight_kg=81), "segmentButton").enabled
    assert widget_properties(replace(READY, **known), "segmentButton").enabled


def test_a_closed_scene_takes_its_person_along():
    left = without_scene(heart_panel(height_cm=178, weight_kg=81))
    assert (left.height_cm, left.weight_kg) == (0, 0)
