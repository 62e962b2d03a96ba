"""The tables of docs/benchmark.md; "not run" for what is not."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from MedLLMSegLib.core.types import Json
from MedLLMSegLib.metrics.paired_tests import Comparison
from MedLLMSegLib.networks.controls import ARMS
from MedLLMSegLib.reporting.markdown import margin, p_value, table
from MedLLMSegLib.studies.study.page import (
    NOT_RUN,
    ArmRow,
    TableForm,
    arms_table,
    difference_text,
)

from .benchmark_plan import ROBUST_ARMS
from .benchmark_results import BenchmarkResults
from .corruptions import CORRUPTIONS
from .earlier_test import changed_sides
from .verdict import CONTROLS, ArmKey, ArmMean, family, figure, known_figure

DIGITS = 4  # of a Dice
OURS = (("ours", "A"), ("ours", "C"), ("ours", "D"), ("ours", "F"), ("ours", "I"), ("dynunet", "J"))
EXTRA = (
    "B",
    "E",
    "G",
    "H-head",
    "H-middle",
    "H-tail",
    "H-layer0",
    "H-layer12",
)  # shown where they were run
PAPER = (("paper", "A"), ("paper", "D"), ("paper", "F"))


def interval(x: ArmMean | Comparison) -> str:
    """The interval in words; for a comparison also the margin that it excludes."""
    text = f"95 % {x.low:.4f} to {x.high:.4f}"
    if isinstance(x, Comparison):
        text += f", excludes differences beyond {margin(x.margin, DIGITS)}"
    return text


def network_section(results: BenchmarkResults, title: str, arms, percent: int) -> list[str]:
    """Dice and HD95 of each arm, and F against it."""
    section = section_tests(results, arms, percent)
    return [
        f"## {title}",
        _arms_table(results, section.keys, section.f, section.tests),
        *_notes(section.tests.values()),
        *itertools.chain.from_iterable(changed_sides(results, each) for each in section.families),
    ]


@dataclass(frozen=True)
class SectionTests:
    """f: arm F. keys: all arms that are shown. families: of tests that share a correction, each (f,
    key) -> F against that arm.
    """

    f: ArmKey
    keys: list[ArmKey]
    families: tuple[dict[tuple[ArmKey, ArmKey], Comparison], ...]

    @property
    def tests(self) -> dict[tuple[ArmKey, ArmKey], Comparison]:
        """Those of all families."""
        return {pair: test for each in self.families for pair, test in each.items()}


def section_tests(results: BenchmarkResults, arms, percent: int) -> SectionTests:
    """The tests of a section: F against its controls is one family, against the other arms
    another.
    """
    if arms[0][0] == "ours":
        arms = [
            *arms,
            *(("ours", arm) for arm in EXTRA if figure(results, ArmKey("ours", arm, percent))),
        ]
    f = ArmKey("ours" if arms[0][0] == "ours" else "paper", "F", percent)
    keys = [ArmKey(network, arm, percent) for network, arm in arms]
    main = [k for k in keys if k.arm in CONTROLS]
    others = [k for k in keys if k not in main and k != f]
    families = tuple(family(results, [(f, k) for k in each]) for each in (main, others))
    return SectionTests(f, keys, families)


def _arms_table(results: BenchmarkResults, keys: list[ArmKey], f: ArmKey, tests: dict) -> str:
    """A row for each of the arms `keys`; tests: (f, key) -> F against it."""
    form = TableForm(
        "Dice (95 % over heads)",
        "each seed",
        DIGITS,
        (*(f"Dice {n}" for n in results.structures), "HD95 (mm)"),
        "F minus this arm (95 %; ± excluded)",
    )
    return arms_table(form, [_arm_row(results, key, f, tests.get((f, key))) for key in keys])


def _arm_row(results: BenchmarkResults, key: ArmKey, f: ArmKey, test: Comparison | None) -> ArmRow:
    mean, name = figure(results, key), f"{key.arm}: {ARMS[key.arm]}"
    against = ["", ""] if key == f else _difference(test)
    if mean is None:
        return ArmRow(name, "", against=against)
    columns = [known_figure(results, key, f"dice_{n}").mean for n in results.structures]
    return ArmRow(
        name,
        f"{mean.mean:.4f} ({mean.low:.4f} to {mean.high:.4f})",
        list(mean.seeds.values()),
        len(results.settings["seeds"]) - len(mean.seeds),
        [
            *(f"{value:.4f}" for value in columns),
            f"{known_figure(results, key, 'hd95_mm').mean:.2f}",
        ],
        against,
    )


def _difference(test: Comparison | None) -> list[str] | None:
    """F minus an arm and the p of it; None where it is not run."""
    if test is None:
        return None
    return [
        difference_text(test.difference, test.low, test.high, DIGITS),
        p_value(test.p_holm, error=test.p_holm_error)
        + (f", {test.better} better" if test.better else ""),
    ]


def _notes(tests) -> list[str]:
    """What the tests want known, such as too few pairs."""
    notes = [f"F against {t.second}: {t.note}." for t in tests if t.note]
    return [" ".join(notes)] if notes else []


def ablations(results: BenchmarkResults) -> list[str]:
    f = ArmKey("ours", "F", 100)
    keys = [ArmKey("ours", arm, 100) for arm in ("F-nolocal", "F-nofusion")]
    tests = family(results, [(f, k) for k in keys])
    return [
        "## Without the local branch, without the fusion",
        "Both are our own design, as the paper gives no formula for either. All training cases.",
        _arms_table(results, [f, *keys], f, tests),
        *changed_sides(results, tests),
    ]


def robustness(results: BenchmarkResults) -> list[str]:
    parts = [
        "## Corrupted images",
        (
            "The trained networks, tested on the same test cases made worse; nothing is trained"
            " again. The same corruption of a case meets every arm. Mean Dice, and F minus the arm;"
            " Holm's correction runs over each table."
        ),
    ]
    for title, network, percent in (
        ("Our network, all training cases", "ours", 100),
        ("Our network, a tenth", "ours", 10),
        ("The paper's network", "paper", 100),
    ):
        arms = [a for a in ROBUST_ARMS if network == "ours" or a != "C"]
        parts += [f"### {title}", *_robust_table(results, network, percent, arms)]
    return parts


def _robust_table(
    results: BenchmarkResults, network: str, percent: int, arms: list[str]
) -> list[str]:
    """The table, and what the change of test decided in it."""
    others = [a for a in arms if a != "F"]
    pairs = {
        (name, a): (ArmKey(network, "F", percent, name), ArmKey(network, a, percent, name))
        for name in CORRUPTIONS
        for a in others
    }
    tests = family(results, list(pairs.values()))
    rows = []
    for name in CORRUPTIONS:
        means = [figure(results, ArmKey(network, a, percent, name)) for a in arms]
        cells = [_difference(tests.get(pairs[name, a])) for a in others]
        rows.append(
            [
                name,
                *(f"{x.mean:.4f}" if x else NOT_RUN for x in means),
                *(NOT_RUN if each is None else ", ".join(each) for each in cells),
            ]
        )
    head = [
        "corruption",
        *(f"{a}" for a in arms),
        *(f"F - {a} (95 %; ± excluded), p (Holm)" for a in others),
    ]
    return [table(head, rows), *changed_sides(results, tests)]


def costs(results: BenchmarkResults) -> list[str]:
    arms = [*OURS, ("ours", "F-nolocal"), ("ours", "F-nofusion"), *PAPER]
    head = [
        "network and arm",
        "trained parameters",
        "frozen parameters",
        "processor s a training step",
        "wall s a training step",
        "peak memory of training (MB)",
        "processor s a crop",
    ]
    rows = [
        [f"{network} {arm}", *_cost_cells(results.measured.get(f"{network}-{arm}"))]
        for network, arm in arms
    ]
    machine = next((m["machine"] for m in results.measured.values()), None)
    where = [f"On {machine}."] if machine else []
    return [
        "## Parameters, time and memory",
        table(head, rows),
        " ".join(
            [
                *where,
                (
                    "Each figure is the median over fresh processes, interleaved, of a few steps on"
                    " random data at the training's window and batch (`medllmseg benchmark"
                    " --measure`). Peak memory is the largest resident size of such a process,"
                    " libraries included; processor seconds add up the threads and mind other work"
                    " on the machine less than wall seconds do."
                ),
            ]
        ),
    ]


def _cost_cells(cost: Json | None) -> list[str]:
    if cost is None:
        return [NOT_RUN] * 6
    return [
        f"{cost['parameters']['trained']:,}",
        f"{cost['parameters']['frozen']:,}",
        f"{cost['step_cpu_seconds']:.2f}",
        f"{cost['step_seconds']:.2f}",
        f"{cost['peak_mb']:.0f}",
        f"{cost['inference_cpu_seconds']:.2f}",
    ]


def memory(results: BenchmarkResults) -> list[str]:
    rows = []
    for name in ("ours-F", "dynunet-J", "paper-F"):
        m = results.memory.get(name)
        rows.append(
            [
                name.replace("-", " "),
                *(
                    [NOT_RUN] * 4
                    if m is None
                    else [
                        f"{m['fp32']['peak_mb']:.0f}",
                        f"{m['bf16']['peak_mb']:.0f}",
                        f"{m['fp32']['peak_mb'] - m['bf16']['peak_mb']:+.0f}",
                        f"{m['fp32']['step_cpu_seconds']:.2f}, {m['bf16']['step_cpu_seconds']:.2f}",
                    ]
                ),
            ]
        )
    return [
        "## Memory that autocast saves",
        table(
            [
                "network and arm",
                "fp32: peak MB",
                "bf16: peak MB",
                "saved MB",
                "processor s a step, fp32 and bf16",
            ],
            rows,
        ),
        (
            "Peak resident size of a fresh process that takes a few training steps (`medllmseg"
            " benchmark --memory`)."
        ),
    ]
