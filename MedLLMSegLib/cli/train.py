"""`medllmseg train`: from labelled cases or images to a model. What the tasks share; each has a
module of its own, `train_segmenter`, `train_classifier` and `train_brain`.
"""

from __future__ import annotations

import argparse

from . import train_brain, train_classifier, train_segmenter
from .common_options import OptionHolder, Subparsers, add_device_option, typed_path

EXAMPLES = """examples:
  medllmseg train --data cases/ --output runs/mine
      an hour, everything planned from the data
  medllmseg train --data cases.csv --output runs/mine --minutes 240 --name liver-ct \\
      --modality "CT" --licence CC-BY-4.0
  medllmseg train --data cases/ --output runs/few --from hippocampus-t1 --cases 5 --minutes 15
  medllmseg train --data cases/ --output runs/folds --folds 5 --minutes 60
      five trainings, each case tested once
  medllmseg train --task classify --data xrays.csv --output runs/xrays --minutes 20
  medllmseg train --task brain --data brain_labelmaps --output runs/brain --minutes 150
  torchrun --nproc-per-node 4 -m MedLLMSegLib train --data cases/ --output runs/mine --batch 8

The same command goes on where it was stopped or killed. See docs/train.md."""


DESCRIPTION_OPTIONS = ("name", "title", "modality", "licence", "description")
NOT_OF_BRAIN = ("llm", "channels")  # of the two other tasks alike


def add_parser(commands: Subparsers) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "train",
        help="train a model on your own labelled cases",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "Train on labelled cases; patch size, spacing and batch are planned from the data. "
            "The best weights on the val cases become a model in RUN/bundle."
        ),
    )
    _add_data_options(parser)
    _add_task_option(parser)
    description = parser.add_argument_group("what the model says of itself")
    _add_description_options(description)
    train_segmenter.add_structure_options(description)
    network = parser.add_argument_group("network")
    train_segmenter.add_network_options(network)
    training = parser.add_argument_group("training")
    _add_training_options(training)
    train_segmenter.add_training_options(training)
    train_classifier.add_options(parser.add_argument_group("with --task classify"))
    train_brain.add_options(parser.add_argument_group("with --task brain"))
    parser.set_defaults(run=_train)


def _add_data_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data",
        required=True,
        type=typed_path,
        metavar="SOURCE",
        help=(
            "a folder with imagesTr and labelsTr, a CSV with the columns image, label and group, or"
            " a folder of Slicer segmentations (.seg.nrrd) with their volumes"
        ),
    )
    parser.add_argument(
        "--output",
        "-o",
        required=True,
        type=typed_path,
        metavar="RUN",
        help="folder for checkpoints, pictures and the model",
    )
    parser.add_argument("--minutes", type=float, help="training time on this machine (default: 60)")
    train_segmenter.add_data_options(parser)


def _add_task_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--task",
        choices=("segment", "classify", "brain"),
        default="segment",
        help=(
            "classify: SOURCE is a CSV with the columns image, class and patient, or a folder with"
            " such a labels.csv; brain: SOURCE is a folder of whole-head label maps and their"
            " splits.json, from which images are synthesised"
        ),
    )


def _add_description_options(options: OptionHolder) -> None:
    options.add_argument("--name", default="", help="the model's id (default: the name of RUN)")
    options.add_argument("--title", default="", help="one line for the model chooser")
    options.add_argument("--modality", default="", help="such as MR T1 or CT")
    options.add_argument(
        "--licence", default="", help="of the model, which the licence of your data may decide"
    )
    options.add_argument(
        "--data-description",
        dest="description",
        default="",
        metavar="TEXT",
        help="whose data, for the model card",
    )


def _add_training_options(options: OptionHolder) -> None:
    options.add_argument("--batch", type=int, help="samples of a step, over all processes")
    options.add_argument("--lr", type=float, help="peak learning rate")
    options.add_argument("--seed", type=int, default=0)
    add_device_option(options)


def _train(args: argparse.Namespace, command: str) -> None:
    if args.task == "brain":
        others = (*train_classifier.CLASSIFIER_OPTIONS, *train_classifier.SEGMENTER_OPTIONS)
        train_brain.check(args, (*others, *DESCRIPTION_OPTIONS, *NOT_OF_BRAIN))
        train_brain.train(args)
        return
    train_brain.refuse_own(args)
    train_classifier.check_task(args)
    task = train_classifier if args.task == "classify" else train_segmenter
    task.train(args)
