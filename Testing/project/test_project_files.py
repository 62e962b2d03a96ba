"""The files around the code: they agree with each other, and name what exists."""

import re
import subprocess
from pathlib import Path
from shutil import which

import pytest
import yaml

from MedLLMSegLib import __version__

ROOT = Path(__file__).resolve().parents[2]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", ROOT / "SECURITY.md"]
PAGES += sorted((ROOT / "docs").glob("*.md"))
TEMPLATES = sorted((ROOT / ".github").rglob("*.yml"))
ids_of_paths = {"ids": lambda path: path.name}


def read_yaml(path: Path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def heading_anchors(page: Path) -> set[str]:
    """What GitHub makes of a page's headings, to be linked to."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_readme_is_short_enough_to_be_read():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 150


def test_the_changelog_begins_with_this_version():
    versions = re.findall(r"^## \[([^]]+)\] - (\S+)", CHANGELOG, re.MULTILINE)
    assert versions[0][0] == __version__
    numbers = [tuple(map(int, version.split("."))) for version, _ in versions]
    assert numbers == sorted(numbers, reverse=True)
    for _, date in versions:
        assert date == "unreleased" or re.fullmatch(r"\d{4}-\d\d-\d\d", date)


def test_the_citation_is_of_this_version():
    citation = read_yaml(ROOT / "CITATION.cff")
    assert citation["version"] == __version__
    assert citation["cff-version"]
    assert citation["message"]
    assert citation["authors"]
    assert citation["license"] == "Apache-2.0"
    assert "2410.02458" in citation["references"][0]["url"]


@pytest.mark.parametrize("path", TEMPLATES, **ids_of_paths)
def test_workflows_and_templates_are_yaml(path):
    assert isinstance(read_yaml(path), dict)


def test_the_workflow_covers_every_python_and_system_that_is_promised():
    jobs = read_yaml(ROOT / ".github/workflows/ci.yml")["jobs"]
    matrix = next(job["strategy"]["matrix"] for job in jobs.values() if "strategy" in job)
    assert matrix["python"] == ["3.11", "3.12", "3.13"]
    assert {name.split("-")[0] for name in matrix["os"]} == {"ubuntu", "macos", "windows"}
    assert 'requires-python = ">=3.11,<3.14"' in (ROOT / "pyproject.toml").read_text()


def test_a_bug_report_asks_for_what_medllmseg_info_prints():
    fields = read_yaml(ROOT / ".github/ISSUE_TEMPLATE/bug.yml")["body"]
    info = next(field for field in fields if field.get("id") == "info")
    assert "`medllmseg info`" in info["attributes"]["label"]
    assert info["validations"]["required"]


def test_hooks_are_local_so_that_nothing_is_cloned():
    repositories = read_yaml(ROOT / ".pre-commit-config.yaml")["repos"]
    assert [repository["repo"] for repository in repositories] == ["local"]
    assert {hook["language"] for hook in repositories[0]["hooks"]} == {"system"}


@pytest.mark.skipif(not which("make"), reason="no make on this computer")
def test_every_target_of_make_is_in_make_help():
    targets = set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.MULTILINE))
    shown = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    listed = set(re.findall(r"^make ([a-z-]+)", shown, re.MULTILINE))
    named = {"help", "demo", "check", "test-fast", "test", "figures", "mutants", "weight", "clean"}
    assert named <= targets
    assert listed == targets
    assert set(re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)[1].split()) == targets


def test_scripts_that_make_runs_exist():
    scripts = re.findall(r"python (tools/\S+\.py)", MAKEFILE)
    assert scripts
    assert not [script for script in scripts if not (ROOT / script).is_file()]


def test_every_package_of_the_requirements_is_pinned():
    for name in ("requirements.txt", "requirements-dev.txt"):
        for line in (ROOT / name).read_text(encoding="utf-8").splitlines():
            assert re.fullmatch(r"|#.*|-r \S+|[\w.-]+==[\w.]+", line), f"{name}: {line}"


@pytest.mark.parametrize("page", PAGES, **ids_of_paths)
def test_every_link_of_a_page_leads_somewhere(page):
    links = re.findall(r"\]\((?!https?:)([^)]+)\)", page.read_text(encoding="utf-8"))
    for link in links:
        target, _, anchor = link.partition("#")
        file = (page.parent / target).resolve() if target else page
        assert file.is_file(), link
        assert ROOT in file.parents, link
        assert not anchor or anchor in heading_anchors(file), link


def files_named(page: Path) -> set[str]:
    """Paths of the repository that a page names in backticks."""
    text = page.read_text(encoding="utf-8")
    return set(re.findall(r"`((?:MedLLMSegLib|MedLLMSeg|Testing|tools|\.github)/[\w./-]+)`", text))


@pytest.mark.parametrize("page", PAGES, **ids_of_paths)
def test_every_file_that_a_page_names_exists(page):
    assert not [path for path in sorted(files_named(page)) if not (ROOT / path).exists()]


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_a_newcomer_is_told_which_files_to_open(name):
    assert len(files_named(ROOT / name)) >= 20


def test_the_architecture_names_every_room():
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    rooms = {path.name for path in (ROOT / "MedLLMSegLib").iterdir() if path.is_dir()}
    rooms.discard("__pycache__")
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == rooms
    drawing = re.search(r"```mermaid\n(.*?)```", page, re.DOTALL)[1]
    assert not [room for room in sorted(rooms) if not re.search(rf"\b{room}\b", drawing)]


def test_one_scan_is_walked_through_in_ten_steps():
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    steps = page[page.index("## One scan, in ten steps") : page.index("## Decisions")]
    assert re.findall(r"^(\d+)\.", steps, re.MULTILINE) == [str(n) for n in range(1, 11)]


def test_commands_for_contributors_are_targets_of_make():
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"`[^`]+`|^ {4}.*$", page, re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z][a-z-]*)", code))
    targets = set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.MULTILINE))
    assert len(named) >= 6
    assert named <= targets


@pytest.mark.parametrize("page", PAGES, **ids_of_paths)
def test_modules_that_a_page_runs_exist(page):
    """But for the left column of the changelog's table, which lists the old names."""
    text = re.sub(r"^ *\| `python -m [^`]+` \|", "|", page.read_text(encoding="utf-8"), flags=re.M)
    for module in re.findall(r"python -m (MedLLMSegLib[\w.]*)", text):
        path = ROOT / module.rstrip(".").replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), module
