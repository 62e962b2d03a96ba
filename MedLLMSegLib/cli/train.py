"""`medllmseg train`: from labelled cases or images to a model. What both tasks share; each has a
module of its own, `train_segmenter` and `train_classifier`.
"""

from __future__ import annotations

import argparse

from . import train_classifier, train_segmenter
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
  torchrun --nproc-per-node 4 -m MedLLMSegLib train --data cases/ --output runs/mine --batch 8

The same command goes on where it was stopped or killed. See docs/train.md."""


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
        choices=("segment", "classify"),
        default="segment",
        help=(
            "classify: SOURCE is a CSV with the columns image, class and patient, or a folder with"
            " such a labels.csv"
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
    train_classifier.check_task(args)
    if args.task == "classify":
        return train_classifier.train(args, _Console())
    from MedLLMSegLib.training.segmenter.request import TrainRequest
    from MedLLMSegLib.training.segmenter.segmenter_session import train_model

    request = TrainRequest(
        source=str(args.data),
        output=str(args.output),
        name=args.name,
        title=args.title,
        modality=args.modality,
        licence=args.licence,
        data=args.description,
        start=args.start,
        cases=args.cases,
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
    if args.fold is not None and args.folds is None:
        raise UserError(
            "--fold says which of the --folds is trained, and --folds was not given; give both."
        )
    if args.folds is not None:
        return _cross_validate(request, args)
    from MedLLMSegLib.training.devices import is_first_process

    first = is_first_process()
    with _Console(quiet=not first) as console:
        bundle = train_model(request, args.device, console.report, console.say)
    if not first:
        return
    print(
        f"the model is in {bundle}; measure it on cases it has not seen:\n"
        f"  medllmseg evaluate --model {bundle} --data TESTDATA --output test.csv"
    )


def _cross_validate(request, args) -> None:
    from MedLLMSegLib.evaluation.cross_validation import cross_validate
    from MedLLMSegLib.evaluation.summary_table import summary_table

    with _Console() as console:
        summary = cross_validate(
            request, args.folds, args.fold, args.device, console.report, console.say
        )
    if summary is None:
        return
    print(summary_table(summary))
    print(f"the table and its summary are in {args.output}: folds.csv, folds.summary.json")


class _Console:
    """Progress on one line of a terminal, or a line every half minute elsewhere; Ctrl-C and a
    polite kill save first.

    quiet: of several processes one speaks.
    """

    def __init__(self, quiet: bool = False):
        self.wanted, self.said_at, self.before, self.quiet = False, 0.0, {}, quiet

    def __enter__(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            self.before[number] = signal.signal(number, self._stop)
        return self

    def __exit__(self, *exception):
        for number, handler in self.before.items():
            signal.signal(number, handler)
        if sys.stderr.isatty():
            print(file=sys.stderr)

    def _stop(self, number, frame) -> None:
        if self.wanted:  # asked twice: at once
            raise KeyboardInterrupt
        self.wanted = True

    def report(self, text: str, fraction: float) -> None:
        if self.wanted:
            raise Cancelled
        if self.quiet:
            return
        if sys.stderr.isatty():
            print(f"\r\033[K{100 * fraction:3.0f} %  {text}", end="", file=sys.stderr, flush=True)
        elif time.monotonic() - self.said_at > 30 or fraction == 1:
            self.said_at = time.monotonic()
            print(f"{100 * fraction:3.0f} %  {text}", file=sys.stderr, flush=True)

    def say(self, text: str) -> None:
        print(text, flush=True)
