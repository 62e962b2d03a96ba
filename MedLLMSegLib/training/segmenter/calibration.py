"""What is decided on the val cases when a training is finished: the temperature, and which
connected parts are kept.

    python -m MedLLMSegLib.training.segmenter.calibration --model cardiac-cine-mr --data runs/acdc
    --output runs/calibration.json

decides it anew for a model that is there already; `medllmseg bundle` takes the file with
`--calibration`. The val cases also chose the weights; test cases are not read.
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
from MedLLMSegLib.core.progress import Report
from MedLLMSegLib.core.safe_files import check_writable, write_text
from MedLLMSegLib.data import read_cases, split_cases
from MedLLMSegLib.llm.frozen_weights import trained_tensors
from MedLLMSegLib.metrics.overlap import dice
from MedLLMSegLib.registry.bundle import as_stored
from MedLLMSegLib.registry.segmenter_settings import LARGEST_PART_RULES, window_shape
from MedLLMSegLib.segmentation.inference import predict
from MedLLMSegLib.segmentation.loaded_segmenter import load_model
from MedLLMSegLib.segmentation.prepare import Preparation
from MedLLMSegLib.segmentation.restore import keep_largest
from MedLLMSegLib.segmentation.uncertainty import fit_temperature
from MedLLMSegLib.training.checkpoint import fill_best

from .prepared_cases import prepare_set

CALIBRATION = "calibration.json"
WAYS = (None, *LARGEST_PART_RULES)  # None: all parts are kept


def calibrate(
    run: Path,
    network: nn.Module,
    cases: list[dict],
    device: torch.device,
    window,
    progress: Report | None = None,
) -> dict:
    """Fit the temperature of a run's best weights, see whether stray parts are errors, and keep it
    as ``run``/calibration.json.

    network: takes the best weights, rounded as the bundle stores them, and keeps them. cases: prepared val cases (`data.prepare_set`),
    on the network's own grid. progress: called with (a line of text, 0.99) before each case; it may
    raise `Cancelled`, and the next call begins anew. Returns what `fit` does and "from_step"; what
    is there already for the same weights is not fitted again.
    """
    path, step = run / CALIBRATION, fill_best(network, run)["step"]
    if (
        path.exists()
        and (known := json.loads(path.read_text(encoding="utf-8"))).get("from_step") == step
        and "largest_part" in known
    ):
        return known
    network.load_state_dict(as_stored(trained_tensors(network)), strict=False)
    found = fit(network.to(device).eval(), cases, device, window, progress) | {"from_step": step}
    write_text(path, json.dumps(found, indent=1) + "\n")
    return found


def fit(
    network: nn.Module,
    cases: list[dict],
    device: torch.device,
    window,
    progress: Report | None = None,
) -> dict:
    """{"temperature", "largest_part", "cases"} of a network in eval mode that lies on ``device``;
    otherwise as `calibrate`.

    "largest_part": see `largest_part`. Where no structure is labelled or found, nothing can be
    fitted: the temperature is 1.
    """
    scores = []

    def pairs():
        for n, case in enumerate(cases, 1):
            if progress:
                progress(f"calibrating on val case {n} of {len(cases)}", 0.99)
            logits, label = (
                predict(network, np.asarray(case["image"][0]), device, tuple(window)),
                np.asarray(case["label"][0]),
            )
            winner = logits.argmax(axis=0).astype(np.uint8)
            cleaned = {
                None: winner,
                **{how: keep_largest(winner, how) for how in LARGEST_PART_RULES},
            }
            scores.append(
                [[dice(cleaned[how], label, c) for c in range(1, len(logits))] for how in WAYS]
            )
            yield logits, label

    try:
        temperature = round(fit_temperature(pairs()), 4)
    except UserError:
        temperature = 1.0
    return {
        "temperature": temperature,
        "largest_part": largest_part(np.array(scores)),
        "cases": len(cases),
    }


def largest_part(scores: np.ndarray) -> dict:
    """Which connected parts to keep, as nnU-Net decides it (Isensee et al. 2021): first for all
    structures together, then for each.

    scores: Dice (cases, 4, structures) of the `WAYS`, NaN where a structure is neither labelled nor
    found. A step is taken if the mean gets better and no structure's gets worse. Returns {"kept": a
    key of `LARGEST_PART_RULES` or False, "dice_all", "dice_largest"}, the last for what is kept, or for the
    best that was not.
    """
    with np.errstate(invalid="ignore"):
        there = np.isfinite(scores)
        means = np.where(there, scores, 0).sum(axis=0) / there.sum(axis=0)  # (4, structures)
    known = dict(zip(WAYS, means[:, np.isfinite(means).all(axis=0)]))
    if not known[None].size:
        return {"kept": False, "dice_all": None, "dice_largest": None}
    better = lambda new, old: (
        known[new].mean() > known[old].mean() and (known[new] >= known[old]).all()
    )
    kept = "together" if better("together", None) else None
    each = "both" if kept else "each"
    if better(each, kept):
        kept = each
    shown = known[kept].mean() if kept else max(known[how].mean() for how in LARGEST_PART_RULES)
    return {
        "kept": kept or False,
        "dice_all": round(float(known[None].mean()), 5),
        "dice_largest": round(float(shown), 5),
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, help="an id or a bundle's folder")
    parser.add_argument(
        "--data", required=True, help="labelled cases, of which those of the split val are taken"
    )
    parser.add_argument("--output", required=True, type=Path, help="the JSON file to write")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args(arguments)
    try:
        check_writable(options.output)
        found = _of_model(options)
        write_text(options.output, json.dumps(found, indent=1) + "\n")
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps(found))
    return 0


def _of_model(options) -> dict:
    model, case_set = load_model(options.model, options.device), read_cases(options.data)
    val = split_cases(case_set, 0)["val"]
    tell = lambda text, fraction: print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
    if len(case_set.labels) != len(model.entry.structures):
        raise UserError(
            f'"{options.model}" has {len(model.entry.structures)} structures and "{options.data}"'
            f" has {len(case_set.labels)}; give cases like those that it was trained on."
        )
    cases = prepare_set(val, case_set, Preparation.from_settings(model.settings), None, tell)
    found = fit(model.network, cases, model.device, window_shape(model.settings), tell)
    return found | {"data": Path(options.data).name, "weights_sha256": model.entry.sha256}


if __name__ == "__main__":
    sys.exit(main())
