"""`medllmseg diagnose`: images to probabilities and heat maps."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.registry.catalogue import DEFAULT_CLASSIFIER

from .common_options import Subparsers, add_device_option, typed_path
from .terminal.terminal_progress import ScanBar

if TYPE_CHECKING:
    from MedLLMSegLib.diagnosis.batch.cases import CaseImages
    from MedLLMSegLib.diagnosis.batch.table import CaseResult
    from MedLLMSegLib.diagnosis.loaded_classifier import ClassifierModel

logger = logging.getLogger("medllmseg")
EPILOG = """examples:
  medllmseg diagnose chest.dcm
      probabilities of the chest X-ray model
  medllmseg diagnose chest.dcm --output results/
      and where in the image they come from
  medllmseg diagnose xrays/ --output results/
      each image of a folder, and a table
  medllmseg diagnose chest.png --model runs/mine/bundle --record age=63 --record sex=F
  medllmseg diagnose pet.dcm --channel ct=ct.dcm --model runs/pet-ct/bundle

With --output, each image gets NAME_heat.nrrd (the heat map on the image's own grid) and
NAME_heat.png (over the image), and the folder diagnoses.csv. Models of a sequence take its images
together, in order.
exit code: 0 all done, 1 some images of several failed, 2 bad input.

Research use only; not a medical device."""
EXAMPLES = {
    "record": "FIELD=VALUE is needed, such as --record age=63",
    "channel": "NAME=PATH is needed, such as --channel ct=ct.dcm",
}


def add_parser(commands: Subparsers) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "diagnose",
        help="tell classes of images apart, and show where that comes from",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "Diagnose images: one DICOM file, PNG, JPEG, TIFF or volume each, or folders of them."
        ),
    )
    parser.add_argument(
        "images",
        nargs="*",
        type=typed_path,
        metavar="IMAGE",
        help="an image file, or a folder of images",
    )
    parser.add_argument(
        "--model",
        default=DEFAULT_CLASSIFIER,
        help="a model's id (see `medllmseg models`) or a bundle's folder (default: %(default)s)",
    )
    parser.add_argument(
        "--output",
        "-o",
        type=typed_path,
        metavar="FOLDER",
        help="where to write heat maps and the table",
    )
    _add_image_options(parser)
    _add_patient_options(parser)
    add_device_option(parser)
    parser.set_defaults(run=_diagnose)


def _add_image_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--lung-mask",
        type=typed_path,
        metavar="PATH",
        help=(
            "a mask of the lungs on the image's pixels, to which the image is cropped; or a folder"
            " of masks named like the images"
        ),
    )
    parser.add_argument(
        "--window",
        type=int,
        metavar="N",
        help="which of a DICOM file's windows, counted from 1 (default: the first)",
    )


def _add_patient_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--record",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help=(
            "a field of the patient's record, for models that read one; may be given several times"
        ),
    )
    parser.add_argument(
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


def _diagnose(args: argparse.Namespace, command: str) -> int:
    record = _named_values("record", args.record)
    # A table's first row, which names the channels, knows no capitals.
    channels = {
        name.lower(): typed_path(value)
        for name, value in _named_values("channel", args.channel).items()
    }
    if not args.images and not channels:
        raise UserError("No image was given; name the files to be diagnosed, or their folder.")
    if args.model == DEFAULT_CLASSIFIER:
        _check_default_model()
    from MedLLMSegLib.core.safe_files import check_folder_name, check_writable
    from MedLLMSegLib.diagnosis.batch.cases import find_cases, first_image
    from MedLLMSegLib.diagnosis.batch.diagnose_batch import DiagnoseOptions, diagnose_cases
    from MedLLMSegLib.diagnosis.loaded_classifier import load_classifier

    if args.output is not None:
        check_folder_name(args.output)
        check_writable(args.output)
    model = load_classifier(args.model, args.device)
    cases = find_cases(args.images, model, channels)
    _check_several_cases(args, record, len(cases))
    options = DiagnoseOptions(args.lung_mask, args.window, record)
    with ScanBar([first_image(images) for images in cases]) as bar:
        results = diagnose_cases(cases, args.output, model, options, bar.update)
    _print_results(results, model, args, command)
    return 1 if any(result.status == "failed" for result in results) else 0


def _check_default_model() -> None:
    """Explain that the default model, which nobody named, is not installed."""
    from MedLLMSegLib.registry.catalogue import list_models

    ids = [entry.id for entry in list_models("classifier")]
    if DEFAULT_CLASSIFIER in ids:
        return
    if ids:
        advice = f"name another with --model ({', '.join(ids)})"
    else:
        advice = "train one with `medllmseg train --task classify` and name its bundle with --model"
    raise UserError(
        f'The chest X-ray model "{DEFAULT_CLASSIFIER}" does not come with this version; {advice}.'
    )


def _named_values(option: str, typed: Sequence[str]) -> dict[str, str]:
    """The NAME=VALUE pairs of an option that may be given several times."""
    values = {}
    for pair in typed:
        name, equals, value = pair.partition("=")
        if not equals or not name.strip() or (option == "channel" and not value.strip()):
            raise UserError(f'--{option} is "{pair}", and {EXAMPLES[option]}.')
        values[name.strip()] = value.strip()
    return values


def _check_several_cases(args: argparse.Namespace, record: Mapping[str, str], cases: int) -> None:
    """Raise `UserError` for options of one patient where there are several."""
    if cases < 2:
        return
    if record:
        raise UserError(
            f"--record is of one patient, but {cases} images were given; diagnose them one by one."
        )
    if args.lung_mask is not None and not args.lung_mask.is_dir():
        raise UserError(
            f"--lung-mask is one file, but {cases} images were given; name a folder with a mask"
            " for each."
        )


def _print_results(
    results: Sequence[CaseResult], model: ClassifierModel, args: argparse.Namespace, command: str
) -> None:
    """What was found in each image, and how to repeat it. A closed pipe (| head) does not change
    the exit code.
    """
    try:
        for result in results:
            _print_result(result, model)
        if args.output is not None:
            failed = sum(result.status == "failed" for result in results)
            table = args.output / "diagnoses.csv"
            print(f"{len(results) - failed} diagnosed, {failed} failed -> {table}")
        entry = model.entry
        print(
            f"model {entry.id}: {entry.accuracy}; licence {entry.licence}; research use only, not a"
            " medical device"
        )
        print(f"again: {command}")
        done = next((result for result in results if result.status == "done"), None)
        if done is not None:
            print(f"python: {_python_call(done.images, args)}")
        sys.stdout.flush()
    except BrokenPipeError:
        logger.info("nobody reads the output any more")


def _print_result(result: CaseResult, model: ClassifierModel) -> None:
    from MedLLMSegLib.diagnosis.batch.cases import case_label

    name, diagnosis = case_label(result.images, model), result.diagnosis
    if diagnosis is None:
        print(f"{name}: failed: {result.message}", file=sys.stderr)
        return
    facts = f"confidence {diagnosis.confidence:.2f}"
    if diagnosis.threshold is not None:
        facts += f"; {model.classes[1]} from {diagnosis.threshold:.2f} on"
    print(f"{name}: {diagnosis.answer} ({facts}), {diagnosis.seconds:.1f} s")
    for label, probability in diagnosis.probabilities.items():
        print(f"  {label:<32} {probability:6.3f}")
    for note in diagnosis.notes:
        print(f"  note: {note}")
    for path in result.files:
        print(f"  -> {path}")


def _python_call(images: CaseImages, args: argparse.Namespace) -> str:
    """The Python call that does the same to one case."""
    from MedLLMSegLib.diagnosis.batch.cases import find_lung_mask, first_image

    paths = [None if path is None else str(path) for path in images]
    arguments = [repr(paths[0] if len(paths) == 1 else paths)]
    if args.model != DEFAULT_CLASSIFIER:
        arguments.append(f"model={args.model!r}")
    if args.device != "auto":
        arguments.append(f"device={args.device!r}")
    if lung_mask := find_lung_mask(first_image(images), args.lung_mask):
        arguments.append(f"lungs={str(lung_mask)!r}")
    if args.window:
        arguments.append(f"window={args.window}")
    if args.record:
        arguments.append(f"record={_named_values('record', args.record)!r}")
    return f"MedLLMSegLib.diagnose({', '.join(arguments)})"
