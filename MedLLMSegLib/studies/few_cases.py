"""What a few labelled cases give, fine-tuned from a model and from nothing.

    python -m MedLLMSegLib.studies.few_cases --data runs/acdc --start hippocampus-t1 \\
        --output runs/few-cases --spacing 10 2.5 2.5 --window 10 64 64 --lr 3e-3

Trains, measures, and writes the table in docs/train.md. It can be stopped at any moment and
continues where it was; what has not been run says so on the page.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.progress import Progress, Report
from MedLLMSegLib.core.safe_files import make_folder, write_text
from MedLLMSegLib.core.types import Json
from MedLLMSegLib.evaluation.evaluate_segmenter import EvaluationOptions, evaluate
from MedLLMSegLib.evaluation.scores import read_table
from MedLLMSegLib.training.checkpoint import read_plan
from MedLLMSegLib.training.segmenter.segmenter_session import train_model

from .few_cases_page import around_table, fill, page
from .few_cases_plan import COUNTS, FewCasesPlan

RESULTS = "few-cases.json"


def run(
    plan: FewCasesPlan,
    output: Path,
    docs: Path,
    device: str = "auto",
    progress: Report | None = None,
) -> dict[str, Json]:
    """Train and measure what is not done yet; returns run's name -> result, which is also stored.

    output: folder of the trainings. docs: where the results are stored.
    """
    about = plan.about()
    results = _stored_results(docs / RESULTS, about)
    runs = plan.runs()
    for one, part in zip(runs, Progress.of(progress).parts(len(runs)), strict=True):
        if one.name in results:
            continue
        folder = output / one.name
        labelled = part.part(0.0, 1.0, f"{one.name}: {{}}")
        bundle = train_model(plan.request(one, folder), device, labelled, say=_ignore)
        results[one.name] = _measure(bundle, plan, folder, device)
        stored = {"about": about, "runs": results}
        write_text(make_folder(docs) / RESULTS, json.dumps(stored, indent=1) + "\n")
    return results


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


def _stored_results(path: Path, about: Json) -> dict[str, Json]:
    """The results of earlier calls; `UserError` where they belong to other settings."""
    if not path.exists():
        return {}
    stored = json.loads(path.read_text(encoding="utf-8"))
    if stored["about"] != about:
        raise UserError(
            f'"{path}" holds results of other settings ({stored["about"]}, now {about}); remove it'
            " or use another --docs."
        )
    runs: dict[str, Json] = stored["runs"]
    return runs


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
    add("--page", action="store_true", help="only write the table of what is finished")
    add("--counts", type=int, nargs="+", default=list(COUNTS))
    add("--seeds", type=int, default=1)
    add("--steps", type=int, default=300)
    add("--spacing", type=float, nargs=3)
    add("--window", type=int, nargs=3)
    add("--lr", type=float, help="of both ways (default: the usual one of each)")
    add("--device", default="auto")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the study that the arguments describe; returns 2 where something is wrong with them."""
    options = _parser().parse_args(arguments)
    try:
        print(_run_and_fill(options))
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _run_and_fill(options: argparse.Namespace) -> str:
    """Run what is not finished, or nothing with --page, and write the table; returns it."""
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
    if options.page:
        results = _stored_results(options.docs / RESULTS, plan.about())
    else:
        results = run(plan, options.output, options.docs, options.device, _show_progress)
    text = page(plan, results, _command(options, plan))
    fill(path, text)
    return text


def _show_progress(text: str, fraction: float) -> None:
    print(f"\r\033[K{100 * fraction:5.1f} %  {text}", end="", file=sys.stderr, flush=True)


def _command(options: argparse.Namespace, plan: FewCasesPlan) -> str:
    """The command that makes the table again."""
    changed = {
        "counts": None if plan.counts == COUNTS else plan.counts,
        "spacing": plan.spacing,
        "window": plan.window,
        "lr": plan.lr and (plan.lr,),
    }
    command = (
        f"python -m MedLLMSegLib.studies.few_cases --data {options.data} --start {options.start}"
        f" --output {options.output} --steps {options.steps} --seeds {options.seeds}"
    )
    for name, numbers in changed.items():
        if numbers:
            command += f" --{name} {' '.join(f'{number:g}' for number in numbers)}"
    return command


if __name__ == "__main__":
    sys.exit(main())
