"""`medllmseg evaluate`: measure a model on labelled cases, or compare what was measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.registry.catalogue import DEFAULT_SEGMENTER

from .common_options import Subparsers, add_device_option, add_precision_option, typed_path
from .terminal.terminal_progress import ScanBar

if TYPE_CHECKING:
    import argparse

DESCRIPTION = """Measure a model on labelled cases at their own resolution: Dice, Jaccard,
precision, sensitivity, accuracy, HD95 and average surface distance in mm, surface Dice at 1 mm and
volume difference of every structure. With --compare: paired permutation tests between tables
measured before. Of a classifier: sensitivity, specificity, accuracy, AUC and calibration with
intervals over patients, by subgroup, with its ROC curve and confusion matrix."""
EPILOG = """The CSV has one row a case: case, dice_<structure>, ..., then the other metrics. The
summary goes to the screen and to a .summary.json file beside the CSV, with a box plot (.png);
with --ablate each case's mean Dice with and without the parts goes to an .ablation.csv file.
Intervals and tests are over heads or patients, never over the sides or frames of one."""


def add_parser(commands: Subparsers) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "evaluate",
        help="measure a model on labelled cases, compare models",
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    parser.add_argument(
        "--model",
        default=DEFAULT_SEGMENTER,
        help="a model's id or a bundle's folder (default: %(default)s)",
    )
    _add_case_options(parser)
    parser.add_argument(
        "--output",
        "-o",
        type=typed_path,
        metavar="CSV",
        help="where to write; optional with --compare",
    )
    add_device_option(parser)
    add_precision_option(parser)
    _add_measure_options(parser)
    _add_compare_options(parser)
    parser.set_defaults(run=_evaluate)


def _add_case_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data",
        type=typed_path,
        metavar="DATA",
        help=(
            "a folder with imagesTr and labelsTr, a CSV of image, label and group, or a folder of"
            " Slicer segmentations beside their volumes; of a classifier a CSV of image, class and"
            " patient, or a folder with such a labels.csv"
        ),
    )
    parser.add_argument(
        "--cases",
        type=typed_path,
        metavar="FILE",
        help=(
            "one case id a line, without suffix; default: the test "
            "split of DATA, or all labelled cases"
        ),
    )


def _add_measure_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--structures",
        metavar="NAME,...",
        help="measure these alone: names (both sides unless one is named) or groups",
    )
    parser.add_argument(
        "--labels",
        metavar="NUMBERING",
        help=(
            "how the label maps of brains are numbered: freesurfer, neuromorphometrics or muse;"
            " default: as DATA's labels.json says, if it has one. DATA then also may be a folder"
            " with images and labels"
        ),
    )
    parser.add_argument(
        "--augment",
        type=int,
        default=0,
        metavar="N",
        help="average N more views of each scan; takes N times longer (default: %(default)s)",
    )
    parser.add_argument(
        "--calibration",
        action="store_true",
        help=(
            "also measure how honest the probabilities are, and whether uncertainty marks the"
            " errors"
        ),
    )
    parser.add_argument(
        "--ablate",
        action="store_true",
        help=(
            "measure the cases again with the transformer's tokens set to zero, and with the"
            " language model bypassed, and say what each changes; takes up to three times as long"
        ),
    )


def _add_compare_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--compare",
        nargs="+",
        metavar="ARM",
        help=(
            "instead of measuring: tables to compare, each A.csv or NAME=A.csv; the seeds of one"
            " arm separated by commas or as a pattern: with='with_*.csv' without=a.csv,b.csv"
        ),
    )
    parser.add_argument(
        "--metric",
        metavar="NAME,...",
        help="what --compare tests: metrics (the mean over structures) or columns (default: dice)",
    )


def _evaluate(args: argparse.Namespace, command: str) -> None:
    if args.compare:
        _compare(args)
        return
    if args.data is None or args.output is None:
        raise UserError(
            "--data and --output are needed; add the labelled cases and the CSV to write, or"
            " --compare with tables to compare."
        )
    if args.metric:
        raise UserError("--metric belongs to --compare; leave it out, as all metrics are measured.")
    if _is_classifier(args.model):
        _evaluate_classifier(args)
    else:
        _evaluate_segmenter(args)


def _is_classifier(model: str) -> bool:
    """False, too, where there is no such model: the segmenter's evaluation says so."""
    from MedLLMSegLib.registry.catalogue import find_model

    try:
        find_model(model, "classifier")
    except UserError:
        return False
    return True


def _evaluate_segmenter(args: argparse.Namespace) -> None:
    from MedLLMSegLib.evaluation.evaluate_segmenter import EvaluationOptions, evaluate
    from MedLLMSegLib.evaluation.summary_table import summary_table
    from MedLLMSegLib.segmentation.selection import names_in

    options = EvaluationOptions(
        args.device,
        args.calibration,
        args.augment,
        args.precision,
        args.labels,
        names_in(args.structures) if args.structures is not None else (),
        args.ablate,
    )
    with ScanBar([args.data]) as bar:
        summary = evaluate(
            args.model, args.data, args.output, args.cases, options, progress=bar.first()
        )
    print(summary_table(summary))


def _evaluate_classifier(args: argparse.Namespace) -> None:
    for name in ("labels", "structures", "ablate"):
        if getattr(args, name):
            raise UserError(
                f"--{name} is for segmentation; leave it out of a classifier's evaluation."
            )
    for name in ("calibration", "augment"):
        if getattr(args, name):
            raise UserError(
                f"--{name} is for segmentation; leave it out, as a classifier's calibration is"
                " always measured."
            )
    if args.precision != "auto":
        raise UserError(
            "--precision is for segmentation; leave it out, as classifiers run in fp32."
        )
    from MedLLMSegLib.evaluation.evaluate_classifier import evaluate_classifier, summary_text

    with ScanBar([args.data]) as bar:
        summary = evaluate_classifier(
            args.model, args.data, args.output, args.cases, args.device, bar.first()
        )
    print(summary_text(summary))


def _compare(args: argparse.Namespace) -> None:
    for name in ("data", "cases", "calibration", "augment", "labels", "structures", "ablate"):
        if getattr(args, name):
            raise UserError(
                f"--{name} is for measuring and --compare for tables that are measured already; "
                "leave one of them out."
            )
    from MedLLMSegLib.evaluation.comparison import compare_files, comparison_table

    names = [name.strip() for name in (args.metric or "dice").split(",")]
    metrics = list(dict.fromkeys(name for name in names if name))  # each once, in order
    if not metrics:
        raise UserError(
            "--metric names no metric; give one or several separated by commas, such as"
            " dice,hd95_mm."
        )
    print(comparison_table(compare_files(args.compare, metrics, args.output)))
