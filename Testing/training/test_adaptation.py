"""A classifier adapted to another domain: what changes, what stays, and what is undone."""

from dataclasses import replace

import pytest
import torch

from MedLLMSegLib.metrics.classification import area_under_roc
from MedLLMSegLib.training.classifier.adaptation import (
    Guard,
    NormsConfig,
    adapt_head,
    adapt_norms,
    norm_weights,
)
from Testing.helpers.tiny_classifier import tiny_network

ANY_LOSS = Guard(lambda network: 1.0)


def tokens(count=60, seed=0, sign=1.0):
    """(N, 4, 128) of two classes that one direction tells apart, and the classes."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.arange(count) % 2
    found = torch.randn(count, 4, 128, generator=generator)
    found[:, :, :8] += sign * (2.0 * target - 1)[:, None, None]
    return found, target


def auc(network, found, target):
    with torch.no_grad():
        return area_under_roc(target.numpy(), network.classify(found, {}).softmax(1).numpy())


def entropy(network, found):
    with torch.no_grad():
        logits = network.classify(found, {})
    return float(-(logits.softmax(1) * logits.log_softmax(1)).sum(1).mean())


def state(network):
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def changed(network, before):
    return {name for name, tensor in network.state_dict().items() if not tensor.equal(before[name])}


def test_labels_turn_the_last_layer_to_the_new_domain_and_nothing_else():
    network, (found, target) = tiny_network(), tokens(sign=-1.0)
    before = state(network)
    adapted = adapt_head(network, found, target, ANY_LOSS)
    assert not adapted.undone
    assert changed(network, before) == set()
    assert changed(adapted.network, before) == {"head.weight", "head.bias"}
    other, truth = tokens(seed=1, sign=-1.0)
    assert auc(network, other, truth) < 0.2
    assert auc(adapted.network, other, truth) > 0.9


def test_where_the_old_domain_loses_more_than_allowed_all_is_undone():
    network, (found, target) = tiny_network(), tokens(sign=-1.0)
    network = adapt_head(network, *tokens(seed=3), ANY_LOSS).network  # good in its old domain
    old, truth = tokens(seed=2)
    guard = Guard(lambda each: auc(each, old, truth), 0.01)
    before = state(network)
    adapted = adapt_head(network, found, target, guard)
    assert adapted.before > 0.9 > adapted.after + 0.05
    assert "fell from" in adapted.undone
    assert "0.01 is allowed" in adapted.undone
    assert changed(adapted.network, before) == set()
    assert not adapt_head(network, found, target, replace(guard, most=1.0)).undone


def test_a_class_without_labels_is_an_error():
    with pytest.raises(ValueError, match="class without"):
        adapt_head(tiny_network(), tokens()[0], torch.zeros(60, dtype=torch.int64), ANY_LOSS)


def test_without_labels_norm_layers_make_the_answers_surer_and_nothing_else_moves():
    network = adapt_head(tiny_network(), *tokens(seed=3), ANY_LOSS).network
    found, _target = tokens()
    before = state(network)
    adapted = adapt_norms(network, found, ANY_LOSS, NormsConfig(epochs=5, rate=1e-2))
    assert not adapted.undone
    assert entropy(adapted.network, found) < entropy(network, found)
    moved = changed(adapted.network, before)
    assert moved
    assert all("norm" in name or name.startswith("mlp.0.") for name in moved)
    assert changed(network, before) == set()


def test_an_image_that_the_network_is_unsure_of_does_not_count():
    network, (found, _target) = tiny_network(), tokens()
    with torch.no_grad():
        network.head.weight.zero_()
        network.head.bias.zero_()  # every answer is a coin's
    adapted = adapt_norms(network, found, ANY_LOSS)
    assert adapted.used == 0
    assert adapted.undone == "no image was sure enough to learn from"


def test_entropy_that_collapses_is_undone():
    network = adapt_head(tiny_network(), *tokens(seed=3), ANY_LOSS).network
    before = state(network)
    hasty = NormsConfig(epochs=60, rate=0.5, collapse=0.5)
    adapted = adapt_norms(network, tokens()[0], ANY_LOSS, hasty)
    assert "sure of everything" in adapted.undone or "one answer" in adapted.undone
    assert changed(adapted.network, before) == set()


def test_the_encoders_own_norms_and_frozen_layers_are_left_alone():
    network = tiny_network(kind="mlp")
    inside = {id(parameter) for parameter in network.encoder.parameters()}
    weights = list(norm_weights(network))
    assert len(weights) == 2 * 5  # a norm for each of four depths, and the MLP's
    assert not inside & {id(weight) for weight in weights}
