"""`medllmseg train --task segment`: from labelled cases to a segmentation model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from MedLLMSegLib.core.errors import UserError

from .common_options import OptionHolder
from .terminal.terminal_progress import TrainingConsole

if TYPE_CHECKING:
    import argparse

    from MedLLMSegLib.training.segmenter.request import TrainRequest


def add_data_options(options: OptionHolder) -> None:
    """Which cases to train on, for how long, and from what."""
    options.add_argument("--steps", type=int, help="train for N updates instead", metavar="N")
    options.add_argument(
        "--from",
        dest="start",
        metavar="MODEL",
        help="fine-tune a model (id or bundle folder) instead of beginning anew",
    )
    options.add_argument(
        "--folds",
        type=int,
        metavar="N",
        help=(
            "cross-validation: N trainings of that time, each measured on cases it "
            "has not seen; stated splits are set aside"
        ),
    )
    options.add_argument(
        "--fold",
        type=int,
        metavar="K",
        help="with --folds: only the K-th, so that several machines share the work",
    )
    options.add_argument(
        "--cases", type=int, metavar="N", help="use only N training cases, drawn by --seed"
    )


def add_structure_options(options: OptionHolder) -> None:
    """What the model outlines."""
    options.add_argument(
        "--structures",
        nargs="+",
        default=[],
        metavar="NAME",
        help="of the labels 1, 2 ... where SOURCE states none",
    )
    options.add_argument(
        "--anatomy",
        choices=("hippocampus",),
        help="the cases are crops around one hippocampus, found in whole heads by the localizer",
    )


def add_network_options(options: OptionHolder) -> None:
    """The network and its language-model block."""
    options.add_argument(
        "--preset",
        default="medvisionllama",
        help=(
            "medvisionllama, medvisionllama-fine (slower, finer "
            "borders), paper-medvisionllama or paper-vit"
        ),
    )
    options.add_argument(
        "--llm",
        metavar="SOURCE",
        help="another language model: an id or a path (GGUF, safetensors, folder)",
    )
    options.add_argument(
        "--llm-layer",
        type=int,
        metavar="N",
        help="which of its layers; negative counts from the end",
    )
    options.add_argument(
        "--llm-position",
        choices=("head", "middle", "tail"),
        help="where it stands among the encoder's blocks",
    )


def add_training_options(options: OptionHolder) -> None:
    """How samples are drawn and the network is optimised."""
    _add_sample_options(options)
    options.add_argument(
        "--optimiser", choices=("muon", "adamw"), default="muon", help="(default: %(default)s)"
    )
    options.add_argument(
        "--precision",
        choices=("bf16", "fp16", "fp32"),
        help=(
            "of the multiplications (default: bf16 where the hardware has it, else fp16 on a GPU"
            " and fp32 on a CPU)"
        ),
    )
    options.add_argument(
        "--patience",
        type=int,
        default=8,
        metavar="N",
        help="stop after N validations without a better score; 0 never (default: %(default)s)",
    )
    options.add_argument(
        "--validations",
        type=int,
        default=20,
        metavar="N",
        help="validations during training (default: %(default)s)",
    )


def _add_sample_options(options: OptionHolder) -> None:
    options.add_argument(
        "--window", type=int, nargs=3, metavar=("K", "J", "I"), help="voxels of a sample"
    )
    options.add_argument(
        "--spacing",
        type=float,
        nargs=3,
        metavar=("K", "J", "I"),
        help="mm of the network's grid; coarser is faster",
    )
    options.add_argument(
        "--augmentation",
        choices=("usual", "strong", "scanners"),
        default="usual",
        help=(
            "strong where the score on val falls while the loss still does; scanners where scans of"
            " other makers, poses and pixel sizes are to be outlined (default: %(default)s)"
        ),
    )


def train(args: argparse.Namespace) -> None:
    """Train one model, or with --folds one for each fold."""
    from MedLLMSegLib.training.packages import require_for_training

    require_for_training("monai")  # the loss and the augmentation
    request = _request(args)
    if args.fold is not None and args.folds is None:
        raise UserError(
            "--fold says which of the --folds is trained, and --folds was not given; give both."
        )
    if args.folds is not None:
        _cross_validate(request, args)
    else:
        _train_one(request, args.device)


def _request(args: argparse.Namespace) -> TrainRequest:
    from MedLLMSegLib.training.segmenter.request import TrainRequest

    return TrainRequest(
        source=str(args.data),
        output=str(args.output),
        name=args.name,
        title=args.title,
        modality=args.modality,
        licence=args.licence,
        data=args.description,
        start=args.start,
        cases=args.cases,
        channels=tuple(args.channels or ()),
        minutes=args.minutes,
        steps=args.steps,
        preset=args.preset,
        llm=args.llm,
        llm_layer=args.llm_layer,
        llm_position=args.llm_position,
        anatomy=args.anatomy,
        structures=tuple(args.structures),
        batch=args.batch,
        window=tuple(args.window) if args.window else None,
        spacing=tuple(args.spacing) if args.spacing else None,
        lr=args.lr,
        augmentation=args.augmentation,
        optimiser=args.optimiser,
        precision=args.precision,
        patience=args.patience,
        validations=args.validations,
        seed=args.seed,
    )


def _train_one(request: TrainRequest, device: str) -> None:
    """Of several processes the first prints."""
    from MedLLMSegLib.training.devices import is_first_process
    from MedLLMSegLib.training.segmenter.segmenter_session import train_model

    prints = is_first_process()
    with TrainingConsole(quiet=not prints) as console:
        bundle = train_model(request, device, console.report, console.print)
    if prints:
        print(
            f"the model is in {bundle}; measure it on cases it has not seen:\n"
            f"  medllmseg evaluate --model {bundle} --data TESTDATA --output test.csv"
        )


def _cross_validate(request: TrainRequest, args: argparse.Namespace) -> None:
    from MedLLMSegLib.evaluation.cross_validation import cross_validate
    from MedLLMSegLib.evaluation.summary_table import summary_table

    with TrainingConsole() as console:
        summary = cross_validate(
            request, args.folds, args.fold, args.device, console.report, console.print
        )
    if summary is not None:  # None: other folds are not finished yet
        print(summary_table(summary))
        print(f"the table and its summary are in {args.output}: folds.csv, folds.summary.json")
