"""What the panel says of a heart's function."""

import types
from dataclasses import replace

import pytest

from MedLLMSegLib.metrics.heart_function import heart_function
from MedLLMSegLib.slicer_bridge.presenter.segment_view import with_job
from Testing.helpers.panel_states import READY, ended_job, shown_text

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
