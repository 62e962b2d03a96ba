"""The benchmark's page says what the results say: made-up results where the block wins, loses,
or makes no difference.
"""

import json
from dataclasses import replace

import numpy as np
import pytest

from MedLLMSegLib.registry.network_config import OURS, PAPER
from MedLLMSegLib.reporting.markdown import margin
from MedLLMSegLib.studies.benchmark import benchmark_cost as measure
from MedLLMSegLib.studies.benchmark.benchmark_page import page, write_page
from MedLLMSegLib.studies.benchmark.benchmark_plan import (
    ROBUST_ARMS,
    BenchmarkSettings,
    network_and_arm,
    planned,
    run_of,
)
from MedLLMSegLib.studies.benchmark.benchmark_results import COLLECTED, BenchmarkResults
from MedLLMSegLib.studies.benchmark.corruptions import CORRUPTIONS
from MedLLMSegLib.studies.benchmark.verdict import ArmKey, answer, family, figure, headline
from MedLLMSegLib.training.segmenter.train_config import TrainConfig
from Testing.helpers.places import ROOT

CASES = [f"hippocampus_{n:03d}" for n in range(1, 33)]
SETTINGS = BenchmarkSettings(
    OURS,
    PAPER,
    TrainConfig(),
    (0, 1, 2),
    (100, 10),
    False,
    1.0,
    "ras",
    {"train": ["a", "b"], "val": ["c"], "test": CASES},
    2,
)
PARAMETERS = {"trained": 4_000_000, "frozen": 3_540_096}


def results_of(tmp_path, effects, runs=None, seeds=(0, 1, 2), settings=SETTINGS):
    """Made-up runs in which each arm's Dice differs from 0.85 by its effect, and heads, seeds
    and arms vary besides.
    """
    results = BenchmarkResults(
        tmp_path / "r.json",
        settings,
        {c: f"head {n // 2}" for n, c in enumerate(CASES)},
        ["front", "back"],
    )
    heads, found = np.random.default_rng(1).normal(0, 0.03, 16), {}
    for run in planned(settings) if runs is None else runs:
        network, arm = network_and_arm(run)
        if arm not in effects or run.seed not in seeds:
            continue
        rng = np.random.default_rng((ord(arm[0]), int(run.data), run.seed))

        def cases(extra, arm=arm, rng=rng):
            noise = rng.normal(0, 0.004, len(CASES))
            dice = 0.85 + effects[arm] + extra + heads.repeat(2) + noise - noise.mean()
            return {
                c: {"dice": [round(float(d), 5)] * 2, "hd95_mm": [1.2, 1.4]}
                for c, d in zip(CASES, dice, strict=True)
            }

        test = {"clean": cases(0.0)} | (
            {name: cases(-0.1) for name in CORRUPTIONS} if arm in ROBUST_ARMS else {}
        )
        found[run.name] = {
            "run": {
                "network": network,
                "arm": arm,
                "percent": int(run.data),
                "seed": run.seed,
                "lr": None,
            },
            "lr": 1e-3,
            "val_dice": 0.86 + effects[arm],
            "parameters": PARAMETERS,
            "test": test,
        }
    results.add(found)
    return results


WINS = {
    "F": 0.02,
    "A": 0.0,
    "C": 0.005,
    "D": 0.004,
    "I": 0.0,
    "J": 0.0,
    "F-nolocal": 0.0,
    "F-nofusion": 0.0,
}


@pytest.mark.parametrize(
    "effects, verdict, starts",
    [
        (WINS, "helps", "Yes: the pretrained block helped"),
        (WINS | {"D": 0.02}, "not shown", "The block helped, but not more than both controls"),
        (WINS | {"F": -0.02}, "not shown", "No: the network is better without the block"),
        (dict.fromkeys(WINS, 0.0), "not shown", "No help could be shown"),
        (
            WINS | {"A": 0.03},
            "helps",
            "No: it beats both controls, but the network is better without any block",
        ),
        (WINS | {"A": 0.02}, "helps", "Not over the network without a block"),
    ],
    ids=(
        "wins",
        "random is as good",
        "harms",
        "no difference",
        "controls harm more",
        "controls alone harm",
    ),
)
def test_the_answer_is_what_the_paired_tests_say(tmp_path, effects, verdict, starts):
    results = results_of(tmp_path, effects)
    found = answer(results)
    assert found.verdict == verdict
    assert headline(found).startswith(starts)
    text = page(results, "medllmseg benchmark")
    assert text.split("\n\n")[1].startswith(f"**{headline(found)}**")
    words = {"F": "better", "": "no difference shown"}
    for arm, test in found.tests.items():
        assert (
            f"({arm}): {words.get(test.better, 'worse')}, {round(test.difference, 4) + 0.0:+.4f}"
            " Dice" in text.split("\n\n")[2]
        )
    assert ("that is so here" if verdict == "helps" else "that is not shown here") in text.split(
        "\n\n"
    )[1]


def test_seeds_that_disagree_are_no_yes(tmp_path):
    results = results_of(tmp_path, WINS)
    for case in results.runs["ours-D-100-1"]["test"]["clean"].values():
        case["dice"] = [d + 0.03 for d in case["dice"]]  # D is better than F in one seed of three
    for seed in (0, 2):
        for case in results.runs[f"ours-D-100-{seed}"]["test"]["clean"].values():
            case["dice"] = [d - 0.02 for d in case["dice"]]
    found = answer(results)
    assert found.verdict == "helps"
    assert found.disagree("D")
    assert not found.disagree("C")
    assert headline(found).startswith("Over these trainings")
    assert "-0.0140, +0.0360: the seeds disagree)" in page(results, "x")


@pytest.mark.parametrize(
    "effects, gain, starts",
    [
        (
            WINS | {"D": 0.02},
            0.03,
            "Over these trainings the network is better with the block, but the seeds disagree",
        ),
        (
            WINS | {"F": -0.02},
            -0.03,
            "Over these trainings the network is better without the block, but the seeds disagree",
        ),
    ],
)
def test_a_gain_or_loss_that_a_seed_turns_round_is_claimed_of_these_trainings_alone(
    tmp_path, effects, gain, starts
):
    results = results_of(tmp_path, effects)
    for case in results.runs["ours-A-100-1"]["test"]["clean"].values():
        case["dice"] = [d + gain for d in case["dice"]]
    found = answer(results)
    assert found.disagree("A")
    assert found.tests["A"].better
    assert headline(found).startswith(starts)


def test_the_control_that_is_as_good_is_named(tmp_path):
    words = headline(answer(results_of(tmp_path, WINS | {"D": 0.02})))
    assert words.endswith("over the frozen random block no gain could be shown.")


def left_out(text):
    return text.split("## What leaving the block out costs or gains")[1].split("##")[0]


def test_what_leaving_the_block_out_costs_is_the_same_test_as_in_the_table(tmp_path):
    results = results_of(tmp_path, WINS | {"A": 0.019, "C": 0.02, "D": 0.02, "I": 0.0195})
    for seed in (1, 2):
        del results.runs[f"ours-I-100-{seed}"]
    text, f = page(results, "x"), ArmKey("ours", "F", 100)
    test = family(results, [(f, ArmKey("ours", arm, 100)) for arm in "ACD"])[
        f, ArmKey("ours", "A", 100)
    ]
    assert test.p != test.p_holm  # else nothing was tested
    lines = left_out(text).split("\n\n")
    assert (
        f"by {-test.difference:+.4f} (95 % {-test.high:.4f} to {-test.low:.4f}, excludes"
        f" changes beyond {margin(test.margin, 4)}, p = {test.p_holm:.3f}, the test of the"
        in lines[1]
    )
    assert "seeds)" not in lines[1]
    assert "on 1 of 3 seeds)" in lines[2]


def test_the_best_arm_with_a_block_is_looked_for_among_all_that_hold_it(tmp_path):
    results = results_of(tmp_path, WINS | {"F-nofusion": 0.03})
    assert (
        "F-nofusion has the best mean Dice on val (F 0.8800, I 0.8600, F-nolocal 0.8600, F-nofusion"
        " 0.8900;" in left_out(page(results, "x"))
    )
    del results.runs["ours-F-nofusion-100-2"]
    assert "F has the best mean Dice on val" in left_out(page(results, "x"))
    assert "With all seeds not run: F-nofusion." in page(results, "x")


def test_without_enough_runs_there_is_no_answer(tmp_path):
    results = results_of(tmp_path, WINS, seeds=(0, 1))
    found = answer(results)
    assert found.verdict == "not run"
    assert headline(found) == "Not answered yet."
    assert found.missing == tuple(f"ours-{arm}-100-2" for arm in "FACD")
    first = page(results, "x").split("\n\n")[1]
    assert "4 of the 12 trainings that answer it are not run: ours-F-100-2" in first
    assert "helped" not in first
    assert found.tests["C"].difference == pytest.approx(
        0.015, abs=0.003
    )  # what is there is shown all the same
    assert "(1 not run)" in page(results, "x")


def test_nothing_that_was_not_run_has_a_figure(tmp_path):
    text = page(results_of(tmp_path, {}), "x")
    tables = [line for line in text.splitlines() if line.startswith("| ") and "---" not in line]
    rows = [line for line in tables if "not run" in line]
    assert len(rows) == len(tables) - text.count("| --- |\n")  # all but the heads
    digits = [
        cell for line in rows for cell in line.split("|")[2:] if any(c.isdigit() for c in cell)
    ]
    assert not digits, digits


def test_differences_are_over_heads_with_seeds_and_sides_averaged(tmp_path):
    results = results_of(tmp_path, WINS)
    f, d = ArmKey("ours", "F", 100), ArmKey("ours", "D", 100)
    test = family(results, [(f, d)])[f, d]
    values = {
        arm: (
            np.mean(
                [
                    [
                        np.mean(
                            results.runs[run_of("ours", arm, 100, s).name]["test"]["clean"][c][
                                "dice"
                            ]
                        )
                        for c in CASES
                    ]
                    for s in range(3)
                ],
                axis=0,
            )
            .reshape(16, 2)
            .mean(1)
        )
        for arm in "FD"
    }
    assert test.n == 16
    assert test.difference == pytest.approx((values["F"] - values["D"]).mean(), abs=1e-9)
    found = figure(results, f)
    assert found.mean == pytest.approx(values["F"].mean())
    assert found.low < found.mean < found.high
    assert list(found.seeds) == [0, 1, 2]
    assert np.mean(list(found.seeds.values())) == pytest.approx(found.mean)


def test_arms_are_compared_on_the_seeds_that_both_have(tmp_path):
    results = results_of(tmp_path, WINS)
    for seed in (1, 2):
        del results.runs[f"dynunet-J-100-{seed}"]
    f, j = ArmKey("ours", "F", 100), ArmKey("dynunet", "J", 100)
    both = family(results, [(f, j), (f, ArmKey("ours", "I", 100))])
    assert both[f, j].mean_first == pytest.approx(figure(results, f).seeds[0])
    assert both[f, ArmKey("ours", "I", 100)].mean_first == pytest.approx(figure(results, f).mean)


def test_the_correction_runs_over_the_tests_of_a_family(tmp_path):
    results = results_of(tmp_path, dict.fromkeys(WINS, 0.0))
    f = ArmKey("ours", "F", 100)
    pairs = [(f, ArmKey("ours", arm, 100)) for arm in "ACD"]
    tests = list(family(results, pairs).values())
    alone = [family(results, [pair])[pair].p_holm for pair in pairs]
    assert min(t.p_holm for t in tests) == pytest.approx(min(1, 3 * min(alone)))


def test_structures_that_are_not_there_are_left_out(tmp_path):
    results = results_of(tmp_path, WINS)
    for run in results.runs.values():
        run["test"]["clean"][CASES[0]] = {"dice": [0.5, None], "hd95_mm": [2.0, None]}
    assert np.isfinite(figure(results, ArmKey("ours", "F", 100)).mean)
    assert figure(results, ArmKey("ours", "F", 100), "dice_back").mean > 0.8


def test_the_page_holds_every_part_and_its_picture_lies_beside_it(tmp_path):
    results = results_of(tmp_path, WINS)
    measured = {
        "step_seconds": 1.5,
        "step_cpu_seconds": 2.5,
        "peak_mb": 900.0,
        "before_mb": 400.0,
        "inference_seconds": 0.2,
        "inference_cpu_seconds": 0.4,
        "rounds": [0.4, 0.5],
        "parameters": PARAMETERS,
        "machine": "2 threads of X",
    }
    arms = dict.fromkeys(r.arm for r in planned(SETTINGS))
    of_a = {"rounds": [0.3, 0.4], "parameters": {"trained": 3_780_000, "frozen": 0}}
    results.put("measured", {**dict.fromkeys(arms, measured), "ours-A": measured | of_a})
    each = {"fp32": measured | {"peak_mb": 1400.0}, "bf16": measured}
    results.put("memory", dict.fromkeys(("ours-F", "dynunet-J", "paper-F"), each))
    path = write_page(results, tmp_path / "docs", "medllmseg benchmark --data D")
    text = path.read_text(encoding="utf-8")
    assert (tmp_path / "docs/images/benchmark.png").stat().st_size > 10_000
    assert "(images/benchmark.png)" in text
    assert "not run" not in text
    assert (
        "the trained parameters by -220,000, the frozen ones by -3,540,096, and takes 75 to 80 % of"
        " its processor time" in text
    )
    assert (
        "needs none of its 3,540,096 frozen parameters then, and takes 100 to 100 % of its"
        " processor time for a crop (range ov" in text
    )
    assert "| ours F | 1400 | 900 | +500 |" in text
    assert "it was not tuned for any of them" in text
    assert "medllmseg benchmark --data D --measure" in text
    for condition in CORRUPTIONS:
        assert f"| {condition} | 0.7" in text


def test_the_page_says_which_learning_rate_tuning_chose(tmp_path):
    results = results_of(tmp_path, WINS, settings=replace(SETTINGS, tune=True))
    for lr, val in ((5e-4, 0.80), (1e-3, 0.81), (2e-3, 0.82)):
        run = replace(run_of("ours", "F", 100, 0), lr=lr)
        results.runs[run.name] = {
            "run": {"network": "ours", "arm": "F", "percent": 100, "seed": 0, "lr": lr},
            "val_dice": val,
        }
    assert "took the best on val: ours F 0.002." in page(results, "x")


def test_settings_come_back_from_json():
    assert BenchmarkSettings.from_dict(json.loads(json.dumps(SETTINGS.to_dict()))) == SETTINGS


@pytest.mark.slow
def test_memory_is_that_of_a_process_of_its_own(tmp_path):
    small = replace(OURS, stem_channels=(4, 8, 8), width=24, heads=2, depth=1)
    settings = replace(SETTINGS, ours=small, train=TrainConfig(window=(16, 16, 16), batch=1))
    (tmp_path / "settings.json").write_text(json.dumps(settings.to_dict()))
    ballast = np.ones(1_500_000_000, np.uint8)  # this process' own memory must not be counted
    found = measure._in_own_process(tmp_path / "settings.json", ("ours", "F", "fp32"))
    assert ballast[-1]
    assert 100 < found["before_mb"] < found["peak_mb"] < 1500
    assert found["step_cpu_seconds"] > 0
    assert found["parameters"]["frozen"] == 3_540_096


def test_measurements_are_medians_of_interleaved_rounds(tmp_path, monkeypatch):
    asked = []

    def stand_in(path, job):
        asked.append(job)
        return {
            "step_seconds": float(len(asked)),
            "inference_cpu_seconds": 0.1 * len(asked),
            "parameters": PARAMETERS,
            "machine": "X",
        }

    monkeypatch.setattr(measure, "_in_own_process", stand_in)
    results = results_of(tmp_path, {})
    measure.measure_arms(results, SETTINGS, tmp_path)
    arms = len(asked) // measure.ROUNDS
    assert asked[:arms] == asked[arms : 2 * arms]
    assert len(set(asked)) == arms == len(results.measured)
    assert (
        results.measured["ours-F"]["step_seconds"] == 1.0 + 2 * arms
    )  # rounds gave 1, 1 + arms, ... 1 + 4 arms
    assert results.measured["ours-F"]["rounds"] == [
        pytest.approx(0.1 * (1 + n * arms)) for n in range(measure.ROUNDS)
    ]
    measure.measure_memory(results, SETTINGS, tmp_path)
    assert set(results.memory) == {"ours-F", "dynunet-J", "paper-F"}
    assert set(results.memory["ours-F"]) == {"fp32", "bf16"}
    again = BenchmarkResults(tmp_path / "r.json", SETTINGS, {}, [])
    assert again.measured == results.measured
    assert again.memory == results.memory


@pytest.mark.parametrize("behind", [0.0, 0.4])
def test_a_network_that_is_far_from_trained_is_said_to_be(tmp_path, behind):
    """Made-up results in which the paper's network is so far behind ours."""
    results = results_of(tmp_path, WINS)
    for run in [each for each in results.runs.values() if each["run"]["network"] == "paper"]:
        for case in run["test"]["clean"].values():
            case["dice"] = [value - behind for value in case["dice"]]
    line = next(
        line
        for line in page(results, "medllmseg benchmark").splitlines()
        if line.startswith("In the paper's plain network,")
    )
    assert ("far from trained" in line) is (behind > 0)
    assert f"F has a mean Dice of {0.87 - behind:.2f}" in line


@pytest.mark.slow
def test_the_page_in_the_docs_is_that_of_the_stored_results():
    path = ROOT / "docs" / COLLECTED
    stored = json.loads(path.read_text(encoding="utf-8"))
    settings = BenchmarkSettings.from_dict(stored["settings"])
    results = BenchmarkResults(path, settings, stored["groups"], stored["structures"])
    kept = (ROOT / "docs/benchmark.md").read_text(encoding="utf-8")
    command = next(line for line in kept.splitlines() if line.startswith("medllmseg benchmark"))
    assert page(results, command) == kept
