"""Phases of the heart as a sequence: ACDC's five groups, by a CNN-LSTM over two phases.

    python -m MedLLMSegLib.studies.diagnosis.heart_sequences --data ../shared/data/acdc \\
        --output runs/diagnosis

trains every arm, tests it, writes docs/diagnosis.md and a bundle in OUTPUT/acdc/bundle, which then
answers for any heart:

    medllmseg diagnose ED.nii.gz ES.nii.gz --model runs/diagnosis/acdc/bundle
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.types import Array, PathLike
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.data.acdc import read_hdf5
from MedLLMSegLib.data.case import SPLITS
from MedLLMSegLib.diagnosis.classifier_description import ClassifierDescription
from MedLLMSegLib.diagnosis.input_description import InputConfig
from MedLLMSegLib.diagnosis.slice_sequences import sequence_from_frames
from MedLLMSegLib.networks.encoders.build_encoder import build_encoder
from MedLLMSegLib.registry.classifier_config import (
    ClassifierConfig,
    EncoderConfig,
    PreparationConfig,
)
from MedLLMSegLib.studies.study.command import guarded
from MedLLMSegLib.studies.study.results import StudyResults
from MedLLMSegLib.training.classifier.classifier_recipe import ClassifierLoop
from MedLLMSegLib.training.classifier.examples import Examples
from MedLLMSegLib.training.classifier.prepared_images import step_examples

from .baselines import best_logistic
from .classifier_study import COLLECTED, ClassifierStudy
from .export_study import export_study
from .page.study_summary import summarise
from .study_command import add_options, do_diagnosis
from .study_runs import Arm, Baseline

NAME, MAIN = "acdc", "cnn-lstm"
GROUPS = ("NOR", "DCM", "HCM", "MINF", "RV")  # healthy first
LEFT_VENTRICLE, WALL, RIGHT_VENTRICLE = 3, 2, 1
RATES = (3e-4, 1e-3, 3e-3)
INPUT = InputConfig("frames", ("MR",), "HEART", (), slices=3)
PREPARATION = PreparationConfig(size=192, crop="none")


@dataclass(frozen=True, eq=False)
class Heart:
    """One patient. images, labels: at end-diastole and end-systole."""

    patient: str
    group: str
    images: tuple[Volume, Volume]
    labels: tuple[Volume, Volume]


def read_hearts(data: PathLike) -> dict[str, list[Heart]]:
    """The patients of each split.

    Raises `UserError` where splits.json or one of a patient's two frames is missing. This copy of
    the data does not say which frame is end-diastole: it is the one whose labels have the larger
    left ventricle.
    """
    data = Path(data).expanduser()
    try:
        stated = json.loads((data / "splits.json").read_text(encoding="utf-8"))
        groups, splits = stated["groups"], {split: stated[split] for split in SPLITS}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f'"{data}" has no splits.json with "groups", "train", "val" and "test"; give the folder'
            " of the ACDC data."
        ) from error
    return {
        split: [_heart(data, patient, groups[patient]) for patient in patients]
        for split, patients in splits.items()
    }


def _heart(data: Path, patient: str, group: str) -> Heart:
    frames = [read_hdf5(path) for path in sorted(data.glob(f"{patient}_frame*.h5"))]
    if len(frames) != 2:
        raise UserError(
            f'"{data}" has {len(frames)} frames of {patient}, and two (end-diastole and'
            " end-systole) are needed."
        )
    frames.sort(key=lambda frame: -int((frame[1].array == LEFT_VENTRICLE).sum()))
    (diastole, diastole_labels), (systole, systole_labels) = frames
    return Heart(patient, group, (diastole, systole), (diastole_labels, systole_labels))


def heart_examples(hearts: Sequence[Heart]) -> Examples:
    """ "image" (N, 2, slices, size, size) as a diagnosis prepares them."""
    names = tuple(h.patient for h in hearts)
    steps = [sequence_from_frames(h.images, PREPARATION, INPUT.slices) for h in hearts]
    return step_examples(steps, [GROUPS.index(h.group) for h in hearts], names, names)


def heart_study(
    hearts: dict[str, list[Heart]],
    output: Path,
    results: StudyResults,
    seeds: int = 3,
    epochs: int = 40,
    device: str = "cpu",
) -> ClassifierStudy:
    splits = {split: heart_examples(patients) for split, patients in hearts.items()}
    key = {"preparation": PREPARATION.to_dict(), "input": INPUT.to_dict()}
    loop = ClassifierLoop(epochs=epochs, batch=8, precision="bf16")
    return ClassifierStudy(
        NAME,
        _arms(hearts),
        loop,
        tuple(range(seeds)),
        RATES,
        splits,
        Path(output) / NAME,
        results,
        key,
        device,
    )


def _arms(hearts: dict[str, list[Heart]]) -> dict[str, Arm]:
    frozen = EncoderConfig(
        "efficientnet-lite0", image_size=PREPARATION.size, channels=INPUT.slices, frozen=True
    )
    small = EncoderConfig("cnn", image_size=PREPARATION.size, channels=INPUT.slices)
    return {
        MAIN: Arm(
            "frozen EfficientNet-lite0 for each phase, LSTM over the phases",
            ClassifierConfig("cnn-lstm", GROUPS, frozen),
        ),
        "cnn-lstm-small": Arm(
            "the same with a small CNN trained here", ClassifierConfig("cnn-lstm", GROUPS, small)
        ),
        "features": Arm(
            "plain baseline: the same frozen features of both phases, logistic regression",
            baseline=frozen_features(frozen),
        ),
        "volumes": Arm(
            "volumes and ejection fractions of the manual outlines, logistic regression",
            baseline=_on_table(
                {
                    split: np.stack([geometry(h) for h in patients])
                    for split, patients in hearts.items()
                }
            ),
            note=(
                "it reads outlines that a reader drew, which the others do not have: what geometry"
                " alone tells"
            ),
        ),
    }


def geometry(heart: Heart) -> Array:
    """(8,) in voxels, as no spacing is stored: both ventricles and the wall at end-diastole, both
    ejection fractions, wall by left ventricle, right by left ventricle, and the wall at end-systole
    by that at end-diastole.
    """
    left, right, wall = (
        [float((phase.array == label).sum()) for phase in heart.labels]
        for label in (LEFT_VENTRICLE, RIGHT_VENTRICLE, WALL)
    )
    return np.array(
        [
            left[0],
            right[0],
            wall[0],
            1 - left[1] / max(left[0], 1.0),
            1 - right[1] / max(right[0], 1.0),
            wall[0] / max(left[0], 1.0),
            right[0] / max(left[0], 1.0),
            wall[1] / max(wall[0], 1.0),
        ]
    )


def frozen_features(config: EncoderConfig) -> Baseline:
    """A baseline on the frozen encoder's deepest features, the sequence's images side by side."""

    @torch.inference_mode()
    def features(examples: Examples) -> Array:
        encoder = build_encoder(config).eval()
        images = examples.fields["image"]
        seen = torch.cat(
            [
                encoder(batch.float())[:, -1, : encoder.widths[-1]]
                for batch in images.flatten(0, 1).split(16)
            ]
        )
        return seen.reshape(len(examples), -1).numpy()

    def baseline(train: Examples, val: Examples, test: Examples, seed: int) -> tuple[Array, Array]:
        return best_logistic(
            features(train), train.target.numpy(), features(val), val.target.numpy(), features(test)
        )

    return baseline


def _on_table(tables: dict[str, Array]) -> Baseline:
    """A baseline that knows only these features of each split."""

    def baseline(train: Examples, val: Examples, test: Examples, seed: int) -> tuple[Array, Array]:
        return best_logistic(
            tables["train"], train.target.numpy(), tables["val"], val.target.numpy(), tables["test"]
        )

    return baseline


def summarise_hearts(study: ClassifierStudy) -> None:
    """The summary, the introduction and the bundle, from what is finished."""
    counts = ", ".join(f"{len(examples)} {split}" for split, examples in study.splits.items())
    study.results.put(
        "text",
        [
            f"Short-axis cine MRI of ACDC: {counts} patients, in groups: healthy (NOR), dilated"
            " (DCM), hypertrophic (HCM), after infarction (MINF) and abnormal right ventricle"
            " (RV). The sequence is end-diastole and then end-systole; three slices (near the"
            " base, middle, near the apex) of each are the channels of its image. Chance is 20 %;"
            " sensitivity, specificity and AUC are means over the groups, each against the rest."
            " **With so few test patients each interval is wide.** The data are CC BY-NC-SA 4.0:"
            " what is trained on them is for no commercial use."
        ],
    )
    summarise(study, MAIN, ("features",))
    export_study(
        study,
        MAIN,
        PREPARATION,
        ClassifierDescription(
            "cardiac-groups",
            "Five groups of hearts in short-axis cine MRI",
            "MR cine",
            accept_licence=True,
            data=(
                "ACDC, Automated Cardiac Diagnosis Challenge (University Hospital of Dijon), CC"
                " BY-NC-SA 4.0"
            ),
            licence="CC-BY-NC-SA-4.0",
            input=INPUT,
            licence_note="non-commercial and share-alike",
        ),
    )


def main(arguments: list[str] | None = None) -> int:
    """Run the study that the arguments describe."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_options(parser)
    parser.add_argument("--epochs", type=int, default=40, help="default: %(default)s")
    return guarded(parser, f"{__package__}.heart_sequences", arguments, _run)


def _run(options: argparse.Namespace) -> None:
    study = heart_study(
        read_hearts(options.data),
        options.output,
        StudyResults(options.docs / COLLECTED),
        options.seeds,
        options.epochs,
        options.device,
    )
    do_diagnosis(study, options, summarise_hearts)


if __name__ == "__main__":
    sys.exit(main())
