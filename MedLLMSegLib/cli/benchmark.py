"""`medllmseg benchmark`: does the language-model block help? The arms one by one, and the page
that answers.
"""

from __future__ import annotations

from pathlib import Path

from MedLLMSegLib.core.errors import TimeIsUp
from MedLLMSegLib.core.progress import ProgressLog

from .common_options import typed_path


def add_parser(commands) -> None:
    p = commands.add_parser(
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
    p.add_argument(
        "--data",
        required=True,
        type=typed_path,
        metavar="FOLDER",
        help="labelled cases with train, val and test splits; all arms see them on a grid of 1 mm",
    )
    p.add_argument(
        "--structures",
        nargs="+",
        metavar="NAME",
        help=(
            "their names for the page, in the order of their labels, if the data does not say them"
        ),
    )
    p.add_argument(
        "--output",
        "-o",
        type=typed_path,
        default=Path("runs/benchmark"),
        metavar="FOLDER",
        help="default: %(default)s",
    )
    p.add_argument(
        "--docs",
        type=typed_path,
        default=Path("docs"),
        metavar="FOLDER",
        help="where the page and the collected results are written (default: %(default)s)",
    )
    p.add_argument(
        "--only",
        metavar="PATTERN",
        help=(
            'runs whose names match, such as "ours-F-100-*"; names outside stage 1 too. Several '
            "processes may work on one OUTPUT, each with a pattern of its own"
        ),
    )
    p.add_argument("--minutes", type=float, metavar="N", help="stop cleanly after so long")
    p.add_argument(
        "--list", action="store_true", help="show the runs and which are finished, and run none"
    )
    p.add_argument(
        "--page", action="store_true", help="write the page from what is finished, and run none"
    )
    p.add_argument(
        "--measure",
        action="store_true",
        help="measure time and memory of every arm instead, in processes of their own",
    )
    p.add_argument(
        "--memory", action="store_true", help="measure what bf16 autocast saves in memory instead"
    )
    p.add_argument(
        "--tune",
        action="store_true",
        help="first choose every arm's learning rate from the same three, on val",
    )
    p.add_argument(
        "--network-size", default="default", metavar="SIZE", help="of our network: default or small"
    )
    p.add_argument(
        "--steps", type=int, default=600, help="optimiser steps of every arm (default: %(default)s)"
    )
    p.add_argument("--batch", type=int, default=2, help="default: %(default)s")
    p.add_argument(
        "--window",
        type=int,
        nargs=3,
        default=(40, 48, 40),
        metavar=("K", "J", "I"),
        help="voxels of a sample",
    )
    p.add_argument(
        "--optimiser",
        choices=("adamw", "muon"),
        default="adamw",
        help="of every arm (default: %(default)s)",
    )
    p.add_argument(
        "--lr",
        type=float,
        default=1e-3,
        help="learning rate of every arm, without --tune (default: %(default)s)",
    )
    p.add_argument(
        "--seeds", type=int, default=3, metavar="N", help="of each arm (default: %(default)s)"
    )
    p.add_argument(
        "--precision",
        default="bf16",
        help=(
            "bf16, fp16 or fp32, one for all machines that share the work; a CPU "
            "without bf16 is many times faster in fp32 (default: %(default)s)"
        ),
    )
    p.add_argument("--device", default="auto", help="auto, cpu, cuda or mps (default: %(default)s)")
    p.set_defaults(run=_benchmark)


def _benchmark(args, command: str) -> None:
    from MedLLMSegLib.studies.benchmark.benchmark_page import write_page
    from MedLLMSegLib.studies.benchmark.benchmark_plan import SETTINGS, chosen_runs, keep_settings
    from MedLLMSegLib.studies.benchmark.benchmark_runner import run_benchmark

    bench = _bench(args)
    if (args.output / SETTINGS).exists():
        keep_settings(bench.settings, args.output / SETTINGS)
        bench.results.gather(args.output)
    if args.list:
        for run in chosen_runs(bench.settings, args.only):
            print(f"{'finished' if run.name in bench.results.runs else 'not run':<9} {run.name}")
        return
    try:
        if args.measure or args.memory:
            _measure(bench, args)
        elif not args.page:
            run_benchmark(bench, args.only, args.minutes, ProgressLog())
    except TimeIsUp as stop:
        print(f"Stopped: {stop}; the same command goes on from here.")
    print(write_page(bench.results, args.docs, _shared_part(args)))


def _bench(args):
    from MedLLMSegLib.data import read_cases, split_cases
    from MedLLMSegLib.studies.benchmark.benchmark_plan import make_settings
    from MedLLMSegLib.studies.benchmark.benchmark_results import COLLECTED, Results
    from MedLLMSegLib.studies.benchmark.benchmark_runner import Bench

    case_set = read_cases(
        args.data, dict(enumerate(args.structures, 1)) if args.structures else None
    )
    parts = split_cases(case_set)
    settings = make_settings(
        case_set,
        parts,
        args.network_size,
        args.steps,
        args.batch,
        tuple(args.window),
        args.lr,
        args.tune,
        tuple(range(args.seeds)),
        args.precision,
        args.optimiser,
    )
    results = Results(
        args.docs / COLLECTED,
        settings,
        {c.id: c.group for c in parts["test"]},
        [case_set.labels[n] for n in sorted(case_set.labels)],
    )
    return Bench(case_set, parts, settings, args.output, results, args.device)


def _measure(bench, args) -> None:
    from MedLLMSegLib.studies.benchmark.benchmark_cost import measure_arms, measure_memory

    for asked, measure in ((args.measure, measure_arms), (args.memory, measure_memory)):
        if asked:
            measure(bench.results, bench.settings, args.output, ProgressLog())


def _shared_part(args) -> str:
    """The command that makes the page again, without what says which part of the work to do."""
    import shlex

    words = ["medllmseg", "benchmark", "--data", str(args.data)]
    words += ["--structures", *args.structures] if args.structures else []
    given = {
        "--network-size": args.network_size,
        "--steps": args.steps,
        "--batch": args.batch,
        "--lr": args.lr,
        "--seeds": args.seeds,
        "--precision": args.precision,
    }
    for name, value in given.items():
        words += [name, str(value)]
    words += ["--optimiser", args.optimiser] if args.optimiser != "adamw" else []
    words += ["--window", *map(str, args.window)] + (["--tune"] if args.tune else [])
    return shlex.join(words)
