"""`medllmseg train --task classify`: from a table of labelled images to a classifier."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from MedLLMSegLib.core.errors import UserError

from .common_options import OptionHolder, option_name
from .terminal.terminal_progress import TrainingConsole

if TYPE_CHECKING:
    import argparse

    from MedLLMSegLib.training.classifier.classify_request import ClassifyRequest

SEGMENTER_OPTIONS = (
    "steps",
    "start",
    "folds",
    "fold",
    "cases",
    "structures",
    "anatomy",
    "preset",
    "llm_layer",
    "llm_position",
    "window",
    "spacing",
    "augmentation",
    "optimiser",
    "validations",
    "patience",
    "precision",
)
CLASSIFIER_OPTIONS = (
    "kind",
    "encoder",
    "train_encoder",
    "llm_layers",
    "tokens",
    "random_llm",
    "record",
    "size",
    "epochs",
    "classes",
)
# The options of a classifier's training that become fields of a `ClassifyRequest` as they are
# typed, and those that are lists.
PLAIN_FIELDS = (
    "kind",
    "encoder",
    "tokens",
    "size",
    "epochs",
    "minutes",
    "batch",
    "lr",
    "llm",
    "train_encoder",
    "random_llm",
)
LIST_FIELDS = ("llm_layers", "record", "channels", "classes")


def add_options(options: OptionHolder) -> None:
    """Add the options that only classifiers have."""
    _add_network_options(options)
    _add_table_options(options)
    options.add_argument("--size", type=int, help="pixels of the image's side (default: 224)")
    options.add_argument("--epochs", type=int, help="in place of --minutes")
    # The default of any option of this command, for `check_task`.
    options.set_defaults(default_of=options.get_default)


def _add_network_options(options: OptionHolder) -> None:
    options.add_argument(
        "--kind",
        help=(
            "pneumollm (default), linear (a linear probe), mlp, text or fusion (image, with"
            " --record or --channels)"
        ),
    )
    options.add_argument(
        "--encoder",
        metavar="NAME",
        help=(
            "efficientnet-lite0 (default; `medllmseg llm fetch --encoder efficientnet-lite0` once),"
            " cnn or vit (small, trained here), or the folder of a timm or Hugging Face model"
        ),
    )
    options.add_argument(
        "--train-encoder", action="store_true", default=None, help="fine-tune a pretrained encoder"
    )
    options.add_argument(
        "--llm-layers",
        type=int,
        nargs="*",
        metavar="N",
        help=(
            "which of the language model's layers (default: 26 to "
            "29; none: without a language model)"
        ),
    )
    options.add_argument("--tokens", type=int, metavar="K", help="diagnosis tokens (default: 4)")
    options.add_argument(
        "--random-llm",
        action="store_true",
        default=None,
        help="the control: random layers of equal norms",
    )


def _add_table_options(options: OptionHolder) -> None:
    options.add_argument(
        "--record",
        nargs="+",
        metavar="COLUMN",
        help="columns of the table that --kind fusion reads besides the image",
    )
    options.add_argument(
        "--channels",
        nargs="+",
        metavar="COLUMN",
        help=(
            "columns of the table with the paths of further images of the patient, co-registered"
            " with the first (ct beside a PET): --kind fusion reads them all; an empty cell is"
            " missing. Of a segmenter: which images of a case to train on, in order, such as ct"
            " pet; where SOURCE names none, what they are called (default: all)"
        ),
    )
    options.add_argument(
        "--classes",
        nargs="+",
        metavar="NAME",
        help="their order; of two, the second is the one that is looked for",
    )


def check_task(args: argparse.Namespace) -> None:
    """Raise `UserError` for options of the other task."""
    if args.task == "segment":
        foreign = [name for name in CLASSIFIER_OPTIONS if getattr(args, name) is not None]
        if foreign:
            raise UserError(
                f"{option_name(foreign[0])} belongs to --task classify; add that, or leave the"
                " option out."
            )
        return
    foreign = [name for name in SEGMENTER_OPTIONS if getattr(args, name) != args.default_of(name)]
    if foreign:
        typed = "--from" if foreign[0] == "start" else option_name(foreign[0])
        raise UserError(f"{typed} is for segmentation; leave it out with --task classify.")


def train(args: argparse.Namespace) -> None:
    """Train a classifier, and print how to measure and use it."""
    from MedLLMSegLib.training.classifier.classifier_session import train_classifier

    request = _request(args)
    with TrainingConsole() as console:
        bundle = train_classifier(request, args.device, console.report, console.print)
    channels = "".join(f" --channel {name}=FILE" for name in request.channels)
    print(
        f"the model is in {bundle}; measure it on images it has not seen, or use it:\n"
        f"  medllmseg evaluate --model {bundle} --data {args.data} --output test.csv\n"
        f"  medllmseg diagnose IMAGE{channels} --model {bundle}"
    )


def _request(args: argparse.Namespace) -> ClassifyRequest:
    """What was not typed keeps the request's default."""
    from MedLLMSegLib.training.classifier.classify_request import ClassifyRequest

    typed: dict[str, Any] = {name: getattr(args, name) for name in PLAIN_FIELDS}
    for name in LIST_FIELDS:
        value = getattr(args, name)
        typed[name] = None if value is None else tuple(value)
    typed["modality"] = args.modality or None
    return ClassifyRequest(
        str(args.data),
        str(args.output),
        name=args.name,
        title=args.title,
        licence=args.licence,
        data=args.description,
        seed=args.seed,
        **{name: value for name, value in typed.items() if value is not None},
    )
