"""Plain baselines: logistic regression on a table of features, its penalty chosen on val."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from MedLLMSegLib.core.types import Array
from MedLLMSegLib.metrics.classification import area_under_roc

PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)  # scikit-learn's C, the inverse of the penalty


def best_logistic(
    train: Array, truth: Array, val: Array, val_truth: Array, test: Array
) -> tuple[Array, Array]:
    """Logits (n, classes) of val and of test, by the regression with the best val AUC.

    Of equals, the one with the strongest penalty is taken. train, val, test: features (n, f), NaN
    taken as the training mean. truth: (n,) classes 0, 1, ... without a gap.
    """
    mean = np.nanmean(train, axis=0)
    train, val, test = (np.where(np.isfinite(x), x, mean) for x in (train, val, test))
    models = [_fitted(train, truth, penalty) for penalty in PENALTIES]
    best = max(models, key=lambda model: area_under_roc(val_truth, model.predict_proba(val)))
    return _logits(best, val), _logits(best, test)


def _fitted(features: Array, truth: Array, penalty: float) -> Pipeline:
    model = make_pipeline(StandardScaler(), LogisticRegression(C=penalty, max_iter=1000))
    with warnings.catch_warnings():
        # A weak penalty need not converge: val decides.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(features, truth)


def _logits(model: Pipeline, features: Array) -> Array:
    """Logarithms of the probabilities, which softmax turns back."""
    return np.log(np.clip(model.predict_proba(features), 1e-12, 1.0))
