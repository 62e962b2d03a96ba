"""Can a CNN-LSTM find emboli? Tried on filling defects that are inserted into one contrast CT.

    python -m MedLLMSegLib.studies.emboli --data ../shared/data --output runs/emboli
    python -m MedLLMSegLib.studies.emboli --check chest.nii.gz

Trains on one side of the chest and tests on the other, both ways; a trivial baseline and two
controls stand beside the CNN-LSTM. Writes docs/emboli.md; it can be stopped at any moment, and
goes on. --check says of any chest CT whether it has the contrast that emboli need to be seen. No
model of this ships; research use only.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.types import Json
from MedLLMSegLib.io.volume_files import load_volume, scan_name
from MedLLMSegLib.studies.study.command import do_study, guarded
from MedLLMSegLib.studies.study.page import NOT_RUN
from MedLLMSegLib.studies.study.part_options import add_part_options
from MedLLMSegLib.studies.study.results import StudyResults

from .chest import COARSE_MM, read_chest
from .contrast import contrast_of
from .page import write_page
from .study_names import RESULTS

# Of the shared data: a contrast CT, plain ones, and one that shows no chest.
CHECKED = (
    "small_tests/ct_angio/pulmonary_ct.nii.gz",
    "lung_ct/whole/LIDC-IDRI-0001.nii.gz",
    "lung_ct/whole/LIDC-IDRI-0314.nii.gz",
    "lung_ct/whole/LUNG1-001.nii.gz",
    "lung_ct/whole/Lung_Dx-A0001.nii.gz",
    "lung_ct/whole/Lung_Dx-A0002.nii.gz",
    "samples/example_ct.nii.gz",
)


def checked(scan: Path, artery: Path | None = None) -> Json:
    """A scan's name, the HU of its blood, and whether emboli can be looked for in it.

    Raises `UserError` for a file that cannot be read, and for a label of another scan.
    """
    volume = load_volume(scan)
    label = load_volume(artery) if artery else None
    try:
        chest = read_chest(volume, COARSE_MM)
    except UserError as error:
        return _row(scan, f"refused: {error}")
    mask = None if label is None else chest.on_grid(label)
    try:
        contrast = contrast_of(chest, mask)
    except UserError as error:
        return _row(scan, f"refused: {error}")
    return _row(scan, contrast.answer, f"{contrast.artery_hu:.0f}")


def _row(scan: Path, answer: str, hu: str = "-") -> Json:
    return {"scan": scan_name(scan), "hu": hu, "answer": answer}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, default=Path("../shared/data"), help="the folder of shared data")
    add("--output", type=Path, default=Path("runs/emboli"))
    add("--docs", type=Path, default=Path("docs"))
    add("--steps", type=int, default=500)
    add("--seeds", type=int, default=2)
    add("--scans", type=int, nargs=3, default=(16, 6, 8), metavar=("TRAIN", "VAL", "TEST"))
    add("--threads", type=int, default=1)
    add("--check", type=Path, metavar="SCAN", help="only say whether a chest CT has the contrast")
    add("--artery", type=Path, metavar="LABEL", help="with --check: the artery's label map")
    add_part_options(parser)
    return parser


def _run(options: argparse.Namespace) -> None:
    if options.check:
        print("{scan}: {hu} HU; {answer}".format(**checked(options.check, options.artery)))
        return
    if min(options.steps, options.seeds, options.threads, *options.scans) < 1:
        raise UserError("--steps, --seeds, --scans and --threads must be 1 or more.")
    import torch

    from MedLLMSegLib.training.loop_config import LoopConfig

    from .picture import draw_picture
    from .study import Emboli

    torch.set_num_threads(options.threads)
    loop = LoopConfig(
        steps=options.steps,
        batch=32,
        lr=2e-3,
        warmup_steps=min(50, options.steps // 4),
        validate_every=min(100, options.steps),
        ema=0.99,
    )
    scans = dict(zip(("train", "val", "test"), options.scans, strict=True))
    folder = options.data / "small_tests/ct_angio"
    emboli = Emboli(folder, options.output, loop, scans, tuple(range(options.seeds)))
    results = StudyResults(options.docs / RESULTS)
    study = emboli.study(results)

    def page() -> str:
        if not options.page or results.get("command") is None:
            results.put("command", options.command)  # of the runs, whatever made the page
        if results.get("contrast") is None:
            paths = [options.data / name for name in CHECKED]
            rows = [checked(path) if path.exists() else _row(path, NOT_RUN) for path in paths]
            results.put("contrast", rows)
        if not options.page:
            draw_picture(emboli, results, options.docs)
        return str(write_page(results.path, options.docs))

    do_study(study, options, page)


def main(arguments: list[str] | None = None) -> int:
    """Run what the arguments describe; returns 2 where something is wrong with them."""
    return guarded(_parser(), "MedLLMSegLib.studies.emboli", arguments, _run)


if __name__ == "__main__":
    sys.exit(main())
