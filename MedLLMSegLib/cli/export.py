"""`medllmseg export`: a model as graphs for OpenVINO or ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .common_options import Subparsers, typed_path
from .terminal.terminal_progress import ScanBar

if TYPE_CHECKING:
    import argparse


def add_parser(commands: Subparsers) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "export",
        help="write a model as graphs for OpenVINO or ONNX Runtime",
        description=(
            "Write a model as a folder that needs no torch: its graphs, with the language-model"
            " layer inside, the settings of its chain, its card and its licence. A model of whole"
            " scans then segments from there: `medllmseg segment SCAN --model FOLDER`. What is lost"
            " and gained: docs/edge.md."
        ),
    )
    parser.add_argument("model", help="a model's id (see `medllmseg models`) or a bundle's folder")
    parser.add_argument(
        "--to", required=True, choices=("onnx", "openvino"), help="the engine that is to run it"
    )
    parser.add_argument(
        "--output", "-o", required=True, type=typed_path, metavar="FOLDER", help="where to write"
    )
    parser.add_argument(
        "--int8",
        type=typed_path,
        metavar="DATA",
        help=(
            "weights and layers of 8 bits, calibrated on scans: labelled cases with a split"
            ' "train", or a folder of scans; smaller and faster, and not the same'
        ),
    )
    parser.set_defaults(run=_export)


def _export(args: argparse.Namespace, command: str) -> None:
    from MedLLMSegLib.edge.write_export import export_model, folder_mb

    with ScanBar([Path(args.model)]) as bar:
        folder = export_model(args.model, args.to, args.output, args.int8, bar.first())
    sizes = folder_mb(folder)
    for name, size_mb in sizes.items():
        print(f"{name:<28} {size_mb:7.1f} MB")
    print(f"-> {folder} ({sum(sizes.values()):.1f} MB of graphs)")
