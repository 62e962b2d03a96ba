"""The table of speed from rows whose figures are known."""

import json
import sys
from pathlib import Path

import pytest
import torch

from MedLLMSegLib import Cancelled, UserError
from MedLLMSegLib.studies.speed import rows_windows
from MedLLMSegLib.studies.speed.bench import RESULTS, Plan, listed, run_bench
from MedLLMSegLib.studies.speed.measure import WHY, Job, do, memory, timed
from MedLLMSegLib.studies.speed.plots import GROWTH_PICTURE, RATIOS_PICTURE, draw
from MedLLMSegLib.studies.speed.row import OURS, QUICK, Row, Run, Setting
from MedLLMSegLib.studies.speed.table import comparison, table
from Testing.helpers import speed_rows
from Testing.helpers.speed_rows import MEGABYTES, burning_row

HELPERS = "Testing.helpers.speed_rows"
LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


@pytest.fixture(scope="module")
def plan():
    return Plan(list(listed(speed_rows))).chosen(None, large=False)


@pytest.fixture(scope="module")
def found(plan, tmp_path_factory):
    """The results, with the tests' own folder on the path of the measuring processes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
        folder = tmp_path_factory.mktemp("bench")
        return run_bench(plan, folder), folder


def test_what_costs_half_has_half_the_time(found):
    row = found[0]["rows"]["burning"]
    assert row["ratios"]["theirs"] == pytest.approx(0.5, abs=0.15)
    assert row["contestants"][OURS]["processor_s"] == pytest.approx(0.02, abs=0.01)
    assert row["rounds"] == 3


def test_growth_is_an_exponent(found):
    assert found[0]["rows"]["growth-burns"]["ratios"] == {"exponent": pytest.approx(1.0, abs=0.2)}


@LINUX
def test_memory_is_that_of_the_call_alone(found):
    ours = found[0]["rows"]["holds"]["contestants"][OURS]
    assert ours["beside_mib"] == pytest.approx(MEGABYTES, abs=8)
    assert ours["peak_mib"] > ours["memory_mib"]


def test_what_cannot_be_measured_says_why(found):
    assert found[0]["rows"]["absent"][WHY] == "it is not here"


def test_the_table_has_a_line_for_each_contestant(found):
    lines = table(found[0]).splitlines()
    assert len({len(line) for line in lines if line.startswith("|")}) == 1
    text = "\n".join(lines)
    assert "not measured: it is not here" in text
    assert "exponent" in text
    assert "voxels: 12,345" in text
    burns = [line for line in lines if line.startswith("| burns")]
    assert len(burns) == 1
    assert "| theirs " in lines[lines.index(burns[0]) + 1]


def test_a_stopped_bench_goes_on(plan, found, tmp_path, monkeypatch):
    """What is finished is not measured again."""
    (tmp_path / RESULTS).write_text((found[1] / RESULTS).read_text(encoding="utf-8"))
    monkeypatch.setattr("subprocess.run", None)
    assert run_bench(plan, tmp_path) == found[0]


def test_stopping_keeps_the_finished_rows(plan, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "MedLLMSegLib.studies.speed.bench._in_own_process", lambda job, setting: {WHY: "skipped"}
    )

    def stop(text, fraction):
        if text.startswith("holds"):
            raise Cancelled

    with pytest.raises(Cancelled):
        run_bench(plan, tmp_path, stop)
    kept = json.loads((tmp_path / RESULTS).read_text(encoding="utf-8"))
    assert list(kept["rows"]) == ["burning", "absent"]


def test_results_of_another_setting_are_refused(plan, found):
    with pytest.raises(UserError, match="another setting"):
        run_bench(Plan(plan.rows, Setting(threads=2)), found[1])


def test_rows_are_chosen_by_name_and_large_ones_on_request():
    plan = Plan(list(listed(speed_rows)))
    assert [row.name for _, row in plan.chosen("h*", large=False).rows] == ["holds"]
    assert [row.name for _, row in plan.chosen("large-one", large=False).rows] == ["large-one"]
    assert len(plan.chosen(None, large=True).rows) == len(speed_rows.ROWS)
    with pytest.raises(UserError, match="burning, absent"):
        plan.chosen("nothing", large=True)
    with pytest.raises(UserError):
        Plan(plan.rows, Setting(QUICK)).chosen(None, large=True)


def test_the_contestants_take_turns():
    order = []

    def noting(name):
        return lambda setting: Run(lambda: order.append(name))

    timed(Row("turns", "", {OURS: noting("a"), "b": noting("b")}, rounds=3), Setting())
    assert order == ["a", "b"] * 4


def test_what_was_started_is_closed_even_after_an_error():
    closed = []

    def fails(setting):
        raise RuntimeError("broken")

    row = Row(
        "", "", {OURS: lambda setting: Run(print, close=lambda: closed.append(1)), "b": fails}
    )
    with pytest.raises(RuntimeError, match="broken"):
        timed(row, Setting())
    assert closed == [1]


def test_time_of_other_processes_counts():
    clock = iter(range(100))
    row = Row(
        "",
        "",
        {OURS: lambda setting: Run(lambda: None, other_processor=lambda: float(next(clock)))},
        rounds=1,
    )
    figures = timed(row, Setting())["contestants"][OURS]
    assert figures["processor_s"] == pytest.approx(1.0, abs=0.05)


def test_a_job_goes_through_json():
    job = Job(HELPERS, "absent", Setting(QUICK, "cpu", 2), OURS, 4)
    assert Job.from_json(job.to_json()) == job
    assert do(job) == {WHY: "it is not here"}


def test_pictures_of_two_runs(found, tmp_path):
    paths = draw({"before": found[0], "after": found[0]}, tmp_path)
    assert [path.name for path in paths] == [GROWTH_PICTURE, RATIOS_PICTURE]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)


def test_no_picture_without_figures(tmp_path):
    assert draw({"": {"rows": {"absent": {WHY: "it is not here"}}}}, tmp_path) == []


def test_a_process_that_fails_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    row = Row("no such row", "", {OURS: burning_row})
    with pytest.raises(UserError, match="no such row failed"):
        run_bench(Plan([(HELPERS, row)]))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_windows_on_a_gpu():
    """Times, and memory that the GPU holds, of work that a GPU does."""
    row = next(row for row in rows_windows.ROWS if row.name == "windows-3")
    setting = Setting(QUICK, "cuda")
    assert set(timed(row, setting)["ratios"]) == {"network alone", "MONAI"}
    assert memory(row, "network alone", setting)["memory_mib"] > 1


def test_rows_without_work_for_a_gpu_say_so(plan):
    results = run_bench(Plan(plan.rows[:1], Setting(device="cuda")))
    assert "GPU" in results["rows"]["burning"][WHY]


def test_two_runs_in_one_table(found):
    """The first run lacked a row."""
    before = {"about": {"medllmseg": "old"}, "rows": {**found[0]["rows"]}}
    del before["rows"]["growth-burns"]
    before["rows"]["burning"] = {**before["rows"]["burning"], "ratios": {"theirs": 7.25}}
    lines = comparison(before, found[0]).splitlines()
    burns = next(line for line in lines if line.startswith("| burns"))
    cells = [cell.strip() for cell in burns.split("|")]
    assert cells[2] == "theirs"
    assert cells[7] == "7.25"
    assert float(cells[8]) == pytest.approx(0.5, abs=0.15)
    assert sum("^3" in line for line in lines) == 2
    assert "medllmseg old" in lines[-1]
