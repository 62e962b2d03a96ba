"""`medllmseg bundle`: a training run, or a bundle that is there already, to a bundle with what
was measured.
"""

from __future__ import annotations

import sys

from MedLLMSegLib.core.errors import UserError

from .common_options import typed_path


def add_parser(commands) -> None:
    p = commands.add_parser(
        "bundle",
        help="make a bundle with measured results from a training run, or bring one up to date",
        description=(
            "Write the best weights of RUN as a bundle: weights, metadata, what MONAI's own runner"
            " needs, a model card with what was measured, and the licence. SOURCE may also be a"
            " bundle: then its texts are written anew in place, and its weights are not touched."
        ),
    )
    p.add_argument(
        "source",
        type=typed_path,
        metavar="SOURCE",
        help="the folder of a training run, or of a bundle",
    )
    p.add_argument(
        "--output",
        "-o",
        type=typed_path,
        metavar="FOLDER",
        help="where to write the bundle of a run",
    )
    p.add_argument(
        "--results",
        type=typed_path,
        metavar="JSON",
        help="the .summary.json that `medllmseg evaluate` wrote for these very weights",
    )
    p.add_argument(
        "--folds",
        type=typed_path,
        metavar="JSON",
        help="a .summary.json over the test folds of a cross-validation of the same training",
    )
    p.add_argument(
        "--calibration",
        type=typed_path,
        metavar="JSON",
        help='a file with the "temperature" of the probabilities',
    )
    p.add_argument(
        "--benchmark",
        type=typed_path,
        metavar="JSON",
        help=(
            "docs/benchmark-results.json: the card says what it found about the language-model"
            " block"
        ),
    )
    p.add_argument(
        "--as",
        dest="shipped",
        metavar="ID",
        help="a model that comes with the program: its data, licence and limits",
    )
    for name, what in (
        ("title", "one line for the model chooser"),
        ("licence", "of the model"),
        ("data-description", "whose data, for the model card"),
    ):
        p.add_argument(
            f"--{name}", metavar="TEXT", help=f"{what}, in place of what the training began with"
        )
    p.set_defaults(run=_bundle)


def _bundle(args, command: str) -> None:
    from MedLLMSegLib.registry.catalogue import METADATA, model_entry
    from MedLLMSegLib.training.segmenter.export_segmenter import (
        LIMIT_MB,
        Evidence,
        export_bundle,
        is_bundle,
        upgrade_bundle,
    )

    if (args.source / METADATA).is_file() and model_entry(args.source).kind == "classifier":
        return _classifier(args)
    finding = benchmark_finding(args.benchmark) if args.benchmark else None
    asked = {"title": args.title, "licence": args.licence, "data": args.data_description}
    words = {name: value for name, value in asked.items() if value is not None}
    evidence = Evidence(args.results, args.folds, args.calibration, finding)
    if is_bundle(args.source):
        if args.output:
            raise UserError(
                f'"{args.source}" is a bundle and is brought up to date in place; leave --output'
                " out."
            )
        if words:
            raise UserError(
                f'--{next(iter(words))} is for a training run, and "{args.source}" is a bundle;'
                " give the run's folder."
            )
        folder = upgrade_bundle(args.source, args.shipped, evidence)
    elif args.output:
        folder = export_bundle(
            args.source, args.output, shipped=args.shipped, evidence=evidence, words=words
        )
    else:
        raise UserError("--output is needed: where to write the bundle of this run.")
    size_mb = model_entry(folder).size_mb
    if size_mb > LIMIT_MB:
        print(
            f"note: the bundle takes {size_mb:.1f} MB; those that come with the program stay below"
            f" {LIMIT_MB:g} MB.",
            file=sys.stderr,
        )
    print(folder)


def _classifier(args) -> None:
    """A classifier's bundle has its card made anew; what only a segmenter has is refused."""
    import json

    from MedLLMSegLib.diagnosis.classifier_bundle import update_classifier

    for name in ("output", "folds", "calibration", "benchmark", "shipped"):
        if getattr(args, name) is not None:
            raise UserError(
                f'"{args.source}" is a classifier\'s bundle, for which'
                f" --{'as' if name == 'shipped' else name} is not meant; leave it out."
            )
    try:
        results = json.loads(args.results.read_text(encoding="utf-8")) if args.results else None
    except (OSError, ValueError) as error:
        raise UserError(f'"{args.results}" cannot be read as JSON; check the path.') from error
    print(update_classifier(args.source, results))


def benchmark_finding(path) -> str:
    """What the benchmark's finished runs say of the language-model block, in words and figures."""
    import json
    from types import SimpleNamespace

    from MedLLMSegLib.reporting.markdown import p_value
    from MedLLMSegLib.studies.benchmark.verdict import NAMES, answer, headline

    try:
        results = SimpleNamespace(**json.loads(path.read_text(encoding="utf-8")))
        found, few = answer(results), answer(results, percent=10)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f'"{path}" holds no results of `medllmseg benchmark`; give docs/benchmark-results.json.'
        ) from error
    if found.missing:
        return "Whether that block helps is not answered yet: the benchmark is not finished."
    against = lambda answer: "; ".join(
        f"against {NAMES[arm]} {test.difference:+.4f} ({test.low:+.4f} to {test.high:+.4f},"
        f" {p_value(test.p_holm, 'p')})"
        for arm, test in answer.tests.items()
    )
    return (
        "The benchmark (docs/benchmark.md) asked whether such a block helps, with networks and"
        f" trainings of its own. {headline(found)} What the block changed in mean Dice there, with"
        f" the 95 % interval and Holm's p: {against(found)}."
        + (
            ""
            if few.missing
            else f" With a tenth of the training cases: {headline(few)} There: {against(few)}."
        )
    )
