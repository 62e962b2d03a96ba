"""`medllmseg models`: what can be segmented and diagnosed, under which licence, and what is kept on
this computer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from MedLLMSegLib.core.places import cache_dir
from MedLLMSegLib.registry.catalogue import ModelEntry, find_model, list_models
from MedLLMSegLib.registry.licences import accept_licence, licence_accepted, licence_text
from MedLLMSegLib.registry.old_bundles import old_bundle_note
from MedLLMSegLib.registry.stored_files import StoredFiles, delete_stored, stored_files
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
    one.add_argument(
        "--stored",
        action="store_true",
        help="list what is kept on this computer, with sizes: your own models, and the cache",
    )
    one.add_argument(
        "--delete",
        metavar="NAME",
        help="delete a model of your own, or a part of the cache that --stored lists; asks first",
    )
    parser.add_argument("--yes", action="store_true", help="with --delete: do not ask")
    parser.set_defaults(run=_models)


def _models(args: argparse.Namespace, command: str) -> None:
    if args.licence or args.accept:
        _show_licence(find_model(args.licence or args.accept, None), accept=bool(args.accept))
        return
    if args.stored:
        print(_stored_text())
        return
    if args.delete:
        _delete(args.delete, ask=not args.yes)
        return
    for entry in (*list_models("segmenter"), *list_models("classifier")):
        print(_description(entry))


def _show_licence(entry: ModelEntry, accept: bool) -> None:
    print(licence_text(entry))
    if accept:
        accept_licence(entry)
        print(f'You accept the licence {entry.licence} of the model "{entry.id}".')


def _stored_text() -> str:
    """One line for each thing that is kept, and their sum."""
    stored = stored_files()
    width = max((len(each.key) for each in stored), default=0)
    lines = [f"{each.key:<{width}}  {each.size_mb:>9.1f} MB  {each.what}" for each in stored]
    total = sum(each.size_mb for each in stored)
    return "\n".join([*lines, f"{total:.1f} MB in {cache_dir()}"])


def _delete(key: str, ask: bool) -> None:
    """Delete what is kept under a name, if the user says yes."""
    stored = next((each for each in stored_files() if each.key == key), None)
    if stored is not None and ask and not _agrees(stored):
        print("Nothing was deleted.")
        return
    delete_stored(key)
    print(f"{key} was deleted.")


def _agrees(stored: StoredFiles) -> bool:
    question = f"Delete {stored.key} ({stored.what}), {stored.size_mb:.1f} MB? [y/N] "
    try:
        return input(question).strip().lower() in {"y", "yes"}
    except EOFError:  # nobody is there to answer
        return False


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
