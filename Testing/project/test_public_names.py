"""What a user types first."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import MedLLMSegLib
from MedLLMSegLib import Diagnosis, Radiograph, Volume
from MedLLMSegLib.core.display_orientation import DisplayOrientation

ROOT = Path(__file__).parents[2]
PUBLIC_IN_0_3 = [
    "Cancelled",
    "Diagnosis",
    "Radiograph",
    "Segmentation",
    "Structure",
    "UserError",
    "Volume",
    "accept_licence",
    "diagnose",
    "list_models",
    "load_classifier",
    "load_model",
    "load_radiograph",
    "load_volume",
    "save_segmentation",
    "save_volume",
    "segment",
    "segment_frames",
    "write_report",
]


@pytest.fixture
def run(tmp_path):
    """The command line in a process of its own, with an empty cache, so that the user's cannot
    decide the outcome.
    """
    environment = {**os.environ, "MEDLLMSEG_CACHE": str(tmp_path)}
    return lambda *arguments: subprocess.run(
        [sys.executable, "-m", "MedLLMSegLib", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
        check=False,
    )


@pytest.mark.parametrize("name", PUBLIC_IN_0_3)
def test_every_public_name_of_0_3_is_still_there(name):
    assert name in MedLLMSegLib.__all__
    assert callable(getattr(MedLLMSegLib, name))


def test_a_diagnosis_still_has_the_turn_of_0_3():
    turned = DisplayOrientation(transposed=True, flip_rows=True)
    result = Diagnosis({}, "", None, 0.0, None, "", None, None, orientation=turned)
    assert result.turn is turned
    assert (result.turn.rows, result.turn.columns) == (True, False)
    assert result.turn.shown == turned.to_shown
    assert result.turn.stored == turned.to_stored


@pytest.mark.parametrize("known", (True, False))
def test_a_radiograph_still_has_the_attributes_of_0_3(known):
    turned = DisplayOrientation(transposed=True)
    array = np.zeros((4, 6), np.float32)
    volume = Volume(array[None], np.eye(4))
    radiograph = Radiograph(array, volume, orientation=turned, spacing_known=known)
    assert radiograph.turn is turned
    assert radiograph.sized is known


@pytest.mark.slow
def test_the_public_names_are_there_and_are_functions():
    code = (
        "import MedLLMSegLib.segmentation.pipeline, MedLLMSegLib.evaluation.evaluate_segmenter\n"
        "from MedLLMSegLib import segment, load_volume, load_model, save_segmentation\n"
        "print(all(callable(f) for f in (segment, load_volume, load_model, save_segmentation)))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert out.stdout.strip() == "True", out.stderr


def test_help_names_every_command_and_its_defaults(run):
    out = run("--help").stdout
    assert all(
        name in out
        for name in (
            "segment",
            "models",
            "evaluate",
            "llm",
            "train",
            "bundle",
            "info",
            "Research use only",
        )
    )
    assert "hippocampus-t1" in run("segment", "--help").stdout


def test_models_says_what_a_user_must_know(run):
    out = run("models").stdout
    assert "hippocampus-t1" in out
    assert "MR T1" in out
    assert "CC-BY-SA-4.0" in out
    assert re.search(r"mean Dice 0\.[89]", out)


@pytest.mark.slow
def test_llm_list_and_verify(run):
    assert "smollm2-135m" in run("llm", "list").stdout
    assert run("llm", "verify").returncode == 0
    bad = run("llm", "verify", str(ROOT / "README.md"))
    assert bad.returncode == 2
    assert "Traceback" not in bad.stdout + bad.stderr
