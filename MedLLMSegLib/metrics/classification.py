"""How well classes are told apart: figures with intervals over patients, calibration, thresholds,
comparisons.

Unit and intervals: an image is a case; cases of one patient are drawn together in every bootstrap,
as they are not independent. Probabilities are (n, classes). Of two classes the second is the one
that is looked for (positive); with more, sensitivity and specificity are means over the classes,
each against the rest, and so is the AUC.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.metrics import confusion_matrix, roc_auc_score, roc_curve

from .overlap import calibration_error, expanded_percentiles

FIGURES = ("auc", "sensitivity", "specificity", "accuracy")
Answer = tuple[
    np.ndarray, float | None
]  # probabilities (n, classes) and the threshold on the second of two; None: the likeliest
REPEATS = 2000
BINS = 10  # of the calibration; test sets are small


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % interval over patients; NaN where it cannot be had (one class only,
    or no draw differs).
    """

    value: float
    low: float = float("nan")
    high: float = float("nan")

    def __str__(self) -> str:
        if np.isnan(self.value):
            return "-"
        return f"{self.value:.3f}" + (
            "" if np.isnan(self.low) else f" ({self.low:.3f} to {self.high:.3f})"
        )

    def to_dict(self) -> dict:
        """JSON has no NaN: None stands for it."""
        return {
            key: None if np.isnan(value) else round(float(value), 5)
            for key, value in asdict(self).items()
        }

    @classmethod
    def from_dict(cls, data: dict) -> Estimate:
        return cls(
            *(float("nan") if data[key] is None else data[key] for key in ("value", "low", "high"))
        )


def decide(probabilities: np.ndarray, threshold: float | None = None) -> np.ndarray:
    """(n, classes) -> (n,) class; of two classes the second from the threshold on, else the
    likeliest.
    """
    if probabilities.shape[1] == 2 and threshold is not None:
        return (probabilities[:, 1] >= threshold).astype(int)
    return probabilities.argmax(1)


def youden_threshold(truth: np.ndarray, score: np.ndarray) -> float:
    """The threshold on a score (n,) with the largest sensitivity + specificity - 1, halfway to the
    next lower score.

    To be chosen on val, never on test. truth: (n,) 0 or 1. 0.5 where only one class is there.
    Source: Youden 1950.
    """
    truth, score = np.asarray(truth), np.asarray(score, float)
    if len(np.unique(truth)) < 2:
        return 0.5
    false, true, thresholds = roc_curve(truth, score, drop_intermediate=False)
    chosen = thresholds[int(np.argmax(true - false))]
    below = score[score < chosen]
    return float(
        (chosen + below.max()) / 2 if len(below) and np.isfinite(chosen) else min(chosen, 1.0)
    )


def fit_temperature(logits: np.ndarray, truth: np.ndarray) -> float:
    """What logits (n, classes) are divided by to be most honest about ``truth``: least negative
    log-likelihood on val.

    Source: Guo et al., On Calibration of Modern Neural Networks, 2017.
    """
    rows = np.arange(len(truth))
    loss = lambda log_t: -log_softmax(logits / np.exp(log_t), axis=1)[rows, truth].mean()
    return float(
        np.exp(minimize_scalar(loss, bounds=(np.log(0.05), np.log(20.0)), method="bounded").x)
    )


def calibrated(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities (n, classes)."""
    return softmax(np.asarray(logits, float) / temperature, axis=1)


def expected_calibration_error(
    truth: np.ndarray, probabilities: np.ndarray, bins: int = BINS
) -> float:
    """Expected calibration error of the likeliest class, 0 to 1, over equal-width bins (Guo et
    al. 2017).
    """
    return calibration_error(reliability(truth, probabilities, bins))


def reliability(truth: np.ndarray, probabilities: np.ndarray, bins: int = BINS) -> np.ndarray:
    """(bins, 3): how many images were said with such a confidence, the sum of it, and how many
    of them were right.
    """
    confidence, right = probabilities.max(1), (probabilities.argmax(1) == truth).astype(float)
    which = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    return np.stack(
        [np.bincount(which, weights, bins) for weights in (None, confidence, right)], 1
    ).astype(float)


def area_under_roc(truth: np.ndarray, probabilities: np.ndarray) -> float:
    """AUC (ties count half); with more than two classes the mean of each against the rest, of
    those that can be measured.
    """
    found = [
        roc_auc_score(truth == c, probabilities[:, c])
        for c in _positives(probabilities.shape[1])
        if 0 < (truth == c).sum() < len(truth)
    ]
    return float(np.mean(found)) if found else float("nan")


def figures(
    truth: np.ndarray,
    answers: Sequence[Answer],
    groups: Sequence[Hashable],
    repeats: int = REPEATS,
    seed: int = 0,
) -> dict[str, Estimate]:
    """All of `FIGURES` with intervals (`metrics.expanded_percentiles`) over draws of whole groups
    (patients).

    truth: (n,) classes. answers: of one network, or of each seed's: figures are averaged over them,
    in every draw too, so that the interval speaks of other patients.
    """
    truth = np.asarray(truth)
    points = [
        {
            "auc": area_under_roc(truth, p),
            **_rates(confusion_matrix(truth, decide(p, t), labels=range(p.shape[1]))),
        }
        for p, t in answers
    ]
    mean = {name: float(np.mean([each[name] for each in points])) for name in FIGURES}
    weights = draws(groups, repeats, seed)
    if weights is None:
        return {name: Estimate(mean[name]) for name in FIGURES}
    drawn = [
        {
            "auc": drawn_auc(truth, p, weights),
            **_drawn_rates(truth, decide(p, t), weights, p.shape[1]),
        }
        for p, t in answers
    ]
    across = {name: np.mean([each[name] for each in drawn], axis=0) for name in FIGURES}
    return {name: Estimate(mean[name], *_interval(across[name], groups)) for name in FIGURES}


def draws(groups: Sequence[Hashable], repeats: int = REPEATS, seed: int = 0) -> np.ndarray | None:
    """(repeats, n): how often each case is drawn when whole groups are drawn with replacement;
    None for fewer than two.
    """
    ids = np.unique([str(g) for g in groups], return_inverse=True)[1]
    count = int(ids.max()) + 1 if len(ids) else 0
    if count < 2:
        return None
    drawn = np.random.default_rng(seed).integers(0, count, (repeats, count))
    often = np.stack([np.bincount(row, minlength=count) for row in drawn])  # (repeats, groups)
    return often[:, ids].astype(np.float32)


def drawn_auc(truth: np.ndarray, probabilities: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(repeats,) the AUC of each draw; NaN where a draw holds one class only."""
    each = []
    for c in _positives(probabilities.shape[1]):
        positive, score = truth == c, probabilities[:, c]
        before = score[positive][:, None] - score[~positive][None]  # (positives, negatives)
        won = (before > 0).astype(np.float32) + 0.5 * (before == 0)
        p, n = weights[:, positive], weights[:, ~positive]
        pairs = p.sum(1) * n.sum(1)
        each.append(
            np.divide(
                ((p @ won) * n).sum(1), pairs, out=np.full(len(pairs), np.nan), where=pairs > 0
            )
        )
    return _mean_there(np.stack(each))


def _positives(classes: int) -> range:
    return range(1, 2) if classes == 2 else range(classes)


def _rates(table: np.ndarray) -> dict[str, float]:
    """Sensitivity, specificity and accuracy of a confusion matrix [truth, answer], of any number
    of draws in front.
    """
    table = np.asarray(table, float)
    total, hit = table.sum((-2, -1)), np.einsum("...cc->...c", table)
    true, said = table.sum(-1), table.sum(-2)
    classes = _positives(table.shape[-1])
    divide = lambda a, b: np.divide(a, b, out=np.full(np.shape(a), np.nan), where=np.asarray(b) > 0)
    sensitivity = np.stack([divide(hit[..., c], true[..., c]) for c in classes])
    other = np.stack(
        [
            divide(total - true[..., c] - said[..., c] + hit[..., c], total - true[..., c])
            for c in classes
        ]
    )
    return {
        "sensitivity": _mean_there(sensitivity),
        "specificity": _mean_there(other),
        "accuracy": divide(hit.sum(-1), total),
    }


def _drawn_rates(
    truth: np.ndarray, answer: np.ndarray, weights: np.ndarray, classes: int
) -> dict[str, np.ndarray]:
    tables = np.zeros((len(weights), classes, classes))
    for t in range(classes):
        for a in range(classes):
            tables[:, t, a] = weights[:, (truth == t) & (answer == a)].sum(1)
    return _rates(tables)


def _mean_there(values: np.ndarray):
    """Mean over the first axis of what is not NaN, NaN where all is."""
    count = np.isfinite(values).sum(0)
    return np.divide(
        np.nansum(values, 0), count, out=np.full(np.shape(count), np.nan), where=count > 0
    )[()]


def _interval(values: np.ndarray, groups: Sequence[Hashable]) -> tuple[float, float]:
    """Of the draws' values; NaN where all are alike, as a few cases that are all right leave no
    spread to draw from.
    """
    there = values[np.isfinite(values)]
    known = len(there) > 0 and np.ptp(there) > 1e-9
    return (
        expanded_percentiles(there, len({str(g) for g in groups})) if known else (float("nan"),) * 2
    )


@dataclass(frozen=True)
class Difference:
    """AUC of a first arm minus a second's on the same images. p: two-sided, from the draws.
    seeds: each seed's difference.
    """

    value: float
    low: float
    high: float
    p: float
    seeds: tuple[float, ...]


def auc_difference(
    truth: np.ndarray,
    first: Sequence[np.ndarray],
    second: Sequence[np.ndarray],
    groups: Sequence[Hashable],
    repeats: int = REPEATS,
    seed: int = 0,
) -> Difference:
    """Paired bootstrap over patients: each draw measures both arms on the same patients, every
    seed's AUC averaged.

    first, second: of each seed, probabilities (n, classes); as many seeds in both. p is twice the
    smaller share of draws on one side of zero (each with one draw added, so that p is never 0): it
    speaks of other patients, not of other seeds.
    """
    if len(first) != len(second) or not first:
        raise ValueError(f"{len(first)} and {len(second)} seeds cannot be paired")
    truth = np.asarray(truth)
    seeds = tuple(
        area_under_roc(truth, a) - area_under_roc(truth, b) for a, b in zip(first, second)
    )
    weights = draws(groups, repeats, seed)
    if weights is None:
        return Difference(float(np.mean(seeds)), *(float("nan"),) * 3, seeds)
    apart = np.mean(
        [
            drawn_auc(truth, a, weights) - drawn_auc(truth, b, weights)
            for a, b in zip(first, second)
        ],
        axis=0,
    )
    apart = apart[np.isfinite(apart)]
    tail = min(int((apart <= 0).sum()), int((apart >= 0).sum()))
    return Difference(
        float(np.mean(seeds)),
        *_interval(apart, groups),
        min(1.0, 2 * (tail + 1) / (len(apart) + 1)),
        seeds,
    )


def sensitivity_at(
    truth: np.ndarray, score: np.ndarray, false_positive_rates: Sequence[float]
) -> list[float]:
    """The largest sensitivity of any threshold with at most such a share of the negatives called
    positive.
    """
    false, true, _ = roc_curve(truth, score, drop_intermediate=False)
    return [float(true[false <= rate].max()) for rate in false_positive_rates]
