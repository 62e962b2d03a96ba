"""The benchmark as a study: how an arm is trained on the labelled cases, and tested."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from MedLLMSegLib.anatomy.structures import named_structures
from MedLLMSegLib.core.progress import Progress
from MedLLMSegLib.core.safe_files import write_text
from MedLLMSegLib.core.types import Json
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.data import Case, CaseSet, read_label_map
from MedLLMSegLib.evaluation.scores import Score, table
from MedLLMSegLib.io.volume_files import load_volume
from MedLLMSegLib.llm.store import resolve
from MedLLMSegLib.metrics.overlap import structure_metrics
from MedLLMSegLib.networks.controls import arm_config, build_arm, count_parameters
from MedLLMSegLib.networks.segmentation.dynunet import PlannedDynUNet
from MedLLMSegLib.segmentation.inference import predict
from MedLLMSegLib.segmentation.prepare import Preparation, prepare_whole
from MedLLMSegLib.segmentation.restore import restore, softmax
from MedLLMSegLib.studies.study.runs import Run
from MedLLMSegLib.studies.study.study import Study, Task
from MedLLMSegLib.training.checkpoint import fill_best
from MedLLMSegLib.training.devices import make_fabric
from MedLLMSegLib.training.segmenter.case_recipe import case_trainer
from MedLLMSegLib.training.segmenter.samples.prepared_cases import prepare_set

from .benchmark_plan import (
    BLIND,
    ROBUST_ARMS,
    BenchmarkSettings,
    complete_settings,
    extra_runs,
    network_and_arm,
    planned,
    tuning_of,
)
from .benchmark_results import BenchmarkResults
from .blind import Answer, blind_answer, label_prior
from .corruptions import CORRUPTIONS, corrupted

METRICS = ("dice", "hd95_mm")
TABLE = "test.csv"  # beside a run's result.json


@dataclass(eq=False)
class Benchmark:
    """One benchmark at work. splits: split -> cases. output: where the runs' folders lie.
    results: what is finished.
    """

    case_set: CaseSet
    splits: dict[str, tuple[Case, ...]]
    settings: BenchmarkSettings
    output: Path
    results: BenchmarkResults
    device: str = "cpu"

    @cached_property
    def fabric(self):
        return make_fabric(self.device, self.settings.train.precision)

    @property
    def preparation(self) -> Preparation:
        return Preparation(self.settings.spacing_mm, self.settings.axes)

    @cached_property
    def prepared(self) -> dict[str, dict]:
        """Case id -> prepared case, of the cases to train on and to choose by."""
        cases = [*self.splits["train"], *self.splits["val"]]
        ready = prepare_set(cases, self.case_set, self.preparation)
        return {case.id: each for case, each in zip(cases, ready, strict=True)}


def benchmark_study(bench: Benchmark) -> Study:
    """The arms of the comparison, beginning with those that carry the answer."""
    settings = bench.settings
    return Study(
        planned(settings),
        partial(train_and_test, bench),
        bench.output,
        bench.results,
        settings.to_dict(),
        tuning_of(settings.to_dict()),
        extra_runs(settings),
        complete_settings,
    )


def train_and_test(bench: Benchmark, task: Task) -> Json:
    """Train an arm, and test it unless it tunes."""
    run, folder = task.run, task.folder
    if run.arm == BLIND:
        return measure_blind(bench, task)
    arm = network_and_arm(run)[1]
    config = replace(bench.settings.train, seed=run.seed, lr=task.known_lr)
    network = build_network_of(bench.settings, run)
    cases = training_cases(bench.splits["train"], int(run.data), run.seed)
    facts = facts_of(run)
    about = {"settings": bench.settings.to_dict(), "run": {**facts, "lr": task.lr}}
    trainer = case_trainer(
        network,
        bench.settings.structures + 1,
        config,
        [bench.prepared[c.id] for c in cases],
        [bench.prepared[c.id] for c in bench.splits["val"]],
        folder,
        about,
        fabric=bench.fabric,
    )
    trained = trainer.run(task.progress.part(0.0, 0.9))
    result: Json = {
        "run": {**facts, "lr": run.lr},
        "lr": task.lr,
        "steps": trained.steps,
        "val_dice": round(trained.best_score, 5),
        "training_seconds": trained.seconds,
        "trained_on": {"cases": len(cases), "groups": len({c.group for c in cases})},
        "parameters": count_parameters(network),
        "torch": torch.__version__,
    }
    if run.lr is None:  # a rate is chosen on val, so the tuning never looks at the test cases
        fill_best(network, folder)
        answer = network_answer(network.eval(), bench.fabric.device)
        tested = task.progress.part(0.9, 1.0)
        result["test"] = measure_on_test(bench, answer, arm in ROBUST_ARMS, tested)
        write_text(bench.output / run.name / TABLE, table_of(bench, result["test"]["clean"]))
    return result


def facts_of(run: Run) -> Json:
    """A run as results tell it."""
    network, arm = network_and_arm(run)
    return {"network": network, "arm": arm, "percent": int(run.data), "seed": run.seed}


def measure_blind(bench: Benchmark, task: Task) -> Json:
    """The control that sees no image; nothing is trained."""
    cases = [bench.prepared[c.id] for c in bench.splits["train"]]
    answer = blind_answer(label_prior(cases, bench.settings.structures + 1))
    return {
        "run": {**facts_of(task.run), "lr": None},
        "lr": None,
        "trained_on": {"cases": len(cases)},
        "test": measure_on_test(bench, answer, False, task.progress),
    }


def network_answer(network: nn.Module, device: torch.device) -> Answer:
    """How a trained network answers a prepared image."""
    return lambda image: softmax(predict(network, image, device))


def table_of(bench: Benchmark, measured: dict[str, dict]) -> str:
    """The clean test cases as `medllmseg evaluate` writes them, for its ``--compare``."""
    names = [s.key for s in named_structures(dict(enumerate(bench.results.structures, start=1)))]
    return table(
        [
            Score(
                case,
                bench.results.groups[case],
                {
                    f"{metric}_{name}": math.nan if value is None else value
                    for metric, values in metrics.items()
                    for name, value in zip(names, values, strict=True)
                },
            )
            for case, metrics in measured.items()
        ]
    )


def build_network_of(settings: BenchmarkSettings, run: Run) -> nn.Module:
    """The network that a run trains, with its seed's initial weights."""
    network, arm = network_and_arm(run)
    if network == "dynunet":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(run.seed)
            k, j, i = (float(s) for s in np.broadcast_to(settings.spacing_mm, 3))
            classes = settings.structures + 1
            return PlannedDynUNet(1, classes, settings.train.window, (k, j, i))
    config = settings.ours if network == "ours" else settings.paper
    llm = arm_config(config, arm).llm
    return build_arm(config, arm, resolve(llm.source, llm.layers) if llm else None, run.seed)


def training_cases(cases: tuple[Case, ...], percent: int, seed: int) -> list[Case]:
    """A share of the groups, each with all its cases, drawn by the seed alone: the same for
    every arm.
    """
    groups = sorted({case.group for case in cases})
    order = np.random.default_rng((seed, 10)).permutation(len(groups))
    kept = {groups[n] for n in order[: max(1, round(len(groups) * percent / 100))]}
    return [case for case in cases if case.group in kept]


def measure_on_test(bench: Benchmark, answer: Answer, robust: bool, progress: Progress) -> dict:
    """{"clean" or a corruption: {case id: {metric: [of each structure]}}} on the test cases at
    their own resolution. robust: on corrupted images too.
    """
    conditions = ["clean", *(CORRUPTIONS if robust else ())]
    scores: dict[str, dict] = {name: {} for name in conditions}
    for n, case in enumerate(bench.splits["test"]):
        volume = load_volume(case.image)
        truth = read_label_map(case, bench.case_set, volume)
        for name in conditions:
            progress(f"testing {case.id}, {name}", n / len(bench.splits["test"]))
            seen = volume if name == "clean" else corrupted(volume, name, case.id)
            labels = label_scan(answer, seen, bench.preparation)
            scores[name][case.id] = score(
                labels, truth, volume.ijk_to_ras, bench.settings.structures
            )
    return scores


def label_scan(answer: Answer, volume: Volume, preparation: Preparation) -> np.ndarray:
    """Labels (k, j, i) on the scan's own grid: the likeliest class of each voxel, with nothing
    cleaned up.
    """
    array, way_back = prepare_whole(volume, preparation)
    values, box = restore(answer(array), way_back)
    labels = np.zeros(volume.array.shape, np.uint8)
    labels[box] = values.argmax(0)
    return labels


def score(
    labels: np.ndarray, truth: np.ndarray, ijk_to_ras: np.ndarray, structures: int
) -> dict[str, list]:
    """{metric: [value of each structure]}, None where neither label map has the structure."""
    each = [
        structure_metrics(labels, truth, label, ijk_to_ras) for label in range(1, structures + 1)
    ]
    return {
        name: [None if math.isnan(m[name]) else round(float(m[name]), 5) for m in each]
        for name in METRICS
    }
