"""Train the localizer on synthesised heads. The same command resumes from its checkpoint.

    python -m MedLLMSegLib.training.localizer.train_localizer --data ../shared/data/brain_labelmaps
    --minutes 25 --output runs/localizer

Label maps 16 to 20 are never trained on: the images for validation are made from them.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch

from MedLLMSegLib.core.progress import Progress, Report
from MedLLMSegLib.core.safe_files import make_folder
from MedLLMSegLib.networks.segmentation.localizer_network import LocalizerConfig, LocalizerNet
from MedLLMSegLib.registry.bundle import read_bundle
from MedLLMSegLib.segmentation.inference import choose_device
from MedLLMSegLib.segmentation.localizer import Localizer
from MedLLMSegLib.training.checkpoint import save
from MedLLMSegLib.training.devices import fastest_precision, make_fabric, spare_worker
from MedLLMSegLib.training.loop_config import NO_LIMIT, LoopConfig
from MedLLMSegLib.training.trainer import Trainer

from .localizer_batches import LocalizerSettings, load_heads
from .localizer_recipe import LocalizerRecipe
from .validate_localizer import load_trained, validate

WEIGHTS = "localizer.pt"
DEFAULT_CONFIG = LocalizerConfig()
VALIDATE_EVERY = 500  # steps


def train_localizer(
    labelmaps_folder,
    output,
    minutes: float = LocalizerSettings.minutes,
    seed: int = 0,
    progress: Report | None = None,
    device: str = "cpu",
    *,
    config: LocalizerConfig = DEFAULT_CONFIG,
    start: Localizer | None = None,
    learning_rate: float = LocalizerSettings.learning_rate,
) -> Path:
    """Train for ``minutes`` in all, and return the path of the averaged weights.

    Resumes from ``output``/last.pt if that exists. The weights are written to
    ``output``/localizer.pt, the loss to ``output``/history.json, and both to a curve.

    progress: called with (a line of text, fraction done); may raise `Cancelled`.
    start: a trained localizer. A new training begins with its weights instead of random ones.
    """
    settings = LocalizerSettings(minutes, seed, learning_rate=learning_rate)
    report, output = Progress.of(progress), make_folder(output)
    report("reading the label maps", 0.0)
    heads, val = (load_heads(labelmaps_folder, held_out) for held_out in (False, True))
    recipe = LocalizerRecipe(settings, heads, val)
    network = beginning(start.config if start else config, seed, start)
    trainer = localizer_trainer(network, recipe, output, device)
    trainer.run(report)
    weights = {
        "config": network.config.to_dict(),
        "tensors": trainer.state.average,
        "step": trainer.state.step,
        "minutes": trainer.state.seconds / 60,
    }
    save(output / WEIGHTS, weights)
    return output / WEIGHTS


def beginning(config: LocalizerConfig, seed: int, start: Localizer | None = None) -> LocalizerNet:
    """The network that a training begins with: a trained localizer's, or with random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = LocalizerNet(config)
    if start:
        network.load_state_dict(start.network.state_dict())
    return network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]  # torch's stubs know no memory_format here


def localizer_trainer(
    network: LocalizerNet, recipe: LocalizerRecipe, output: Path, device: str = "cpu"
) -> Trainer:
    """The training of a localizer in a folder, or what was saved of it there."""
    from MedLLMSegLib.training.curves import Watcher  # matplotlib comes with it

    settings, on = recipe.settings, choose_device(device)
    bf16 = settings.bf16 and fastest_precision(on) == "bf16"
    precision = "bf16" if bf16 else "fp32"
    loop = LoopConfig(
        steps=NO_LIMIT,
        batch=1,  # a sample of the recipe is a batch
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        ema=settings.ema,
        validate_every=VALIDATE_EVERY,
        precision=precision,
        log_every=20,
        checkpoint_s=settings.checkpoint_every_s,
        workers=spare_worker(),
        seed=settings.seed,
    )
    about = {
        "localizer": network.config.to_dict(),
        "seed": settings.seed,
        "learning_rate": settings.learning_rate,
    }
    return Trainer(
        network,
        recipe,
        loop,
        output,
        about,
        fabric=make_fabric(device, precision),
        minutes=settings.minutes,
        on_validation=Watcher(output, "localizer"),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", required=True, help="folder brain_labelmaps")
    add("--output", required=True, help="folder for checkpoints, curve and weights")
    minutes = "training time in all, earlier runs included"
    add("--minutes", type=float, default=LocalizerSettings.minutes, help=minutes)
    add("--seed", type=int, default=0)
    rate = LocalizerSettings.learning_rate
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
