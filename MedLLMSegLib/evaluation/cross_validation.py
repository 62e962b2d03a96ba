"""Cross-validation of a segmenter: train once for each fold, measure it on the fold's cases.

Every case is tested exactly once. No group (patient, head) is on two sides of a fold. Each fold's
weights are chosen on a part of the cases that it does not test.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.progress import Progress, Report
from MedLLMSegLib.core.safe_files import write_text
from MedLLMSegLib.core.types import Json
from MedLLMSegLib.data import folds, group_of, read_cases
from MedLLMSegLib.training.devices import process_counts
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
    say: Callable[[str], None] = print,
) -> Json | None:
    """``count`` trainings in ``request.output``/fold1 and so on.

    Each runs for ``request.minutes`` or ``request.steps``. Finished work is not repeated. Returns
    the summary over all cases (`scores.summarize_scores`), which is also written, with its table,
    as folds.summary.json and folds.csv.

    only: run this fold alone (from 1), so that several machines or processes share the work. The
    one that finds all folds finished joins them; the others return None. progress: called with (a
    line of text, fraction done); may raise `Cancelled`, after which the same call continues. say:
    called with lines for the user. Raises `UserError` as `train_model` does.
    """
    _check_start(count, only)
    names = dict(enumerate(request.structures, 1)) if request.structures else None
    splits = folds(read_cases(request.source, names), count, request.seed)  # checks the data first
    planned = [
        _Fold(
            number=n + 1,
            request=replace(
                request, output=str(Path(request.output) / f"fold{n + 1}"), folds=count, fold=n
            ),
            tested=[case.id for case in split["test"]],
        )
        for n, split in enumerate(splits)
    ]
    chosen = planned if only is None else [planned[only - 1]]
    for fold, part in zip(chosen, Progress.of(progress).parts(len(chosen)), strict=True):
        label = f"fold {fold.number} of {count}: {{}}"
        _run_fold(fold, device, part.part(0.0, 1.0, label), say)
    unfinished = [f"fold {fold.number}" for fold in planned if not fold.is_finished()]
    if unfinished:
        verb = "is" if len(unfinished) == 1 else "are"
        say(f"{', '.join(unfinished)} of {count} {verb} not finished; the last one joins them all")
        return None
    return _join_folds([fold.table for fold in planned], request)


def _check_start(count: int, only: int | None) -> None:
    if only is not None and not 1 <= only <= count:
        raise UserError(f"--fold is {only}, and one from 1 to {count} is needed.")
    if process_counts() != (1, 1):
        raise UserError(
            "--folds trains on one process, and torchrun or srun started several; start it on one,"
            " or each --fold by itself."
        )


@dataclass(frozen=True)
class _Fold:
    """One training. number: from 1. tested: ids of the cases that it is measured on."""

    number: int
    request: TrainRequest
    tested: list[str]

    @property
    def table(self) -> Path:
        return Path(self.request.output) / "test.csv"

    def is_finished(self) -> bool:
        """Whether the fold is measured; `UserError` if its table holds other cases."""
        if not self.table.exists() or not summary_path(self.table).exists():
            return False
        if set(read_table(self.table)) != set(self.tested):
            raise UserError(
                f'"{self.table}" holds other cases than its fold has now; choose another output'
                " folder."
            )
        return True


def _run_fold(fold: _Fold, device: str, progress: Progress, say: Callable[[str], None]) -> None:
    """Train and measure one fold unless that is done."""
    if fold.is_finished():
        return
    bundle = train_model(fold.request, device, progress.part(0.0, 0.95), say)
    evaluate(
        bundle,
        fold.request.source,
        fold.table,
        fold.tested,
        EvaluationOptions(device, precision="fp32"),  # all folds are measured in one
        progress.part(0.95, 1.0),
    )


def _join_folds(tables: list[Path], request: TrainRequest) -> Json:
    """Write one table and summary of all folds' cases; returns the summary."""
    scores: list[Score] = []
    failed: dict[str, str] = {}
    charged: dict[str, int] = {}
    seconds = 0.0
    for path in tables:
        fold_summary = json.loads(summary_path(path).read_text(encoding="utf-8"))
        for case, values in read_table(path).items():
            group = fold_summary["group_of"].get(case, group_of(case))
            scores.append(Score(case, group, values))
        failed |= fold_summary["failed"]
        seconds += fold_summary["seconds"]
        for key, count in fold_summary["charged"].items():
            charged[key] = charged.get(key, 0) + count
    name = request.name or Path(request.output).name
    by_case = sorted(scores, key=lambda score: score.case)
    summary = summarize_scores(by_case, name, Path(request.source), seconds)
    summary |= {"failed": failed, "charged": charged, "folds": len(tables)}
    output = Path(request.output) / "folds.csv"
    write_text(output, table(scores))
    write_text(summary_path(output), as_json(summary))
    return summary
