"""Image and record together: either may be missing, in any case of a batch, and what is there
still counts.
"""

import itertools
from dataclasses import replace

import pytest
import torch

from MedLLMSegLib.networks.classification.build_classifier import (
    build_classifier,
    load_classifier,
    stored_tensors,
)
from MedLLMSegLib.registry.classifier_config import ClassifierConfig, EncoderConfig, RecordConfig

RECORD = RecordConfig(
    ("age", "dose"), {"sex": ("F", "M"), "site": ("A", "B", "C")}, (50.0, 1.0), (15.0, 0.5)
)
CONFIG = ClassifierConfig(
    "fusion",
    ("no", "yes"),
    EncoderConfig("cnn", image_size=16, channels=2, width=16),
    record=RECORD,
    hidden=16,
)
NAN = float("nan")


def build(**changes):
    torch.manual_seed(0)
    return build_classifier(replace(CONFIG, **changes))


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(2)
    return {
        "image": torch.randn(4, 2, 16, 16, generator=generator),
        "numbers": torch.tensor([[50.0, 1.0], [30, 2], [70, 1], [20, 0]]),
        "categories": torch.tensor([[0, 2], [1, 0], [1, 1], [0, 0]]),
    }


def without(batch, *parts):
    """The batch without some of: image 0, image 1, numbers 0, numbers 1, categories 0,
    categories 1.
    """
    out = {name: t.clone() for name, t in batch.items()}
    for part in parts:
        name, n = part.split()
        out[name][:, int(n)] = -1 if name == "categories" else NAN
    return out


PARTS = tuple(f"{name} {n}" for name in ("image", "numbers", "categories") for n in (0, 1))


@pytest.mark.parametrize("mode", (True, False), ids=("training", "evaluation"))
def test_whatever_is_missing_the_answer_is_a_number_and_so_is_its_gradient(mode, batch):
    network = build().train(mode)
    for count in range(len(PARTS) + 1):
        for parts in itertools.combinations(PARTS, count):
            network.zero_grad()
            out = network(without(batch, *parts))
            out.square().sum().backward()
            assert out.shape == (4, 2), parts
            assert out.isfinite().all(), parts
            assert all(
                p.grad.isfinite().all() for p in network.parameters() if p.grad is not None
            ), parts


@pytest.mark.parametrize("name", ("image", "numbers", "categories"))
def test_a_part_that_the_batch_lacks_altogether_is_missing(name, batch):
    network = build().eval()
    lacking = {key: t for key, t in batch.items() if key != name}
    torch.testing.assert_close(network(lacking), network(without(batch, f"{name} 0", f"{name} 1")))


def test_each_part_counts_and_missing_is_not_the_same_as_zero(batch):
    network = build().eval()
    whole = network(batch)
    for part in PARTS:
        assert not torch.allclose(network(without(batch, part)), whole, atol=1e-5), part
    # The means, which are 0 to the network.
    zero = {
        **batch,
        "numbers": torch.tensor([[50.0, 1.0]] * 4),
    }
    assert not torch.allclose(network(without(zero, "numbers 0")), network(zero), atol=1e-5)
    # Each category's first value.
    first = {
        **batch,
        "categories": torch.zeros(4, 2, dtype=torch.int64),
    }
    for part in ("categories 0", "categories 1"):
        assert not torch.allclose(network(without(first, part)), network(first), atol=1e-5), part


def test_what_stands_for_a_missing_channel_is_learned(batch):
    network = build(modality_dropout=0.0).eval()
    network(without(batch, "image 1")).square().sum().backward()
    assert network.missing.grad[1].abs().sum() > 0
    assert not network.missing.grad[0].any()
    whole = network(batch)
    lacking = network(without(batch, "image 1"))
    with torch.no_grad():
        network.missing[1] += 1
    assert torch.equal(network(batch), whole)
    assert not torch.allclose(network(without(batch, "image 1")), lacking, atol=1e-5)


def test_cases_do_not_mix_where_some_lack_a_part(batch):
    """In evaluation, a case gives the same alone as beside cases that lack other things."""
    network = build().eval()
    mixed = {name: t.clone() for name, t in batch.items()}
    mixed["image"][0, 0], mixed["image"][1], mixed["numbers"][2, 1], mixed["categories"][3, 0] = (
        NAN,
        NAN,
        NAN,
        -1,
    )
    together = network(mixed)
    for n in range(4):
        torch.testing.assert_close(
            network({name: t[n : n + 1] for name, t in mixed.items()})[0],
            together[n],
            atol=1e-5,
            rtol=1e-5,
        )


def test_numbers_are_scaled_as_in_training_and_unknown_values_are_missing(batch):
    network = build().eval()
    plain = build(record=replace(RECORD, means=(), stds=())).eval()
    own = network.state_dict()
    plain.load_state_dict(
        {
            name: own[name] if "means" not in name and "stds" not in name else t
            for name, t in plain.state_dict().items()
        }
    )
    scaled = {
        **batch,
        "numbers": (batch["numbers"] - torch.tensor([50.0, 1.0])) / torch.tensor([15.0, 0.5]),
    }
    torch.testing.assert_close(network(batch), plain(scaled))
    unknown = {**batch, "categories": batch["categories"].clone()}
    unknown["categories"][:, 0] = 2  # sex has two values, 0 and 1
    assert torch.equal(network(unknown), network(without(batch, "categories 0")))


def test_modality_dropout_leaves_parts_out_in_training_only(batch):
    network = build(modality_dropout=0.999, dropout=0.0)
    tokens = network.encode(batch)
    nothing = network.eval()(without(batch, *PARTS))
    torch.manual_seed(0)
    assert torch.allclose(network.train().classify(tokens, batch), nothing)
    assert not torch.allclose(network.eval().classify(tokens, batch), nothing)
    network = build(modality_dropout=0.5, dropout=0.0).train()
    outs = [network.classify(tokens, batch) for _ in range(8)]
    assert len({tuple(o.flatten().tolist()) for o in outs}) > 1
    network = build(modality_dropout=0.0, dropout=0.0).train()
    assert torch.equal(network.classify(tokens, batch), network.classify(tokens, batch))


def test_a_frozen_encoder_is_one_for_all_channels_and_its_tokens_may_be_kept(batch):
    network = build(encoder=replace(CONFIG.encoder, frozen=True)).eval()
    assert network.encoders[0] is network.encoders[1]
    missing = without(batch, "image 1", "numbers 0")
    tokens = network.encode(missing)
    record = {name: missing[name] for name in ("numbers", "categories")}
    assert not tokens.requires_grad
    assert torch.equal(network.classify(tokens, record), network(missing))
    trained = build()
    assert trained.encoders[0] is not trained.encoders[1]
    assert trained.cam_layer is trained.encoders[0].cam_layer


@pytest.mark.parametrize("frozen", (True, False))
def test_it_comes_back_from_what_is_stored(frozen, batch):
    network = build(encoder=replace(CONFIG.encoder, frozen=frozen)).eval()
    again = load_classifier(network.config, stored_tensors(network))
    assert torch.equal(again(batch), network(batch))


def test_channels_alone_need_no_record(batch):
    network = build(record=None).eval()
    assert network({"image": batch["image"]}).shape == (4, 2)


def test_neither_image_nor_record_suffices_and_both_together_do():
    """The answer is whether the image is bright, turned round for one sex: an exclusive or,
    which each part alone cannot know.
    """
    config = replace(
        CONFIG,
        encoder=replace(CONFIG.encoder, channels=1),
        record=RecordConfig(categories={"sex": ("F", "M")}),
        modality_dropout=0.1,
        dropout=0.0,
    )
    torch.manual_seed(0)
    network = build_classifier(config)

    def cases(count):
        bright, sex = torch.randint(2, (2, count))
        image = torch.randn(count, 1, 16, 16) + (2 * bright - 1)[:, None, None, None]
        return {"image": image, "categories": sex[:, None]}, bright ^ sex

    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3)
    for _ in range(60):
        batch, target = cases(32)
        torch.nn.functional.cross_entropy(network.train()(batch), target).backward()
        optimiser.step()
        optimiser.zero_grad()
    batch, target = cases(256)
    network.eval()

    def accuracy(inputs):
        return float((network(inputs).argmax(1) == target).float().mean())

    assert accuracy(batch) > 0.95
    assert accuracy({"image": batch["image"]}) < 0.65
    assert accuracy({"categories": batch["categories"]}) < 0.65
