"""`medllmseg train`: from labelled cases to a model."""

from __future__ import annotations

import argparse
import signal
import sys
import time

from MedLLMSegLib.core.errors import Cancelled, UserError

from . import train_classifier
from .common_options import typed_path

EXAMPLES = """examples:
  medllmseg train --data cases/ --output runs/mine                          an hour, everything planned from the data
  medllmseg train --data cases.csv --output runs/mine --minutes 240 --name liver-ct --modality "CT" --licence CC-BY-4.0
  medllmseg train --data cases/ --output runs/few --from hippocampus-t1 --cases 5 --minutes 15
  medllmseg train --data cases/ --output runs/folds --folds 5 --minutes 60  five trainings, each case tested once
  medllmseg train --task classify --data xrays.csv --output runs/xrays --minutes 20
  torchrun --nproc-per-node 4 -m MedLLMSegLib train --data cases/ --output runs/mine --batch 8

The same command goes on where it was stopped or killed. See docs/train.md."""


def add_parser(commands) -> None:
    p = commands.add_parser(
        "train",
        help="train a model on your own labelled cases",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "Train on labelled cases; patch size, spacing and batch are planned from the data. "
            "The best weights on the val cases become a model in RUN/bundle."
        ),
    )
    p.add_argument(
        "--data",
        required=True,
        type=typed_path,
        metavar="SOURCE",
        help=(
            "a folder with imagesTr and labelsTr, a CSV with the columns image, label and group, or"
            " a folder of Slicer segmentations (.seg.nrrd) with their volumes"
        ),
    )
    p.add_argument(
        "--output",
        "-o",
        required=True,
        type=typed_path,
        metavar="RUN",
        help="folder for checkpoints, pictures and the model",
    )
    p.add_argument("--minutes", type=float, help="training time on this machine (default: 60)")
    p.add_argument("--steps", type=int, help="or so many updates")
    p.add_argument(
        "--from",
        dest="start",
        metavar="MODEL",
        help="fine-tune a model (id or bundle folder) instead of beginning anew",
    )
    p.add_argument(
        "--folds",
        type=int,
        metavar="N",
        help=(
            "cross-validation: N trainings of that time, each measured on cases it "
            "has not seen; stated splits are set aside"
        ),
    )
    p.add_argument(
        "--fold",
        type=int,
        metavar="K",
        help="with --folds: only the K-th, so that several machines share the work",
    )
    p.add_argument(
        "--cases", type=int, metavar="N", help="use so many training cases only, drawn by --seed"
    )
    p.add_argument(
        "--task",
        choices=("segment", "classify"),
        default="segment",
        help=(
            "classify: SOURCE is a CSV with the columns image, class and patient, or a folder with"
            " such a labels.csv"
        ),
    )
    _describe(p.add_argument_group("what the model says of itself"))
    _network(p.add_argument_group("network"))
    _loop(p.add_argument_group("training"))
    train_classifier.add_options(p.add_argument_group("with --task classify"))
    p.set_defaults(run=_train)


def _describe(group) -> None:
    group.add_argument("--name", default="", help="the model's id (default: the name of RUN)")
    group.add_argument("--title", default="", help="one line for the model chooser")
    group.add_argument("--modality", default="", help="such as MR T1 or CT")
    group.add_argument(
        "--licence", default="", help="of the model, which the licence of your data may decide"
    )
    group.add_argument(
        "--data-description",
        dest="description",
        default="",
        metavar="TEXT",
        help="whose data, for the model card",
    )
    group.add_argument(
        "--structures",
        nargs="+",
        default=[],
        metavar="NAME",
        help="of the labels 1, 2 ... where SOURCE states none",
    )
    group.add_argument(
        "--anatomy",
        choices=("hippocampus",),
        help="the cases are crops around one hippocampus, found in whole heads by the localizer",
    )


def _network(group) -> None:
    group.add_argument(
        "--preset",
        default="medvisionllama",
        help=(
            "medvisionllama, medvisionllama-fine (slower, finer "
            "borders), paper-medvisionllama or paper-vit"
        ),
    )
    group.add_argument(
        "--llm",
        metavar="SOURCE",
        help="another language model: an id or a path (GGUF, safetensors, folder)",
    )
    group.add_argument(
        "--llm-layer",
        type=int,
        metavar="N",
        help="which of its layers; negative counts from the end",
    )
    group.add_argument(
        "--llm-position",
        choices=("head", "middle", "tail"),
        help="where it stands among the encoder's blocks",
    )


def _loop(group) -> None:
    group.add_argument("--batch", type=int, help="samples of a step, over all processes")
    group.add_argument(
        "--window", type=int, nargs=3, metavar=("K", "J", "I"), help="voxels of a sample"
    )
    group.add_argument(
        "--spacing",
        type=float,
        nargs=3,
        metavar=("K", "J", "I"),
        help="mm of the network's grid; coarser is faster",
    )
    group.add_argument(
        "--optimiser", choices=("muon", "adamw"), default="muon", help="(default: %(default)s)"
    )
    group.add_argument("--lr", type=float, help="peak learning rate")
    group.add_argument(
        "--augmentation",
        choices=("usual", "strong"),
        default="usual",
        help="strong where the score on val falls while the loss still does (default: %(default)s)",
    )
    group.add_argument(
        "--precision",
        choices=("bf16", "fp16", "fp32"),
        help=(
            "of the multiplications (default: bf16 where the hardware has it, else fp16 on a GPU"
            " and fp32 on a CPU)"
        ),
    )
    group.add_argument(
        "--patience",
        type=int,
        default=8,
        help=(
            "stop after so many validations without a better score; 0 never (default: %(default)s)"
        ),
    )
    group.add_argument(
        "--validations",
        type=int,
        default=20,
        metavar="N",
        help="looks at the val cases during training (default: %(default)s)",
    )
    group.add_argument("--seed", type=int, default=0)
    group.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")


def _train(args, command: str) -> None:
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
    from MedLLMSegLib.training.devices import first_process

    first = first_process()
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
    from MedLLMSegLib.evaluation.scores import summary_table

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
