"""What the commands of the diagnosis studies have in common."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from MedLLMSegLib.core.progress import ProgressLog
from MedLLMSegLib.studies.study.command import do_study
from MedLLMSegLib.studies.study.part_options import add_part_options

from .classifier_study import ClassifierStudy
from .diagnosis_cost import measure_study
from .page.study_page import write_page


def add_options(parser: argparse.ArgumentParser, data_needed: bool = True) -> None:
    """What every study's command takes."""
    parser.add_argument(
        "--data",
        required=data_needed,
        type=Path,
        help="folder of the labelled data, with its splits",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("runs/diagnosis"),
        help="folder of the runs (default: %(default)s)",
    )
    parser.add_argument(
        "--docs",
        type=Path,
        default=Path("docs"),
        help="where diagnosis.md and the results are kept (default: %(default)s)",
    )
    parser.add_argument("--seeds", type=int, default=3, help="of each arm (default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or mps (default: %(default)s)")
    add_part_options(parser)
    parser.add_argument(
        "--measure", action="store_true", help="measure time and memory of every arm instead"
    )


def do_diagnosis(
    study: ClassifierStudy,
    options: argparse.Namespace,
    summarise: Callable[[ClassifierStudy], object],
) -> None:
    """What the options ask for; then the summary and the page."""

    def write() -> Path:
        summarise(study)
        study.results.put("command", options.command)
        return write_page(study.results, options.docs)

    def measure() -> None:
        measure_study(study, ProgressLog())

    do_study(study.study, options, write, measure if options.measure else None)
