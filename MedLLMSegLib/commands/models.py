"""`medllmseg models`: what can be segmented."""
from __future__ import annotations


def add_parser(commands) -> None:
    models = commands.add_parser("models", help="list the models: modality, structures, licence, measured accuracy")
    models.set_defaults(run=_models)


def _models(args, command: str) -> None:
    from ..catalogue import list_models

    for entry in list_models():
        print(f"{entry.id}: {entry.title}\n  modality    {entry.modality}\n  structures  {', '.join(entry.structures)}\n"
              f"  licence     {entry.licence}\n  accuracy    {entry.accuracy}\n  folder      {entry.folder}")
