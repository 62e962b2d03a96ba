"""`medllmseg bench` as it is typed."""

import pytest

from MedLLMSegLib.cli import main as cli
from MedLLMSegLib.studies.speed import rows_resampling


def test_the_rows_are_named(capsys):
    assert cli.main(["bench", "--list"]) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    for name in ("resample", "way-back", "windows-32", "second-press", "growth-free"):
        assert name in names
    assert "ct-1024" not in names
    assert "growth-quick" not in names


def test_large_and_quick_rows_are_named_on_request(capsys):
    cli.main(["bench", "--list", "--large"])
    assert "ct-1024" in capsys.readouterr().out
    cli.main(["bench", "--list", "--quick"])
    names = capsys.readouterr().out
    assert "growth-quick" in names
    assert "second-press" not in names


@pytest.mark.parametrize(
    ("words", "said"),
    (
        (["--only", "nonsense"], 'No row is named "nonsense"; there are resample'),
        (["--threads", "0"], "--threads 0 is too few"),
        (["--rounds", "-1"], "--rounds -1 is too few"),
        (["--device", "warp"], '"warp" is not a device'),
    ),
)
def test_what_cannot_be_measured_is_refused(words, said, capsys):
    assert cli.main(["bench", *words]) == 2
    assert said in capsys.readouterr().err


def test_the_table_and_its_files(tmp_path, capsys, monkeypatch):
    """With what a measuring process would answer."""
    row = {
        "contestants": {
            name: {"processor_s": 1.0 + n, "wall_s": 2.0}
            for n, name in enumerate(rows_resampling.ROWS[0].contestants)
        },
        "rounds": 3,
        "ratios": {"SimpleITK": 0.5, "MONAI": 1 / 3},
        "facts": {},
    }
    memory = {"memory_mib": 10.0, "peak_mib": 500.0}
    monkeypatch.setattr(
        "MedLLMSegLib.studies.speed.bench._in_own_process",
        lambda job, setting: memory if job.contestant else row,
    )
    folder = tmp_path / "speed"
    assert cli.main(["bench", "--only", "resample", "--output", str(folder)]) == 0
    out = capsys.readouterr().out
    assert "| SimpleITK " in out
    assert sorted(p.name for p in folder.iterdir()) == ["bench.json", "bench.md", "ratios.png"]
    assert (folder / "bench.md").read_text().strip() in out
    again = ["bench", "--only", "resample", "--output", str(folder), "--before"]
    assert cli.main([*again, str(folder / "bench.json")]) == 0
    assert "ours over it, before" in (folder / "bench.md").read_text()
    assert cli.main([*again, str(folder / "bench.md")]) == 2
    assert "is no bench.json" in capsys.readouterr().err
    assert cli.main(["bench", "--only", "resample", "--keep"]) == 2
    assert "add --quick" in capsys.readouterr().err
