"""`medllmseg adapt`: a classifier made to fit another domain, as a model of its own, or nothing
where the old domain would lose by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.progress import Progress, Report
from MedLLMSegLib.core.types import Json, PathLike
from MedLLMSegLib.data.case_digest import person_digest, picture_digest
from MedLLMSegLib.diagnosis.classifier_bundle import rounded_as_stored, write_classifier
from MedLLMSegLib.diagnosis.classifier_description import ClassifierDescription, TypicalImage
from MedLLMSegLib.diagnosis.input_description import InputConfig
from MedLLMSegLib.diagnosis.loaded_classifier import ClassifierModel, load_classifier
from MedLLMSegLib.io.radiograph import load_radiograph
from MedLLMSegLib.metrics.calibration import calibrated_probabilities
from MedLLMSegLib.metrics.classification import area_under_roc, youden_threshold
from MedLLMSegLib.networks.classification.classifier import Classifier
from MedLLMSegLib.registry.bundle import check_bundle_folder
from MedLLMSegLib.registry.catalogue import METADATA, plain_id, read_metadata
from MedLLMSegLib.registry.seen_cases import Marks, SeenCases
from MedLLMSegLib.training.classifier.adaptation import (
    Adapted,
    Guard,
    HeadConfig,
    NormsConfig,
    adapt_head,
    adapt_norms,
    norm_weights,
)

from .domain_tokens import TokenSet, token_set

FEWEST_LABELS = 2


@dataclass(frozen=True)
class AdaptOptions:
    """split: of the new domain's images; None for all. labels: how many of them are used; None for
    an adaptation without labels. draw: which draw of these labels. overwrite: a bundle that lies
    where the new one goes is replaced.
    """

    split: str | None = None
    labels: int | None = None
    draw: int = 0
    norms: NormsConfig = field(default_factory=NormsConfig)
    head: HeadConfig = field(default_factory=HeadConfig)
    most_lost: float = 0.01
    overwrite: bool = False


@dataclass(frozen=True)
class AdaptResult:
    """folder: the new bundle, None where all was undone. undone: why, or "". before, after: AUC on
    the old domain's validation images. used: images that were learnt from.
    """

    folder: Path | None
    undone: str
    before: float
    after: float
    used: int


def adapt_classifier(
    model: str | Path,
    data: PathLike,
    old: PathLike,
    output: PathLike,
    options: AdaptOptions = AdaptOptions(),
    device: str = "auto",
    progress: Report | None = None,
) -> AdaptResult:
    """Adapt a classifier to the images in `data`, and write it as a new bundle.

    old: the data that the model comes from, of whose validation images it may lose
    `options.most_lost` of AUC; beyond that, or where its entropy collapses, nothing is written.
    Raises `UserError`; progress may raise `Cancelled`.
    """
    loaded, report = load_classifier(model, device), Progress.of(progress)
    _check_output(Path(output), loaded.entry.folder, options.overwrite)
    loaded.network.cpu()
    loaded = replace(loaded, device=torch.device("cpu"))
    new = token_set(
        loaded,
        data,
        options.split,
        labelled=options.labels is not None,
        progress=report.part(0.0, 0.4),
    )
    learnt_from(loaded.network, new, options)  # refused before the old domain is encoded
    val = token_set(loaded, old, "val", progress=report.part(0.4, 0.8))
    report("adapting", 0.8)
    adapted, chosen = adapted_to(loaded.network, new, val, options)
    if adapted.undone:
        return AdaptResult(None, adapted.undone, adapted.before, adapted.after, adapted.used)
    report("writing the model", 0.95)
    about = _description(loaded, new, chosen, Path(data).name, options, adapted)
    rounded_as_stored(adapted.network)
    if options.labels is not None:
        threshold = _threshold(adapted.network, new, chosen, loaded.temperature)
        about = replace(about, threshold=threshold)
    folder = write_classifier(output, adapted.network, loaded.preparation, about)
    report("done", 1.0)
    return AdaptResult(folder, "", adapted.before, adapted.after, adapted.used)


def _check_output(output: Path, source: Path, overwrite: bool) -> None:
    """Refuse the model that is adapted, and another bundle without `overwrite`."""
    if output.exists() and output.samefile(source):
        raise UserError(
            f'"{output}" is the model that is to be adapted, and it is kept; choose another folder.'
        )
    check_bundle_folder(output)
    if (output / METADATA).is_file() and not overwrite:
        raise UserError(
            f'"{output}" holds a model already; choose another folder, or add --overwrite.'
        )


def adapted_to(
    network: Classifier, new: TokenSet, val: TokenSet, options: AdaptOptions
) -> tuple[Adapted, NDArray[np.intp]]:
    """(the adapted network, the numbers of the images that it was made from).

    Raises `UserError`; see `learnt_from`.
    """
    guard = Guard(lambda each: auc_of(each, val), options.most_lost)
    chosen = learnt_from(network, new, options)
    if options.labels is None:
        return adapt_norms(network, new.tokens, guard, options.norms), chosen
    tokens, target = new.tokens[chosen], new.truth[chosen]
    return adapt_head(network, tokens, target, guard, options.head), chosen


def learnt_from(network: Classifier, new: TokenSet, options: AdaptOptions) -> NDArray[np.intp]:
    """The numbers of the images that an adaptation is made from.

    Raises `UserError` where the labels do not suffice or lack a class, and, without labels, for a
    network without norm layers to move.
    """
    if options.labels is None:
        if next(norm_weights(network), None) is None:
            raise UserError(
                "This model has no norm layer behind its encoder, and without labels nothing else"
                " is adapted; use labels (--labels N)."
            )
        return np.arange(len(new))
    classes = network.config.classes
    missing = [name for number, name in enumerate(classes) if not bool((new.truth == number).any())]
    if missing:
        raise UserError(
            f'None of the {len(new)} images of the new domain is of the class "{missing[0]}", and'
            " each class of the model is needed; add images of it."
        )
    return drawn_labels(new.truth, options.labels, options.draw)


def drawn_labels(target: Tensor, count: int, draw: int) -> NDArray[np.intp]:
    """The numbers of `count` images, of each class as many as of any other, to one.

    Raises `UserError` where the images do not suffice.
    """
    truth = target.numpy()
    classes = sorted(set(truth.tolist()))
    if count < max(FEWEST_LABELS, len(classes)) or count > len(truth):
        raise UserError(
            f"{count} labels were asked for, and from {max(FEWEST_LABELS, len(classes))} to"
            f" {len(truth)} can be used; choose another number."
        )
    rng = np.random.default_rng((draw, count))
    orders = [rng.permutation(np.flatnonzero(truth == each)) for each in rng.permutation(classes)]
    longest = max(map(len, orders))
    in_turn = [order[n] for n in range(longest) for order in orders if n < len(order)]
    return np.sort(np.array(in_turn[:count], dtype=np.intp))


@torch.no_grad()
def probabilities_of(
    network: Classifier, images: TokenSet, temperature: float = 1.0
) -> NDArray[np.float64]:
    """(N, classes), calibrated."""
    logits = network.classify(images.tokens, {}).float().numpy()
    found: NDArray[np.float64] = calibrated_probabilities(logits, temperature)
    return found


def auc_of(network: Classifier, images: TokenSet) -> float:
    """AUC of a network on labelled images."""
    return float(area_under_roc(images.truth.numpy(), probabilities_of(network, images)))


def _threshold(
    network: Classifier, new: TokenSet, chosen: Sequence[int] | NDArray[np.intp], temperature: float
) -> float | None:
    probabilities = probabilities_of(network, new, temperature)[chosen]
    if probabilities.shape[1] != 2:
        return None
    return float(youden_threshold(new.truth.numpy()[chosen], probabilities[:, 1]))


def _description(
    loaded: ClassifierModel,
    new: TokenSet,
    chosen: NDArray[np.intp],
    data: str,
    options: AdaptOptions,
    adapted: Adapted,
) -> ClassifierDescription:
    """That of the old model, with what the new one saw besides."""
    old = read_metadata(loaded.entry.folder)
    names = {each.name for each in fields(ClassifierDescription)} - {"input", "typical"}
    kept = {name: old[name] for name in names if name in old}
    how = "without labels" if options.labels is None else f"with {options.labels} labels"
    typical = old.get("typical")
    described = ClassifierDescription(
        **{**kept, "references": tuple(old.get("references") or ())},
        input=InputConfig.from_dict(old["input"]),
        typical=TypicalImage.from_dict(typical) if typical else None,
    )
    return replace(
        described,
        id=plain_id(f"{old['id']} adapted to {data}"),
        title=f"{old['title']}, adapted to {data} {how}",
        temperature=loaded.temperature,
        chosen={
            "trained_on": adapted.used,
            "val_auc": round(adapted.after, 5),
            **_not_fitted(old["id"], options.labels),
        },
        training=_settings(options),
        seen=_seen(old, [new.images[n].path for n in chosen], [new.groups[n] for n in chosen]),
        data_note=f"{old.get('data_note') or ''} Adapted to {data} {how}.".strip(),
    )


def _not_fitted(old: str, labels: int | None) -> Json:
    """For the card: what the temperature and the threshold of an adapted model rest on."""
    before = f"that of {old} before it was adapted"
    on_its_own = f"chosen on the {labels} images it was adapted to, so it may suit others less"
    return {
        "temperature_not_fitted": f"The temperature is {before}.",
        "threshold_chosen": before if labels is None else on_its_own,
    }


def _settings(options: AdaptOptions) -> Json:
    if options.labels is None:
        return {"adapted": "norm layers, without labels", **vars(options.norms)}
    return {
        "adapted": "last layer",
        "labels": options.labels,
        "draw": options.draw,
        **vars(options.head),
    }


def _seen(old: Json, paths: Sequence[Path], groups: Sequence[str]) -> Json:
    """What the old model has seen, and the images that it was adapted to."""
    before = SeenCases.of_bundle(old)
    scans = frozenset(picture_digest(load_radiograph(path).array) for path in paths)
    persons = frozenset(person_digest(group) for group in groups)
    seen = SeenCases(
        train=Marks(scans, persons), val=before.val, before=before.all, known=before.known
    )
    return seen.to_dict()
