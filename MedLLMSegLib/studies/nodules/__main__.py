"""Lung nodules found and outlined in chest CT, learnt from inserted ones.

    python -m MedLLMSegLib.studies.nodules --data ../shared/data --output runs/nodules

Networks learn nodules of LIDC's shapes, inserted into two of four scans, and are tested on other
patients' shapes in the other two; beside them stands a blob detector. Writes docs/nodules.md and
its picture. It can be stopped at any moment, and goes on.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from MedLLMSegLib.studies.study.command import do_study, guarded
from MedLLMSegLib.studies.study.part_options import add_part_options
from MedLLMSegLib.studies.study.results import StudyResults

from .page import ARMS, RESULTS, arms_answers, write_page
from .pictures import draw_curves, draw_real
from .real_nodules import real_figures, real_nodules
from .study import FOLDS, Nodules, plan


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, required=True, help="the folder with lung_ct and lidc_nodules")
    add("--output", type=Path, default=Path("runs/nodules"))
    add("--docs", type=Path, default=Path("docs"))
    add("--steps", type=int, default=500)
    add("--copies", type=int, default=3, help="of each tested scan, with other nodules")
    add("--weights", type=Path, help="an earlier --output: test its networks, train none")
    add("--threads", type=int, help="of the processor (default: all cores)")
    add_part_options(parser)
    return parser


def _run(options: argparse.Namespace) -> None:
    if options.threads:
        torch.set_num_threads(options.threads)
    nodules = plan(options.data, options.output, options.steps, options.copies)
    nodules.weights = options.weights
    results = StudyResults(options.docs / RESULTS)
    study = nodules.study(results)

    def page() -> str:
        results.put("command", options.command)
        _measure_and_draw(nodules, results, options.docs)
        return str(write_page(results.path, options.docs))

    do_study(study, options, page)


def _measure_and_draw(nodules: Nodules, results: StudyResults, docs: Path) -> None:
    """What is stored is not measured again."""
    if results.get("measured") is None:
        results.put("measured", nodules.measured())
    answers = arms_answers({"settings": nodules.settings(), "runs": results.runs})
    if len(answers) < len(ARMS):
        return
    draw_curves(answers, docs)
    if results.get("real_crops") is None and (found := real_nodules(nodules, FOLDS)):
        draw_real(found, docs)
        results.put("real_crops", real_figures(found, nodules.data))


def main(arguments: list[str] | None = None) -> int:
    """Run the study that the arguments describe; returns 2 where something is wrong with them."""
    return guarded(_parser(), "MedLLMSegLib.studies.nodules", arguments, _run)


if __name__ == "__main__":
    sys.exit(main())
