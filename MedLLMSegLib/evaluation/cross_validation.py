"""Train once for each fold and measure each model on the cases of its own fold: every case is
tested exactly once.

No group (patient, head) is ever on two sides of a fold, and each fold's weights are chosen on a
part of the rest.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.progress import Report
from MedLLMSegLib.core.safe_files import write_text
from MedLLMSegLib.data import folds, group_of, read_cases
from MedLLMSegLib.training.devices import processes
from MedLLMSegLib.training.segmenter.request import TrainRequest
from MedLLMSegLib.training.segmenter.segmenter_session import train_model

from .evaluate_segmenter import EvaluationOptions, evaluate
from .scores import Score, as_json, read_table, summarize_scores, summary_path, table


def cross_validate(
    request: TrainRequest,
    count: int,
    only: int | None = None,
    device: str = "auto",
    progress: Report | None = None,
    say=print,
) -> dict | None:
    """``count`` trainings in ``request.output``/fold1 and so on, each for ``request.minutes`` or
    ``request.steps``.

    Returns the summary over all cases (`scores.summarize_scores`); it is also written, with the
    table it is made from, as folds.summary.json and folds.csv. What is finished is not done again.
    Raises `UserError` as `train_model` does. only: do this fold alone (from 1), so that several
    machines or processes share the work; whichever finds all folds finished joins them, the others
    return None. progress: called with (a line of text, fraction done); may raise `Cancelled`, after
    which the same call goes on.
    """
    if only is not None and not 1 <= only <= count:
        raise UserError(f"--fold is {only}, and one from 1 to {count} is needed.")
    if processes() != (1, 1):
        raise UserError(
            "--folds trains on one process, and torchrun or srun started several; start it on one,"
            " or each --fold by itself."
        )
    names = dict(enumerate(request.structures, 1)) if request.structures else None
    parts = folds(
        read_cases(request.source, names), count, request.seed
    )  # also says at once what is wrong
    chosen = range(count) if only is None else [only - 1]
    tables = [Path(request.output) / f"fold{n + 1}" / "test.csv" for n in range(count)]
    tested = [[case.id for case in part["test"]] for part in parts]
    for done, n in enumerate(chosen):
        tell = (
            (
                lambda text, f, n=n, done=done: progress(
                    f"fold {n + 1} of {count}: {text}", (done + f) / len(chosen)
                )
            )
            if progress
            else None
        )
        _fold(
            replace(request, output=str(tables[n].parent), folds=count, fold=n),
            tested[n],
            device,
            tell,
            say,
        )
    waiting = [f"fold {n + 1}" for n in range(count) if not _finished(tables[n], tested[n])]
    if waiting:
        return say(
            f"{', '.join(waiting)} of {count} {'is' if len(waiting) == 1 else 'are'} not finished;"
            " the last one joins them all"
        )
    return _joined(tables, request)


def _fold(
    request: TrainRequest, tested: list[str], device: str, progress: Report | None, say
) -> None:
    """Train and measure one fold unless that is done."""
    written = Path(request.output) / "test.csv"
    if not _finished(written, tested):
        bundle = train_model(
            request, device, progress and (lambda text, f: progress(text, 0.95 * f)), say
        )
        evaluate(
            bundle,
            request.source,
            written,
            tested,
            EvaluationOptions(device),
            progress and (lambda text, f: progress(text, 0.95 + 0.05 * f)),
        )


def _finished(written: Path, tested: list[str]) -> bool:
    if not written.exists() or not summary_path(written).exists():
        return False
    if set(read_table(written)) != set(tested):
        raise UserError(
            f'"{written}" holds other cases than its fold has now; choose another output folder.'
        )
    return True


def _joined(tables: list[Path], request: TrainRequest) -> dict:
    """One table and summary of the folds' own."""
    scores, failed, charged, seconds = [], {}, {}, 0.0
    for written in tables:
        own = json.loads(summary_path(written).read_text(encoding="utf-8"))
        scores += [
            Score(case, own["group_of"].get(case, group_of(case)), values)
            for case, values in read_table(written).items()
        ]
        failed |= own["failed"]
        seconds += own["seconds"]
        charged = {
            key: charged.get(key, 0) + own["charged"].get(key, 0)
            for key in {**charged, **own["charged"]}
        }
    name = request.name or Path(request.output).name
    summary = summarize_scores(
        sorted(scores, key=lambda s: s.case), name, Path(request.source), seconds
    )
    summary |= {"failed": failed, "charged": charged, "folds": len(tables)}
    output = Path(request.output) / "folds.csv"
    write_text(output, table(scores))
    write_text(summary_path(output), as_json(summary))
    return summary
