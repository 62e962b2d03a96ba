"""What a few labelled cases give, fine-tuned from a model and from nothing.

    python -m MedLLMSegLib.studies.few_cases --data runs/acdc --start hippocampus-t1 \\
        --output runs/few-cases --spacing 10 2.5 2.5 --window 10 64 64 --lr 3e-3

Trains, measures, and writes the table in docs/train.md. It can be stopped at any moment and
continues where it was; what has not been run says so on the page.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

from MedLLMSegLib.core.types import Json
from MedLLMSegLib.evaluation.evaluate_segmenter import EvaluationOptions, evaluate
from MedLLMSegLib.evaluation.scores import read_table
from MedLLMSegLib.training.checkpoint import read_plan
from MedLLMSegLib.training.segmenter.segmenter_session import train_model

from .few_cases_page import around_table, fill, page
from .few_cases_plan import COUNTS, FewCasesPlan
from .study.command import do_study, guarded
from .study.part_options import add_part_options
from .study.results import StudyResults
from .study.study import Study, Task

RESULTS = "few-cases.json"


def few_cases_study(plan: FewCasesPlan, output: Path, docs: Path, device: str = "auto") -> Study:
    """Fine-tuned against from nothing, over numbers of cases and seeds.

    output: folder of the trainings. docs: where the results are stored.
    """

    def train(task: Task) -> Json:
        request = plan.request(task.run, task.folder)
        bundle = train_model(request, device, task.progress, say=_ignore)
        return _measure(bundle, plan, task.folder, device)

    results = StudyResults(docs / RESULTS)
    results.begin(plan.settings())
    return Study(plan.runs(), train, output, results, plan.settings())


def _ignore(text: str) -> None:
    """The tables that a training prints are not shown."""


def _measure(bundle: Path, plan: FewCasesPlan, folder: Path, device: str) -> Json:
    """The result of a finished training on the test cases."""
    csv = folder / "test.csv"
    options = EvaluationOptions(device, precision="fp32")  # all trainings are compared in one
    summary = evaluate(bundle, plan.data, csv, options=options)
    return {
        "dice": summary["group_means"]["dice"],
        "hd95_mm": summary["group_means"]["hd95_mm"],
        "cases": summary["cases"],
        "groups": summary["groups"],
        "group_of": summary["group_of"],
        "table": _dice_columns(csv),
        "chosen_on": (read_plan(folder) or {}).get("chosen_on"),
    }


def _dice_columns(path: Path) -> dict[str, dict[str, float | None]]:
    """case -> Dice of each structure of an evaluation's table.

    None where neither label map has the structure.
    """
    return {
        case: {
            name: None if math.isnan(value) else value
            for name, value in row.items()
            if name.startswith("dice_")
        }
        for case, row in read_table(path).items()
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", required=True)
    add("--start", default="hippocampus-t1")
    add("--output", required=True, type=Path)
    add("--docs", type=Path, default=Path("docs"))
    add("--counts", type=int, nargs="+", default=list(COUNTS))
    add("--seeds", type=int, default=1)
    add("--steps", type=int, default=300)
    add("--spacing", type=float, nargs=3)
    add("--window", type=int, nargs=3)
    add("--lr", type=float, help="of both ways (default: the usual one of each)")
    add("--device", default="auto")
    add_part_options(parser)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the study that the arguments describe; returns 2 where something is wrong with them."""
    return guarded(_parser(), "MedLLMSegLib.studies.few_cases", arguments, _run)


def _run(options: argparse.Namespace) -> None:
    plan = FewCasesPlan(
        options.data,
        options.start,
        tuple(options.counts),
        tuple(range(options.seeds)),
        options.steps,
        options.spacing and tuple(options.spacing),
        options.window and tuple(options.window),
        lr=options.lr,
    )
    path = options.docs / "train.md"
    around_table(path)  # a page without a place for the table is better known before the work
    study = few_cases_study(plan, options.output, options.docs, options.device)

    def write_page() -> str:
        text = page(plan, study.results.runs, options.command)
        fill(path, text)
        return text

    do_study(study, options, write_page)


if __name__ == "__main__":
    sys.exit(main())
