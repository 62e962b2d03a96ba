"""`medllmseg bench`: how fast this machine segments, beside MONAI and SimpleITK."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.progress import ProgressLog
from MedLLMSegLib.core.types import Json

from .common_options import Subparsers, add_device_option, typed_path

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from MedLLMSegLib.studies.speed.bench import Plan


def add_parser(commands: Subparsers) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "bench",
        help="how fast this computer segments, beside MONAI and SimpleITK",
        description=(
            "Measure processor time, wall time and memory of the library's work beside the same"
            " work done with MONAI and SimpleITK, taking turns in one run. It takes about half an"
            " hour, needs 8 GB of memory, and wants a computer that does nothing else. It can be"
            " stopped at any moment; with --output the same command goes on where it stopped."
        ),
        epilog="docs/speed.md says what each row measures.",
    )
    parser.add_argument(
        "--output",
        "-o",
        type=typed_path,
        metavar="FOLDER",
        help="also write bench.json, bench.md and pictures there",
    )
    parser.add_argument(
        "--before",
        type=typed_path,
        metavar="FILE",
        help="bench.json of an earlier version: print and draw both, for the rows of this run",
    )
    parser.add_argument("--only", metavar="PATTERN", help='rows that match, such as "windows-*"')
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="default: %(default)s")
    parser.add_argument(
        "--rounds", type=int, metavar="N", help="turns of each (default: as the row says)"
    )
    parser.add_argument(
        "--large", action="store_true", help="also a CT of 1024 x 1024 x 600, which takes 8 GB"
    )
    parser.add_argument(
        "--quick", action="store_true", help="small inputs, in a minute: what the tests compare"
    )
    parser.add_argument(
        "--keep",
        action="store_true",
        help="keep the ratios of a quick run as those that the tests hold the library to",
    )
    parser.add_argument("--list", action="store_true", help="name the rows, and measure nothing")
    add_device_option(parser)
    parser.set_defaults(run=_bench, device="cpu")


def _bench(args: argparse.Namespace, command: str) -> None:
    from MedLLMSegLib.core.safe_files import check_writable, make_folder, write_text
    from MedLLMSegLib.studies.speed.bench import run_bench
    from MedLLMSegLib.studies.speed.table import comparison, table

    if args.keep and not args.quick:
        raise UserError("Only the ratios of a quick run are kept; add --quick.")
    plan = _plan(args)
    if args.list:
        for _, row in plan.rows:
            print(f"{row.name:<20} {row.title}")
        return
    if args.output is not None:
        check_writable(make_folder(args.output))
    results = run_bench(plan, args.output, ProgressLog())
    earlier = _read_results(args.before) if args.before else None
    text = comparison(earlier, results) if earlier else table(results)
    print(text)
    if args.output is not None:
        from MedLLMSegLib.studies.speed.plots import draw

        write_text(args.output / "bench.md", text)
        runs = {"before": earlier, "after": results} if earlier else {"": results}
        draw(runs, args.output)
    if args.keep:
        from MedLLMSegLib.studies.speed.reached import keep

        print(keep(results))


def _read_results(path: Path) -> Json:
    """What an earlier run wrote. Raises `UserError` for another file."""
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
        results["rows"], results["about"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f'"{path}" is no bench.json of an earlier run.') from error
    return results


def _plan(args: argparse.Namespace) -> Plan:
    """The rows of the library, and the worker's."""
    from MedLLMSegLib.segmentation.inference import choose_device
    from MedLLMSegLib.studies.speed import rows_chain, rows_growth, rows_resampling, rows_windows
    from MedLLMSegLib.studies.speed.bench import Plan, listed
    from MedLLMSegLib.studies.speed.row import FULL, QUICK, Setting
    from MedLLMSegLib.worker import speed_row

    for name in ("threads", "rounds"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            raise UserError(f"--{name} {getattr(args, name)} is too few; give 1 or more.")
    setting = Setting(QUICK if args.quick else FULL, str(choose_device(args.device)), args.threads)
    rows = listed(rows_resampling, rows_windows, rows_chain, speed_row, rows_growth)
    return Plan(list(rows), setting, args.rounds).chosen(args.only, args.large)
