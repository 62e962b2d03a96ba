"""`make weight`: every version of every file counts, and too heavy a history is an error."""

import random
import subprocess
from shutil import which

import pytest

from tools import weight

pytestmark = pytest.mark.skipif(not which("git"), reason="no git on this computer")


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """Two versions of a model, one of which was deleted again, and a small file."""
    noise = random.Random(0)

    def git(*arguments):
        who = ["-c", "user.name=nobody", "-c", "user.email=nobody@example.org"]
        subprocess.run(["git", *who, *arguments], cwd=tmp_path, check=True, capture_output=True)

    model = tmp_path / "MedLLMSegLib" / "bundles" / "tiny" / "models" / "model.safetensors"
    model.parent.mkdir(parents=True)
    (tmp_path / "README.md").write_text("small\n")
    git("init", "--quiet")
    for size in (30_000, 20_000):
        model.write_bytes(noise.randbytes(size))
        git("add", "--all")
        git("commit", "--quiet", "--message", f"{size} bytes")
    model.unlink()
    git("commit", "--quiet", "--all", "--message", "gone")
    monkeypatch.setattr(weight, "ROOT", tmp_path)
    return tmp_path


def test_deleted_versions_still_weigh(repository, capsys):
    first, second, third = weight.blobs(repository)
    assert first.packed_bytes >= 30_000 > second.packed_bytes >= 20_000 > third.packed_bytes
    assert first.path == second.path
    assert third.path == "README.md"
    assert weight.main() == 0
    shown = capsys.readouterr().out
    assert "0.05  MedLLMSegLib/bundles/tiny" in shown
    assert "no longer tracked" in shown


@pytest.mark.parametrize(
    ("limit", "whose"), [("LEDGER_LIMIT", "our own ledger"), ("INDEX_LIMIT", "Extensions Index")]
)
def test_too_heavy_a_history_is_an_error(repository, monkeypatch, capsys, limit, whose):
    monkeypatch.setattr(weight, limit, 40_000)
    assert weight.main() == 1
    assert f"Too heavy: {'the ' * (limit == 'INDEX_LIMIT')}{whose}" in capsys.readouterr().out


def test_our_ledger_is_stricter_than_the_index():
    assert weight.LEDGER_LIMIT < weight.INDEX_LIMIT
