"""The training loop: seeded, resumable at any step, the same on one process or many."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from MedLLMSegLib.core.errors import Cancelled
from MedLLMSegLib.core.progress import Progress, Report, duration_text
from MedLLMSegLib.core.safe_files import make_folder
from MedLLMSegLib.llm.frozen_weights import trained_tensors
from MedLLMSegLib.training import checkpoint
from MedLLMSegLib.training.checkpoint import TrainingState
from MedLLMSegLib.training.optimiser import finite_gradients, make_optimiser, schedule
from MedLLMSegLib.training.segmenter.samples.sampling import BatchNumbers, SampleDataset

from .loop_checks import check_cases_and_batch, not_finite
from .losses import SegmentationLoss
from .train_config import TrainConfig, TrainResult
from .validation import ValidationScores, predict_labels, update_average

HISTORY_S = 2.0  # between two writings of history.json, from which a live curve is drawn


class Trainer:
    """One training in a folder. The network is handed in finished; any module trains the same way.

    network: image (B, 1, K, J, I) -> logits (B, classes, K, J, I); in training mode a list of
    logits, finest first, is deep supervision. train, val: prepared cases (`data.prepare_set`).
    about: what a bundle must know, JSON-able. fabric: where it runs (`devices.make_fabric`).
    on_validation: called on the first process with (step, history, [(case, label map)] of a few val
    cases) to draw pictures.
    """

    def __init__(
        self,
        network: nn.Module,
        classes: int,
        config: TrainConfig,
        train: list[dict],
        val: list[dict],
        output,
        about: dict,
        *,
        fabric=None,
        on_validation: Callable | None = None,
    ):
        if fabric is None:
            from MedLLMSegLib.training.devices import make_fabric

            fabric = make_fabric("cpu", config.precision)
        check_cases_and_batch(train, val, config.batch, fabric.world_size)
        self.network, self.classes, self.config, self.fabric = network, classes, config, fabric
        self.val, self.about, self.on_validation = val, about, on_validation
        self.output = make_folder(output)
        self.samples = SampleDataset(
            train, config.window, classes, config.augmentation, config.noise_fraction, config.seed
        )
        trained = [p for p in network.parameters() if p.requires_grad]
        optimiser = make_optimiser(config.optimiser, trained, config.lr, config.weight_decay)
        network.to(fabric.device)
        self.loss = SegmentationLoss()
        weights = trained_tensors(network)
        self.state = TrainingState({k: v.detach().float().clone() for k, v in weights.items()})
        self._resume(optimiser)
        self.module, self.optimiser = fabric.setup(network, optimiser)

    def run(self, progress: Report | None = None) -> TrainResult:
        """Train to the end; call again after a kill to go on from the last checkpoint.

        progress: called with (a line of text, fraction done); it may raise `Cancelled`, which saves
        first.
        """
        report = Progress.of(progress)
        stopped = "early" if self._out_of_patience() else "finished"
        if stopped != "early" and (self.state.step < self.config.steps or self._validation_due()):
            try:
                stopped = self._train(report)
            except Cancelled:
                self._checkpoint()
                raise
            self._checkpoint()
            self.fabric.barrier()
        return TrainResult(self.state.best, self.state.step, round(self.state.seconds, 1), stopped)

    def _train(self, report: Progress) -> str:
        """Train until the last step, or until val gets no better; returns which."""
        config, state = self.config, self.state
        self.module.train()
        if self._validation_due():
            self._validate(report)
            if self._out_of_patience():
                return "early"
        began = saved_at = history_at = time.monotonic()
        for batch in self._loader(state.step):
            state.losses.append(self._step(batch))
            state.step += 1
            now = time.monotonic()
            state.seconds, began = state.seconds + now - began, now
            if state.step % config.log_every == 0 or state.step == config.steps:
                self._log()
            if self._validation_due():
                self._validate(report)
                if self._out_of_patience():
                    return "early"
            if now - saved_at > config.checkpoint_s:
                self._checkpoint()
                saved_at = history_at = time.monotonic()
            elif now - history_at > HISTORY_S and self.fabric.is_global_zero:
                checkpoint.write_history(self.output, state.history)
                history_at = time.monotonic()
            self._report(report)
        return "finished"

    def _report(self, report: Progress) -> None:
        """Report the status. If one process is asked to stop, all stop after the same step, so
        that none waits for one that has left.
        """
        cancelled = None
        try:
            report(self._status(), self.state.step / self.config.steps)
        except Cancelled as error:
            cancelled = error
        if self.fabric.world_size > 1:
            stops = torch.tensor(float(cancelled is not None))
            if self.fabric.all_reduce(stops, reduce_op="sum"):
                cancelled = cancelled or Cancelled()
        if cancelled:
            raise cancelled

    def _validation_due(self) -> bool:
        """Whether the val cases must be scored after this step and have not all been yet."""
        state, config = self.state, self.config
        due = (state.step > 0 or config.look_first) and (
            state.step % config.validate_every == 0 or state.step == config.steps
        )
        return due and not any(
            row["step"] == state.step and "val_dice" in row for row in state.history
        )

    def _step(self, batch: dict) -> float:
        config, step = self.config, self.state.step
        for group in self.optimiser.param_groups:
            group["lr"] = config.lr * schedule(step, config.steps, config.warmup_steps)
        # Dropout too follows from the seed and the step, so a training that goes on draws the same;
        # each process draws its own.
        torch.manual_seed(
            (1_000_003 * config.seed + step) * self.fabric.world_size + self.fabric.global_rank
        )
        loss = self._checked_loss(batch, step)
        self.optimiser.zero_grad(set_to_none=True)
        self.fabric.backward(loss)
        # fp16's scaler skips a step whose gradients overflow; elsewhere such a step would spoil the
        # weights.
        self.fabric.clip_gradients(
            self.module, self.optimiser, max_norm=config.clip, error_if_nonfinite=False
        )
        self._refuse_unless(self._finite_gradients(), batch, step, "gradients", "not finite")
        self.optimiser.step()
        update_average(self.state.average, self.network, min(config.ema, (1 + step) / (10 + step)))
        return float(self.fabric.all_reduce(loss.detach(), reduce_op="mean"))

    def _checked_loss(self, batch: dict, step: int) -> Tensor:
        loss = self.loss(self.module(batch["image"]), batch["label"])
        self._refuse_unless(bool(torch.isfinite(loss)), batch, step, "loss", f"{loss.item()}")
        return loss

    def _finite_gradients(self) -> bool:
        if self.config.precision == "fp16":
            return True
        return finite_gradients(self.network)

    def _refuse_unless(self, good: bool, batch: dict, step: int, quantity: str, value: str) -> None:
        if good:
            return
        if step:
            self._checkpoint()  # the weights are those of the step before
        kept = f"the last good state is in {self.output}" if step else "nothing had been learnt yet"
        raise not_finite(f"The {quantity} became {value} at step {step}", batch["case"], kept)

    def _loader(self, first_step: int):
        config, fabric = self.config, self.fabric
        numbers = BatchNumbers(
            first_step, config.steps, config.batch, fabric.global_rank, fabric.world_size
        )
        loader = DataLoader(
            self.samples,
            batch_sampler=numbers,
            num_workers=config.workers,
            pin_memory=fabric.device.type == "cuda",
        )
        return fabric.setup_dataloaders(loader, use_distributed_sampler=False)

    def _log(self) -> None:
        state = self.state
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
        own = {k: v.detach().clone() for k, v in trained_tensors(self.network).items()}
        self.network.load_state_dict(state.average, strict=False)
        self.network.eval()
        try:
            scores = self._score_own_cases(report)
        finally:
            self.network.load_state_dict(own, strict=False)
            self.module.train()
        score = self._mean_over_processes(scores.finite)
        state.history.append({"step": state.step, "val_dice": round(score, 5)})
        state.worse = 0 if score > state.best else state.worse + 1
        if score > state.best:
            state.best = score
            if self.fabric.is_global_zero:
                checkpoint.save_best(self.output, state)
        if self.on_validation and self.fabric.is_global_zero:
            self.on_validation(state.step, state.history, scores.examples)

    def _mean_over_processes(self, scores: list[float]) -> float:
        """The mean of all processes' scores; 0 without any."""
        sums = torch.tensor([sum(scores), len(scores)], dtype=torch.float32)  # MPS has no float64
        total = self.fabric.all_reduce(sums, reduce_op="sum")
        return float(total[0] / total[1]) if total[1] else 0.0

    def _score_own_cases(self, report: Progress) -> ValidationScores:
        """Score this process's share of the val cases."""
        rank, world = self.fabric.global_rank, self.fabric.world_size
        scores = ValidationScores()
        for case in self.val[rank::world]:
            # Several processes report no case: their shares differ, so a stop waits for the next
            # step.
            if world == 1:
                done = self.state.step / self.config.steps
                report(f"{self._status()}, looking at {case['id']}", done)
            # A choice among weights needs no more precision than the training.
            with self.fabric.autocast():
                labels = predict_labels(
                    self.network, case, self.fabric.device, self.config.predict_window
                )
            scores.add(case, labels, self.classes)
        return scores

    def _out_of_patience(self) -> bool:
        return bool(self.config.patience) and self.state.worse >= self.config.patience

    def _status(self) -> str:
        state = self.state
        scores = [row["val_dice"] for row in state.history if "val_dice" in row]
        losses = [row["loss"] for row in state.history if "loss" in row]
        left = (self.config.steps - state.step) * state.seconds / max(1, state.step)
        return (
            f"step {state.step} of {self.config.steps}, {duration_text(left)} left"
            + (f", loss {losses[-1]:.3f}" if losses else "")
            + (f", val Dice {scores[-1]:.4f} (best {state.best:.4f})" if scores else "")
        )

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
