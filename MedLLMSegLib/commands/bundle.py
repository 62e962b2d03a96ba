"""`medllmseg bundle`: a training run and what was measured of it -> a model's bundle."""
from __future__ import annotations

from .common import typed_path


def add_parser(commands) -> None:
    b = commands.add_parser("bundle", help="make a bundle with measured results from a training run")
    b.add_argument("run_folder", type=typed_path, metavar="RUN")
    b.add_argument("--results", type=typed_path, metavar="JSON", help="the .summary.json that `medllmseg evaluate` wrote")
    b.add_argument("--output", "-o", required=True, type=typed_path, metavar="FOLDER")
    b.set_defaults(run=_bundle)


def _bundle(args, command: str) -> None:
    from ..training.export import export_bundle

    print(export_bundle(args.run_folder, args.output, args.results))
