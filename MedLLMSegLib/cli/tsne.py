"""`medllmseg tsne`: what a classifier's features know, as a map and as numbers."""

from __future__ import annotations

from .common_options import Bar, typed_path


def add_parser(commands) -> None:
    p = commands.add_parser(
        "tsne",
        help="map a classifier's features, and measure what can be told from them",
        description=(
            "Draw a t-SNE map of what the classifier's last layer sees, coloured by class and by"
            " other columns of the table (view, scanner), and measure how well each can be told"
            " from the features: cross-validated logistic regression over whole patients, against"
            " chance."
        ),
        epilog=(
            "Beside the PNG stand a CSV (case, x, y and the columns) for plots in Slicer, and a"
            " JSON file with the numbers."
        ),
    )
    p.add_argument("--model", required=True, help="a classifier's id or bundle folder")
    p.add_argument(
        "--data",
        required=True,
        type=typed_path,
        metavar="DATA",
        help="a CSV table of labelled images, or a folder with labels.csv",
    )
    p.add_argument("--output", "-o", required=True, type=typed_path, metavar="PNG")
    p.add_argument(
        "--by",
        nargs="+",
        default=["view"],
        metavar="COLUMN",
        help="columns beside the class (default: view)",
    )
    p.add_argument(
        "--cases",
        type=typed_path,
        metavar="FILE",
        help="one image id a line (default: the test split of DATA, or all)",
    )
    p.add_argument(
        "--all", action="store_true", help="every image of DATA, the training images too"
    )
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--device", default="auto", help="auto, cpu, cuda or mps (default: %(default)s)")
    p.set_defaults(run=_tsne)


def _tsne(args, command: str) -> None:
    from MedLLMSegLib.evaluation.features import MapOptions, map_classifier, told_text

    with Bar([args.data]) as bar:
        options = MapOptions(tuple(args.by), None if args.all else args.cases, args.all, args.seed)
        told = map_classifier(
            args.model,
            args.data,
            args.output,
            options,
            args.device,
            lambda stage, fraction: bar.update(0, stage, fraction),
        )
    print(told_text(told))
    print(args.output)
