"""The command line: one subcommand calls one function.

Exit codes: 0 done, 1 some scans or images failed, 2 bad input, 3 unexpected error, 130 stopped.
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

from . import (
    adapt,
    audit,
    bench,
    benchmark,
    bundle,
    diagnose,
    domain,
    evaluate,
    explain,
    export,
    heart,
    info,
    llm,
    models,
    quality,
    remeasure,
    segment,
    train,
    tsne,
)
from .common_options import LOG_NAME, joined_frames
from .terminal.library_noise import PrivateFormatter, library_noise_to

COMMANDS = (
    segment,
    explain,
    heart,
    diagnose,
    models,
    evaluate,
    quality,
    remeasure,
    domain,
    adapt,
    audit,
    benchmark,
    bench,
    llm,
    train,
    bundle,
    export,
    tsne,
    info,
)
BAD_INPUT, UNEXPECTED, STOPPED = 2, 3, 130  # exit codes
LOG_BYTES = 2_000_000  # a longer log becomes the previous one, of which one is kept

logger = logging.getLogger("medllmseg")

EXAMPLES = """examples:
  medllmseg segment head.nii.gz --output brain.seg.nrrd
      one scan, a segmentation for 3D Slicer
  medllmseg segment scans/ --output results/ --report
      a folder of scans, with pictures
  medllmseg segment crop.nii.gz --model hippocampus-t1 --side right --output crop_seg.nii.gz
  medllmseg diagnose chest.dcm --output results/
      probabilities, and where they come from
  medllmseg models
      what can be segmented and diagnosed
  medllmseg evaluate --model hippocampus-t1 --data FOLDER --output scores.csv
  medllmseg train --data cases/ --output runs/mine --minutes 60
      a model from your own labelled cases
  medllmseg info
      what to paste into a bug report

Research use only; not a medical device."""


def main(argv: list[str] | None = None) -> int:
    """Run one command. Returns the exit code; never raises for bad input."""
    argv = sys.argv[1:] if argv is None else argv
    # torch reads it when a command imports it: the CPU does what MPS lacks
    os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")
    try:
        args = build_parser().parse_args(joined_frames(argv))
    except UserError as error:  # a path that is empty
        print(f"medllmseg: {_one_line(error)}", file=sys.stderr)
        return BAD_INPUT
    with _logging_to_file() as log, library_noise_to(logger):
        return _run(args, shlex.join(["medllmseg", *argv]), log)


def _run(args: argparse.Namespace, command: str, log: Path | None) -> int:
    """Run a command; print what went wrong in one line. Returns the exit code."""
    try:
        return args.run(args, command) or 0
    except BrokenPipeError:  # nobody reads the output any more (| head)
        return 0
    except (KeyboardInterrupt, Cancelled):
        text = "what was finished is kept, and the same command goes on from there"
        print(f"medllmseg: stopped; {text}.", file=sys.stderr)
        return STOPPED
    except Exception as error:
        code, message = _explain(error, log)
        logger.exception("exit code %d", code)
        print(f"medllmseg: {message}", file=sys.stderr)
        return code


def _explain(error: Exception, log: Path | None) -> tuple[int, str]:
    """The exit code and the message for an error."""
    if isinstance(error, UserError):
        return BAD_INPUT, _one_line(error)
    if isinstance(error, OSError) and error.filename:
        return BAD_INPUT, (
            f'"{error.filename}" could not be used ({error.strerror}); check the path, its'
            " permissions and the space on the disk."
        )
    if is_out_of_memory(error):
        return BAD_INPUT, OUT_OF_MEMORY_MESSAGE
    return UNEXPECTED, (
        f"something unexpected went wrong ({type(error).__name__}: {_one_line(error)}); "
        f"the details are in {log or 'no log, as none could be written'}."
    )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def build_parser() -> argparse.ArgumentParser:
    """The parser of all subcommands. Each sets ``run``, a function of (args, command line)."""
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
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add_parser(subparsers)
    return parser


class _LogFile(RotatingFileHandler):
    """A log that says nothing when it cannot be written, as on a full disk."""

    def handleError(self, record: logging.LogRecord) -> None:
        pass


@contextmanager
def _logging_to_file() -> Iterator[Path | None]:
    """Tracebacks go to a file in the cache folder, not to the screen. Yields its path, or None if
    it cannot be opened. The logger is left as it was, for programs that call `main` themselves.
    """
    path = cache_dir() / LOG_NAME
    handler = _open_log(path)
    propagate = logger.propagate
    # Libraries' loggers and Python's warnings end at the root; ours does not reach it.
    owners = (logger, logging.getLogger())
    for owner in owners:
        owner.addHandler(handler)
    logger.propagate = False
    logging.captureWarnings(True)
    try:
        yield path if isinstance(handler, _LogFile) else None
    finally:
        logging.captureWarnings(False)
        logger.propagate = propagate
        for owner in owners:
            owner.removeHandler(handler)
        with suppress(OSError):  # what a full disk did not take
            handler.close()


def _open_log(path: Path) -> logging.Handler:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = _LogFile(path, maxBytes=LOG_BYTES, backupCount=1, encoding="utf-8")
    except OSError:
        return logging.NullHandler()
    handler.setFormatter(PrivateFormatter("%(asctime)s %(levelname)s %(message)s"))
    return handler
