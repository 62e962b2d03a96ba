"""`medllmseg benchmark`: does the language-model block help? The arms one by one, and the page
that answers.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from MedLLMSegLib.core.progress import ProgressLog
from MedLLMSegLib.studies.study.part_options import add_part_options

from .common_options import Subparsers, add_device_option, option_name, typed_path

if TYPE_CHECKING:
    import argparse

    from MedLLMSegLib.studies.benchmark.benchmark_runner import Benchmark

# Options of which each has one value that the page's command states.
SETTINGS_OPTIONS = ("network_size", "steps", "batch", "lr", "seeds", "precision")


def add_parser(commands: Subparsers) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "benchmark",
        help="does the language-model block help? train and compare the arms",
        description=(
            "Train and test the arms of the comparison one by one. It can be stopped at any moment;"
            " the same command goes on where it stopped, and finished runs are skipped. It ends by"
            " writing DOCS/benchmark.md."
        ),
        epilog=(
            "Every run lies in a folder of its own under OUTPUT; what is finished is also kept in"
            " DOCS/benchmark-results.json."
        ),
    )
    _add_data_options(parser)
    _add_output_options(parser)
    _add_work_options(parser)
    _add_network_options(parser)
    _add_training_options(parser)
    parser.set_defaults(run=_benchmark)


def _add_data_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data",
        required=True,
        type=typed_path,
        metavar="FOLDER",
        help="labelled cases with train, val and test splits; all arms see them on a grid of 1 mm",
    )
    parser.add_argument(
        "--structures",
        nargs="+",
        metavar="NAME",
        help=(
            "their names for the page, in the order of their labels, if the data does not say them"
        ),
    )


def _add_output_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--output",
        "-o",
        type=typed_path,
        default=Path("runs/benchmark"),
        metavar="FOLDER",
        help="default: %(default)s",
    )
    parser.add_argument(
        "--docs",
        type=typed_path,
        default=Path("docs"),
        metavar="FOLDER",
        help="where the page and the collected results are written (default: %(default)s)",
    )


def _add_work_options(parser: argparse.ArgumentParser) -> None:
    """Which part of the work to do now."""
    add_part_options(parser)
    parser.add_argument(
        "--measure",
        action="store_true",
        help="measure time and memory of every arm instead, in processes of their own",
    )
    parser.add_argument(
        "--memory", action="store_true", help="measure what bf16 autocast saves in memory instead"
    )


def _add_network_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--network-size", default="default", metavar="SIZE", help="of our network: default or small"
    )
    parser.add_argument(
        "--window",
        type=int,
        nargs=3,
        default=(40, 48, 40),
        metavar=("K", "J", "I"),
        help="voxels of a sample",
    )
    parser.add_argument(
        "--precision",
        default="bf16",
        help=(
            "bf16, fp16 or fp32, one for all machines that share the work; a CPU "
            "without bf16 is many times faster in fp32 (default: %(default)s)"
        ),
    )
    add_device_option(parser)


def _add_training_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--tune",
        action="store_true",
        help="first choose every arm's learning rate from the same three, on val",
    )
    parser.add_argument(
        "--steps", type=int, default=600, help="optimiser steps of every arm (default: %(default)s)"
    )
    parser.add_argument("--batch", type=int, default=2, help="default: %(default)s")
    parser.add_argument(
        "--optimiser",
        choices=("adamw", "muon"),
        default="adamw",
        help="of every arm (default: %(default)s)",
    )
    parser.add_argument(
        "--lr",
        type=float,
        default=1e-3,
        help="learning rate of every arm, without --tune (default: %(default)s)",
    )
    parser.add_argument(
        "--seeds", type=int, default=3, metavar="N", help="of each arm (default: %(default)s)"
    )


def _benchmark(args: argparse.Namespace, command: str) -> None:
    from MedLLMSegLib.studies.benchmark.benchmark_page import write_page
    from MedLLMSegLib.studies.benchmark.benchmark_runner import benchmark_study
    from MedLLMSegLib.studies.study.command import do_study

    bench = _bench(args)
    do_study(
        benchmark_study(bench),
        args,
        lambda: write_page(bench.results, args.docs, _shared_command(args)),
        (lambda: _measure(bench, args)) if args.measure or args.memory else None,
    )


def _bench(args: argparse.Namespace) -> Benchmark:
    from MedLLMSegLib.data import read_cases, split_cases
    from MedLLMSegLib.studies.benchmark.benchmark_plan import make_settings
    from MedLLMSegLib.studies.benchmark.benchmark_results import COLLECTED, BenchmarkResults
    from MedLLMSegLib.studies.benchmark.benchmark_runner import Benchmark

    case_set = read_cases(
        args.data, dict(enumerate(args.structures, 1)) if args.structures else None
    )
    parts = split_cases(case_set)
    settings = make_settings(
        case_set,
        parts,
        size=args.network_size,
        steps=args.steps,
        batch=args.batch,
        window=tuple(args.window),
        lr=args.lr,
        tune=args.tune,
        seeds=tuple(range(args.seeds)),
        precision=args.precision,
        optimiser=args.optimiser,
    )
    results = BenchmarkResults(
        args.docs / COLLECTED,
        settings,
        {c.id: c.group for c in parts["test"]},
        [case_set.labels[n] for n in sorted(case_set.labels)],
    )
    return Benchmark(case_set, parts, settings, args.output, results, args.device)


def _measure(bench: Benchmark, args: argparse.Namespace) -> None:
    from MedLLMSegLib.studies.benchmark.benchmark_cost import measure_arms, measure_memory

    if args.measure:
        measure_arms(bench.results, bench.settings, args.output, ProgressLog())
    if args.memory:
        measure_memory(bench.results, bench.settings, args.output, ProgressLog())


def _shared_command(args: argparse.Namespace) -> str:
    """The command that makes the page again, without what says which part of the work to do."""
    words = ["medllmseg", "benchmark", "--data", str(args.data)]
    if args.structures:
        words += ["--structures", *args.structures]
    for name in SETTINGS_OPTIONS:
        words += [option_name(name), str(getattr(args, name))]
    if args.optimiser != "adamw":
        words += ["--optimiser", args.optimiser]
    words += ["--window", *map(str, args.window)]
    if args.tune:
        words.append("--tune")
    return shlex.join(words)
