"""`medllmseg evaluate`: measure a model on labelled cases."""
from __future__ import annotations

from .common import Bar, typed_path


def add_parser(commands) -> None:
    p = commands.add_parser("evaluate", help="measure a model on labelled cases",
                            description="Dice of every structure on labelled cases, at their own resolution.",
                            epilog="The CSV has one row a case: case,dice_<structure>,... The summary goes to the screen and "
                                   "to a .summary.json file beside the CSV.")
    p.add_argument("--model", default="hippocampus-t1", help="a model's id or a bundle's folder (default: %(default)s)")
    p.add_argument("--data", required=True, type=typed_path, metavar="FOLDER", help="a folder with imagesTr and labelsTr")
    p.add_argument("--cases", type=typed_path, metavar="FILE", help="one case id a line, without suffix; default: the test split "
                                                              "of FOLDER/splits.json, or all labelled cases")
    p.add_argument("--output", "-o", required=True, type=typed_path, metavar="CSV")
    p.add_argument("--device", default="auto", help="auto, cpu, cuda or mps (default: %(default)s)")
    p.set_defaults(run=_evaluate)


def _evaluate(args, command: str) -> None:
    from ..evaluate import evaluate, summary_table

    with Bar([args.data]) as bar:
        summary = evaluate(args.model, args.data, args.output, cases=args.cases, device=args.device,
                           progress=lambda stage, fraction: bar.update(0, stage, fraction))
    print(summary_table(summary))
