"""What the page says of the X-rays besides the arms: counted from the table, and the bundle that
ships chosen by val.
"""

import json
from dataclasses import replace

import pytest

from MedLLMSegLib.data.image_table import ImageCase
from MedLLMSegLib.diagnosis.loaded_classifier import load_classifier
from MedLLMSegLib.registry.cards import BUNDLES
from MedLLMSegLib.registry.classifier_config import PreparationConfig
from MedLLMSegLib.studies.diagnosis.arms import CONTROLS, MAIN
from MedLLMSegLib.studies.diagnosis.page import xray_page as cxr_page
from MedLLMSegLib.studies.diagnosis.page.study_page import page
from MedLLMSegLib.studies.diagnosis.page.xray_page import SHIPPED, summarise_cxr
from MedLLMSegLib.studies.diagnosis.study_runs import Arm
from MedLLMSegLib.studies.study.runs import Run
from Testing.studies.test_diagnosis_study import SIZE, study_of

LABELS = {
    0: ("No Finding",),
    1: ("Pneumonia", "Infiltration|Pneumonia", "Edema|Infiltration|Pneumonia"),
}


def case(name, target, group, n):
    """Of train the positives are PA and the others AP; of test every third is the other way
    round.
    """
    swapped = name == "test" and n % 3 == 0
    return ImageCase(
        f"{name}-{n}",
        None,
        target,
        group,
        {
            "view": "PA" if (target == 1) != swapped else "AP",
            "age": str(10 + 4 * n),
            "sex": "FM"[n % 2],
            "lung_mask": "",
            "nih_labels": LABELS[target][n // 2 % len(LABELS[target])],
        },
    )


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """As the ablation's, tiny: the main arm, its controls and the arm that ships, two seeds."""
    one = study_of(tmp_path_factory.mktemp("cxr"), rates=(1e-3,))
    main = one.arms["main"]
    one.arms = {
        MAIN: main,
        **{name: replace(one.arms["linear"], title=name) for name in CONTROLS},
        SHIPPED: Arm("one layer", main.config),
    }
    one.settings["key"] = {**PreparationConfig(size=SIZE).to_dict()}
    one.study.run()
    return one


@pytest.fixture(scope="module")
def cases(study):
    return {
        name: [
            case(name, int(t), g, n)
            for n, (t, g) in enumerate(zip(part.target, part.groups, strict=True))
        ]
        for name, part in study.splits.items()
    }


@pytest.fixture(scope="module")
def text(study, cases, tmp_path_factory):
    docs = tmp_path_factory.mktemp("docs")
    (docs / "images").mkdir()
    summarise_cxr(study, cases, docs)
    return page(study.results)


def test_the_view_shortcut_and_other_labels_are_counted_from_the_table(text):
    test, every = 20 - 7, 48 - 7  # 0, 3, ... 18 of the 20 test cases have the other view
    assert (
        f"is right in {100 * test / 20:.1f} % of the 20 test images and {100 * every / 48:.1f} % of"
        " all 48" in text
    )
    assert (
        "15 of the 24 pneumonia images carry other labels too (infiltration 15, edema 7), and none"
        " of the 24 others has any" in text
    )
    assert "Images: 16 train, 12 val, 20 test; patients: 8 train, 6 val, 10 test" in text


def test_subgroups_and_what_features_tell_stand_there(text):
    assert all(f"| {row} |" in text for row in ("view AP", "view PA", "sex F", "age 0-19"))
    assert "What the features of the last layer tell (32 val and test images" in text
    assert "images/diagnosis-tsne-pneumollm.png" in text
    assert "nan to" not in text


def test_the_bundle_is_the_shipped_arms_best_seed_on_val_with_its_limits(study, text):
    runs = {seed: study.results.runs[Run(SHIPPED, seed).name]["val_auc"] for seed in study.seeds}
    metadata = json.loads(
        (study.output / "bundle/configs/metadata.json").read_text(encoding="utf-8")
    )
    assert metadata["chosen"]["seed"] == max(runs, key=runs.get)
    assert metadata["id"] == "cxr-pneumonia"
    assert not load_classifier(study.output / "bundle", "cpu").input.lungs  # no case names a mask
    card = " ".join((study.output / "bundle/docs/README.md").read_text(encoding="utf-8").split())
    assert "no detector of pneumoconiosis" in card
    assert "the best of 2 seeds" in card
    # what can be counted is printed from the metadata
    assert "622" not in card
    assert "256 pixels" not in card
    shipped = json.loads(
        (BUNDLES / "cxr-pneumonia/configs/metadata.json").read_text(encoding="utf-8")
    )
    assert shipped["limits"] == cxr_page.ABOUT.limits
    assert f"`{SHIPPED}`" in text
    assert "pneumoconiosis" not in cxr_page.ABOUT.title + cxr_page.ABOUT.data
