"""Never slower again: the library's ratios in one run against those that were reached.

`medllmseg bench --quick --keep` writes what is reached. Absolute times are never judged.
"""

from dataclasses import replace

import pytest
import torch

from MedLLMSegLib import UserError
from MedLLMSegLib.studies.speed import rows_growth, rows_resampling, rows_windows
from MedLLMSegLib.studies.speed.measure import WHY
from MedLLMSegLib.studies.speed.reached import keep, read, sentences, slower
from MedLLMSegLib.studies.speed.row import FULL, OURS, QUICK, Run, Setting
from Testing.helpers.speed_rows import burn, burning_row

ROWS = {
    row.name: row
    for module in (rows_resampling, rows_windows, rows_growth)
    for row in module.ROWS
    if QUICK in row.scales
}
SETTING = Setting(QUICK)


@pytest.fixture
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_every_quick_row_has_a_ratio_that_was_reached():
    reached = read()
    assert set(reached) == set(ROWS)
    for name, row in ROWS.items():
        others = {"exponent"} if row.voxels else set(row.contestants) - {OURS}
        assert set(reached[name]) == others, name


@pytest.mark.slow
@pytest.mark.parametrize("name", ROWS)
def test_no_ratio_is_worse_than_what_was_reached(name, one_thread):
    found = slower(ROWS[name], read()[name], SETTING)
    assert not found, sentences(found, name)


def test_an_artificially_slowed_function_fails():
    """Ours takes twice what it took: its work, and as much again."""
    usual = burning_row()
    assert slower(usual, {"theirs": 0.5}, SETTING) == {}

    def slowed(setting):
        run = usual.contestants[OURS](setting)
        return Run(lambda: (run.call(), burn(0.02)))

    row = replace(usual, contestants={**usual.contestants, OURS: slowed})
    found = slower(row, {"theirs": 0.5}, SETTING)
    now, best = found["theirs"]
    assert best == 0.5
    assert 0.7 < now < 1.4
    assert "ours over theirs is" in sentences(found, "burning")[0]


@pytest.mark.slow
def test_a_slowed_product_fails(one_thread, monkeypatch):
    """The real row of resampling notices it."""
    from MedLLMSegLib.studies.speed import product

    real = product.resample

    def twice(*grids):
        real(*grids)
        return real(*grids)

    monkeypatch.setattr(product, "resample", twice)
    assert slower(ROWS["resample-oblique"], read()["resample-oblique"], SETTING)


def test_a_ratio_that_is_good_once_is_good(monkeypatch):
    measured = iter((0.9, 0.5, 9.9))
    monkeypatch.setattr(
        "MedLLMSegLib.studies.speed.reached.timed",
        lambda *_: {"ratios": {"theirs": next(measured)}},
    )
    assert slower(burning_row(), {"theirs": 0.5}, SETTING) == {}
    assert next(measured) == 9.9


def results(scale, ratio):
    rows = {"one": {"ratios": {"theirs": ratio}}, "absent": {WHY: "no GPU"}}
    return {"about": {"scale": scale, "torch": "2"}, "rows": rows}


def test_what_is_reached_is_kept_row_by_row(tmp_path):
    path = tmp_path / "reached.json"
    keep(results(QUICK, 0.5), path)
    assert read(path) == {"one": {"theirs": 0.5}}
    other = results(QUICK, 0.25)
    other["rows"] = {"two": other["rows"]["one"]}
    keep(other, path)
    assert read(path) == {"one": {"theirs": 0.5}, "two": {"theirs": 0.25}}


def test_a_full_run_is_not_kept(tmp_path):
    with pytest.raises(UserError, match="--quick"):
        keep(results(FULL, 0.5), tmp_path / "reached.json")
