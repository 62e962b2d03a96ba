"""Train the localizer on synthesised heads. The same command resumes from its checkpoint.

    python -m MedLLMSegLib.training.localizer.train_localizer --data ../shared/data/brain_labelmaps
    --minutes 25 --output runs/localizer

Label maps 16 to 20 are never trained on: the images for validation are made from them.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from monai.losses import DiceLoss
from torch import Tensor, nn

from MedLLMSegLib.core.progress import Progress, Report
from MedLLMSegLib.networks.segmentation.localizer_network import LocalizerConfig, LocalizerNet
from MedLLMSegLib.registry.bundle import read_bundle
from MedLLMSegLib.segmentation.localizer import Localizer
from MedLLMSegLib.training.checkpoint import LAST, save
from MedLLMSegLib.training.devices import fastest_precision

from .localizer_batches import LocalizerRecipe, load_heads, prefetched_batches
from .validate_localizer import load_trained, validate

WEIGHTS, LOG = "localizer.pt", "log.jsonl"
LOG_EVERY = 20  # steps
DEFAULT_CONFIG = LocalizerConfig()


@dataclass
class LocalizerTrainingState:
    """What a checkpoint holds.

    elapsed_s: training time so far, over all runs.
    """

    network: LocalizerNet
    average: LocalizerNet
    optimiser: torch.optim.AdamW
    step: int = 0
    elapsed_s: float = 0.0


def train_localizer(
    labelmaps_folder,
    output,
    minutes: float = LocalizerRecipe.minutes,
    seed: int = 0,
    progress: Report | None = None,
    device: str = "cpu",
    *,
    config: LocalizerConfig = DEFAULT_CONFIG,
    start: Localizer | None = None,
    learning_rate: float = LocalizerRecipe.learning_rate,
) -> Path:
    """Train for ``minutes`` in all, and return the path of the averaged weights.

    Resumes from ``output``/last.pt if that exists. The weights are written to
    ``output``/localizer.pt and the loss to ``output``/log.jsonl.

    progress: called with (a line of text, fraction done); may raise `Cancelled`.
    start: a trained localizer. A new training begins with its weights instead of random ones.
    """
    recipe, output = LocalizerRecipe(minutes, seed, learning_rate=learning_rate), Path(output)
    output.mkdir(parents=True, exist_ok=True)
    report = Progress.of(progress)
    report("reading the label maps", 0.0)
    heads = load_heads(labelmaps_folder, held_out=False)
    state = _begin_or_resume(output, start.config if start else config, recipe, device, start)
    with ThreadPoolExecutor(1) as pool:
        batches = prefetched_batches(pool, heads, recipe, state.step)
        _train(state, batches, recipe, output, device, report)
    _save_checkpoint(state, recipe, output)
    weights = {
        "config": state.average.config.to_dict(),
        "tensors": state.average.state_dict(),
        "step": state.step,
        "minutes": state.elapsed_s / 60,
    }
    save(output / WEIGHTS, weights)
    return output / WEIGHTS


def _train(
    state: LocalizerTrainingState,
    batches,
    recipe: LocalizerRecipe,
    output: Path,
    device: str,
    progress: Progress,
) -> None:
    """Update the network until the time is used up."""
    losses, saved_s, budget_s = [], state.elapsed_s, 60 * recipe.minutes
    while state.elapsed_s < budget_s:
        began = time.monotonic()
        image, target = next(batches)
        done = state.elapsed_s / budget_s
        losses.append(_update(state, image.to(device), target.to(device), done, recipe))
        state.elapsed_s += time.monotonic() - began
        if state.step % LOG_EVERY == 0:
            progress(_log(output, state, losses), state.elapsed_s / budget_s)
            losses = []
        if state.elapsed_s - saved_s > recipe.checkpoint_every_s:
            saved_s = state.elapsed_s
            _save_checkpoint(state, recipe, output)


def _begin_or_resume(
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
    network = network.to(device).to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]  # torch's stubs know no memory_format here
    average = LocalizerNet(config).to(device)
    average.load_state_dict(network.state_dict())
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    state = LocalizerTrainingState(network.train(), average.eval(), optimiser)
    if (output / LAST).exists():
        saved = torch.load(output / LAST, map_location=device, weights_only=True)
        network.load_state_dict(saved["network"])
        average.load_state_dict(saved["average"])
        optimiser.load_state_dict(saved["optimiser"])
        state.step, state.elapsed_s = saved["step"], saved["elapsed_s"]
    return state


def _save_checkpoint(state: LocalizerTrainingState, recipe: LocalizerRecipe, output: Path) -> None:
    checkpoint = {
        "network": state.network.state_dict(),
        "average": state.average.state_dict(),
        "optimiser": state.optimiser.state_dict(),
        "step": state.step,
        "elapsed_s": state.elapsed_s,
        "recipe": asdict(recipe),
    }
    save(output / LAST, checkpoint)


class LocalizerLoss(nn.Module):
    """Soft Dice of each class over the batch plus cross-entropy, both against partial volumes."""

    weight: Tensor

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
        weight = torch.tensor([1.0, 5.0, 5.0, 1.0, 1.0, 1.0])
        self.register_buffer("weight", weight, persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """logits, target: (B, 6, K, J, I); target sums to 1 over the classes. Returns a scalar."""
        cross_entropy = F.cross_entropy(logits, target, self.weight.to(logits.device))
        return self.dice(logits, target) + cross_entropy


def _learning_rate(done: float, recipe: LocalizerRecipe) -> float:
    """Linear warm-up, then a cosine; never below half a percent of the peak."""
    factor = min(done / recipe.warm_up, 0.5 + 0.5 * math.cos(math.pi * min(done, 1.0)))
    return recipe.learning_rate * max(0.005, factor)


def _update(
    state: LocalizerTrainingState,
    image: Tensor,
    target: Tensor,
    done: float,
    recipe: LocalizerRecipe,
) -> float:
    """One update; returns the loss.

    image: (B, 1, K, J, I). target: (B, 6, K, J, I). done: fraction of the training time used.
    """
    for group in state.optimiser.param_groups:
        group["lr"] = _learning_rate(done, recipe)
    image = image.contiguous(memory_format=torch.channels_last_3d)
    bf16 = recipe.bf16 and fastest_precision(image.device) == "bf16"
    with torch.autocast(image.device.type, torch.bfloat16, enabled=bf16):
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
    """Append a line to the log; returns it."""
    row = {
        "step": state.step,
        "minutes": round(state.elapsed_s / 60, 2),
        "loss": round(float(np.mean(losses)), 4),
        "seconds_per_step": round(state.elapsed_s / state.step, 3),
    }
    line = json.dumps(row)
    with open(output / LOG, "a", encoding="utf-8") as file:
        file.write(line + "\n")
    return line


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", required=True, help="folder brain_labelmaps")
    add("--output", required=True, help="folder for checkpoints, log and weights")
    minutes = "training time in all, earlier runs included"
    add("--minutes", type=float, default=LocalizerRecipe.minutes, help=minutes)
    add("--seed", type=int, default=0)
    rate = LocalizerRecipe.learning_rate
    add("--learning-rate", type=float, default=rate, help="its peak, %(default)s")
    start = "begin with a bundle's weights, not random ones"
    add("--from", dest="start", metavar="BUNDLE", help=start)
    add("--device", default="cpu")
    count = "kept-out images to score at the end"
    add("--validate", type=int, default=100, metavar="N", help=count)
    return parser


def _print_progress(line: str, fraction: float) -> None:
    print(f"{100 * fraction:5.1f} %  {line}", flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Train, then validate on heads kept out of the training."""
    options = _parser().parse_args(arguments)
    start = Localizer.from_bundle(read_bundle(options.start)) if options.start else None
    weights = train_localizer(
        options.data,
        options.output,
        options.minutes,
        options.seed,
        _print_progress,
        options.device,
        start=start,
        learning_rate=options.learning_rate,
    )
    if options.validate:
        heads = load_heads(options.data, held_out=True)
        figures = validate(load_trained(weights), heads, options.validate, device=options.device)
        path = Path(options.output) / "validation.json"
        path.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
        print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
