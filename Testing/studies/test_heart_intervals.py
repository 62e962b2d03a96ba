"""Intervals of a heart's figures are as wide as the errors of other people, and hold as often as
they say.
"""

import json
import math

import numpy as np
import pytest

from MedLLMSegLib.metrics.heart_intervals import intervals_of
from MedLLMSegLib.registry.catalogue import measured_model, read_metadata
from MedLLMSegLib.studies import heart_intervals
from Testing.helpers.heart_bundle import heart_bundle

EDV, EJECTION = "LV end-diastolic volume", "LV ejection fraction"


def people(count, seed=0, points=3.0, share=0.1):
    """Rows whose ejection fractions are off by so many points (deviation), volumes by a share."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        volume, ejection = rng.uniform(80, 300), rng.uniform(20, 70)
        found = {
            EDV: volume * math.exp(rng.normal(0, share)),
            EJECTION: ejection + rng.normal(0, points),
        }
        rows.append({"by_hand": {EDV: volume, EJECTION: ejection}, "found": found})
    return rows


def test_margins_are_those_of_the_errors():
    rows = people(2000)
    assert heart_intervals.quantile(rows, EJECTION) == pytest.approx(1.645 * 3, rel=0.05)
    assert heart_intervals.quantile(rows, EDV) == pytest.approx(1.645 * 0.1, rel=0.05)
    margin = heart_intervals.interval(50.0, 4.0, EJECTION)
    assert (margin.low, margin.high) == (46, 54)
    factor = heart_intervals.interval(100.0, math.log(2), EDV)
    assert (factor.low, factor.high) == pytest.approx((50, 200))


def test_they_hold_for_people_that_were_not_used():
    folders = [people(40, seed) for seed in range(5)]
    for name in (EDV, EJECTION):
        assert 0.82 < heart_intervals.held(folders, name) < 0.97
    worse = [*folders[:4], people(40, 9, points=30.0)]  # one scanner is another
    assert heart_intervals.held(worse, EJECTION) < 0.85


def test_a_row_names_people_reach_and_share():
    folders = [people(20, seed) for seed in range(2)]
    folders[0][0]["found"][EJECTION] = None
    lines = heart_intervals.tables(folders).splitlines()
    cells = {line.split("|")[1].strip(): line.split("|")[2:-1] for line in lines[2:]}
    assert cells[EDV][0].strip() == "40"
    assert cells[EJECTION][0].strip() == "39"
    assert "x 1." in cells[EDV][1]
    assert "points" in cells[EJECTION][1]
    few = heart_intervals.tables([people(4), people(4)])
    assert "too few people" in few


def test_one_folder_and_an_empty_one_are_one_sentence(tmp_path, capsys):
    rows = tmp_path / "a" / "rows"
    rows.mkdir(parents=True)
    (rows / "anna.json").write_text(json.dumps(people(1)[0]), encoding="utf-8")
    assert heart_intervals.main([str(tmp_path / "a")]) == 2
    assert "two or more" in capsys.readouterr().err
    assert heart_intervals.main([str(tmp_path / "a"), str(tmp_path / "b")]) == 2
    assert "heart_figures" in capsys.readouterr().err
    assert heart_intervals.main([str(tmp_path / "a"), str(tmp_path / "a")]) == 0


def test_they_are_kept_in_the_bundle_whose_errors_they_are(tmp_path, capsys):
    bundle = heart_bundle(tmp_path)
    owner = measured_model(read_metadata(bundle)).sha256
    folders = [people(20, seed) for seed in range(2)]
    wall = "Wall thickness, end-diastole"  # a mean, which nothing prints
    for n, rows in enumerate(folders):
        for m, row in enumerate(rows):
            row["weights"], row["patient"] = owner, f"p{n}{m}"
            row["by_hand"][wall] = row["found"][wall] = 9.0
            path = tmp_path / f"{n}" / "rows" / f"{m}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(row), encoding="utf-8")
    command = [str(tmp_path / "0"), str(tmp_path / "1"), "--keep", str(bundle)]
    assert heart_intervals.main(command) == 2
    assert "--about" in capsys.readouterr().err
    command += ["--about", "people who were made up"]
    assert heart_intervals.main([command[0], *command]) == 2
    assert "p00 has two rows" in capsys.readouterr().err
    assert heart_intervals.main(command) == 0
    found = intervals_of(bundle)
    everyone = [row for rows in folders for row in rows]
    assert (found.people, found.about) == (40, "people who were made up")
    assert found.margins == pytest.approx(
        {EJECTION: heart_intervals.quantile(everyone, EJECTION)}, abs=0.001
    )
    factor = math.exp(heart_intervals.quantile(everyone, EDV))
    assert found.factors == pytest.approx({EDV: factor}, abs=0.001)
    before = read_metadata(bundle)
    row = {**folders[1][3], "weights": "0" * 64}
    (tmp_path / "1/rows/3.json").write_text(json.dumps(row), encoding="utf-8")
    capsys.readouterr()
    assert heart_intervals.main(command) == 2
    assert "p13 was not measured with" in capsys.readouterr().err
    assert read_metadata(bundle) == before
