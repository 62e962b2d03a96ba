"""`medllmseg bundle`: a training run, or an existing bundle, to a bundle with what was measured."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.types import Json
from MedLLMSegLib.registry.catalogue import METADATA, model_entry, read_metadata

from .common_options import Subparsers, typed_path

if TYPE_CHECKING:
    import argparse

    from MedLLMSegLib.studies.benchmark.verdict import BlockAnswer
    from MedLLMSegLib.training.segmenter.bundle.export_segmenter import Evidence

# Options that only a segmenter's bundle can use: the field, and how it is typed.
SEGMENTER_OPTIONS = {
    "output": "output",
    "folds": "folds",
    "calibration": "calibration",
    "ablation": "ablation",
    "benchmark": "benchmark",
    "shipped": "as",
}
# Options that the bundle of a brain model's training does not take, in the same way.
BRAIN_REFUSES = {
    "results": "results",
    "folds": "folds",
    "calibration": "calibration",
    "ablation": "ablation",
    "benchmark": "benchmark",
    "shipped": "as",
    "title": "title",
    "licence": "licence",
    "data_description": "data-description",
}


def add_parser(commands: Subparsers) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "bundle",
        help="make a bundle with measured results from a training run, or bring one up to date",
        description=(
            "Write the best weights of RUN as a bundle: weights, metadata, what MONAI's own runner"
            " needs, a model card with what was measured, and the licence. SOURCE may also be a"
            " bundle: then its texts are written anew in place, and its weights are not touched. Of"
            " the brain model's training it may be one file, last.pt or the small checkpoint."
        ),
    )
    parser.add_argument(
        "source",
        type=typed_path,
        metavar="SOURCE",
        help="the folder of a training run, or of a bundle; or the brain model's checkpoint",
    )
    parser.add_argument(
        "--output",
        "-o",
        type=typed_path,
        metavar="FOLDER",
        help="where to write the bundle of a run",
    )
    parser.add_argument(
        "--maps",
        type=typed_path,
        metavar="FOLDER",
        help="the label maps that the brain model was trained on; their sha256 go into its bundle",
    )
    parser.add_argument(
        "--seen",
        type=typed_path,
        metavar="DATA",
        help=(
            "of a bundle that does not say which cases it has seen: the data it was trained on,"
            " with their splits (of brain models the label maps)"
        ),
    )
    _add_evidence_options(parser)
    _add_description_options(parser)
    parser.set_defaults(run=_bundle)


def _add_evidence_options(parser: argparse.ArgumentParser) -> None:
    """Files with what was measured."""
    for name, help_text in (
        ("results", "the .summary.json that `medllmseg evaluate` wrote for these very weights"),
        ("folds", "a .summary.json over the test folds of a cross-validation of the same training"),
        ("calibration", 'a file with the "temperature" of the probabilities'),
        (
            "ablation",
            "a .summary.json of `medllmseg evaluate --ablate` for these weights",
        ),
        (
            "benchmark",
            (
                "docs/benchmark-results.json: the card says what it found about the"
                " language-model block"
            ),
        ),
    ):
        parser.add_argument(f"--{name}", type=typed_path, metavar="JSON", help=help_text)


def _add_description_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--as",
        dest="shipped",
        metavar="ID",
        help="a model that comes with the program: its data, licence and limits",
    )
    for name, content in (
        ("title", "one line for the model chooser"),
        ("licence", "of the model"),
        ("data-description", "whose data, for the model card"),
    ):
        parser.add_argument(
            f"--{name}", metavar="TEXT", help=f"{content}, in place of what the training began with"
        )


def _bundle(args: argparse.Namespace, command: str) -> None:
    is_bundle = (args.source / METADATA).is_file()
    if args.seen is not None:
        measured = (args.results, args.folds, args.calibration, args.ablation)
        _add_seen(args.source, args.seen, is_bundle, any(file is not None for file in measured))
    if is_bundle and model_entry(args.source).kind == "classifier":
        print(_update_classifier(args))
        return
    folder = _upgrade_segmenter(args) if is_bundle else _export(args)
    _note_size(folder)
    print(folder)


def _add_seen(source: Path, data: Path, is_bundle: bool, with_figures: bool) -> None:
    """Write into a bundle's metadata which cases it has seen.

    What was measured before does not belong to it any more: it is another measured model.
    """
    from MedLLMSegLib.registry.bundle import rewrite_texts
    from MedLLMSegLib.registry.seen_cases import FIELD
    from MedLLMSegLib.training.seen_data import seen_in

    if not is_bundle:
        raise UserError(
            f'"{source}" is a training, which knows what it has seen; leave --seen out.'
        )
    if with_figures:
        raise UserError(
            "--seen makes another measured model of a bundle, so no figures go with it; give --seen"
            " first, measure the bundle, and then add what was measured."
        )
    metadata = read_metadata(source)
    rewrite_texts(source, {**metadata, FIELD: seen_in(metadata, data).to_dict()})


def _export(args: argparse.Namespace) -> Path:
    """Write the bundle of a training, whichever it was."""
    from MedLLMSegLib.training.synthesis.brain_bundle import is_brain_training

    if is_brain_training(args.source):
        return _export_brain(args)
    if args.maps is not None:
        raise UserError("--maps is for the brain model's training alone; leave it out.")
    return _export_segmenter(args)


def _export_brain(args: argparse.Namespace) -> Path:
    """Write the bundle of the brain model's training."""
    from MedLLMSegLib.training.synthesis.brain_bundle import export_brain

    for field in ("output", "maps"):
        if getattr(args, field) is None:
            raise UserError(f"--{field} is needed for the bundle of the brain model.")
    for field, option in BRAIN_REFUSES.items():
        if getattr(args, field) is not None:
            raise UserError(
                f"--{option} does not go with the brain model's training; leave it out. What is"
                " measured of its bundle is added later, by `medllmseg bundle BUNDLE`."
            )
    return export_brain(args.source, args.output, args.maps)


def _export_segmenter(args: argparse.Namespace) -> Path:
    """Write the bundle of a training run."""
    from MedLLMSegLib.training.segmenter.bundle.export_segmenter import export_bundle

    if not args.output:
        raise UserError("--output is needed: where to write the bundle of this run.")
    return export_bundle(
        args.source,
        args.output,
        shipped=args.shipped,
        evidence=_evidence(args),
        description=_description(args),
    )


def _upgrade_segmenter(args: argparse.Namespace) -> Path:
    """Write the texts of a bundle anew, in place."""
    from MedLLMSegLib.training.segmenter.bundle.export_segmenter import upgrade_bundle

    evidence = _evidence(args)
    if args.maps is not None:
        raise UserError("--maps is for the brain model's training, not for a bundle; leave it out.")
    if args.output:
        raise UserError(
            f'"{args.source}" is a bundle and is brought up to date in place; leave --output out.'
        )
    for name in _description(args):
        raise UserError(
            f'--{name} is for a training run, and "{args.source}" is a bundle; give the run\'s'
            " folder."
        )
    return upgrade_bundle(args.source, args.shipped, evidence)


def _evidence(args: argparse.Namespace) -> Evidence:
    from MedLLMSegLib.training.segmenter.bundle.export_segmenter import Evidence

    finding = benchmark_finding(args.benchmark) if args.benchmark else None
    return Evidence(args.results, args.folds, args.calibration, finding, args.ablation)


def _description(args: argparse.Namespace) -> dict[str, str]:
    """The texts that were typed, by their names in a training's plan."""
    texts = {"title": args.title, "licence": args.licence, "data": args.data_description}
    return {name: text for name, text in texts.items() if text is not None}


def _note_size(folder: Path) -> None:
    from MedLLMSegLib.training.segmenter.bundle.export_segmenter import LIMIT_MB

    size_mb = model_entry(folder).size_mb
    if size_mb > LIMIT_MB:
        print(
            f"note: the bundle takes {size_mb:.1f} MB; those that come with the program stay below"
            f" {LIMIT_MB:g} MB.",
            file=sys.stderr,
        )


def _update_classifier(args: argparse.Namespace) -> Path:
    """Write a classifier's card anew. Options that only segmenters have are refused."""
    from MedLLMSegLib.diagnosis.classifier_bundle import update_classifier

    for field, option in SEGMENTER_OPTIONS.items():
        if getattr(args, field) is not None:
            raise UserError(
                f'"{args.source}" is a classifier\'s bundle, for which --{option} is not meant;'
                " leave it out."
            )
    return update_classifier(args.source, _read_json(args.results) if args.results else None)


def _read_json(path: Path) -> Json:
    try:
        content: Json = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f'"{path}" cannot be read as JSON; check the path.') from error
    return content


def benchmark_finding(path: Path) -> str:
    """What the benchmark's finished runs say about the language-model block, in sentences.

    path: docs/benchmark-results.json.
    """
    from MedLLMSegLib.studies.benchmark.verdict import answer, headline

    try:
        results: Any = SimpleNamespace(**json.loads(path.read_text(encoding="utf-8")))
        all_cases, few_cases = answer(results), answer(results, percent=10)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f'"{path}" holds no results of `medllmseg benchmark`; give docs/benchmark-results.json.'
        ) from error
    if all_cases.missing:
        return "Whether that block helps is not answered yet: the benchmark is not finished."
    sentences = [
        "The benchmark (docs/benchmark.md) asked whether such a block helps, with networks and"
        f" trainings of its own. {headline(all_cases)} What the block changed in mean Dice there,"
        f" with the 95 % interval and Holm's p: {_differences(all_cases)}."
    ]
    if not few_cases.missing:
        sentences.append(
            f"With a tenth of the training cases: {headline(few_cases)} There:"
            f" {_differences(few_cases)}."
        )
    return " ".join(sentences)


def _differences(block: BlockAnswer) -> str:
    """The change of mean Dice against each control, with interval and p-value."""
    from MedLLMSegLib.reporting.markdown import p_value
    from MedLLMSegLib.studies.benchmark.verdict import NAMES

    return "; ".join(
        f"against {NAMES[control]} {test.difference:+.4f} ({test.low:+.4f} to {test.high:+.4f},"
        f" {p_value(test.p_holm, 'p')})"
        for control, test in block.tests.items()
    )
