"""What several subcommands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import argparse

Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
OptionHolder: TypeAlias = (
    "argparse.ArgumentParser | argparse._ArgumentGroup"  # where options are added
)

LOG_NAME = "medllmseg.log"  # in the cache folder


def typed_path(text: str) -> Path:
    """A path as typed, with ~ for the home folder (which no shell expands in --output=~/x)."""
    return Path(text).expanduser()


def option_name(field: str) -> str:
    """How an option is typed: --llm-layer for llm_layer."""
    return f"--{field.replace('_', '-')}"


def add_device_option(options: OptionHolder) -> None:
    """Add --device, which every command that computes has."""
    options.add_argument(
        "--device", default="auto", help="auto, cpu, cuda or mps (default: %(default)s)"
    )
