"""What the panel's model list and its section Models show."""

import re
from dataclasses import replace

import pytest

from MedLLMSegLib.registry.catalogue import plain_id
from MedLLMSegLib.slicer_bridge.presenter.models_view import matching, model_details
from MedLLMSegLib.slicer_bridge.presenter.panel_state import Panel
from MedLLMSegLib.slicer_bridge.presenter.view import view
from Testing.helpers.panel_states import READY, TRAINABLE, model_choice, widget_properties


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
        model_choice("a"),
        model_choice(
            "b", title="Spleen", modality="CT", structures=("spleen",), licence="Apache-2.0"
        ),
    )
    assert [m.entry.id for m in matching(models, search)] == found
    assert [row[0] for row in view(replace(READY, models=models, search=search)).models] == found


def test_a_model_is_described_before_it_is_used():
    text = model_details(model_choice(accuracy="<0.9 & measured>"))
    for part in (
        "MR T1",
        "anterior, posterior",
        "&lt;0.9 &amp; measured&gt;",
        "CC-BY-SA-4.0",
        "12 MB",
        "fits: needs about 1.2 GB",
    ):
        assert part in text
    assert "may not fit" in model_details(model_choice(fits=False))
    assert (
        view(replace(READY, models=(model_choice(fits=False),)))
        .models[0][1]
        .endswith("(too large)")
    )


def test_only_the_users_own_models_can_be_deleted():
    assert not widget_properties(READY, "deleteModelButton").enabled
    own = replace(READY, own=frozenset({"hippocampus-t1"}))
    assert widget_properties(own, "deleteModelButton").enabled
    assert not widget_properties(replace(own, state="running"), "deleteModelButton").enabled
    assert not widget_properties(Panel(), "verifyModelButton").enabled
    assert widget_properties(Panel(), "importModelButton").enabled


def test_names_of_models():
    assert plain_id("  My Spleen (CT)! ") == "my-spleen-ct"
    assert plain_id("...") == ""
    assert len(plain_id("a" * 99)) == 60


def test_a_name_in_another_script_is_a_name():
    def named(name, **more):
        return widget_properties(replace(TRAINABLE, train_name=name, **more), "trainButton")

    ids = {plain_id(name) for name in ("肝臓モデル", "心臓モデル", "Печень", "كبد")}
    assert len(ids) == 4
    assert all(re.fullmatch("model-[0-9a-f]{6}", each) for each in ids)
    assert plain_id("が ") == plain_id("か\u3099")  # one letter, composed or not
    for one, other, readable in (
        ("肝臓 CT", "心臓 CT", "ct"),
        ("Печень 1", "Почка 1", "1"),
        ("Lésion", "Lesion", "lesion"),
    ):
        assert plain_id(one) != plain_id(other)
        assert re.fullmatch(f"{readable}-[0-9a-f]{{6}}", plain_id(one))
        assert named(other, models=(*READY.models, model_choice(plain_id(one)))).enabled
    assert plain_id("肝臓 CT") == plain_id(" 肝臓 ct")
    assert plain_id("CT – 2") == "ct-2"
    assert named("肝臓モデル").enabled
    assert not named(" 。 ").enabled
    taken = (*READY.models, model_choice(plain_id("肝臓モデル")))
    assert "already" in named("肝臓モデル", models=taken).toolTip
    assert named("心臓モデル", models=taken).enabled
