"""`medllmseg train --task brain`: from label maps of whole heads to the brain model's weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from MedLLMSegLib.core.errors import UserError

from .common_options import OptionHolder, option_name
from .terminal.terminal_progress import TrainingConsole

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from MedLLMSegLib.training.synthesis.train_brain import BrainRequest

OWN_OPTIONS = ("arm", "shape", "decay", "threads")
# Besides these, --task brain knows --data, --output and --device.
SHARED_OPTIONS = ("minutes", "steps", "start", "seed", "lr", "batch", "precision")


def add_options(options: OptionHolder) -> None:
    """Add the options that only the brain model's training has."""
    options.add_argument(
        "--arm",
        choices=("none", "A", "D", "F"),
        help=(
            "none: no tokens; A: tokens without a block; D: a frozen random block; F: the frozen"
            " pretrained block (default)"
        ),
    )
    options.add_argument(
        "--shape",
        type=int,
        nargs=3,
        metavar=("K", "J", "I"),
        help="voxels of 1 mm of a sample, multiples of 16 (default: 128 160 128)",
    )
    options.add_argument(
        "--decay",
        type=float,
        metavar="SHARE",
        help=(
            "the last part of the time, such as 0.2, over which the learning rate falls to nothing"
            " (default: 0, for a training that will be made longer)"
        ),
    )
    options.add_argument(
        "--threads", type=int, metavar="N", help="of the processor (default: all cores)"
    )


def check(args: argparse.Namespace, other_options: tuple[str, ...]) -> None:
    """Raise `UserError` for options of other tasks. other_options: what those have."""
    foreign = [
        name
        for name in other_options
        if name not in SHARED_OPTIONS and getattr(args, name) != args.default_of(name)
    ]
    if foreign:
        typed = {"description": "--data-description"}.get(foreign[0], option_name(foreign[0]))
        raise UserError(f"{typed} does not go with --task brain; leave it out.")


def refuse_own(args: argparse.Namespace) -> None:
    """Raise `UserError` for options of this task, typed for another one."""
    for name in OWN_OPTIONS:
        if getattr(args, name) is not None:
            raise UserError(
                f"{option_name(name)} belongs to --task brain; add that, or leave the option out."
            )


def train(args: argparse.Namespace) -> None:
    """Train, and print how to go on."""
    import torch

    from MedLLMSegLib.training.devices import is_first_process
    from MedLLMSegLib.training.synthesis.train_brain import train_brain

    if args.threads:
        torch.set_num_threads(args.threads)
    prints = is_first_process()
    with TrainingConsole(quiet=not prints) as console:
        weights = train_brain(
            _request(args),
            args.device,
            console.report,
            console.print if prints else _silent,
        )
    if prints:
        bundle = _bundle(args)
        if bundle is not None:
            print(f"the model is in {bundle}; try it by `medllmseg segment SCAN --model {bundle}`")
        print(
            f"the weights are in {weights}; the same command with more --minutes goes on, on"
            f" another computer with\n  --from {weights}"
        )


def _bundle(args: argparse.Namespace) -> Path | None:
    """The bundle of what was trained; None of an arm that makes no model."""
    from MedLLMSegLib.training.synthesis.brain_bundle import BUNDLE, export_brain, read_training

    training = read_training(args.output)
    if not training.makes_a_model:
        return None
    return export_brain(training, args.output / BUNDLE, args.data)


def _silent(text: str) -> None:
    """Only the first of several processes speaks."""


def _request(args: argparse.Namespace) -> BrainRequest:
    """What was not typed keeps the request's default."""
    from MedLLMSegLib.training.synthesis.train_brain import BrainRequest

    names = ("arm", "decay", *SHARED_OPTIONS)
    typed: dict[str, Any] = {name: getattr(args, name) for name in names}
    typed["shape"] = tuple(args.shape) if args.shape else None
    return BrainRequest(
        str(args.data),
        str(args.output),
        **{name: value for name, value in typed.items() if value is not None},
    )
