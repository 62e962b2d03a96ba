"""What the extension says of itself to Slicer and its index, and how large the repository is."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = next(
    (ROOT.parent / "shared" / "index").glob("slicer-extension-catalog-entry-schema*.json"), None
)
REPOSITORY = "https://github.com/medllmseg/SlicerMedLLMSeg"


def test_the_extension_says_who_it_is():
    text = (ROOT / "CMakeLists.txt").read_text()
    said = dict(re.findall(r'^set\(EXTENSION_(\w+) "([^"]*)"\)', text, re.MULTILINE))
    assert said["HOMEPAGE"] == REPOSITORY
    assert said["CATEGORY"] == "Segmentation"
    assert said["DEPENDS"] == "PyTorch"
    assert said["DESCRIPTION"]
    assert said["CONTRIBUTORS"]
    raw = REPOSITORY.replace("github.com", "raw.githubusercontent.com") + "/main/"
    assert (ROOT / said["ICONURL"].removeprefix(raw)).is_file()
    assert said["SCREENSHOTURLS"].startswith(raw)
    assert said["SCREENSHOTURLS"].endswith(".png")


def test_the_homepage_is_the_same_wherever_it_is_named():
    """The index reads CMakeLists.txt and MedLLMSeg.json as text, so it cannot stand in one file;
    here all are compared.
    """
    places = (
        "CMakeLists.txt",
        "MedLLMSeg.json",
        "MedLLMSeg/MedLLMSeg.py",
        "pyproject.toml",
        "README.md",
    )
    for place in places:
        text = (ROOT / place).read_text(encoding="utf-8")
        urls = set(
            re.findall(
                r"https?://(?:raw\.githubusercontent|github)\.com/[^\s\"'<>)]*medllmseg[^\s\"'<>)]*",
                text,
                re.IGNORECASE,
            )
        )
        names = {re.sub(r"^https?://[^/]+/", "", url).removesuffix(".git") for url in urls}
        wrong = {name for name in names if not re.match(r"medllmseg/SlicerMedLLMSeg($|/|#)", name)}
        assert not wrong, f"{place}: {sorted(wrong)}"
        assert place == "README.md" or names, f"{place} does not name the homepage"


def test_the_index_entry():
    entry = json.loads((ROOT / "MedLLMSeg.json").read_text())
    assert entry["scm_url"] == REPOSITORY
    assert entry["build_dependencies"] == ["PyTorch"]
    if SCHEMA is None:
        pytest.skip(
            "../shared/index is not there: MedLLMSeg.json was NOT CHECKED against its schema"
        )
    _check_entry(entry, json.loads(SCHEMA.read_text()))


def test_the_repository_is_as_small_as_the_index_wants_it():
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        pytest.skip("no git checkout: THE REPOSITORY'S SIZE WAS NOT TESTED")

    def ask(*command):
        return subprocess.run(
            ["git", *command], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout

    # What a clone brings: each object of the history once. The folder .git may hold some of them
    # twice, in two packs.
    history = int(ask("rev-list", "--objects", "--disk-usage", "HEAD"))
    files = sum(
        (ROOT / name).stat().st_size
        for name in ask("ls-files", "-z").split("\0")
        if name and (ROOT / name).is_file()
    )
    assert 1e6 < history < 100e6
    assert 1e6 < files < 100e6


def _check_entry(entry, schema):
    """The part of JSON Schema that this flat schema uses; jsonschema would be a dependency for
    one file.
    """
    kinds = {"string": str, "array": list, "boolean": bool, "integer": int}
    assert set(schema["required"]) <= set(entry)
    assert not schema["additionalProperties"]
    assert set(entry) <= set(schema["properties"])
    assert entry["$schema"] == schema["$id"]
    for key, value in entry.items():
        rule = schema["properties"][key]
        assert type(value) is kinds[rule["type"]], key
        if rule["type"] == "integer":
            assert rule.get("minimum", value) <= value <= rule.get("maximum", value)
        assert value in rule.get("enum", [value])
        assert (
            all(type(item) is kinds[rule["items"]["type"]] for item in value)
            if rule["type"] == "array"
            else True
        )
