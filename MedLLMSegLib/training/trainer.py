"""The one training loop: seeded, resumable at any step, the same on one process or many."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from MedLLMSegLib.core.errors import Cancelled
from MedLLMSegLib.core.progress import Progress, Report
from MedLLMSegLib.core.safe_files import make_folder
from MedLLMSegLib.core.types import Json
from MedLLMSegLib.llm.frozen_weights import trained_tensors

from . import checkpoint
from .average import averaged, update_average
from .batches import make_loader
from .checkpoint import LAST, TrainingState
from .draws import begin_draws, kept_draws
from .loop_checks import check_batch, not_finite
from .loop_config import Budget, LoopConfig, TrainResult
from .optimiser import finite_gradients, make_optimiser
from .processes import mean_of_all, true_for_any
from .recipe import Moment, Recipe, ValidationScores
from .small_checkpoint import SmallCheckpoint

HISTORY_S = 2.0  # between two writings of history.json, from which a live curve is drawn


class Trainer:
    """One training in a folder. The network is handed in finished; any module trains the same way.

    recipe: samples, loss, score and rate. about: what a bundle must know, JSON-able; a folder with
    another training is refused by it. fabric: where it runs (`devices.make_fabric`). minutes: a
    limit of time, earlier runs included, beside that of the steps. on_validation: called on the
    first process with (step, history, [(case, label map)] of a few val cases) to draw pictures.
    """

    def __init__(
        self,
        network: nn.Module,
        recipe: Recipe,
        config: LoopConfig,
        output,
        about: Json,
        *,
        fabric: Any = None,
        minutes: float | None = None,
        on_validation: Callable | None = None,
    ):
        if fabric is None:
            from .devices import make_fabric

            fabric = make_fabric("cpu", config.precision)
        check_batch(config.batch, fabric.world_size, recipe.whole_batches)
        self.network, self.recipe, self.config, self.fabric = network, recipe, config, fabric
        self.budget = Budget(config.steps, minutes)
        self.about, self.on_validation = about, on_validation
        self.output = make_folder(output)
        self.passed_over = 0  # steps in a row
        trained = [p for p in network.parameters() if p.requires_grad]
        optimiser = make_optimiser(config.optimiser, trained, config.lr, config.weight_decay)
        network.to(fabric.device)
        weights = trained_tensors(network)
        self.state = TrainingState({k: v.detach().float().clone() for k, v in weights.items()})
        self._resume(optimiser)
        self.module, self.optimiser = fabric.setup(network, optimiser)

    def start_from(self, small: SmallCheckpoint) -> None:
        """Go on from the weights and the step of a small checkpoint, with a new optimiser; without
        effect where the folder already holds a training.
        """
        if (self.output / LAST).exists():
            return
        small.fill(self.network)
        average = {k: v.to(self.fabric.device) for k, v in small.average.items()}
        self.state = TrainingState(
            average, step=small.step, seconds=small.seconds, warm_from=small.step
        )

    def run(self, progress: Report | None = None) -> TrainResult:
        """Train to the end; call again after a kill to go on from the last checkpoint.

        progress: called with (a line of text, fraction done); it may raise `Cancelled`, which saves
        first.
        """
        report = Progress.of(progress)
        stopped = "early" if self._out_of_patience() else "finished"
        if stopped != "early" and (not self.budget.over(self.state) or self._validation_due()):
            try:
                stopped = self._train(report)
            except Cancelled:
                self._checkpoint()
                raise
            self._checkpoint()
            self.fabric.barrier()
        return TrainResult(self.state.best, self.state.step, round(self.state.seconds, 1), stopped)

    def _train(self, report: Progress) -> str:
        """Train until the budget is used, or until val gets no better; returns which."""
        config, state = self.config, self.state
        self.module.train()
        if self._no_better(report):
            return "early"
        if self.budget.over(state):
            return "finished"
        began = self.saved_at = self.history_at = time.monotonic()
        for batch in make_loader(self.recipe, config, self.fabric, state.step):
            self._step(batch)
            state.step += 1
            now = time.monotonic()
            state.seconds, began = state.seconds + now - began, now
            if self.budget.minutes and self.fabric.world_size > 1:  # all end after the same step
                state.seconds = mean_of_all(self.fabric, [state.seconds])
            over = self.budget.over(state)
            if state.step % config.log_every == 0 or over:
                self._log()
            if self._no_better(report):
                return "early"
            self._write_in_time(now)
            self._report(report)
            if over:
                break
        return "finished"

    def _no_better(self, report: Progress) -> bool:
        """Score the val cases where they are due; whether to stop, as they got no better."""
        if not self._validation_due():
            return False
        self._validate(report)
        return self._out_of_patience()

    def _write_in_time(self, now: float) -> None:
        """The checkpoint, or the history alone, where enough time has gone by."""
        if now - self.saved_at > self.config.checkpoint_s:
            self._checkpoint()
            self.saved_at = self.history_at = time.monotonic()
        elif now - self.history_at > HISTORY_S and self.fabric.is_global_zero:
            checkpoint.write_history(self.output, self.state.history)
            self.history_at = time.monotonic()

    def _report(self, report: Progress) -> None:
        """Report the status. If one process is asked to stop, all stop after the same step, so
        that none waits for one that has left.
        """
        cancelled = None
        try:
            report(self._status(), self.budget.done(self.state))
        except Cancelled as error:
            cancelled = error
        if true_for_any(self.fabric, cancelled is not None):
            raise cancelled or Cancelled()

    def _validation_due(self) -> bool:
        """Whether the val cases must be scored after this step and have not all been yet."""
        state, config = self.state, self.config
        if not config.validate_every:
            return False
        due = (state.step > 0 or config.look_first) and (
            state.step % config.validate_every == 0 or self.budget.over(state)
        )
        return due and not any(
            row["step"] == state.step and self.recipe.measure.key in row for row in state.history
        )

    def _step(self, batch: dict) -> None:
        """One update, or none where the recipe passes over what is not finite."""
        config, state, recipe = self.config, self.state, self.recipe
        moment = Moment(state.step, state.step - state.warm_from, self.budget.done(state))
        for group in self.optimiser.param_groups:
            group["lr"] = config.lr * recipe.rate(moment)
        begin_draws(recipe.seeded_by(state.step), state.draws, config.seed, self.fabric)
        loss = recipe.loss(self.module, batch, state.step)
        if recipe.seeded_by(state.step + 1) is None:
            state.draws = kept_draws(self.fabric.device)
        if not recipe.tolerated and not torch.isfinite(loss):
            self._pass_over(batch, "loss", f"{loss.item()}")
        self.optimiser.zero_grad(set_to_none=True)
        self.fabric.backward(loss)
        # fp16's scaler skips a step whose gradients overflow; elsewhere such a step would spoil the
        # weights.
        self.fabric.clip_gradients(
            self.module, self.optimiser, max_norm=config.clip, error_if_nonfinite=False
        )
        mean = float(self.fabric.all_reduce(loss.detach(), reduce_op="mean"))
        if not (math.isfinite(mean) and self._finite_gradients()):
            self._pass_over(batch, "gradients" if math.isfinite(mean) else "loss", "not finite")
            return
        self.optimiser.step()
        decay = min(config.ema, (1 + state.step) / (10 + state.step))
        update_average(state.average, self.network, decay)
        state.losses.append(mean)
        self.passed_over = 0

    def _finite_gradients(self) -> bool:
        if self.config.precision == "fp16":
            return True
        return finite_gradients(self.network)

    def _pass_over(self, batch: dict, quantity: str, value: str) -> None:
        """Count a step that may change no weight. Raises `UserError` for one more than the recipe
        tolerates.
        """
        self.passed_over += 1
        if self.passed_over <= self.recipe.tolerated:
            return
        step = self.state.step
        if step:
            self._checkpoint()  # the weights are those of the step before
        kept = f"the last good state is in {self.output}" if step else "nothing had been learnt yet"
        raise not_finite(f"The {quantity} became {value} at step {step}", batch["case"], kept)

    def _log(self) -> None:
        state = self.state
        if not state.losses:  # all were passed over
            return
        state.history.append(
            {
                "step": state.step,
                "loss": round(float(np.mean(state.losses)), 5),
                "lr": self.optimiser.param_groups[0]["lr"],
                "seconds": round(state.seconds, 1),
            }
        )
        state.losses = []

    def _validate(self, report: Progress) -> None:
        """Score the averaged weights on val, save them if they are the best, and draw."""
        state = self.state
        self.network.eval()
        try:
            with averaged(self.network, state.average):
                scores = self._score_own_cases(report)
        finally:
            self.module.train()
        score = mean_of_all(self.fabric, scores.finite)
        key = self.recipe.measure.key
        state.history.append({"step": state.step, key: round(score, 5)})
        state.worse = 0 if score > state.best else state.worse + 1
        if score > state.best:
            state.best = score
            if self.fabric.is_global_zero:
                checkpoint.save_best(self.output, state, key)
        if self.on_validation and self.fabric.is_global_zero:
            self.on_validation(state.step, state.history, scores.examples)

    def _score_own_cases(self, report: Progress) -> ValidationScores:
        """Score this process's share of the val cases."""
        rank, world = self.fabric.global_rank, self.fabric.world_size
        # Several processes report no case: their shares differ, so a stop waits for the next step.
        done = self.budget.done(self.state)
        told = report.part(done, done, f"{self._status()}, {{}}") if world == 1 else Progress()
        # A choice among weights needs no more precision than the training.
        with self.fabric.autocast():
            return self.recipe.score(self.network, slice(rank, None, world), told)

    def _status(self) -> str:
        return self.budget.status(self.state, self.recipe.measure)

    def _out_of_patience(self) -> bool:
        return bool(self.config.patience) and self.state.worse >= self.config.patience

    def _scaler(self):
        return getattr(self.fabric.strategy.precision, "scaler", None)

    def _checkpoint(self) -> None:
        if self.fabric.is_global_zero:
            checkpoint.save_last(
                self.output, self.state, self.network, self.optimiser, self._scaler()
            )

    def _resume(self, optimiser) -> None:
        if self.fabric.is_global_zero:
            checkpoint.write_plan(self.output, self.about)
        self.fabric.barrier()
        saved = checkpoint.load_last(self.output, self.network, optimiser, self._scaler())
        if saved:
            self.state = saved
            self.state.average = {k: v.to(self.fabric.device) for k, v in saved.average.items()}
            if self.fabric.is_global_zero:  # a kill between the two files leaves an older one
                checkpoint.write_history(self.output, saved.history)
