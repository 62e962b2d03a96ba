"""Does the frozen language model help on chest X-rays? The arms of `arms.py`, one by one, and docs/diagnosis.md.

    python -m MedLLMSegLib.classification.ablation --data ../shared/data/cxr --output runs/diagnosis

It can be stopped at any moment; the same command goes on where it stopped. --list shows the runs, --measure takes time and
memory of every arm in processes of their own, --page only writes the page.
"""
from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Callable

from ..cases import split_cases
from ..diagnosis_config import PreparationConfig
from ..errors import Cancelled, Progress, TimeIsUp, UserError
from .arms import cxr_arms
from .cxr_page import summarise_cxr
from .loop import LoopConfig
from .measure import measure_study
from .page import write_page
from .prepare import image_examples
from .results import COLLECTED, Results
from .study import Study
from .table import ClassSet, read_classes

NAME = "cxr"
RATES = (3e-4, 1e-3, 3e-3)  # the paper's, and two higher ones, as these trainings are shorter


def cxr_study(class_set: ClassSet, output: Path, results: Results, size: int = 224, epochs: int = 15, seeds: int = 3,
              device: str = "cpu", progress: Progress | None = None) -> Study:
    """The study of a table of X-rays with the splits that it states. Raises `UserError` where a split is missing."""
    cases = split_cases(class_set)
    if not all(cases.values()):
        raise UserError(f'"{class_set.source}" states no test images; the ablation needs "train", "val" and "test" in splits.json.')
    parts = {name: image_examples(each, PreparationConfig(size=size), progress) for name, each in cases.items()}
    loop = LoopConfig(epochs=epochs, precision="bf16")
    return Study(NAME, cxr_arms(class_set.classes, size), loop, tuple(range(seeds)), RATES, parts, Path(output) / NAME, results,
                 PreparationConfig(size=size).to_dict(), device)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--size", type=int, default=224, help="pixels of the image (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=15, help="default: %(default)s")
    return guarded(lambda: _run(parser.parse_args(arguments)))


def add_options(parser: argparse.ArgumentParser, data_needed: bool = True) -> None:
    """What every study's command takes."""
    parser.add_argument("--data", required=data_needed, type=Path, help="folder of the labelled data, with its splits")
    parser.add_argument("--output", type=Path, default=Path("runs/diagnosis"), help="folder of the runs (default: %(default)s)")
    parser.add_argument("--docs", type=Path, default=Path("docs"),
                        help="where diagnosis.md and the results are kept (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="of each arm (default: %(default)s)")
    parser.add_argument("--only", metavar="PATTERN",
                        help='arms or runs whose names match, parted by commas: "pneumollm,linear,tune-*"')
    parser.add_argument("--minutes", type=float, help="stop cleanly after so long")
    parser.add_argument("--list", action="store_true", help="show the runs and which are finished, and run none")
    parser.add_argument("--page", action="store_true", help="write the page from what is finished, and run none")
    parser.add_argument("--measure", action="store_true", help="measure time and memory of every arm instead")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or mps (default: %(default)s)")


def guarded(work) -> int:
    """Run a command's work; bad input becomes one sentence and exit code 2."""
    try:
        work()
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    except (Cancelled, KeyboardInterrupt):
        print("stopped; the same command goes on from here.", file=sys.stderr)
        return 130
    return 0


def do_study(study: Study, options, summarise: Callable[[Study], object]) -> None:
    """What --list, --page, --measure, --only and --minutes ask for; then the summary and the page."""
    study.gather()
    if options.list:
        for run in study.chosen(options.only):
            print(f"{'finished' if run.name in study.results.runs(study.name) else 'not run':<9} {run.name}")
        return
    try:
        if options.measure:
            measure_study(study, Line())
        elif not options.page:
            study.run(options.only, options.minutes, Line())
    except TimeIsUp as stop:
        print(f"stopped: {stop}; the same command goes on from here.")
    summarise(study)
    study.results.put(study.name, "command", command_of(sys.argv, options))
    print(write_page(study.results, options.docs))


def command_of(typed: list[str], options) -> str:
    """The command that makes the study again, without what says which part of the work to do."""
    module = Path(typed[0]).stem
    data = f"--data {options.data} " if options.data else ""
    return (f"python -m MedLLMSegLib.classification.{module} {data}--output {options.output} --docs {options.docs} "
            f"--seeds {options.seeds} --epochs {options.epochs}")


def _run(options) -> None:
    class_set = read_classes(options.data)
    study = cxr_study(class_set, options.output, Results(options.docs / COLLECTED), options.size, options.epochs, options.seeds,
                      options.device, Line())
    do_study(study, options, lambda study: summarise_cxr(study, split_cases(class_set), options.docs))


class Line:
    """Progress for a terminal or a log: a line whenever the run changes, and every half minute between."""

    def __init__(self):
        self.stage, self.said_at = "", 0.0

    def __call__(self, text: str, fraction: float) -> None:
        import time

        stage = text.split(":")[0].split(" ")[0]
        if stage != self.stage or time.monotonic() - self.said_at > 30:
            self.stage, self.said_at = stage, time.monotonic()
            print(f"{100 * fraction:5.1f} %  {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
