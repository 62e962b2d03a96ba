"""`medllmseg diagnose`: images to probabilities and heat maps."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.registry.catalogue import DEFAULT_CLASSIFIER

from .common_options import Bar, typed_path

logger = logging.getLogger("medllmseg")
EXAMPLES = """examples:
  medllmseg diagnose chest.dcm                                    probabilities of the chest X-ray model
  medllmseg diagnose chest.dcm --output results/                  and where in the image they come from
  medllmseg diagnose xrays/ --output results/                     each image of a folder, and a table
  medllmseg diagnose chest.png --model runs/mine/bundle --record age=63 --record sex=F
  medllmseg diagnose pet.dcm --channel ct=ct.dcm --model runs/pet-ct/bundle

With --output, each image gets NAME_heat.nrrd (the heat map on the image's own grid) and NAME_heat.png (over the image), and
the folder diagnoses.csv. Models of a sequence take its images together, in order.
exit code: 0 all done, 1 some images of several failed, 2 bad input.

Research use only; not a medical device."""


def add_parser(commands) -> None:
    p = commands.add_parser(
        "diagnose",
        help="tell classes of images apart, and show where that comes from",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "Diagnose images: one DICOM file, PNG, JPEG, TIFF or volume each, or folders of them."
        ),
    )
    p.add_argument(
        "images",
        nargs="*",
        type=typed_path,
        metavar="IMAGE",
        help="an image file, or a folder of images",
    )
    p.add_argument(
        "--model",
        default=DEFAULT_CLASSIFIER,
        help="a model's id (see `medllmseg models`) or a bundle's folder (default: %(default)s)",
    )
    p.add_argument(
        "--output",
        "-o",
        type=typed_path,
        metavar="FOLDER",
        help="where to write heat maps and the table",
    )
    p.add_argument(
        "--lung-mask",
        type=typed_path,
        metavar="PATH",
        help=(
            "a mask of the lungs on the image's pixels, to which the image is cropped; or a folder"
            " of masks named like the images"
        ),
    )
    p.add_argument(
        "--window",
        type=int,
        metavar="N",
        help="which of a DICOM file's windows, counted from 1 (default: the first)",
    )
    p.add_argument(
        "--record",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help=(
            "a field of the patient's record, for models that read one; may be given several times"
        ),
    )
    p.add_argument(
        "--channel",
        action="append",
        default=[],
        metavar="NAME=PATH",
        help=(
            "a further image of the patient, co-registered with the first, for models that look at"
            " several; of several patients a folder with images named like the first ones. One that"
            " is not given counts as missing"
        ),
    )
    p.add_argument("--device", default="auto", help="auto, cpu, cuda or mps (default: %(default)s)")
    p.set_defaults(run=_diagnose)


def _diagnose(args, command: str) -> int:
    record, channels = _fields("record", args.record), _channels(args)
    if not args.images and not channels:
        raise UserError("No image was given; name the files to be diagnosed, or their folder.")
    _check_there(args.model)
    from MedLLMSegLib.core.safe_files import check_writable
    from MedLLMSegLib.diagnosis.batch.diagnose_batch import (
        DiagnoseOptions,
        diagnose_cases,
        find_cases,
        first_image,
    )
    from MedLLMSegLib.diagnosis.loaded_classifier import load_classifier

    if args.output is not None:
        check_writable(args.output)
    model = load_classifier(args.model, args.device)
    cases = find_cases(args.images, model, channels)
    _check_one_case(args, record, cases)
    with Bar([first_image(images) for images in cases]) as bar:
        results = diagnose_cases(
            cases,
            args.output,
            model,
            DiagnoseOptions(args.lung_mask, args.window, record),
            bar.update,
        )
    _print_results(results, model, args, command)
    return 1 if any(r.status == "failed" for r in results) else 0


def _check_there(name: str) -> None:
    """Say in words of its own that the default model is not installed, which nobody asked for by
    name.
    """
    from MedLLMSegLib.registry.catalogue import list_models

    if name == DEFAULT_CLASSIFIER and not any(
        e.id == DEFAULT_CLASSIFIER for e in list_models("classifier")
    ):
        known = ", ".join(e.id for e in list_models("classifier"))
        train = "train one with `medllmseg train --task classify` and name its bundle with --model"
        other = f"name another with --model ({known})" if known else train
        raise UserError(
            f'The chest X-ray model "{DEFAULT_CLASSIFIER}" does not come with this version;'
            f" {other}."
        )


def _fields(option: str, given: list[str]) -> dict[str, str]:
    """The pairs of an option that may be given several times."""
    found, needed = (
        {},
        {
            "record": "FIELD=VALUE is needed, such as --record age=63",
            "channel": "NAME=PATH is needed, such as --channel ct=ct.dcm",
        },
    )
    for each in given:
        name, equals, value = each.partition("=")
        if not equals or not name.strip() or (option == "channel" and not value.strip()):
            raise UserError(f'--{option} is "{each}", and {needed[option]}.')
        found[name.strip()] = value.strip()
    return found


def _channels(args) -> dict[str, Path]:
    """Their names as in a table's first row, which knows no capitals."""
    return {
        name.lower(): typed_path(value) for name, value in _fields("channel", args.channel).items()
    }


def _check_one_case(args, record: dict, cases: list) -> None:
    if len(cases) < 2:
        return
    if record:
        raise UserError(
            f"--record is of one patient, but {len(cases)} images were given; diagnose them one by"
            " one."
        )
    if args.lung_mask is not None and not args.lung_mask.is_dir():
        raise UserError(
            f"--lung-mask is one file, but {len(cases)} images were given; name a folder with a"
            " mask for each."
        )


def _print_results(results, model, args, command: str) -> None:
    """What was found in each image; a closed pipe (| head) does not change the exit code."""
    try:
        _print_all(results, model, args, command)
        sys.stdout.flush()
    except BrokenPipeError:
        logger.info("nobody reads the output any more")


def _print_all(results, model, args, command: str) -> None:
    from MedLLMSegLib.diagnosis.batch.diagnose_batch import case_label

    for r in results:
        name = case_label(r.images, model)
        if r.status == "failed":
            print(f"{name}: failed: {r.message}", file=sys.stderr)
            continue
        found = r.diagnosis
        decided = (
            "" if found.threshold is None else f"; {model.classes[1]} from {found.threshold:.2f} on"
        )
        print(
            f"{name}: {found.answer} (confidence {found.confidence:.2f}{decided}),"
            f" {found.seconds:.1f} s"
        )
        for label, p in found.probabilities.items():
            print(f"  {label:<32} {p:6.3f}")
        for note in found.notes:
            print(f"  note: {note}")
        for path in r.files:
            print(f"  -> {path}")
    if args.output is not None:
        failed = sum(r.status == "failed" for r in results)
        print(
            f"{len(results) - failed} diagnosed, {failed} failed -> {args.output / 'diagnoses.csv'}"
        )
    print(
        f"model {model.entry.id}: {model.entry.accuracy}; licence {model.entry.licence}; research"
        " use only, not a medical device"
    )
    print(f"again: {command}")
    if done := next((r for r in results if r.status == "done"), None):
        print(f"python: {_python(done.images, args)}")


def _python(images: tuple[Path | None, ...], args) -> str:
    """The call that does the same to one case."""
    from MedLLMSegLib.diagnosis.batch.diagnose_batch import find_lung_mask, first_image

    paths = [None if path is None else str(path) for path in images]
    words = [repr(paths[0] if len(paths) == 1 else paths)]
    words += [f"model={args.model!r}"] if args.model != DEFAULT_CLASSIFIER else []
    words += [f"device={args.device!r}"] if args.device != "auto" else []
    lungs = find_lung_mask(
        first_image(images), args.lung_mask
    )  # of a folder of masks, this image's own
    words += [f"lungs={str(lungs)!r}"] if lungs else []
    words += [f"window={args.window}"] if args.window else []
    words += [f"record={_fields('record', args.record)!r}"] if args.record else []
    return f"MedLLMSegLib.diagnose({', '.join(words)})"
