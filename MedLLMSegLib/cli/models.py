"""`medllmseg models`: what can be segmented and diagnosed, and under which licence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from MedLLMSegLib.registry.catalogue import ModelEntry, find_model, list_models
from MedLLMSegLib.registry.licences import accept_licence, licence_accepted, licence_text
from MedLLMSegLib.registry.old_bundles import old_bundle_note
from MedLLMSegLib.registry.user_models import is_users_model

from .common_options import Subparsers

if TYPE_CHECKING:
    import argparse


def add_parser(commands: Subparsers) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "models",
        help="list the models: modality, structures or classes, licence, measured accuracy",
        description=(
            "List the models, those that come with the program and your own "
            "(in the folder models of the cache folder)."
        ),
    )
    one = parser.add_mutually_exclusive_group()
    one.add_argument(
        "--licence", metavar="ID", help="show the licence of a model's weights in full"
    )
    one.add_argument("--accept", metavar="ID", help="show a model's licence and accept it")
    parser.set_defaults(run=_models)


def _models(args: argparse.Namespace, command: str) -> None:
    if args.licence or args.accept:
        _show_licence(find_model(args.licence or args.accept, None), accept=bool(args.accept))
        return
    for entry in (*list_models("segmenter"), *list_models("classifier")):
        print(_description(entry))


def _show_licence(entry: ModelEntry, accept: bool) -> None:
    print(licence_text(entry))
    if accept:
        accept_licence(entry)
        print(f'You accept the licence {entry.licence} of the model "{entry.id}".')


def _description(entry: ModelEntry) -> str:
    if entry.classes:
        purpose = ("diagnoses", ", ".join(entry.classes))
    else:
        purpose = ("structures", ", ".join(entry.structures))
    rows = [
        ("modality", entry.modality),
        purpose,
        ("licence", f"{entry.licence}{_acceptance(entry)}"),
        ("accuracy", entry.accuracy),
        ("size", f"{entry.size_mb:.1f} MB"),
        ("folder", str(entry.folder)),
    ]
    note = old_bundle_note(entry) if is_users_model(entry) else None
    if note:
        rows.append(("note", note))
    lines = [f"  {label:<11} {text}" for label, text in rows]
    return "\n".join([f"{entry.id}: {entry.title}", *lines])


def _acceptance(entry: ModelEntry) -> str:
    if not entry.accept_licence:
        return ""
    if licence_accepted(entry):
        return " (accepted)"
    return f" (accept it first: medllmseg models --accept {entry.id})"
