"""Training a classifier: it learns, goes on after a kill to the same curve, and chooses its
epoch on val alone.
"""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from MedLLMSegLib import UserError
from MedLLMSegLib.core.errors import Cancelled
from MedLLMSegLib.networks.classification.build_classifier import build_classifier
from MedLLMSegLib.registry.classifier_config import ClassifierConfig, EncoderConfig, PneumoLLMConfig
from MedLLMSegLib.training.checkpoint import fill_best
from MedLLMSegLib.training.classifier.classifier_recipe import (
    ClassifierLoop,
    ClassifierRecipe,
    epochs_for,
    train_by,
)
from MedLLMSegLib.training.classifier.examples import (
    Examples,
    Feed,
    ImageAugmentation,
    TokenStore,
    augmented,
    encode_views,
    features_of,
    logits_of,
)
from MedLLMSegLib.training.trainer import Trainer

SIZE = 32


def examples(count, seed=0, strength=1.5):
    """Noise; class 1 has a bright square in the middle."""
    rng = np.random.default_rng(seed)
    target = torch.arange(count) % 2
    image = torch.from_numpy(rng.normal(size=(count, 1, SIZE, SIZE))).half()
    image[target == 1, :, 12:20, 12:20] += strength
    return Examples(
        {"image": image},
        target,
        tuple(f"c{n}" for n in range(count)),
        tuple(f"p{n}" for n in range(count)),
    )


def network_of(frozen, kind="mlp"):
    torch.manual_seed(0)
    return build_classifier(
        ClassifierConfig(
            kind,
            ("no", "yes"),
            EncoderConfig("cnn", image_size=SIZE, width=16, frozen=frozen),
            hidden=16,
        )
    )


def recipe_of(network, epochs=4, seed=0, train=None, val=None, **loop):
    train, val = train or examples(24), val or examples(16, 1)
    config = ClassifierLoop(epochs=epochs, batch=8, lr=3e-3, seed=seed, views=2, **loop)
    tokens = (
        (
            encode_views(network, train, 2, config.augmentation),
            encode_views(network, val, 1, None)[0],
        )
        if network.config.encoder.frozen
        else (None, None)
    )
    return ClassifierRecipe(config, train, val, *tokens)


def train(folder, frozen=False, progress=None, network=None, **more):
    network = network or network_of(frozen)
    return train_by(recipe_of(network, **more), network, folder, {"about": "a test"}, progress)


def rows(folder, key):
    """What a history says of each epoch under a key."""
    history = json.loads((folder / "history.json").read_text())
    return [row[key] for row in history if key in row]


def test_it_learns_and_ends_with_the_best_epochs_weights(tmp_path):
    found = train(tmp_path, epochs=6)
    assert found.best_auc > 0.9
    assert found.epochs == 6
    scores = rows(tmp_path, "val_auc")
    assert len(rows(tmp_path, "loss")) == len(scores) == 6
    assert found.best_auc == pytest.approx(max(scores), abs=1e-5)
    assert found.best_epoch == 1 + int(np.argmax(scores))
    fresh = network_of(False)
    assert fill_best(fresh, tmp_path)["step"] == 3 * found.best_epoch  # 24 images, 8 a batch
    assert np.allclose(logits_of(fresh, examples(16, 1)), found.val_logits, atol=1e-5)


@pytest.mark.parametrize("frozen", [False, True])
def test_killed_at_any_step_it_goes_on_to_the_same_curve(tmp_path, frozen):
    train(tmp_path / "whole", frozen)
    count = 0

    def kill_twice(text, fraction):
        nonlocal count
        count += 1
        if count in (5, 11):
            raise Cancelled

    for _ in range(2):
        with pytest.raises(Cancelled):
            train(tmp_path / "killed", frozen, kill_twice)
    train(tmp_path / "killed", frozen, kill_twice)
    assert count == 4 * 3 + 4  # no step was done again; each epoch looks at val
    for key in ("step", "loss", "lr", "val_auc"):
        assert rows(tmp_path / "whole", key) == rows(tmp_path / "killed", key)
    same = [
        torch.load(tmp_path / f / "best.pt", weights_only=True)["weights"]
        for f in ("whole", "killed")
    ]
    assert all(torch.equal(same[0][k], same[1][k]) for k in same[0])


def test_another_seed_is_another_training_and_refused_in_the_same_folder(tmp_path):
    first = train(tmp_path / "0", epochs=1)
    assert not np.allclose(first.val_logits, train(tmp_path / "1", epochs=1, seed=1).val_logits)
    with pytest.raises(UserError, match="other settings"):
        train(tmp_path / "0", epochs=1, seed=1)


def test_a_folder_of_version_0_3_is_refused_in_a_sentence(tmp_path):
    train(tmp_path, epochs=1)
    saved = torch.load(tmp_path / "last.pt", weights_only=True)
    old = {name: saved[name] for name in ("network", "optimiser", "best", "seconds", "history")}
    torch.save({**old, "epoch": 1, "best_epoch": 1}, tmp_path / "last.pt")
    with pytest.raises(UserError, match=r"begun with version 0.3 or older.*choose another folder"):
        train(tmp_path, epochs=1)


def test_a_frozen_encoder_is_asked_once_and_stays_as_it_is(tmp_path, monkeypatch):
    network = network_of(True)
    recipe = recipe_of(network)
    before = [p.clone() for p in network.encoder.parameters()]
    monkeypatch.setattr(network, "encode", lambda batch: pytest.fail("the encoder was asked again"))
    train_by(recipe, network, tmp_path, {})
    assert all(torch.equal(a, b) for a, b in zip(before, network.encoder.parameters(), strict=True))
    assert not any(p.grad is not None for p in network.encoder.parameters())


def test_the_optimiser_holds_nothing_of_what_is_frozen_and_the_token_engine_is_trained(tmp_path):
    """PneumoLLM as it ships: the published code's name filter froze the engine, and its
    optimiser knew the frozen layers.
    """
    torch.manual_seed(0)
    encoder = EncoderConfig("cnn", image_size=SIZE, width=16, frozen=True)
    network = build_classifier(
        ClassifierConfig("pneumollm", ("no", "yes"), encoder, PneumoLLMConfig(projector_width=16))
    )
    before = {name: p.clone() for name, p in network.named_parameters()}
    loop = ClassifierLoop(epochs=1, batch=8, warmup_epochs=0)
    recipe = ClassifierRecipe(loop, examples(16), examples(8, 1))
    one = Trainer(network, recipe, recipe.loop, tmp_path, {})
    one.run()
    frozen = [(name, p) for name, p in network.named_parameters() if not p.requires_grad]
    assert {name.split(".")[0] for name, _ in frozen} == {"encoder", "llm"}
    assert sum(p.numel() for _, p in frozen) > 3_540_000
    assert all(
        p.grad is None and p not in one.optimiser.state and torch.equal(p, before[name])
        for name, p in frozen
    )
    trained = {p for p in network.parameters() if p.requires_grad}
    assert (
        trained
        == set(one.optimiser.state)
        == {p for group in one.optimiser.param_groups for p in group["params"]}
    )
    assert all(
        not torch.equal(p, before[f"engine.{name}"])
        for name, p in network.engine.named_parameters()
    )
    saved = torch.load(tmp_path / "last.pt", weights_only=True)
    assert not any(name.startswith("llm.layers.") for name in saved["network"])
    assert (tmp_path / "last.pt").stat().st_size < 2_000_000


def test_tokens_are_kept_on_disk_for_their_own_cases_only(tmp_path, monkeypatch):
    network, some = network_of(True), examples(6)
    first = TokenStore(tmp_path).get(network, some, 2, ImageAugmentation())
    assert first.shape[:2] == (2, 6)
    assert not torch.equal(first[0], first[1])
    assert torch.equal(first, encode_views(network, some, 2, ImageAugmentation()))
    monkeypatch.setattr(network, "encode", lambda batch: pytest.fail("made again"))
    assert torch.equal(TokenStore(tmp_path).get(network, some, 2, ImageAugmentation()), first)
    with pytest.raises(pytest.fail.Exception, match="made again"):
        TokenStore(tmp_path).get(network, examples(4), 2, ImageAugmentation())


def test_tokens_are_made_again_for_other_pixels_and_other_weights_under_the_same_names(tmp_path):
    network, some = network_of(True), examples(6)

    def kept():
        return TokenStore(tmp_path).get(network, some, 1, None)

    first = kept()
    changed = some.fields["image"].clone()
    changed[3] += 1
    some = replace(some, fields={**some.fields, "image": changed})
    second = kept()
    assert not torch.equal(second[0, 3], first[0, 3])
    assert torch.equal(second, encode_views(network, some, 1, None))
    with torch.no_grad():
        next(network.encoder.parameters()).add_(0.1)
    assert not torch.equal(kept(), second)
    assert torch.equal(kept(), encode_views(network, some, 1, None))
    assert len(list(tmp_path.iterdir())) == 3


def test_measuring_the_pace_changes_nothing(tmp_path):
    network = network_of(False)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    assert recipe_of(network).seconds_per_epoch(network) > 0
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    assert epochs_for(10, 27) == 20
    assert epochs_for(0.01, 1000) == 3


def test_one_class_only_cannot_be_trained_or_chosen_on(tmp_path):
    alone = examples(8)
    alone = Examples(alone.fields, torch.zeros(8, dtype=torch.int64), alone.ids, alone.groups)
    with pytest.raises(UserError, match="to choose the best epoch by"):
        recipe_of(network_of(False), val=alone)


def test_a_loss_that_is_no_number_is_told(tmp_path):
    broken = examples(8)
    broken.fields["image"][:] = float("nan")
    with pytest.raises(UserError, match="The loss became nan at step 0, on the cases c"):
        train(tmp_path, **{"train": broken})


def test_augmentation_moves_a_sequence_as_one_and_keeps_what_is_missing():
    image = torch.rand(2, 1, SIZE, SIZE)
    sequence = image[:, None].expand(2, 3, 1, SIZE, SIZE).clone()
    moved = augmented(sequence, ImageAugmentation(), torch.Generator().manual_seed(3))
    assert moved.shape == sequence.shape
    assert torch.allclose(moved[:, 0], moved[:, 2])
    assert not torch.allclose(moved[:, 0], image, atol=0.05)
    still = augmented(image, ImageAugmentation(0, 0, 0, 0, 0), torch.Generator().manual_seed(3))
    assert torch.allclose(still, image, atol=1e-5)
    channels = torch.stack([image[:, 0], torch.full_like(image[:, 0], float("nan"))], 1)
    assert (
        augmented(channels, ImageAugmentation(), torch.Generator().manual_seed(3))[:, 1]
        .isnan()
        .all()
    )


def test_augmentation_moves_the_channels_of_a_case_together_and_a_missing_one_harms_none():
    image = torch.rand(3, 1, SIZE, SIZE)
    channels = torch.cat([image, 2 * image, image], 1)
    channels[0, 1], channels[2, 0] = float("nan"), float("nan")
    moved, alone = (
        augmented(
            channels, ImageAugmentation(contrast=0, brightness=0), torch.Generator().manual_seed(3)
        ),
        augmented(
            image, ImageAugmentation(contrast=0, brightness=0), torch.Generator().manual_seed(3)
        ),
    )
    assert moved[0, 1].isnan().all()
    assert moved[2, 0].isnan().all()
    assert moved.isnan().flatten(2).any(2).sum() == 2
    assert torch.allclose(moved[:2, 0], alone[:2, 0], atol=1e-6)
    assert torch.allclose(moved[:, 2], alone[:, 0], atol=1e-6)
    assert torch.allclose(moved[1:, 1], 2 * alone[1:, 0], atol=1e-5)
    assert not torch.allclose(alone, image, atol=0.05)


def test_features_are_what_the_last_layer_sees():
    network, some = network_of(False), examples(5)
    features = torch.from_numpy(features_of(network, some))
    assert features.shape == (5, 16)
    assert np.allclose(network.head(features).detach(), logits_of(network, some), atol=1e-5)


def test_an_odd_case_out_is_left_to_another_epoch(tmp_path):
    """Batch statistics of one case would stop BatchNorm."""
    feed = Feed(examples(25), None, None, 8, 0)
    assert feed.steps == 3
    seen = [case for step in range(3) for case in feed[step]["case"]]
    assert len(seen) == len(set(seen)) == 24
    assert seen != [case for step in range(3, 6) for case in feed[step]["case"]]
    assert Feed(examples(26), None, None, 8, 0).steps == 4
