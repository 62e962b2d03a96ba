"""Sequences of different lengths in one batch: order counts, padding does not."""

import pytest
import torch

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.networks.classification.build_classifier import build_classifier
from MedLLMSegLib.registry.classifier_config import ClassifierConfig, EncoderConfig

LENGTHS = torch.tensor([5, 1, 3])


def build(frozen=False, bidirectional=True):
    torch.manual_seed(0)
    encoder = EncoderConfig("cnn", image_size=32, width=24, frozen=frozen)
    network = build_classifier(
        ClassifierConfig(
            "cnn-lstm",
            ("DCM", "HCM", "NOR"),
            encoder,
            hidden=16,
            dropout=0.0,
            bidirectional=bidirectional,
        )
    )
    with torch.no_grad():
        for p in network.parameters():  # as if trained, so that a difference shows
            p.add_(torch.randn_like(p) * 0.1)
    return network


@pytest.fixture
def batch():
    return {
        "image": torch.randn(3, 5, 1, 32, 32, generator=torch.Generator().manual_seed(1)),
        "lengths": LENGTHS,
    }


def padded_with(batch, value):
    image = batch["image"].clone()
    for n, length in enumerate(LENGTHS):
        image[n, length:] = value
    return {**batch, "image": image}


@pytest.mark.parametrize("value", (0.0, 1e4, float("nan")))
@pytest.mark.parametrize("mode", (True, False), ids=("training", "evaluation"))
def test_what_pads_a_sequence_does_not_change_the_output(value, mode, batch):
    first, second = (build().train(mode)(b) for b in (batch, padded_with(batch, value)))
    assert first.shape == (3, 3)
    assert torch.equal(first, second)


def test_batch_norm_remembers_nothing_of_the_padding(batch):
    networks = [build().train() for _ in range(2)]
    for network, b in zip(networks, (batch, padded_with(batch, 1e4)), strict=True):
        network(b)
    first, second = (n.state_dict() for n in networks)
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("bidirectional", (True, False))
def test_a_sequence_gives_the_same_alone_and_beside_longer_ones(bidirectional, batch):
    network = build(bidirectional=bidirectional).eval()
    together = network(batch)
    for n, length in enumerate(LENGTHS):
        alone = network({"image": batch["image"][n : n + 1, :length]})
        torch.testing.assert_close(alone[0], together[n], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("bidirectional", (True, False))
def test_each_image_counts_and_so_does_their_order(bidirectional, batch):
    network = build(bidirectional=bidirectional).eval()
    image = batch["image"][:1]
    out = network({"image": image})
    assert not torch.allclose(network({"image": image.flip(1)}), out, atol=1e-4)
    for n in range(5):
        changed = image.clone()
        changed[:, n] += 2
        assert not torch.allclose(network({"image": changed}), out, atol=1e-5), n


def test_encoder_and_lstm_train(batch):
    network = build().train()
    torch.nn.functional.cross_entropy(network(batch), torch.tensor([0, 1, 2])).backward()
    for name in (
        "encoder.stages.0.0.weight",
        "lstm.weight_hh_l0",
        "lstm.weight_hh_l0_reverse",
        "head.weight",
    ):
        assert dict(network.named_parameters())[name].grad.abs().sum() > 0, name


def test_a_frozen_encoders_tokens_may_be_kept_and_padded_again(batch):
    network = build(frozen=True).eval()
    tokens = network.encode(batch)
    assert not tokens.requires_grad
    assert not tokens[1, 1:].any()
    longer = torch.cat([tokens, torch.full((3, 2, tokens.shape[2]), 7.0)], dim=1)
    expected = network(batch)
    assert torch.equal(network.classify(longer, {"lengths": LENGTHS}), expected)
    assert torch.equal(network.head(network.features(batch)), expected)


@pytest.mark.parametrize("lengths", ([5, 0, 3], [5, 6, 3]))
def test_impossible_lengths_are_refused(lengths, batch):
    with pytest.raises(UserError, match="1 to 5 are needed"):
        build()({**batch, "lengths": torch.tensor(lengths)})
