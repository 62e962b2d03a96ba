"""What a user types first."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


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
