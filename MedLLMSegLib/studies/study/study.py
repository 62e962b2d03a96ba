"""A study: arms on the same cases, with the same budget and tuning, over seeds and shares of the
data. It can be stopped at any moment, and the same call goes on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.progress import Progress, Report
from MedLLMSegLib.core.safe_files import write_text
from MedLLMSegLib.core.types import Json
from MedLLMSegLib.training.checkpoint import LAST

from .deadline import with_deadline
from .results import StudyResults
from .runs import Run, Tuning
from .settings import SETTINGS, read_json, record_settings

RESULT = "result.json"  # in a run's folder, written last: only then does the run count as finished


@dataclass(frozen=True, eq=False)
class Task:
    """A run that is to be done: train in ``folder`` with the learning rate ``lr`` (None: the
    study has none to choose), and test what counts.
    """

    run: Run
    lr: float | None
    folder: Path
    progress: Progress

    @property
    def known_lr(self) -> float:
        """The learning rate, in a study that has one to choose."""
        if self.lr is None:
            raise ValueError(f"the run {self.run.name} has no learning rate")
        return self.lr


Work: TypeAlias = Callable[[Task], Json]


@dataclass(eq=False)
class Study:
    """What is run, where, and what came of it.

    runs: those that count, in their order. work: does a run and returns its result. output: the
    folder of their folders, which several processes may share; two that come to the same run both
    do it. settings: what all runs share (JSON-able); other results are refused. extra: runs that
    only their own names ask for. complete: see `refuse_other`.
    """

    runs: Sequence[Run]
    work: Work
    output: Path
    results: StudyResults
    settings: Json
    tuning: Tuning | None = None
    extra: Sequence[Run] = ()
    complete: Callable[[Json], Json] | None = None

    # ---- which runs ----

    @property
    def arms(self) -> list[str]:
        """The names of the arms."""
        return list(dict.fromkeys(run.arm for run in self.runs))

    def planned(self) -> list[Run]:
        """Each arm's tuning, and then the runs that count."""
        tuning = self.tuning.runs(self.arms) if self.tuning else []
        return [*tuning, *self.runs]

    def chosen(self, pattern: str | None) -> list[Run]:
        """The runs that match, and the tuning that they need; all that are planned without a
        pattern (see `Run.matches`).
        """
        planned = self.planned()
        if pattern is None:
            return planned
        matching = [run for run in planned if run.matches(pattern)]
        matching = matching or [run for run in self.extra if run.matches(pattern)]
        if not matching:
            raise UserError(
                f'No run is called "{pattern}"; the arms are {", ".join(self.arms)}, --list shows'
                " the runs, and * stands for any part."
            )
        needed = [run for run in planned if run.lr is not None and self._wanted_by(run, matching)]
        return [*needed, *(run for run in matching if run not in needed)]

    def _wanted_by(self, tuning: Run, runs: Sequence[Run]) -> bool:
        return any(
            self.tuning is not None and tuning in self.tuning.runs_of(run.arm).values()
            for run in runs
        )

    def rate(self, run: Run) -> float | None:
        """The learning rate of a run: a tuning run's own, or the best of its arm's tuning. Raises
        `UserError` where that is not finished.
        """
        if run.lr is not None or self.tuning is None or run.arm in self.tuning.plain:
            return run.lr
        best = self.tuning.best(run.arm, self.results.runs)
        if best is None:
            arm = self.tuning.like.get(run.arm, run.arm)
            raise UserError(
                f'The learning rate of "{arm}" has not been chosen yet; run its tuning'
                f' (--only "tune-{arm}-*") first.'
            )
        return best

    def rate_chosen(self, arm: str) -> bool:
        """Whether the tuning that an arm's learning rate comes from is finished."""
        tuning = self.tuning
        return tuning is None or tuning.best(arm, self.results.runs) is not None

    def is_finished(self, run: Run) -> bool:
        """Whether a run's result is there, and was made with the learning rate chosen since.

        An arm that once took another arm's rate may have results from before its own tuning.
        """
        result = self.results.runs.get(run.name)
        if result is None or run.lr is not None or not self.rate_chosen(run.arm):
            return result is not None
        return self.rate(run) is None or result["lr"] == self.rate(run)

    def folder(self, run: Run) -> Path:
        """Where a run trains: the tuning run's folder, if that was the very same training."""
        tried = self.tuning.runs_of(run.arm) if self.tuning and len(self.tuning.rates) > 1 else {}
        lr = None if run.lr is not None else self.rate(run)
        same = tried.get(lr) if lr is not None else None
        if same and (run.arm, run.data, run.seed) == (same.arm, same.data, same.seed):
            return self.output / same.name
        return self.output / run.name

    # ---- running ----

    def run(
        self,
        pattern: str | None = None,
        minutes: float | None = None,
        progress: Report | None = None,
    ) -> list[str]:
        """Do what is not finished yet, in order; returns the names of the runs finished now.

        pattern: see `chosen`. minutes: after these, stop cleanly (`TimeIsUp`). progress: called
        with (text, fraction of the runs); may raise `Cancelled`.
        """
        runs, finished = self.chosen(pattern), []
        record_settings(self.settings, self.output / SETTINGS, self.complete)
        parts = with_deadline(progress, minutes).parts(len(runs))
        for run, part in zip(runs, parts, strict=True):
            self.gather()  # another process may have finished it meanwhile
            if self.is_finished(run):
                continue
            told = part.part(0.0, 1.0, f"{run.name}: {{}}")
            told("begins", 0.0)
            result = self.work(Task(run, self.rate(run), self.folder(run), told))
            write_text(self.output / run.name / RESULT, json.dumps(result))
            self.results.add({run.name: result})
            if run.lr is None:  # a tuning run may be wanted again, by the run that counts
                (self.folder(run) / LAST).unlink(missing_ok=True)
            finished.append(run.name)
        return finished

    def gather(self) -> None:
        """Take in finished runs of the folder that the results do not hold yet. Raises `UserError`
        where it belongs to other settings.
        """
        if (self.output / SETTINGS).exists():
            record_settings(self.settings, self.output / SETTINGS, self.complete)
        self.results.look()
        known = {run.name for run in (*self.planned(), *self.extra)} - set(self.results.runs)
        fresh = {
            path.parent.name: read_json(path)
            for path in sorted(self.output.glob(f"*/{RESULT}"))
            if path.parent.name in known
        }
        self.results.add(fresh)
