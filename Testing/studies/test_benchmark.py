"""The benchmark at toy size: it can be stopped and continued, compares like with like, and never
tunes on test.
"""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from MedLLMSegLib import UserError, load_volume, save_volume
from MedLLMSegLib.cli.main import main
from MedLLMSegLib.core.errors import TimeIsUp
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.data import read_cases, split_cases
from MedLLMSegLib.evaluation.comparison import compare_files
from MedLLMSegLib.evaluation.scores import read_table
from MedLLMSegLib.networks.controls import count_parameters
from MedLLMSegLib.registry.network_config import OURS, PAPER
from MedLLMSegLib.studies.benchmark import benchmark_runner as runner
from MedLLMSegLib.studies.benchmark.benchmark_page import page
from MedLLMSegLib.studies.benchmark.benchmark_plan import (
    LEARNING_RATES,
    BenchmarkSettings,
    make_settings,
    network_and_arm,
    planned,
    run_of,
)
from MedLLMSegLib.studies.benchmark.benchmark_results import COLLECTED, BenchmarkResults
from MedLLMSegLib.studies.benchmark.benchmark_runner import (
    Benchmark,
    benchmark_study,
    build_network_of,
    training_cases,
)
from MedLLMSegLib.studies.benchmark.blind import GRID, blind_answer, label_prior
from MedLLMSegLib.studies.benchmark.corruptions import CORRUPTIONS, corrupted

TINY = replace(OURS, stem_channels=(4, 8, 8), width=24, heads=2, depth=1)
TINY_PAPER = replace(PAPER, width=16, heads=2, depth=1, grid=(2, 3, 2))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Twelve crops of six heads: an ellipsoid whose front half is label 1 and back half label 2."""
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    k, j, i = np.ogrid[:16, :24, :16]
    for n in range(1, 13):
        centre = rng.uniform((7, 10, 7), (9, 14, 9))
        inside = (
            sum(((a - c) / r) ** 2 for a, c, r in zip((k, j, i), centre, (4, 7, 4), strict=True))
            <= 1
        )
        labels = np.where(inside, np.where(j > centre[1], 1, 2), 0).astype(np.uint8)
        image = (100 * inside + 10 * rng.normal(size=inside.shape)).astype(np.float32)
        save_volume(Volume(image, np.eye(4)), folder / f"imagesTr/hippocampus_{n:03d}.nii.gz")
        save_volume(Volume(labels, np.eye(4)), folder / f"labelsTr/hippocampus_{n:03d}.nii.gz")
    names = [f"hippocampus_{n:03d}" for n in range(1, 13)]
    (folder / "splits.json").write_text(
        json.dumps({"train": names[:6], "val": names[6:8], "test": names[8:]})
    )
    return folder


def settings_of(data, **changes):
    case_set = read_cases(data)
    settings = make_settings(
        case_set,
        split_cases(case_set),
        steps=3,
        batch=1,
        window=(16, 24, 16),
        seeds=(0, 1),
        precision="fp32",
    )
    train = replace(settings.train, validate_every=2, checkpoint_s=0.0, log_every=1)
    return replace(settings, **{"ours": TINY, "paper": TINY_PAPER, "train": train, **changes})


def bench_of(data, folder, **changes):
    case_set, settings = read_cases(data), settings_of(data, **changes)
    parts = split_cases(case_set)
    results = BenchmarkResults(
        folder / "docs" / COLLECTED,
        settings,
        {c.id: c.group for c in parts["test"]},
        list(case_set.labels.values()),
    )
    return Benchmark(case_set, parts, settings, folder / "runs", results)


def run_benchmark(bench, pattern, minutes=None, progress=None):
    return benchmark_study(bench).run(pattern, minutes, progress)


class Killed(Exception):
    """What a kill is to the benchmark: the end, with no chance to save anything."""


def killer(text_part):
    def tell(text, fraction):
        if text_part in text:
            raise Killed

    return tell


def test_a_run_leaves_a_table_that_evaluate_compares(data, tmp_path):
    bench = bench_of(data, tmp_path, seeds=(0,))
    run_benchmark(bench, "ours-[FA]-100-0")
    tables = [tmp_path / f"runs/ours-{arm}-100-0/test.csv" for arm in "FA"]
    found = bench.results.runs["ours-F-100-0"]["test"]["clean"]
    read = read_table(tables[0])
    assert set(read) == set(found)
    for case, metrics in found.items():
        assert [read[case]["dice_label_1"], read[case]["dice_label_2"]] == pytest.approx(
            metrics["dice"], abs=1e-5
        )
    (test,) = compare_files([f"f={tables[0]}", f"a={tables[1]}"])
    assert test.n == 2  # heads, not their crops


def test_the_optimiser_is_a_setting(data):
    case_set = read_cases(data)
    usual, other = (
        make_settings(case_set, split_cases(case_set), **more)
        for more in ({}, {"optimiser": "muon"})
    )
    assert (usual.train.optimiser, other.train.optimiser) == ("adamw", "muon")
    assert (
        BenchmarkSettings.from_dict(json.loads(json.dumps(other.to_dict()))).train.optimiser
        == "muon"
    )


@pytest.mark.slow
def test_a_killed_benchmark_goes_on_to_the_same_result_and_skips_what_is_finished(data, tmp_path):
    whole = bench_of(data, tmp_path / "whole")
    assert run_benchmark(whole, "ours-[FD]-100-0") == ["ours-F-100-0", "ours-D-100-0"]
    with pytest.raises(Killed):
        run_benchmark(
            bench_of(data, tmp_path / "parts"),
            "ours-[FD]-100-0",
            progress=killer("ours-D-100-0: step 2"),
        )
    steps = []
    again = bench_of(data, tmp_path / "parts")
    assert again.results.runs.keys() == {"ours-F-100-0"}
    assert run_benchmark(again, "ours-[FD]-100-0", progress=lambda text, f: steps.append(text)) == [
        "ours-D-100-0"
    ]
    assert not [s for s in steps if "step 1 " in s]  # it did not begin again
    for name in ("ours-F-100-0", "ours-D-100-0"):
        one, other = whole.results.runs[name], again.results.runs[name]
        assert one["test"] == other["test"], name
        assert one["val_dice"] == other["val_dice"], name
    with pytest.raises(Killed):  # between training and result
        run_benchmark(again, "ours-A-100-0", progress=killer("testing hippocampus_011"))
    assert "ours-A-100-0" not in bench_of(data, tmp_path / "parts").results.runs
    assert run_benchmark(bench_of(data, tmp_path / "parts"), "ours-A-100-0") == ["ours-A-100-0"]


def test_finished_runs_count_even_where_their_folders_are_gone(data, tmp_path):
    first = bench_of(data, tmp_path)
    run_benchmark(first, "ours-A-10-1")
    import shutil

    shutil.rmtree(tmp_path / "runs")
    assert run_benchmark(bench_of(data, tmp_path), "ours-A-10-1") == []
    kept = json.loads((tmp_path / "docs" / COLLECTED).read_text(encoding="utf-8"))
    assert set(kept["runs"]["ours-A-10-1"]["test"]["clean"]) == set(first.settings.cases["test"])
    assert kept["groups"]["hippocampus_009"] == kept["groups"]["hippocampus_010"]


def test_processes_that_share_the_folders_lose_nothing_of_each_other(data, tmp_path):
    one, other = bench_of(data, tmp_path), bench_of(data, tmp_path)  # both read the empty file
    path = tmp_path / "docs" / COLLECTED

    def kept():
        return json.loads(path.read_text(encoding="utf-8"))

    measuring = bench_of(data, tmp_path).results
    # `--measure` in a third process, while the others train
    measuring.put("measured", {"ours-A": {"peak_mb": 900.0}})
    run_benchmark(one, "ours-A-10-0")
    (tmp_path / "runs/ours-A-10-0/result.json").rename(
        tmp_path / "elsewhere.json"
    )  # what another folder's process did, too
    assert run_benchmark(other, "ours-A-10-1") == ["ours-A-10-1"]
    assert sorted(kept()["runs"]) == ["ours-A-10-0", "ours-A-10-1"]
    assert kept()["measured"] == measuring.measured
    again = BenchmarkResults(path, one.settings, {}, [])
    measuring.put("measured", {"ours-A": {"peak_mb": 950.0}})
    again.put("memory", {})  # an older reading is no news
    assert kept()["measured"]["ours-A"]["peak_mb"] == 950.0
    assert run_benchmark(one, "ours-A-10-1") == []  # finished by the other since


def test_other_settings_are_refused_in_the_same_folders(data, tmp_path):
    run_benchmark(bench_of(data, tmp_path), "ours-A-10-0")
    other = replace(settings_of(data).train, steps=4)
    with pytest.raises(UserError, match=r"train.steps = 3, and 4 is asked for"):
        bench_of(data, tmp_path, train=other)
    (tmp_path / "docs" / COLLECTED).unlink()
    with pytest.raises(UserError, match=r"settings.json.*train.steps = 3"):
        run_benchmark(bench_of(data, tmp_path, train=other), "ours-A-10-0")


def test_a_setting_that_came_later_does_not_part_old_results_from_new(data, tmp_path):
    bench = bench_of(data, tmp_path)
    bench.results.put("memory", {})
    path = tmp_path / "docs" / COLLECTED
    kept = json.loads(path.read_text(encoding="utf-8"))
    del kept["settings"]["ours"]["deep_supervision"], kept["settings"]["train"]["patience"]
    path.write_text(json.dumps(kept))
    bench_of(data, tmp_path)
    kept["settings"]["ours"]["colour"] = "blue"
    path.write_text(json.dumps(kept))
    with pytest.raises(UserError, match="colour"):
        bench_of(data, tmp_path)


def test_the_command_lists_what_is_run_and_writes_the_page(data, tmp_path, capsys):
    where = [
        "--data",
        str(data),
        "-o",
        str(tmp_path / "runs"),
        "--docs",
        str(tmp_path / "docs"),
        "--structures",
        "front",
        "back",
    ]
    assert main(["benchmark", *where, "--list", "--only", "ours-F-*"]) == 0
    listed = capsys.readouterr().out.splitlines()
    # 2 shares, 3 seeds; 2 ablations, 3 seeds
    assert len(listed) == 12
    assert all(line.startswith("not run") for line in listed)
    assert not (tmp_path / "runs").exists()
    assert not (tmp_path / "docs").exists()
    assert main(["benchmark", *where, "--page"]) == 0
    text = (tmp_path / "docs/benchmark.md").read_text(encoding="utf-8")
    assert "Not answered yet." in text
    assert "12 of the 12 trainings" in text
    assert "Dice front" in text
    assert (
        f"medllmseg benchmark --data {data} --structures front back --network-size default"
        " --steps 600" in text
    )
    assert main(["benchmark", *where, "--only", "ours-Z"]) == 2
    assert main(["benchmark", *where, "--steps", "0"]) == 2
    assert main(["benchmark", *where, "--network-size", "huge", "--list"]) == 2


def test_it_stops_when_the_minutes_are_over(data, tmp_path):
    bench = bench_of(data, tmp_path)
    with pytest.raises(TimeIsUp):
        run_benchmark(bench, "ours-A-*", minutes=0)
    assert bench.results.runs == {}


def test_every_arm_of_stage_1_is_planned_and_the_answer_comes_first(data, tmp_path):
    settings = settings_of(data, seeds=(0, 1, 2))
    runs = planned(settings)
    names = [r.name for r in runs]
    assert len(names) == len(set(names)) == 6 * 3 * 2 + 3 * 3 + 2 * 3
    assert names[:5] == [
        "ours-F-100-0",
        "ours-C-100-0",
        "ours-D-100-0",
        "ours-A-100-0",
        "ours-F-100-1",
    ]
    arms = [(*network_and_arm(r), r.data) for r in runs]
    assert {arm for network, arm, data in arms if data == "10"} == set("ACDFIJ")
    assert {arm for network, arm, _ in arms if network == "paper"} == set("ADF")
    study = benchmark_study(bench_of(data, tmp_path, seeds=(0, 1, 2)))
    assert [r.name for r in study.chosen("ours-G-100-*")] == [f"ours-G-100-{n}" for n in range(3)]
    with pytest.raises(UserError, match="ours-Z"):
        study.chosen("ours-Z")


@pytest.mark.slow
def test_every_arm_sees_the_same_samples_in_the_same_order(data, tmp_path, monkeypatch):
    seen = {}
    for network, arm in (("ours", "A"), ("ours", "F"), ("dynunet", "J")):

        def watched(settings, run):
            built = build_network_of(settings, run)
            built.register_forward_pre_hook(
                lambda module, args: (
                    seen.setdefault(run.name, []).append(args[0].clone())
                    if module.training
                    else None
                )
            )
            return built

        monkeypatch.setattr(runner, "build_network_of", watched)
        run_benchmark(bench_of(data, tmp_path), f"{network}-{arm}-100-0")
    first = seen.pop("ours-A-100-0")
    assert len(first) == 3
    assert len(seen) == 2
    for name, images in seen.items():
        assert all(torch.equal(a, b) for a, b in zip(first, images, strict=True)), name


def test_a_tenth_of_the_cases_is_whole_heads_and_the_same_for_every_arm(data):
    cases = split_cases(read_cases(data))["train"]
    assert training_cases(cases, 100, 0) == list(cases)
    for seed in range(3):
        few = training_cases(cases, 10, seed)
        assert len({c.group for c in few}) == 1
        assert len(few) == 2
        assert few == training_cases(cases, 10, seed)
    assert len({tuple(training_cases(cases, 34, seed)) for seed in range(8)}) > 1


def test_the_robust_arms_are_tested_on_the_same_corrupted_images(data, tmp_path):
    bench = bench_of(data, tmp_path)
    run_benchmark(bench, "paper-[AF]-100-0")
    for name in ("paper-A-100-0", "paper-F-100-0"):
        tests = bench.results.runs[name]["test"]
        assert set(tests) == {"clean", *CORRUPTIONS}
        assert all(
            len(tests[c][case]["dice"]) == 2 for c in tests for case in bench.settings.cases["test"]
        )


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_corruptions_repeat_by_case_and_change_the_image(data, name):
    volume = load_volume(data / "imagesTr/hippocampus_001.nii.gz")
    one, again, other = (corrupted(volume, name, case) for case in ("x", "x", "y"))
    plain = (volume.array - volume.array.min()) / np.ptp(volume.array)
    assert np.array_equal(one.array, again.array)
    assert one.array.shape == volume.array.shape
    assert np.abs(one.array - plain).mean() > 0.02
    assert np.array_equal(one.array, other.array) == (name in ("gamma", "low resolution"))
    scaled = corrupted(
        volume.with_array(volume.array * 1e4), name, "x"
    )  # whatever the scanner's units
    assert np.allclose(scaled.array, one.array, atol=1e-4)


def test_tuning_chooses_on_val_alone_and_every_arm_tries_the_same(data, tmp_path):
    bench = bench_of(data, tmp_path, tune=True)
    with pytest.raises(UserError, match="tune-ours-A"):
        benchmark_study(bench).rate(run_of("ours", "A", 100, 0))
    names = run_benchmark(bench, "tune-ours-A-*")
    assert names == [f"tune-ours-A-lr{lr:g}" for lr in LEARNING_RATES]
    assert all("test" not in bench.results.runs[n] for n in names)
    best = max(names, key=lambda n: bench.results.runs[n]["val_dice"])
    steps = []
    run_benchmark(bench, "ours-A-100-0", progress=lambda text, f: steps.append(text))
    result = bench.results.runs["ours-A-100-0"]
    assert result["lr"] == bench.results.runs[best]["lr"]
    assert result["val_dice"] == bench.results.runs[best]["val_dice"]
    assert not [s for s in steps if ": step" in s]  # the tuning run was this very training
    run_benchmark(bench, "ours-A-10-0")
    assert bench.results.runs["ours-A-10-0"]["lr"] == result["lr"]


def test_the_table_of_parameters_counts_the_frozen_block_apart(data, tmp_path):
    settings = settings_of(data)
    counts = {
        arm: count_parameters(build_network_of(settings, run_of("ours", arm, 100, 0)))
        for arm in "AF"
    }
    assert counts["F"]["frozen"] == 3_540_096
    assert counts["A"]["frozen"] == 0


def test_the_blind_control_lays_the_mean_of_the_training_labels_over_each_crop(data, tmp_path):
    bench = bench_of(data, tmp_path)
    assert run_benchmark(bench, "atlas-*") == ["atlas-P-100-0"]
    tests = bench.results.runs["atlas-P-100-0"]["test"]
    assert set(tests) == {"clean"}
    dice = np.array([case["dice"] for case in tests["clean"].values()])
    assert 0.5 < dice.mean() < 0.95  # all ellipsoids lie near the middle
    prior = label_prior([bench.prepared[c.id] for c in bench.splits["train"]], 3)
    assert torch.allclose(prior.sum(0), torch.ones(GRID), atol=1e-5)
    answer = blind_answer(prior)
    image = np.random.default_rng(0).normal(size=(10, 12, 9))
    assert answer(image).shape == (3, 10, 12, 9)
    assert np.array_equal(answer(image), answer(0 * image))
    assert "sees no image" in page(bench.results, "x")
