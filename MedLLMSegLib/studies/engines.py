"""The models that ship in other engines: labels, Dice, size and time beside torch's.

    python -m MedLLMSegLib.studies.engines --data ../shared/data --output runs/engines

Each test case of a model goes through the same chain with the networks in torch, OpenVINO and ONNX
Runtime. Agreement is the share of equal labels among the voxels that either calls foreground,
beside torch in fp32. Time is processor time: of the whole chain in a warm process, and of the
networks in it. 8 bits are calibrated on the train split, and measured where there is one. It can be
stopped, and goes on where it was: a row is bound to the measured model.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from MedLLMSegLib.core.errors import Cancelled, UserError
from MedLLMSegLib.core.progress import Progress, ProgressLog, Report
from MedLLMSegLib.core.safe_files import write_text
from MedLLMSegLib.core.segmentation import Segmentation
from MedLLMSegLib.core.types import Array, Json, Triple
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.data import Case
from MedLLMSegLib.data.acdc import convert_acdc
from MedLLMSegLib.edge.exported_folder import ExportedModel, read_exported
from MedLLMSegLib.edge.write_export import LOCALIZER, export_model, folder_mb
from MedLLMSegLib.engines.engine_names import ONNX, OPENVINO, TORCH
from MedLLMSegLib.engines.engine_network import EngineNetwork
from MedLLMSegLib.engines.network_graphs import open_graphs
from MedLLMSegLib.evaluation.case_results import measure_segmentation
from MedLLMSegLib.evaluation.labelled_cases import (
    LabelledCases,
    labelled_cases,
    with_model_values,
)
from MedLLMSegLib.io.volume_files import load_volume
from MedLLMSegLib.segmentation.loaded_segmenter import SegmenterModel, load_model
from MedLLMSegLib.segmentation.pipeline import segment
from MedLLMSegLib.segmentation.precision import float32_logits, logit_slabs
from MedLLMSegLib.segmentation.selection import only

from .engine_tables import BASE, tables
from .remeasure import MEASURES

TABLE, CONVERTED = "engines.md", "acdc"
MODELS = ("hippocampus-t1", "cardiac-cine-mr", "brain-mr")


@dataclass(frozen=True)
class Arm:
    """One way to run the networks. int8: graphs of 8 bits."""

    engine: str
    precision: str
    int8: bool = False

    @property
    def name(self) -> str:
        """As the table shows it, and the folder of its rows is called."""
        return f"{self.engine} {'int8' if self.int8 else self.precision}"


ARMS = (
    Arm(TORCH, "fp32"),
    Arm(TORCH, "bf16"),
    Arm(OPENVINO, "fp32"),
    Arm(OPENVINO, "bf16"),
    Arm(OPENVINO, "fp32", int8=True),
    Arm(ONNX, "fp32"),
    Arm(ONNX, "fp32", int8=True),
)


@dataclass(frozen=True, eq=False)
class Subject:
    """A model and its test cases. structures: those that are measured; () for all. repeats: how
    often each case is segmented; its times are the medians.
    """

    model: SegmenterModel
    cases: LabelledCases
    structures: tuple[str, ...]
    train: Path | None
    folder: Path
    repeats: int = 1


def run(
    names: Sequence[str],
    data: Path,
    output: Path,
    arms: Sequence[Arm] = ARMS,
    most: int | None = None,
    repeats: int = 1,
    progress: Report | None = None,
) -> list[Json]:
    """Measure what is not measured yet; returns the rows of all. most: cases of each model.
    repeats: of each case, for its times.
    """
    rows = []
    for name, part in zip(names, Progress.of(progress).parts(len(names)), strict=True):
        subject = replace(_subject(name, data, output), repeats=repeats)
        cases = subject.cases.cases[:most]
        for arm, of_arm in zip(arms, part.parts(len(arms)), strict=True):
            if arm.int8 and subject.train is None:
                continue
            rows += _rows(subject, cases, arm, of_arm)
    return rows


def _subject(name: str, data: Path, output: Path) -> Subject:
    measure = MEASURES[name]
    cases = data / measure.data
    if not cases.is_dir():
        raise UserError(f'The cases of "{name}" are looked for in "{cases}", which is no folder.')
    if any(cases.glob("*.h5")):
        cases = _converted(cases, output / CONVERTED)
    train = cases if _has_train_split(cases) else None
    model = load_model(name, "cpu", "fp32")
    labelled = labelled_cases(cases, None, None)
    return Subject(model, labelled, measure.structures, train, output / model.entry.id)


def _converted(cases: Path, folder: Path) -> Path:
    """ACDC's cases as files, made once; a conversion that was stopped is made anew.

    Its last file says which cases are of the test split: without it, all would be measured.
    """
    last = "splits.json" if (cases / "splits.json").is_file() else "dataset.json"
    return folder if (folder / last).is_file() else convert_acdc(cases, folder)


def _has_train_split(cases: Path) -> bool:
    splits = cases / "splits.json"
    return splits.is_file() and bool(json.loads(splits.read_text(encoding="utf-8")).get("train"))


def _rows(subject: Subject, cases: Sequence[Case], arm: Arm, progress: Progress) -> list[Json]:
    """The rows of an arm, in order of the cases."""
    rows, loaded = [], None
    for case, part in zip(cases, progress.parts(len(cases)), strict=True):
        path = subject.folder / arm.name.replace(" ", "-") / f"{case.id}.json"
        row = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        if not _is_measured(row, subject):
            if loaded is None:
                loaded = _in_arm(subject, arm, part)
            part(f"{subject.model.entry.id} {arm.name}: {case.id}", 0.0)
            row = _row(subject, case, arm, loaded)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, json.dumps(row))
        rows.append(row)
    return rows


def _is_measured(row: Json, subject: Subject) -> bool:
    """Whether a row is of this model, and was repeated as often as is wanted."""
    is_own = row.get("measured_model") == subject.model.sha256
    return is_own and row.get("repeats", 1) >= subject.repeats


def _in_arm(subject: Subject, arm: Arm, progress: Progress) -> tuple[SegmenterModel, float]:
    """(the model as the arm runs it, MB of its networks)."""
    model = subject.model
    if arm.engine == TORCH:
        networks = [model.network, *([model.localizer.network] if model.localizer else [])]
        mb = sum(p.numel() for n in networks for p in n.parameters()) * 4 / 1e6
        return model.with_precision(arm.precision), mb
    folder = subject.folder / f"graphs-{arm.engine}{'-int8' if arm.int8 else ''}"
    exported = read_exported(folder) if folder.is_dir() else None
    if exported is None or exported.measured_model != model.sha256:
        shutil.rmtree(folder, ignore_errors=True)
        train = subject.train if arm.int8 else None
        export_model(model.entry.id, arm.engine, folder, train, progress)
        exported = read_exported(folder)
    return _with_graphs(model, exported).with_precision(arm.precision), sum(
        folder_mb(folder).values()
    )


def _with_graphs(model: SegmenterModel, exported: ExportedModel) -> SegmenterModel:
    """A model with its networks as they are in an exported folder."""
    own = {n: g for n, g in exported.graphs.items() if not n.startswith(LOCALIZER)}
    model = replace(model, network=open_graphs(own, exported.folder))
    if model.localizer is None:
        return model
    finding = {
        name.removeprefix(f"{LOCALIZER}-"): graph
        for name, graph in exported.graphs.items()
        if name.startswith(LOCALIZER)
    }
    localizer = model.localizer.with_network(open_graphs(finding, exported.folder))
    return replace(model, localizer=localizer)


def _row(subject: Subject, case: Case, arm: Arm, loaded: tuple[SegmenterModel, float]) -> Json:
    """What one case says of an arm."""
    model, mb = loaded
    volume = load_volume(case.image)
    runs = [_run(volume, model) for _ in range(subject.repeats)]
    result = runs[0].result
    truth = subject.cases.truth(case, volume)
    truth = with_model_values(truth, case.id, subject.cases, result.structures)
    measured = only(result, subject.structures) if subject.structures else result
    truth = truth * np.isin(truth, [s.label for s in measured.structures])
    values = measure_segmentation(measured, truth, case, False).score.values
    dice = [value for column, value in values.items() if column.startswith("dice_")]
    return {
        "measured_model": subject.model.sha256,
        "model": subject.model.entry.id,
        "arm": arm.name,
        "case": case.id,
        "dice": float(np.nanmean(dice)),
        "agreement": _agreement(subject, case, arm, result),
        "seconds": statistics.median(run.seconds for run in runs),
        "network_s": statistics.median(run.network_s for run in runs),
        "repeats": subject.repeats,
        "mb": mb,
    }


@dataclass(frozen=True, eq=False)
class _Run:
    """A scan once through the chain. seconds, network_s: processor time, of all and of the
    networks.
    """

    result: Segmentation
    seconds: float
    network_s: float


def _run(volume: Volume, model: SegmenterModel) -> _Run:
    timed, networks = _timed(model)
    began = time.process_time()
    result = segment(volume, timed)
    seconds = time.process_time() - began
    return _Run(result, seconds, sum(network.seconds for network in networks))


class _Timed(EngineNetwork):
    """A network in any engine, whose processor time is added up."""

    def __init__(self, inner: nn.Module, multiple: Triple) -> None:
        nn.Module.__init__(self)
        self.inner = inner
        self.engine = inner.engine if isinstance(inner, EngineNetwork) else TORCH
        self.multiple = multiple
        self.seconds = 0.0

    def logits_in(self, image: Tensor, precision: str) -> Tensor:
        began = time.process_time()
        logits = float32_logits(self.inner, image, precision)
        self.seconds += time.process_time() - began
        return logits

    def slabs_in(self, image: Tensor, precision: str) -> Iterator[Tensor]:
        slabs = logit_slabs(self.inner, image, precision)
        while True:
            began = time.process_time()
            slab = next(slabs, None)
            self.seconds += time.process_time() - began
            if slab is None:
                return
            yield slab[None]


def _timed(model: SegmenterModel) -> tuple[SegmenterModel, list[_Timed]]:
    """A model whose networks are timed, and these."""
    network = _Timed(model.network, (1, 1, 1))
    if model.localizer is None:
        return replace(model, network=network), [network]
    step = model.localizer.config.multiple
    finding = _Timed(model.localizer.network, (step, step, step))
    localizer = model.localizer.with_network(finding)
    return replace(model, network=network, localizer=localizer), [network, finding]


def _agreement(subject: Subject, case: Case, arm: Arm, result: Segmentation) -> float:
    """Share of labels that are those of torch in fp32, of what either calls foreground."""
    path = subject.folder / "labels" / f"{case.id}.npz"
    labels: Array = result.labels.array
    if arm.name == BASE:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, labels=labels)
        return 1.0
    if not path.exists():
        raise UserError(f"{BASE} comes first: what the others agree with is not there yet.")
    base = np.load(path)["labels"]
    foreground = (base > 0) | (labels > 0)
    return float((base == labels)[foreground].mean()) if foreground.any() else 1.0


def main(arguments: Iterable[str] | None = None) -> int:
    """Measure, and write and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="the folder of all data")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--model", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument(
        "--arm", nargs="+", choices=[arm.name for arm in ARMS], help='such as "openvino bf16"'
    )
    parser.add_argument("--cases", type=int, metavar="N", help="the first N of each model alone")
    parser.add_argument(
        "--repeats", type=int, default=1, metavar="N", help="of each case; times are medians"
    )
    options = parser.parse_args(None if arguments is None else list(arguments))
    wanted = [BASE, *(options.arm or [arm.name for arm in ARMS])]
    arms = [arm for arm in ARMS if arm.name in wanted]
    try:
        rows = run(
            options.model,
            options.data,
            options.output,
            arms,
            options.cases,
            options.repeats,
            ProgressLog(),
        )
    except (UserError, Cancelled, KeyboardInterrupt) as error:
        print(f"engines: {error or 'stopped'}", file=sys.stderr)
        return 2
    text = tables(rows)
    write_text(options.output / TABLE, text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
