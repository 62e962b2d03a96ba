"""The command line: one subcommand calls one function. Exit codes: 0 done, 1 some scans or
images failed, 2 bad input.
"""

from __future__ import annotations

import argparse
import logging
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from logging.handlers import RotatingFileHandler
from pathlib import Path

from MedLLMSegLib.core.errors import Cancelled, UserError
from MedLLMSegLib.core.memory import OUT_OF_MEMORY_MESSAGE, is_out_of_memory
from MedLLMSegLib.core.places import cache_dir
from MedLLMSegLib.core.version import __version__

from . import benchmark, bundle, diagnose, evaluate, info, llm, models, segment, train, tsne

LOG_BYTES = 2_000_000  # a log longer than this becomes the one before, of which there is one

logger = logging.getLogger("medllmseg")

EXAMPLES = """examples:
  medllmseg segment head.nii.gz --output hippocampi.seg.nrrd      one scan, a segmentation for 3D Slicer
  medllmseg segment scans/ --output results/ --report             a folder of scans, with pictures
  medllmseg segment crop.nii.gz --side right --output crop_seg.nii.gz
  medllmseg diagnose chest.dcm --output results/                  probabilities, and where they come from
  medllmseg models                                                what can be segmented and diagnosed
  medllmseg evaluate --model hippocampus-t1 --data FOLDER --output scores.csv
  medllmseg train --data cases/ --output runs/mine --minutes 60   a model from your own labelled cases

Research use only; not a medical device."""


def main(argv: list[str] | None = None) -> int:
    """Run one command. Returns the exit code; never raises for bad input."""
    argv = sys.argv[1:] if argv is None else argv
    os.environ.setdefault(
        "PYTORCH_ENABLE_MPS_FALLBACK", "1"
    )  # read by torch when a command imports it: the CPU does what MPS lacks
    args = build_parser().parse_args(argv)
    with _log() as log:
        return _run(args, shlex.join(["medllmseg", *argv]), log)


def _run(args: argparse.Namespace, command: str, log: Path | None) -> int:
    """Run a command and say in one line what went wrong; returns the exit code."""
    try:
        return args.run(args, command) or 0
    except UserError as error:
        logger.exception("bad input")
        print(f"medllmseg: {_one_line(error)}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, Cancelled):
        print(
            "medllmseg: stopped; what was finished is kept, and the same command goes on from"
            " there.",
            file=sys.stderr,
        )
        return 130
    except BrokenPipeError:
        return 0
    except OSError as error:
        if not error.filename:
            return _unexpected(error, log)
        logger.exception("file system")
        print(
            f'medllmseg: "{error.filename}" could not be used ({error.strerror}); check the path,'
            " its permissions and the space on the disk.",
            file=sys.stderr,
        )
        return 2
    except Exception as error:
        if not is_out_of_memory(error):
            return _unexpected(error, log)
        logger.exception("memory")
        print(f"medllmseg: {OUT_OF_MEMORY_MESSAGE}", file=sys.stderr)
        return 2


def _unexpected(error: Exception, log: Path | None) -> int:
    logger.exception("unexpected")
    print(
        f"medllmseg: something unexpected went wrong ({type(error).__name__}: {_one_line(error)}); "
        f"the details are in {log or 'no log, as none could be written'}.",
        file=sys.stderr,
    )
    return 3


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="medllmseg",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "Segment and classify medical images with vision transformers that hold a frozen "
            "language model."
        ),
    )
    parser.add_argument("--version", action="version", version=f"medllmseg {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in (segment, diagnose, models, evaluate, benchmark, llm, train, bundle, tsne, info):
        command.add_parser(commands)
    return parser


@contextmanager
def _log() -> Iterator[Path | None]:
    """Tracebacks go to a file in the user's cache folder, not to the screen; yields its path,
    None where it cannot be written.
    """
    path, propagate = cache_dir() / "medllmseg.log", logger.propagate
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = RotatingFileHandler(path, maxBytes=LOG_BYTES, backupCount=1, encoding="utf-8")
        handler.handleError = lambda record: (
            None
        )  # a full disk is the user's news, not a reason to print a traceback
    except OSError:
        path, handler = None, logging.NullHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield path
    finally:  # for programs that call `main` themselves
        logger.propagate = propagate
        logger.removeHandler(handler)
        with suppress(OSError):  # what a full disk did not take
            handler.close()
