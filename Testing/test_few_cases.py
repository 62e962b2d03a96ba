"""The table of few cases says what was run, and nothing else."""
import json

import pytest

from MedLLMSegLib import few_cases
from MedLLMSegLib.errors import UserError
from MedLLMSegLib.few_cases import BEGIN, END, Plan, fill, page, run

PLAN = Plan("runs/acdc", "hippocampus-t1", (3, 5), (0, 1), 300)


def result(mean):
    return {"dice": {"mean": mean}, "hd95_mm": {"mean": 3.0}, "cases": 20, "groups": 10}


def test_the_table_tells_what_was_run():
    found = {"tuned-3-0": result(0.5), "tuned-3-1": result(0.6), "new-3-0": result(0.4), "new-3-1": result(0.45), "new-5-0": result(0.7)}
    text = page(PLAN, found, "the command")
    assert "| 3 | 0.425 (0.400, 0.450) | 0.550 (0.500, 0.600) | +0.125 |" in text
    assert "| 5 | 0.700 | not run | not run |" in text and "10 test patients" in text and "`the command`" in text


def test_the_table_takes_its_place_in_the_page(tmp_path):
    path = tmp_path / "train.md"
    path.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    fill(path, "new")
    assert path.read_text() == f"before\n{BEGIN}\nnew\n{END}\nafter\n"
    path.write_text("nothing")
    with pytest.raises(UserError, match="no place for the table"):
        fill(path, "new")


def test_it_goes_on_where_it_was_and_refuses_other_settings(tmp_path, monkeypatch):
    trained = []
    def train(request, device, progress, say):
        trained.append((request.name, request.start, request.cases, request.seed))
        if len(trained) == 3:
            raise KeyboardInterrupt
        return tmp_path / request.name
    monkeypatch.setattr(few_cases, "train_model", train)
    monkeypatch.setattr(few_cases, "evaluate", lambda bundle, data, csv, how: {
        "group_means": {"dice": {"mean": 0.5}, "hd95_mm": {"mean": 1.0}}, "cases": 20, "groups": 10})
    with pytest.raises(KeyboardInterrupt):
        run(PLAN, tmp_path / "runs", tmp_path / "docs")
    assert trained == [("tuned-3-0", "hippocampus-t1", 3, 0), ("new-3-0", None, 3, 0), ("tuned-5-0", "hippocampus-t1", 5, 0)]
    found = run(PLAN, tmp_path / "runs", tmp_path / "docs")
    assert len(found) == 8 and [t[0] for t in trained].count("tuned-3-0") == 1
    assert json.loads((tmp_path / "docs/few-cases.json").read_text())["about"]["steps"] == 300
    with pytest.raises(UserError, match="other settings"):
        run(Plan("runs/acdc", "hippocampus-t1", (3,), (0,), 200), tmp_path / "runs", tmp_path / "docs")
