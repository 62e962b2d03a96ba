"""Train the localizer on synthesised heads: one command, which goes on from its checkpoint when run
again.

    python -m MedLLMSegLib.training.localizer.train_localizer --data ../shared/data/brain_labelmaps
    --minutes 25 --output runs/localizer

Label maps 16 to 20 are never trained on: they make the images for validation.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from monai.losses import DiceLoss
from scipy import ndimage
from torch import Tensor, nn

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.geometry import centred_grid, transform_points
from MedLLMSegLib.core.progress import Report
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.networks.segmentation.localizer_network import LocalizerConfig, LocalizerNet
from MedLLMSegLib.registry.bundle import read_bundle
from MedLLMSegLib.segmentation.localize import SIDES, Localizer, localize
from MedLLMSegLib.training.checkpoint import save
from MedLLMSegLib.training.devices import fastest_precision

from .subjects import Subject, load_head
from .synthesis import GRID_MM, Sample, draw_sample

HELD_OUT = (16, 17, 18, 19, 20)  # numbers of the label maps kept for validation


@dataclass(frozen=True)
class LocalizerRecipe:
    """How to train. sizes: edge lengths of a batch's images (voxels of 3 mm), drawn for each
    axis by sizes_p.
    """

    minutes: float = 25.0
    seed: int = 0
    batch: int = 2
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    ema: float = 0.995
    warm_up: float = 0.03
    sizes: tuple[int, ...] = (64, 80, 96)
    sizes_p: tuple[float, ...] = (0.5, 0.4, 0.1)
    checkpoint_every_s: float = 150.0
    bf16: bool = True


@dataclass
class LocalizerTrainingState:
    """What a checkpoint holds. elapsed_s: training time so far, over all runs."""

    network: LocalizerNet
    average: LocalizerNet
    optimiser: torch.optim.AdamW
    step: int = 0
    elapsed_s: float = 0.0


def train_localizer(
    labelmaps_folder,
    output,
    minutes: float = 25.0,
    seed: int = 0,
    progress: Report | None = None,
    device: str = "cpu",
    config: LocalizerConfig = LocalizerConfig(),
    start: Localizer | None = None,
    learning_rate: float = LocalizerRecipe.learning_rate,
) -> Path:
    """Train for so many minutes in all, going on from ``output``/last.pt when it is there.

    start: a trained localizer whose weights a new training begins with, instead of random ones.

    Returns the path of the averaged weights, ``output``/localizer.pt; the loss goes to
    ``output``/log.jsonl. progress: called with a line of text and the fraction done; may raise
    `Cancelled`.
    """
    recipe, output = (
        LocalizerRecipe(minutes=minutes, seed=seed, learning_rate=learning_rate),
        Path(output),
    )
    output.mkdir(parents=True, exist_ok=True)
    say = progress or (lambda text, fraction: None)
    say("reading the label maps", 0.0)
    heads = load_heads(labelmaps_folder, held_out=False)
    state = _resume(output, start.config if start else config, recipe, device, start)
    losses, saved_s, budget_s = [], state.elapsed_s, 60 * minutes
    with ThreadPoolExecutor(1) as pool:
        batches = _ahead(pool, heads, recipe, state.step)
        while state.elapsed_s < budget_s:
            began = time.monotonic()
            image, target = next(batches)
            losses.append(
                _step(
                    state, image.to(device), target.to(device), state.elapsed_s / budget_s, recipe
                )
            )
            state.elapsed_s += time.monotonic() - began
            if state.step % 20 == 0:
                say(_log(output, state, losses), state.elapsed_s / budget_s)
                losses = []
            if state.elapsed_s - saved_s > recipe.checkpoint_every_s:
                saved_s = state.elapsed_s
                _save(state, recipe, output / "last.pt")
    _save(state, recipe, output / "last.pt")
    weights = output / "localizer.pt"
    save(
        weights,
        {
            "config": state.average.config.to_dict(),
            "tensors": state.average.state_dict(),
            "step": state.step,
            "minutes": state.elapsed_s / 60,
        },
    )
    return weights


def load_heads(folder, held_out: bool) -> list[Subject]:
    """The label maps to train on, or those kept out of training."""
    paths = [
        p
        for p in sorted(Path(folder).glob("training_seg_*.nii.gz"))
        if (int(p.name.split("_")[2].split(".")[0]) in HELD_OUT) == held_out
    ]
    if not paths:
        raise UserError(
            f'"{folder}" holds no label maps called training_seg_01.nii.gz and so on; '
            "give the folder brain_labelmaps of the shared data."
        )
    return [load_head(path) for path in paths]


def _resume(
    output: Path,
    config: LocalizerConfig,
    recipe: LocalizerRecipe,
    device: str,
    start: Localizer | None = None,
) -> LocalizerTrainingState:
    torch.manual_seed(recipe.seed)
    network = LocalizerNet(config)
    if start:
        network.load_state_dict(start.network.state_dict())
    network = network.to(device, memory_format=torch.channels_last_3d)
    average = LocalizerNet(config).to(device)
    average.load_state_dict(network.state_dict())
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    state = LocalizerTrainingState(network.train(), average.eval(), optimiser)
    if (output / "last.pt").exists():
        saved = torch.load(output / "last.pt", map_location=device, weights_only=True)
        network.load_state_dict(saved["network"])
        average.load_state_dict(saved["average"])
        optimiser.load_state_dict(saved["optimiser"])
        state.step, state.elapsed_s = saved["step"], saved["elapsed_s"]
    return state


def _save(state: LocalizerTrainingState, recipe: LocalizerRecipe, path: Path) -> None:
    save(
        path,
        {
            "network": state.network.state_dict(),
            "average": state.average.state_dict(),
            "optimiser": state.optimiser.state_dict(),
            "step": state.step,
            "elapsed_s": state.elapsed_s,
            "recipe": asdict(recipe),
        },
    )


def _ahead(
    pool: ThreadPoolExecutor, heads: list[Subject], recipe: LocalizerRecipe, step: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches from ``step`` on, three of them made ahead of time in another thread."""
    waiting: list[Future] = []
    try:
        while True:
            while len(waiting) < 3:
                waiting.append(pool.submit(make_batch, heads, recipe, step))
                step += 1
            yield waiting.pop(0).result()
    finally:
        for future in waiting:
            future.cancel()


def make_batch(heads: list[Subject], recipe: LocalizerRecipe, step: int) -> tuple[Tensor, Tensor]:
    """Images (B, 1, K, J, I) in 0..1 and targets (B, 6, K, J, I) of one step; the same step is
    always the same batch.
    """
    rng = np.random.default_rng([recipe.seed, step])
    shape = tuple(int(n) for n in rng.choice(recipe.sizes, 3, p=recipe.sizes_p))
    samples = [draw_sample(heads, rng, shape) for _ in range(recipe.batch)]
    return (
        torch.from_numpy(np.stack([s.image for s in samples]))[:, None],  # (B, 1, K, J, I)
        torch.from_numpy(np.stack([widened(s.target) for s in samples])),
    )  # (B, 6, K, J, I)


def widened(target: np.ndarray) -> np.ndarray:
    """A target [6, k, j, i] whose hippocampi are about 3 mm thicker, their centres kept.

    At 3 mm a hippocampus is three voxels thick: as thin as that it was hardly learnt in the time
    there is, and only its centre is wanted. The other classes give way, so that the sum stays 1.
    """
    thick = np.stack(
        [np.clip(3 * ndimage.gaussian_filter(each, 1.2), 0, 1) for each in target[1:3]]
    )
    thick /= np.maximum(thick.sum(0), 1)
    rest = target[[0, 3, 4, 5]] / np.maximum(target[[0, 3, 4, 5]].sum(0), 1e-6) * (1 - thick.sum(0))
    hidden = (
        target[[0, 3, 4, 5]].sum(0) < 1e-6
    )  # all hippocampus: what is left over is its own side's cerebrum
    rest[1] += hidden * (1 - thick.sum(0)) * (target[1] >= target[2])
    rest[2] += hidden * (1 - thick.sum(0)) * (target[1] < target[2])
    return np.concatenate((rest[:1], thick, rest[1:])).astype(np.float32)


class LocalizerLoss(nn.Module):
    """Soft Dice of each class over the batch plus cross-entropy, both against partial volumes."""

    def __init__(self):
        super().__init__()
        # A smoothing of one voxel keeps a batch without hippocampi from counting as a total
        # failure.
        self.dice = DiceLoss(
            include_background=False,
            softmax=True,
            batch=True,
            soft_label=True,
            smooth_nr=1.0,
            smooth_dr=1.0,
        )
        self.register_buffer(
            "weight", torch.tensor([1.0, 5.0, 5.0, 1.0, 1.0, 1.0]), persistent=False
        )

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """logits, target: (B, 6, K, J, I); target sums to 1 over the classes. Returns a scalar."""
        return self.dice(logits, target) + F.cross_entropy(
            logits, target, self.weight.to(logits.device)
        )


def _step(
    state: LocalizerTrainingState,
    image: Tensor,
    target: Tensor,
    done: float,
    recipe: LocalizerRecipe,
) -> float:
    """One update. done: fraction of the training time gone, which drives the learning rate."""
    rate = recipe.learning_rate * max(
        0.005, min(done / recipe.warm_up, 0.5 + 0.5 * math.cos(math.pi * min(done, 1.0)))
    )
    for group in state.optimiser.param_groups:
        group["lr"] = rate
    image = image.contiguous(memory_format=torch.channels_last_3d)
    with torch.autocast(
        image.device.type,
        torch.bfloat16,
        enabled=recipe.bf16 and fastest_precision(image.device) == "bf16",
    ):
        logits = state.network(image)
    loss = LocalizerLoss()(logits.float(), target)
    if not torch.isfinite(loss):
        raise FloatingPointError(
            f"The loss is {loss.item()} at step {state.step}; the last checkpoint is still good."
        )
    state.optimiser.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(state.network.parameters(), 1.0)
    state.optimiser.step()
    state.step += 1
    decay = min(recipe.ema, (1 + state.step) / (10 + state.step))
    with torch.no_grad():
        torch._foreach_lerp_(
            list(state.average.parameters()), list(state.network.parameters()), 1 - decay
        )
    return loss.item()


def _log(output: Path, state: LocalizerTrainingState, losses: list[float]) -> str:
    line = json.dumps(
        {
            "step": state.step,
            "minutes": round(state.elapsed_s / 60, 2),
            "loss": round(float(np.mean(losses)), 4),
            "seconds_per_step": round(state.elapsed_s / state.step, 3),
        }
    )
    with open(output / "log.jsonl", "a", encoding="utf-8") as file:
        file.write(line + "\n")
    return line


def load_trained(weights) -> Localizer:
    """The localizer that `train_localizer` wrote."""
    saved = torch.load(weights, map_location="cpu", weights_only=True)
    network = LocalizerNet(LocalizerConfig(**saved["config"]))
    network.load_state_dict(saved["tensors"])
    return Localizer(network)


def validate(
    localizer: Localizer,
    heads: list[Subject],
    count: int,
    seed: int = 1_000_000,
    device: str = "cpu",
    progress: Report | None = None,
) -> dict:
    """Figures on ``count`` images synthesised from kept-out heads, the same ones every time.

    A side is due when 95 % of its hippocampus is in view, and wrong to report when less than 10 %
    is; what lies between counts for neither. Returns counts, and centre errors in mm.
    """
    errors, swapped, missed, due, false, absent = [], 0, 0, 0, 0, 0
    for n in range(count):
        sample = draw_sample(heads, np.random.default_rng([seed, n]))
        truth, found = _true_centres(sample), _found(sample, localizer, device)
        for number, side in enumerate(SIDES):
            visible = sample.visible[number]
            due += visible > 0.95
            absent += visible < 0.1
            missed += visible > 0.95 and side not in found
            false += visible < 0.1 and side in found
            if visible > 0.95 and side in found:
                own, other = (
                    float(np.linalg.norm(found[side] - truth[s])) for s in (side, SIDES[1 - number])
                )
                errors.append(own)
                swapped += other < own  # NaN, where the other side is out of view, is not smaller
        if progress:
            progress(f"validated {n + 1} of {count}", (n + 1) / count)
    return {
        "images": count,
        "sides_in_view": int(due),
        **spread_of(errors),
        "swapped": int(swapped),
        "missed": int(missed),
        "sides_out_of_view": int(absent),
        "false": int(false),
    }


def spread_of(errors_mm: list[float]) -> dict[str, float | None]:
    """Median, 95th percentile and worst of a list of errors; None without any."""
    spread = np.percentile(errors_mm, (50, 95, 100)) if errors_mm else (None, None, None)
    return {
        name: value if value is None else round(float(value), 2)
        for name, value in zip(("median_mm", "p95_mm", "worst_mm"), spread)
    }


def _sample_grid(sample: Sample):
    return centred_grid((0, 0, 0), sample.image.shape, GRID_MM)


def _true_centres(sample: Sample) -> dict[str, np.ndarray]:
    """RAS mm of what is in view of each side; NaN for nothing."""
    return {
        side: transform_points(_sample_grid(sample).ijk_to_ras, sample.centre_vox(n)[::-1])
        for n, side in enumerate(SIDES)
    }


def _found(sample: Sample, localizer: Localizer, device: str) -> dict[str, np.ndarray]:
    try:
        places = localize(
            Volume(sample.image, _sample_grid(sample).ijk_to_ras, "synthetic"), localizer, device
        )
    except UserError:
        return {}
    return {place.side: np.array(place.centre_ras) for place in places}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="folder brain_labelmaps")
    parser.add_argument("--output", required=True, help="folder for checkpoints, log and weights")
    parser.add_argument(
        "--minutes", type=float, default=25.0, help="training time in all, earlier runs included"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--learning-rate",
        type=float,
        default=LocalizerRecipe.learning_rate,
        help="its peak, %(default)s",
    )
    parser.add_argument(
        "--from",
        dest="start",
        metavar="BUNDLE",
        help="begin with a bundle's weights, not random ones",
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--validate", type=int, default=100, metavar="N", help="kept-out images to score at the end"
    )
    options = parser.parse_args(arguments)
    say = lambda text, fraction: print(f"{100 * fraction:5.1f} %  {text}", flush=True)
    start = Localizer.from_bundle(read_bundle(options.start)) if options.start else None
    weights = train_localizer(
        options.data,
        options.output,
        options.minutes,
        options.seed,
        say,
        options.device,
        start=start,
        learning_rate=options.learning_rate,
    )
    if options.validate:
        figures = validate(
            load_trained(weights),
            load_heads(options.data, held_out=True),
            options.validate,
            device=options.device,
        )
        (Path(options.output) / "validation.json").write_text(
            json.dumps(figures, indent=2) + "\n", encoding="utf-8"
        )
        print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
