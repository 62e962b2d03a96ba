"""The training loop: seeded, resumable at any step, the same on one process or many."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from MedLLMSegLib.core.errors import Cancelled, UserError
from MedLLMSegLib.core.progress import Report, duration_text
from MedLLMSegLib.core.safe_files import make_folder
from MedLLMSegLib.llm.frozen_weights import trained_tensors
from MedLLMSegLib.metrics.overlap import dice
from MedLLMSegLib.segmentation.inference import predict
from MedLLMSegLib.training import checkpoint
from MedLLMSegLib.training.checkpoint import TrainingState
from MedLLMSegLib.training.optimiser import finite_gradients, make_optimiser, schedule

from .augmentation import VolumeAugmentation
from .losses import SegmentationLoss
from .sampling import BatchNumbers, SampleDataset

HISTORY_S = 2.0  # between two writings of history.json, from which a live curve is drawn


@dataclass(frozen=True)
class TrainConfig:
    """How to train.

    steps: optimiser updates in all. batch: samples of a step, over all processes. window: voxels
    (k, j, i) of a sample. optimiser: one of `optimiser.OPTIMISERS`. noise_fraction: samples that
    are noise without organ. validate_every: steps. look_first: score the weights that it begins
    with too. patience: validations without a better score after which training stops early; 0
    never. predict_window: voxels that go through the network at once when val cases are scored.
    log_every: steps of a line of history. workers: processes that make samples; 0 makes them here.
    """

    steps: int = 3000
    batch: int = 2
    window: tuple[int, ...] = (40, 48, 40)
    optimiser: str = "adamw"
    lr: float = 1e-3
    weight_decay: float = 0.01
    warmup_steps: int = 150
    clip: float = 1.0
    ema: float = 0.995
    noise_fraction: float = 0.03
    validate_every: int = 300
    look_first: bool = False
    patience: int = 0
    precision: str = "fp32"
    predict_window: tuple[int, ...] = (96, 96, 96)
    augmentation: VolumeAugmentation = VolumeAugmentation()
    log_every: int = 10
    checkpoint_s: float = 120.0
    workers: int = 0
    seed: int = 0


@dataclass(frozen=True)
class TrainResult:
    """What came of a training. stopped: "finished", or "early" when val got no better any more."""

    best_val_dice: float
    steps: int
    seconds: float
    stopped: str


@torch.no_grad()
def update_average(average: dict[str, Tensor], network: nn.Module, decay: float) -> None:
    """Exponential moving average of the trained tensors, in place."""
    for name, tensor in trained_tensors(network).items():
        average[name].lerp_(tensor.float(), 1 - decay)


def case_dice(winner: np.ndarray, label: np.ndarray, classes: int) -> list[float]:
    """Dice of each structure on the prepared grid, where either map has it: for choosing, not a
    reported figure.
    """
    return [
        score for value in range(1, classes) if np.isfinite(score := dice(winner, label, value))
    ]


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
        fabric=None,
        on_validation: Callable | None = None,
    ):
        if not train or not val:
            raise UserError(
                f"There are {len(train)} cases to train on and {len(val)} to choose the best"
                " weights on, and at least one of each is needed; label more cases."
            )
        if fabric is None:
            from MedLLMSegLib.training.devices import make_fabric

            fabric = make_fabric("cpu", config.precision)
        if config.batch % fabric.world_size:
            raise UserError(
                f"A batch of {config.batch} cannot be shared evenly by {fabric.world_size}"
                " processes; use --batch"
                f" {fabric.world_size * max(1, config.batch // fabric.world_size)}."
            )
        self.network, self.classes, self.config, self.fabric = network, classes, config, fabric
        self.val, self.output, self.about, self.on_validation = (
            val,
            make_folder(output),
            about,
            on_validation,
        )
        self.samples = SampleDataset(
            train, config.window, classes, config.augmentation, config.noise_fraction, config.seed
        )
        trained = [p for p in network.parameters() if p.requires_grad]
        optimiser = make_optimiser(config.optimiser, trained, config.lr, config.weight_decay)
        network.to(fabric.device)
        self.loss = SegmentationLoss()
        self.state = TrainingState(
            {k: v.detach().float().clone() for k, v in trained_tensors(network).items()}
        )
        self._resume(optimiser)
        self.module, self.optimiser = fabric.setup(network, optimiser)

    def run(self, progress: Report | None = None) -> TrainResult:
        """Train to the end; call again after a kill to go on from the last checkpoint.

        progress: called with (a line of text, fraction done); it may raise `Cancelled`, which saves
        first.
        """
        say = progress or (lambda text, fraction: None)
        stopped = "early" if self._gave_up() else "finished"
        if stopped != "early" and (self.state.step < self.config.steps or self._owes_a_look()):
            try:
                stopped = self._train(say)
            except Cancelled:
                self._checkpoint()
                raise
            self._checkpoint()
            self.fabric.barrier()
        return TrainResult(self.state.best, self.state.step, round(self.state.seconds, 1), stopped)

    def _train(self, say: Report) -> str:
        config, state = self.config, self.state
        self.module.train()
        if self._owes_a_look():
            self._validate(say)
            if self._gave_up():
                return "early"
        began = saved_at = told_at = time.monotonic()
        for batch in self._loader(state.step):
            state.losses.append(self._step(batch))
            state.step += 1
            now = time.monotonic()
            state.seconds, began = state.seconds + now - began, now
            if state.step % config.log_every == 0 or state.step == config.steps:
                self._log()
            if self._owes_a_look():
                self._validate(say)
                if self._gave_up():
                    return "early"
            if now - saved_at > config.checkpoint_s:
                self._checkpoint()
                saved_at = told_at = time.monotonic()
            elif now - told_at > HISTORY_S and self.fabric.is_global_zero:
                checkpoint.write_history(self.output, state)
                told_at = time.monotonic()
            self._tell(say)
        return "finished"

    def _tell(self, say: Report) -> None:
        """Report. Where one process is asked to stop, all stop after the same step: none waits
        for one that has left.
        """
        asked = None
        try:
            say(self._line(), self.state.step / self.config.steps)
        except Cancelled as wish:
            asked = wish
        if self.fabric.world_size > 1 and self.fabric.all_reduce(
            torch.tensor(float(asked is not None)), reduce_op="sum"
        ):
            asked = asked or Cancelled()
        if asked:
            raise asked

    def _owes_a_look(self) -> bool:
        """Whether the val cases have to be looked at after this step, and were not yet, or not
        all before a stop.
        """
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
        loss = self._loss_of(batch, step)
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

    def _loss_of(self, batch: dict, step: int) -> Tensor:
        loss = self.loss(self.module(batch["image"]), batch["label"])
        self._refuse_unless(bool(torch.isfinite(loss)), batch, step, "loss", f"{loss.item()}")
        return loss

    def _finite_gradients(self) -> bool:
        if self.config.precision == "fp16":
            return True
        return finite_gradients(self.network)

    def _refuse_unless(self, good: bool, batch: dict, step: int, what: str, value: str) -> None:
        if good:
            return
        if step:
            self._checkpoint()  # the weights are those of the step before
        kept = f"the last good state is in {self.output}" if step else "nothing had been learnt yet"
        several = len(batch["case"]) > 1
        raise UserError(
            f"The {what} became {value} at step {step}, on the case{'s' * several}"
            f" {', '.join(batch['case'])}; look at {'these images' if several else 'this image'},"
            f" and train into another folder without {'them' if several else 'it'} or with a lower"
            f" --lr; {kept}."
        )

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

    def _validate(self, say: Report) -> None:
        """Score the averaged weights on val, keep them if they are the best, and draw."""
        state = self.state
        own = {k: v.detach().clone() for k, v in trained_tensors(self.network).items()}
        self.network.load_state_dict(state.average, strict=False)
        self.network.eval()
        try:
            scores, shown = self._look(say)
        finally:
            self.network.load_state_dict(own, strict=False)
            self.module.train()
        there = [s for s in scores if np.isfinite(s)]
        counted = torch.tensor([sum(there), len(there)], dtype=torch.float32)  # MPS has no float64
        total = self.fabric.all_reduce(counted, reduce_op="sum")
        score = float(total[0] / total[1]) if total[1] else 0.0
        state.history.append({"step": state.step, "val_dice": round(score, 5)})
        state.worse = 0 if score > state.best else state.worse + 1
        if score > state.best:
            state.best = score
            if self.fabric.is_global_zero:
                checkpoint.save_best(self.output, state)
        if self.on_validation and self.fabric.is_global_zero:
            self.on_validation(state.step, state.history, shown)

    def _look(self, say: Report) -> tuple[list[float], list[tuple[dict, np.ndarray]]]:
        """This process's share of the val cases: the Dice of each, and the first few with their
        label maps.
        """
        rank, world = self.fabric.global_rank, self.fabric.world_size
        shown, scores = [], []
        for case in self.val[rank::world]:
            if (
                world == 1
                # several must not part here: their shares differ, and a stop waits for the next step
            ):
                say(f"{self._line()}, looking at {case['id']}", self.state.step / self.config.steps)
            with (
                self.fabric.autocast()
            ):  # a choice among weights needs no more precision than the training
                image = np.asarray(case["image"][0])
                logits = predict(
                    self.network, image, self.fabric.device, tuple(self.config.predict_window)
                )
            winner = logits.argmax(axis=0).astype(np.uint8)
            scores.append(
                float(np.mean(case_dice(winner, case["label"][0], self.classes) or [float("nan")]))
            )
            shown += [(case, winner)] if len(shown) < 4 else []
        return scores, shown

    def _gave_up(self) -> bool:
        return bool(self.config.patience) and self.state.worse >= self.config.patience

    def _line(self) -> str:
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
        found = checkpoint.load_last(self.output, self.network, optimiser, self._scaler())
        if found:
            self.state = found
            self.state.average = {k: v.to(self.fabric.device) for k, v in found.average.items()}
