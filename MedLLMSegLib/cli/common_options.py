"""What several subcommands share."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from MedLLMSegLib.core.errors import UserError

if TYPE_CHECKING:
    import argparse

Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
OptionHolder: TypeAlias = (
    "argparse.ArgumentParser | argparse._ArgumentGroup"  # where options are added
)

FRAME_NUMBERS = "--frame-numbers"  # what --frames with numbers becomes
LOG_NAME = "medllmseg.log"  # in the cache folder


def typed_path(text: str) -> Path:
    """A path as typed, with ~ for the home folder (which no shell expands in --output=~/x).

    Raises `UserError` for none, which would stand for the current folder.
    """
    if not text.strip():
        raise UserError(f'A path is empty ("{text}"); name a file or folder, or . for this folder.')
    return Path(text).expanduser()


def length_mm(text: str) -> float:
    """A length as typed, 1mm or 1, in millimetres. Raises `UserError` for anything else."""
    number = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(?:mm)?\s*", text)
    if number is None:
        raise UserError(f'"{text}" is not a length in millimetres; write 1mm, or 0.8mm.')
    return float(number[1])


def option_name(field: str) -> str:
    """How an option is typed: --llm-layer for llm_layer."""
    return f"--{field.replace('_', '-')}"


def joined_frames(argv: Sequence[str]) -> list[str]:
    """The words of a command line with --frames and the numbers behind it made one option.

    --frames alone means every image of a series, and must not take a file's name for its numbers.
    """
    joined: list[str] = []
    for word in argv:
        if word.startswith("--frames="):
            joined.append(f"{FRAME_NUMBERS}={word.removeprefix('--frames=')}")
        elif joined and joined[-1] == "--frames" and re.fullmatch(r"[\d,-]*\d", word):
            joined[-1] = f"{FRAME_NUMBERS}={word}"
        else:
            joined.append(word)
    return joined


def add_precision_option(options: OptionHolder) -> None:
    """Add --precision, which a segmenter's network runs in."""
    options.add_argument(
        "--precision",
        default="auto",
        choices=("auto", "fp32", "bf16"),
        help=(
            "what the network computes in; auto: bf16 on a processor that has it, where it was"
            " measured to give the same labels faster (default: %(default)s)"
        ),
    )


def add_engine_option(options: OptionHolder) -> None:
    """Add --engine, which runs a segmenter's networks."""
    options.add_argument(
        "--engine",
        default="torch",
        choices=("torch", "openvino", "onnx"),
        help=(
            "what runs the networks; openvino and onnx (ONNX Runtime) on the CPU, with packages of"
            " their own: docs/edge.md (default: %(default)s)"
        ),
    )


def add_device_option(options: OptionHolder) -> None:
    """Add --device, which every command that computes has."""
    options.add_argument(
        "--device", default="auto", help="auto, cpu, cuda or mps (default: %(default)s)"
    )
