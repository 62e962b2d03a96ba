"""What is decided on the val cases when a training is finished: the temperature, and which
connected parts are kept.

    python -m MedLLMSegLib.training.segmenter.bundle.fit_calibration --model cardiac-cine-mr
    --data runs/acdc --output runs/calibration.json

decides it anew for a model that is there already; `medllmseg bundle` takes the file with
`--calibration`. The val cases are then those that the bundle lists as such, known by their digests:
how the data would be split today does not matter. They also chose the weights; nothing is fitted to
other cases.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.progress import Progress, Report
from MedLLMSegLib.core.safe_files import check_writable, write_text
from MedLLMSegLib.core.types import Triple
from MedLLMSegLib.data import Case, CaseSet, read_cases
from MedLLMSegLib.data.case_digest import measured_marks
from MedLLMSegLib.io.volume_files import load_volume
from MedLLMSegLib.llm.frozen_weights import trained_tensors
from MedLLMSegLib.metrics.overlap import dice
from MedLLMSegLib.registry.bundle import as_stored
from MedLLMSegLib.registry.catalogue import read_metadata
from MedLLMSegLib.registry.seen_cases import SeenCases
from MedLLMSegLib.registry.segmenter_settings import LARGEST_PART_RULES, window_shape
from MedLLMSegLib.segmentation.clean import keep_largest
from MedLLMSegLib.segmentation.inference import predict
from MedLLMSegLib.segmentation.loaded_segmenter import load_model
from MedLLMSegLib.segmentation.prepare import Preparation
from MedLLMSegLib.training.checkpoint import fill_best
from MedLLMSegLib.training.segmenter.samples.prepared_cases import prepare_set

from .temperature_fit import fit_temperature

CALIBRATION = "calibration.json"
RULES = (None, *LARGEST_PART_RULES)  # None: all parts are kept


def calibrate(
    run: Path,
    network: nn.Module,
    cases: list[dict],
    device: torch.device,
    window: Triple,
    progress: Report | None = None,
) -> dict:
    """Fit the temperature of a run's best weights, decide whether stray parts are errors, and write
    both to ``run``/calibration.json.

    network: takes the best weights, rounded as the bundle stores them, and keeps them. cases:
    prepared val cases (`prepare_set`), on the network's own grid. progress: called with (a line of
    text, 0.99) before each case; may raise `Cancelled`, and the next call begins anew. Returns what
    `fit` does and "from_step". What was fitted to the same weights before is returned as it is.
    """
    path, step = run / CALIBRATION, fill_best(network, run)["step"]
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if known.get("from_step") == step and "largest_part" in known:
        return known
    network.load_state_dict(as_stored(trained_tensors(network)), strict=False)
    fitted = fit(network.to(device).eval(), cases, device, window, progress) | {"from_step": step}
    write_text(path, json.dumps(fitted, indent=1) + "\n")
    return fitted


def fit(
    network: nn.Module,
    cases: list[dict],
    device: torch.device,
    window: Triple,
    progress: Report | None = None,
) -> dict:
    """{"temperature", "largest_part", "cases"} of a network in eval mode that lies on ``device``;
    otherwise as `calibrate`.

    "largest_part": see `largest_part`. Where no structure is labelled or found, or the search for a
    temperature ends at its bound, nothing was fitted: the temperature is 1, and "not_fitted" says
    why.
    """
    report, scores = Progress.of(progress), []

    def predictions():
        for n, case in enumerate(cases, 1):
            report(f"calibrating on val case {n} of {len(cases)}", 0.99)
            logits = predict(network, np.asarray(case["image"]), device, window)
            truth = np.asarray(case["label"][0])
            scores.append(_dice_by_rule(logits, truth))
            yield logits, truth

    fitted: dict = {"temperature": 1.0, "not_fitted": None}
    try:
        fitted["temperature"] = round(fit_temperature(predictions()), 4)
    except UserError as why:
        fitted["not_fitted"] = str(why)
    return {
        **fitted,
        "largest_part": largest_part(np.array(scores)),
        "cases": len(cases),
    }


def _dice_by_rule(logits: np.ndarray, truth: np.ndarray) -> list[list[float]]:
    """Dice of each structure (inner list) after each of the `RULES` (outer list)."""
    labels = logits.argmax(axis=0).astype(np.uint8)
    cleaned = [labels if rule is None else keep_largest(labels, rule) for rule in RULES]
    structures = range(1, len(logits))
    return [[dice(kept, truth, structure) for structure in structures] for kept in cleaned]


def largest_part(scores: np.ndarray) -> dict:
    """Which connected parts to keep, as nnU-Net decides it (Isensee et al. 2021): first for all
    structures together, then for each.

    scores: Dice (cases, 4, structures) after the `RULES`, NaN where a structure is neither labelled
    nor found. A rule is taken if the mean improves and no structure's Dice falls. Returns {"kept":
    a key of `LARGEST_PART_RULES` or False, "dice_all", "dice_largest"}. The last is of the rule
    taken, or of the best that was not.
    """
    counted = np.isfinite(scores)
    with np.errstate(invalid="ignore"):
        means = np.where(counted, scores, 0).sum(axis=0) / counted.sum(axis=0)  # (4, structures)
    means = means[:, np.isfinite(means).all(axis=0)]
    dice_after: dict[str | None, np.ndarray] = dict(zip(RULES, means, strict=True))
    if not dice_after[None].size:
        return {"kept": False, "dice_all": None, "dice_largest": None}

    def improves(new: str, old: str | None) -> bool:
        after, before = dice_after[new], dice_after[old]
        return bool(after.mean() > before.mean() and (after >= before).all())

    kept = "together" if improves("together", None) else None
    alone = "both" if kept else "each"
    if improves(alone, kept):
        kept = alone
    best = max(dice_after[rule].mean() for rule in LARGEST_PART_RULES)
    return {
        "kept": kept or False,
        "dice_all": round(float(dice_after[None].mean()), 5),
        "dice_largest": round(float(dice_after[kept].mean() if kept else best), 5),
    }


def main(arguments: list[str] | None = None) -> int:
    """Calibrate a finished model."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, help="an id or a bundle's folder")
    parser.add_argument(
        "--data",
        required=True,
        help="labelled cases, of which those are taken that the model was chosen by",
    )
    parser.add_argument("--output", required=True, type=Path, help="the JSON file to write")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args(arguments)
    try:
        check_writable(options.output)
        found = _calibrate_model(options)
        write_text(options.output, json.dumps(found, indent=1) + "\n")
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps(found))
    if found["not_fitted"]:
        print(f"note: {found['not_fitted']}", file=sys.stderr)
    return 0


def _calibrate_model(options: argparse.Namespace) -> dict:
    model, case_set = load_model(options.model, options.device), read_cases(options.data)
    if len(case_set.labels) != len(model.entry.structures):
        raise UserError(
            f'"{options.model}" has {len(model.entry.structures)} structures and "{options.data}"'
            f" has {len(case_set.labels)}; give cases like those that it was trained on."
        )
    seen = SeenCases.of_bundle(read_metadata(model.entry.folder))
    val = val_cases(options.model, case_set, seen, _show_progress)
    preparation = Preparation.from_settings(model.settings)
    cases = prepare_set(val, case_set, preparation, progress=_show_progress)
    window = window_shape(model.settings)
    fitted = fit(model.network, cases, model.device, window, _show_progress)
    return fitted | {"data": Path(options.data).name, "weights_sha256": model.entry.sha256}


def val_cases(
    model: str, case_set: CaseSet, seen: SeenCases, progress: Report | None = None
) -> tuple[Case, ...]:
    """The cases that a finished model was chosen by and not trained on.

    They are known by their images, label maps and persons; the splits of the data, which may have
    been drawn with another seed since, are not asked. model: its name, for messages. seen: what its
    bundle lists. Raises `UserError` where the list is missing or incomplete, and where no case is
    left.
    """
    if not seen.known:
        raise UserError(
            f'The bundle of "{model}" does not list all cases that it was trained on, so they'
            " cannot be told from those to calibrate by; `medllmseg bundle BUNDLE --seen DATA`"
            " adds the list, unless the model was started from another."
        )
    report, trained, found = Progress.of(progress), seen.train | seen.before, []
    for n, case in enumerate(case_set.cases):
        report(f"looking for val cases: {case.id}", n / len(case_set.cases))
        marks = measured_marks(case, load_volume(case.image) if not case.channels else None)
        if marks.meets(seen.val) and not marks.meets(trained):
            found.append(case)
    if not found:
        raise UserError(
            f'None of the {len(case_set.cases)} cases of "{case_set.source}" is one that "{model}"'
            " was chosen by and not trained on; give the data of its training."
        )
    return tuple(found)


def _show_progress(line: str, fraction: float) -> None:
    print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
