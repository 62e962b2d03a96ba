"""`medllmseg models`: what can be segmented and diagnosed, and under which licence."""

from __future__ import annotations


def add_parser(commands) -> None:
    models = commands.add_parser(
        "models",
        help="list the models: modality, structures or classes, licence, measured accuracy",
        description=(
            "List the models, those that come with the program and your own "
            "(in the folder models of the cache folder)."
        ),
    )
    one = models.add_mutually_exclusive_group()
    one.add_argument(
        "--licence", metavar="ID", help="show the licence of a model's weights in full"
    )
    one.add_argument("--accept", metavar="ID", help="show a model's licence and accept it")
    models.set_defaults(run=_models)


def _models(args, command: str) -> None:
    from MedLLMSegLib.registry.catalogue import (
        accept_licence,
        find_model,
        licence_text,
        list_models,
    )
    from MedLLMSegLib.registry.old_bundles import old_bundle_note
    from MedLLMSegLib.registry.user_models import is_users_model

    if args.licence or args.accept:
        entry = find_model(args.licence or args.accept, None)
        print(licence_text(entry))
        if args.accept:
            accept_licence(entry)
            print(f'You accept the licence {entry.licence} of the model "{entry.id}".')
        return
    for entry in (*list_models("segmenter"), *list_models("classifier")):
        what = (
            f"diagnoses   {', '.join(entry.classes)}"
            if entry.classes
            else f"structures  {', '.join(entry.structures)}"
        )
        print(
            f"{entry.id}: {entry.title}\n  modality    {entry.modality}\n  {what}\n"
            f"  licence     {entry.licence}{_acceptance(entry)}\n  accuracy    {entry.accuracy}\n"
            f"  size        {entry.size_mb:.1f} MB\n  folder      {entry.folder}"
        )
        if is_users_model(entry) and (note := old_bundle_note(entry)):
            print(f"  note        {note}")


def _acceptance(entry) -> str:
    from MedLLMSegLib.registry.catalogue import licence_accepted

    if not entry.accept_licence:
        return ""
    return (
        " (accepted)"
        if licence_accepted(entry)
        else f" (accept it first: medllmseg models --accept {entry.id})"
    )
