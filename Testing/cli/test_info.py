"""`medllmseg info` says what a bug report needs, and nothing about whose computer it is."""

import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from MedLLMSegLib.cli import info
from MedLLMSegLib.cli import main as cli
from MedLLMSegLib.core.version import __version__
from MedLLMSegLib.registry.catalogue import BUNDLES, METADATA, WEIGHTS, list_models
from MedLLMSegLib.registry.user_models import import_model
from Testing.helpers.tiny_classifier import write_tiny

ROOT = Path(__file__).parents[2]
NAME = "smith-john-1957"


@pytest.fixture
def printed(capsys):
    """What the command prints, as {label: [texts]}."""

    def run() -> dict[str, list[str]]:
        assert cli.main(["info"]) == 0
        shown = capsys.readouterr()
        assert not shown.err
        lines: dict[str, list[str]] = {}
        for line in shown.out.splitlines():
            label, _, text = line.partition(" ")
            lines.setdefault(label, []).append(text.strip())
        return lines

    return run


@pytest.fixture(params=["standard", "chosen", "chosen at home"])
def named_places(request, tmp_path, monkeypatch):
    """A home folder and a cache whose paths hold a person's name; returns the cache."""
    home = tmp_path / NAME / "home" / NAME
    home.mkdir(parents=True)
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(home))
    monkeypatch.setenv("USER", NAME)
    cache = {
        "standard": home / ".cache" / "medllmseg",
        "chosen": tmp_path / NAME / "cache",
        "chosen at home": home / NAME / "medllmseg",
    }[request.param]
    monkeypatch.setenv("MEDLLMSEG_CACHE", str(cache))
    return cache


def test_it_names_versions_system_memory_and_devices(printed):
    lines = printed()
    assert lines["medllmseg"] == [__version__]
    assert lines["Python"][0].startswith(platform.python_version())
    for package in ("torch", "monai", "numpy", "SimpleITK", "safetensors", "matplotlib"):
        assert lines[package][0][0].isdigit()
    assert lines["system"] == [platform.platform()]
    assert "cores" in lines["processor"][0]
    assert "bf16" in lines["processor"][0]
    free, total = (float(word) for word in lines["memory"][0].split() if word[0].isdigit())
    assert 0 < free <= total
    assert {"devices", "cuda:0", "mps"} & set(lines)


def test_each_model_is_named_with_the_state_of_its_files(printed, tmp_path):
    import_model(write_tiny(tmp_path / "tiny"))
    lines = printed()["model"]
    entries = {entry.id: entry for entry in list_models(kind=None)}
    assert len(lines) == len(entries)
    assert {"tiny", "hippocampus-t1"} <= set(entries)
    for line in lines:
        name, kind, *_ = line.split(", ")
        entry = entries[name.split()[0]]
        metadata = json.loads((entry.folder / METADATA).read_text(encoding="utf-8"))
        assert name == f"{entry.id} {metadata.get('version', 'without a version')}"
        assert kind == entry.kind
        assert entry.licence in line
        assert entry.sha256[:12] in line
        assert ("the user's" in line) == (entry.id == "tiny")
        assert ("shipped" in line) == (entry.folder.parent == BUNDLES)
        assert line.endswith("files verified")


def test_a_model_whose_weights_were_changed_is_called_damaged(printed, tmp_path):
    weights = import_model(write_tiny(tmp_path / "tiny")).folder / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    (damaged,) = (line for line in printed()["model"] if line.startswith("tiny "))
    assert "DAMAGED" in damaged


def test_a_model_that_cannot_be_read_is_counted(printed, tmp_path):
    metadata = import_model(write_tiny(tmp_path / "tiny")).folder / METADATA
    metadata.write_text("{")
    assert printed()["model"][-1].startswith("1 of the user's cannot be read")


def test_the_language_models_layers_are_listed(printed):
    assert printed()["layer"] == ["smollm2-135m layer 29, bundled"]


def test_no_name_of_a_person_folder_or_file_is_printed(named_places, capsys, tmp_path):
    model = import_model(write_tiny(tmp_path / NAME / "tiny"))
    (model.folder / WEIGHTS).write_bytes(b"damaged")  # errors quote paths
    broken = named_places / "models" / NAME / METADATA
    broken.parent.mkdir(parents=True)
    broken.write_text("{")
    assert cli.main(["info"]) == 0
    shown = capsys.readouterr()
    assert "smith" not in (shown.out + shown.err).lower()
    assert str(tmp_path) not in shown.out + shown.err
    assert "DAMAGED" in shown.out
    assert "1 of the user's cannot be read" in shown.out


def test_the_standard_places_are_shown_below_a_tilde(tmp_path, monkeypatch, printed):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.delenv("MEDLLMSEG_CACHE")
    if info.cache_dir() != tmp_path / ".cache" / "medllmseg":
        pytest.skip("not Linux")
    lines = printed()
    assert lines["cache"][0].startswith("~/.cache/medllmseg, ")
    assert lines["log"][0].startswith("~/.cache/medllmseg/medllmseg.log, ")


WITHOUT_TORCH = """
import importlib.metadata as metadata
import sys

real = metadata.version

def version(name):
    if name in ("torch", "monai"):
        raise metadata.PackageNotFoundError(name)
    return real(name)

metadata.version = version
sys.modules["torch"] = None
from MedLLMSegLib.cli.main import main
sys.exit(main(["info"]))
"""


def test_it_works_without_torch_and_says_so():
    run = [sys.executable, "-c", WITHOUT_TORCH]
    done = subprocess.run(run, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    lines = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert lines["torch"] == "not installed"
    assert "torch is not installed" in lines["devices"]
    assert "bf16 not known" in lines["processor"]
    assert "hippocampus-t1" in done.stdout
    assert "files verified" in done.stdout
