"""The study of U-Nets at toy size: arms trained alike, a page, and where the gates open."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from MedLLMSegLib import UserError, save_volume
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.networks.segmentation import dynunet
from MedLLMSegLib.studies import unets
from MedLLMSegLib.studies.study.results import StudyResults
from MedLLMSegLib.studies.unets_page import ARMS, PAGE, comparisons, write_page

pytest.importorskip("monai")
pytestmark = pytest.mark.slow  # MONAI's import takes seconds
DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Four bright boxes in noise; one to train on, one to choose by, two to test on."""
    folder, rng = tmp_path_factory.mktemp("boxes"), np.random.default_rng(0)
    for name in "abcd":
        labels = np.zeros((8, 16, 16), np.uint8)
        labels[2:6, 4:12, 4:12] = 1
        image = (100 * labels + 10 * rng.normal(size=labels.shape)).astype(np.float32)
        save_volume(Volume(image, np.eye(4)), folder / f"imagesTr/{name}.nii.gz")
        save_volume(Volume(labels, np.eye(4)), folder / f"labelsTr/{name}.nii.gz")
    splits = {"train": ["a"], "val": ["b"], "test": ["c", "d"]}
    (folder / "splits.json").write_text(json.dumps(splits))
    (folder / "dataset.json").write_text(json.dumps({"labels": {"0": "background", "1": "box"}}))
    return folder


@pytest.fixture(autouse=True)
def small_filters(monkeypatch):
    monkeypatch.setattr(dynunet, "_BASE_FILTERS", 4)


def toy_plan(data, output):
    return unets.plan(data, output, window=(8, 16, 16), steps=2, batch=1, precision="fp32")


def test_the_arms_are_trained_tested_and_shown(data, tmp_path):
    study = toy_plan(data, tmp_path / "runs").study(StudyResults(tmp_path / "r.json", "boxes"))
    assert [run.arm for run in study.runs] == list(ARMS)
    study.run("gates,dynunet,no-gates")
    assert study.run("gates,dynunet,no-gates") == []  # nothing is done twice
    result = study.results.runs["gates-0"]
    assert set(result["test"]) == {"c", "d"}
    assert result["parameters"] > study.results.runs["no-gates-0"]["parameters"]
    folder = tmp_path / "runs" / data.name
    page = write_page(study.results.path, tmp_path, folder).read_text(encoding="utf-8")
    assert page.count("not run") >= 2 * 2  # both transformers
    assert "against DynUNet" in page
    assert f"images/gates-{data.name}.png" not in page  # the section has another name
    assert (tmp_path / "images" / f"gates-{data.name}.png").stat().st_size > 0


def test_the_page_in_docs_is_made_from_the_stored_results(tmp_path):
    shutil.copytree(DOCS / "images", tmp_path / "images", ignore=lambda _, names: others(names))
    page = write_page(DOCS / unets.RESULTS, tmp_path, tmp_path / "no runs")
    assert page.read_text(encoding="utf-8") == (DOCS / PAGE).read_text(encoding="utf-8")


def others(names):
    """The pictures of other pages."""
    return [name for name in names if not name.startswith("gates-")]


def results_of(*dice_of_gates):
    """Five people; DynUNet has 0.9 with each of them."""
    cases = [f"case{n}" for n in range(len(dice_of_gates))]
    test = {
        arm: {case: {"dice": [d], "hd95_mm": [1.0]} for case, d in zip(cases, dice, strict=True)}
        for arm, dice in {"gates": dice_of_gates, "dynunet": [0.9] * len(cases)}.items()
    }
    return {
        "settings": {
            "seeds": [0],
            "structures": ["box"],
            "window": [8, 8, 8],
            "spacing_mm": [1, 1, 1],
            "steps": 2,
            "batch": 1,
            "lr": 1e-3,
            "precision": "fp32",
            "groups": {case: case for case in cases},
            "cases": {"train": ["x"], "val": ["y"], "test": cases},
        },
        "runs": {
            f"{arm}-0": {"test": test[arm], "parameters": 9, "training_seconds": 60.0}
            for arm in test
        },
    }


@pytest.mark.parametrize(
    "dice, words",
    [
        ((0.901, 0.899, 0.902, 0.898, 0.9), "Dice, within 0.01"),
        ((0.95, 0.85, 0.97, 0.82, 0.9), "Dice, not shown to be within 0.01"),
    ],
)
def test_the_page_says_whether_the_gates_are_as_good(tmp_path, dice, words):
    study = results_of(*dice)
    assert comparisons(study)["dynunet"].difference == pytest.approx(np.mean(dice) - 0.9)
    (tmp_path / "r.json").write_text(json.dumps({"boxes": study}))
    page = write_page(tmp_path / "r.json", tmp_path, tmp_path).read_text(encoding="utf-8")
    assert words in page


def test_data_without_test_cases_are_refused(data, tmp_path):
    (tmp_path / "imagesTr").symlink_to(data / "imagesTr")
    (tmp_path / "labelsTr").symlink_to(data / "labelsTr")
    with pytest.raises(UserError, match="states no cases to train, choose and test on"):
        toy_plan(tmp_path, tmp_path / "runs").settings()
