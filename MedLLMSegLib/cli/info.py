"""`medllmseg info`: what a bug report needs."""

from __future__ import annotations


def add_parser(commands) -> None:
    parser = commands.add_parser(
        "info",
        help="print what a bug report needs: versions, devices, models",
        description=(
            "Print versions, processor, memory, devices, models and language-model layers as text"
            " to paste into a bug report. It names no user, scan, patient or file."
        ),
    )
    parser.set_defaults(run=_info)


def _info(args, command: str) -> None:
    from .system_info import system_info

    print(system_info())
