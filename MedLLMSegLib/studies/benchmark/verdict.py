"""What the finished runs say: the paired tests of each family of arms, and whether the language
model helped.

The unit is the head or patient: seeds, structures and sides are averaged first (`compare`), and
Holm's correction runs over the tests of one family. The rule was fixed before anything was run: the
language model helps if arm F is better than both C and D.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from MedLLMSegLib.metrics.group_statistics import bootstrap_interval
from MedLLMSegLib.metrics.paired_tests import Comparison, Table, arm_values, paired_tests

from .benchmark_plan import run_of
from .benchmark_results import BenchmarkResults

CONTROLS = ("A", "C", "D")
NAMES = {"A": "no block", "C": "the trainable MLP", "D": "the frozen random block"}


class ArmKey(NamedTuple):
    """An arm of a network, trained on a share of the cases and tested under a condition; over
    all its seeds.
    """

    network: str
    arm: str
    percent: int
    condition: str = "clean"


@dataclass(frozen=True)
class ArmMean:
    """A mean over heads (seeds averaged), its 95 % interval over heads, and the mean of each
    seed that was run.
    """

    mean: float
    low: float
    high: float
    seeds: dict[int, float]


@dataclass(frozen=True)
class BlockAnswer:
    """missing: runs that the answer waits for. tests: control -> F against it. by_seed: control
    -> F minus it, each seed.
    """

    missing: tuple[str, ...]
    tests: dict[str, Comparison]
    by_seed: dict[str, dict[int, float]]

    @property
    def verdict(self) -> str:
        """ "not run", "helps" (better than C and D), or "not shown"."""
        if self.missing:
            return "not run"
        return "helps" if all(self.tests[c].better == "F" for c in ("C", "D")) else "not shown"

    def disagree(self, control: str) -> bool:
        """Whether F is better in some seeds and worse in others."""
        differences = self.by_seed[control].values()
        return bool(differences) and min(differences) < 0 < max(differences)


def tables(results: BenchmarkResults, key: ArmKey) -> dict[int, Table]:
    """Seed -> case -> column such as "dice_anterior" -> value, of the finished runs."""
    by_seed: dict[int, Table] = {}
    for seed in results.settings["seeds"]:
        run = results.runs.get(run_of(key.network, key.arm, key.percent, seed).name)
        cases = run["test"].get(key.condition) if run else None
        if cases:
            by_seed[seed] = {
                case: {
                    f"{metric}_{name}": math.nan if value is None else value
                    for metric, values in metrics.items()
                    for name, value in zip(results.structures, values, strict=True)
                }
                for case, metrics in cases.items()
            }
    return by_seed


def figure(results: BenchmarkResults, key: ArmKey, metric: str = "dice") -> ArmMean | None:
    """The mean of an arm; None where no seed was run.

    metric: "dice" and "hd95_mm" are means over the structures; or one column.
    """
    return known_figure(results, key, metric) if tables(results, key) else None


def known_figure(results: BenchmarkResults, key: ArmKey, metric: str = "dice") -> ArmMean:
    """The mean of an arm of which a seed was run; see `figure`."""
    each = tables(results, key)
    values = arm_values({"all": list(each.values())}, results.groups, metric)["all"]
    seeds = {
        seed: float(arm_values({"one": [table]}, results.groups, metric)["one"].mean())
        for seed, table in each.items()
    }
    return ArmMean(float(np.mean(values)), *bootstrap_interval(values), seeds)


def family(
    results: BenchmarkResults, pairs: Sequence[tuple[ArmKey, ArmKey]], metric: str = "dice"
) -> dict[tuple[ArmKey, ArmKey], Comparison]:
    """The tests of one family, of the pairs that were both run, on the seeds that both have.

    `Comparison.first`, `second` and `better` are arms' letters.
    """
    arms: dict[str, list[Table]] = {}
    asked: dict[tuple[str, str], tuple[ArmKey, ArmKey]] = {}
    for n, pair in enumerate(pairs):
        shared = tables_of_shared_seeds(results, pair)
        if shared[0]:
            names = (f"{n} first", f"{n} second")
            arms |= dict(zip(names, shared, strict=True))
            asked[names] = pair
    tests = paired_tests(arms, results.groups, (metric,), list(asked)) if asked else []
    named = {}
    for names, test in zip(asked, tests, strict=True):
        letters = dict(zip(names, (key.arm for key in asked[names]), strict=True))
        named[asked[names]] = replace(
            test,
            first=letters[test.first],
            second=letters[test.second],
            better=letters.get(test.better, ""),
        )
    return named


def tables_of_shared_seeds(
    results: BenchmarkResults, pair: tuple[ArmKey, ArmKey]
) -> tuple[list[Table], list[Table]]:
    """One table for each seed that both arms have, of the first and of the second."""
    first, second = (tables(results, key) for key in pair)
    seeds = sorted(set(first) & set(second))
    return [first[seed] for seed in seeds], [second[seed] for seed in seeds]


def answer(
    results: BenchmarkResults,
    network: str = "ours",
    percent: int = 100,
    controls: Sequence[str] = CONTROLS,
) -> BlockAnswer:
    """Does F beat its controls? A family of its own for each network and share of the cases."""
    missing = [
        run.name
        for seed in results.settings["seeds"]
        for arm in ("F", *controls)
        if (run := run_of(network, arm, percent, seed)).name not in results.runs
    ]
    f = ArmKey(network, "F", percent)
    tests = family(results, [(f, ArmKey(network, arm, percent)) for arm in controls])
    return BlockAnswer(
        tuple(missing),
        {pair[1].arm: test for pair, test in tests.items()},
        {arm: seed_differences(results, f, ArmKey(network, arm, percent)) for arm in controls},
    )


def seed_differences(results: BenchmarkResults, first: ArmKey, second: ArmKey) -> dict[int, float]:
    """Mean Dice of the first minus the second, seed by seed."""
    a, b = figure(results, first), figure(results, second)
    if a is None or b is None:
        return {}
    return {seed: a.seeds[seed] - b.seeds[seed] for seed in a.seeds if seed in b.seeds}


def headline(answer: BlockAnswer) -> str:
    """The answer in a few words. It follows from the tests alone."""
    if answer.verdict == "not run":
        return "Not answered yet."
    better = answer.tests["A"].better if "A" in answer.tests else ""
    if answer.verdict == "helps":
        return _headline_of_help(answer, better)
    return _headline_without_proof(answer, better)


def _headline_of_help(answer: BlockAnswer, better: str) -> str:
    """F beats both controls. better: the better one of F and A, "" where neither is shown."""
    if any(answer.disagree(control) for control in answer.tests):
        return (
            "Over these trainings it beats both controls, but the seeds disagree, so more are"
            " needed."
        )
    return {
        "F": "Yes: the pretrained block helped, more than either control.",
        "A": "No: it beats both controls, but the network is better without any block.",
        "": (
            "Not over the network without a block: it beats both controls, but no gain over no"
            " block can be shown."
        ),
    }[better]


def _headline_without_proof(answer: BlockAnswer, better: str) -> str:
    """F does not beat both controls. better: as for `_headline_of_help`."""
    if not better:
        return "No help could be shown."
    if answer.disagree("A"):
        return (
            f"Over these trainings the network is better {'with' if better == 'F' else 'without'}"
            " the block, but the seeds disagree, so more are needed."
        )
    if better == "A":
        return "No: the network is better without the block."
    level = [NAMES[control] for control in ("C", "D") if answer.tests[control].better != "F"]
    return (
        f"The block helped, but not more than both controls: over {' and '.join(level)} no gain"
        " could be shown."
    )
