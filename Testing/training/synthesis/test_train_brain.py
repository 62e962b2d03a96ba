"""The brain model's training with a tiny network: arms, going on, and what is refused."""

import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.progress import Progress
from MedLLMSegLib.registry.catalogue import read_metadata
from MedLLMSegLib.registry.network_config import BRAIN
from MedLLMSegLib.registry.seen_cases import Marks, SeenCases
from MedLLMSegLib.training.recipe import Moment
from MedLLMSegLib.training.small_checkpoint import read_small, write_small
from MedLLMSegLib.training.synthesis.brain_bundle import export_brain
from MedLLMSegLib.training.synthesis.head_maps import RIGHT
from MedLLMSegLib.training.synthesis.recipe import CLASSES, head_score
from MedLLMSegLib.training.synthesis.synthetic_heads import (
    HeadsConfig,
    SyntheticHeads,
    voxel_of_step,
)
from MedLLMSegLib.training.synthesis.train_brain import (
    BrainRequest,
    brain_network,
    read_maps,
    train_brain,
)
from Testing.training.synthesis.made_up_head import made_up_head

TINY = replace(BRAIN, stem_channels=(4, 8, 8, 8), width=24, heads=2, depth=1)
SHAPE = (32, 32, 32)
HEADS = HeadsConfig(SHAPE, SHAPE, val_images=2)
MAPS = {"train": [made_up_head()], "val": [made_up_head()]}


def request(output, **more):
    fixed = {"shape": SHAPE, "val_shape": SHAPE, "val_images": 1, "precision": "fp32", "steps": 4}
    return BrainRequest("unused", str(output), **{**fixed, "arm": "A", **more})


def train(output, **more):
    return train_brain(request(output, **more), "cpu", say=str, config=TINY, maps=MAPS)


def losses(folder):
    history = json.loads((folder / "history.json").read_text())
    return [(row["step"], row["loss"]) for row in history if "loss" in row]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder with a training of four steps at once."""
    folder = tmp_path_factory.mktemp("brain") / "whole"
    train(folder)
    return folder


def test_a_training_made_longer_is_the_longer_training(whole, tmp_path):
    train(tmp_path, steps=2)
    train(tmp_path, steps=4)
    for name in ("network", "average"):
        one, other = (
            torch.load(folder / "last.pt", weights_only=True)[name] for folder in (whole, tmp_path)
        )
        for key, tensor in one.items():
            torch.testing.assert_close(other[key], tensor, atol=1e-6, rtol=1e-4)
    history = json.loads((tmp_path / "history.json").read_text())
    assert [row["step"] for row in history if "val_dice" in row] == [2, 4]
    assert (tmp_path / "curve.png").stat().st_size > 0
    assert len(list((tmp_path / "examples").iterdir())) == 2


def test_another_folder_goes_on_from_the_small_file(whole, tmp_path):
    small = read_small(whole / "small.safetensors")
    assert small.step == 4
    train(tmp_path, start=str(whole / "small.safetensors"), steps=5)
    assert losses(tmp_path)[0][0] == 5
    moved = read_small(tmp_path / "small.safetensors").average
    assert any(not torch.equal(moved[name], small.average[name]) for name in moved)


def test_a_training_goes_on_from_a_finished_model(whole, tmp_path):
    maps = tmp_path / "maps"
    maps.mkdir()
    (maps / "splits.json").write_text('{"train": [], "val": []}')
    bundle = export_brain(whole, tmp_path / "bundle", maps)
    train(tmp_path / "run", start=str(bundle), steps=5)
    assert losses(tmp_path / "run")[0][0] == 5
    path = bundle / "configs" / "metadata.json"
    path.write_text(path.read_text().replace('"step"', '"steps"'))
    with pytest.raises(UserError, match="does not say how long it was trained"):
        train(tmp_path / "other", start=str(bundle), steps=5)


def test_what_the_start_had_seen_counts_as_seen(whole, tmp_path):
    maps = tmp_path / "maps"
    maps.mkdir()
    (maps / "splits.json").write_text('{"train": [], "val": []}')
    earlier = SeenCases(train=Marks(frozenset({"0123456789abcdef"})), known=True)
    first = read_small(whole / "small.safetensors")
    write_small(tmp_path / "first", replace(first, seen=earlier))
    train(tmp_path / "run", start=str(tmp_path / "first"), steps=5)
    train(tmp_path / "run", steps=6)  # goes on without naming its start again
    bundle = export_brain(tmp_path / "run", tmp_path / "bundle", maps)
    seen = SeenCases.of_bundle(read_metadata(bundle))
    assert seen.before == earlier.train
    assert seen.known


def test_a_start_that_does_not_say_what_it_has_seen_makes_the_rest_unknown(whole, tmp_path):
    maps = tmp_path / "maps"
    maps.mkdir()
    (maps / "splits.json").write_text('{"train": [], "val": []}')
    train(tmp_path / "run", start=str(whole / "last.pt"), steps=5)
    bundle = export_brain(tmp_path / "run", tmp_path / "bundle", maps)
    assert not SeenCases.of_bundle(read_metadata(bundle)).known
    assert SeenCases.of_bundle(read_metadata(export_brain(whole, tmp_path / "own", maps))).known


def test_a_folder_keeps_its_arm(whole):
    with pytest.raises(UserError, match="other settings"):
        train(whole, arm="none")


def test_arms_share_their_beginning_and_differ_in_the_block():
    made = {arm: brain_network(arm, 3, TINY).state_dict() for arm in ("none", "A", "D", "F")}
    blocks = {arm: {n for n in state if n.startswith("blocks.")} for arm, state in made.items()}
    assert not blocks["none"]
    assert blocks["A"] == blocks["D"] == blocks["F"] != set()
    for name, tensor in made["A"].items():
        assert torch.equal(tensor, made["F"][name])
    of_block = [n for n in made["F"] if n.startswith("llm.llm.") and made["F"][n].ndim == 2]
    assert of_block
    assert not any(torch.equal(made["D"][n], made["F"][n]) for n in of_block)
    with pytest.raises(UserError, match="not an arm"):
        brain_network("Z", 0, TINY)


class Recorder(nn.Module):
    """Notes which voxel is asked for, and answers with one trained number everywhere."""

    def __init__(self):
        super().__init__()
        self.level, self.voxels = nn.Parameter(torch.zeros(())), []

    def forward(self, image, voxel=None):
        self.voxels.append(voxel)
        grid = [n // (1 if voxel is None else 2) for n in image.shape[2:]]
        return self.level.expand(len(image), CLASSES + 1, *grid) * 1.0


def test_each_step_trains_one_voxel_of_each_block_and_all_have_their_turn():
    recipe, network = SyntheticHeads(HEADS, 2, *MAPS.values(), seed=0), Recorder()
    sample = recipe.samples[0]
    batch = {k: v[None] for k, v in sample.items() if k != "case"}
    for step in range(16):
        recipe.loss(network, batch, step).backward()
    assert sorted(network.voxels) == sorted([*range(8), *range(8)])
    assert network.voxels == [voxel_of_step(step, 2) for step in range(16)]


def test_labels_are_of_the_voxel_whose_logits_are_trained():
    recipe = SyntheticHeads(HEADS, 2, *MAPS.values(), seed=0)
    sample = recipe.samples[0]
    batch = {k: v[None] for k, v in sample.items() if k != "case"}
    one_hot = torch.nn.functional.one_hot(sample["structures"].long(), CLASSES).movedim(-1, 0)
    side = torch.where(sample["sides"] == RIGHT, 1.0, -1.0)
    truth = 20 * torch.cat((one_hot - 0.5, side[None]))[None]  # (1, classes + 1, K, J, I)

    def knows(image, voxel):
        k, j, i = voxel // 4, voxel // 2 % 2, voxel % 2
        return truth[..., k::2, j::2, i::2]

    assert max(float(recipe.loss(knows, batch, step)) for step in range(8)) < 0.02
    assert float(recipe.loss(lambda image, voxel: knows(image, 7 - voxel), batch, 0)) > 0.2


def test_the_score_is_that_of_each_val_head_and_processes_share_them():
    recipe, network = SyntheticHeads(HEADS, 2, *MAPS.values(), seed=0), Recorder()
    told = []
    scores = recipe.score(network, slice(0, None, 1), Progress(lambda text, _: told.append(text)))
    assert scores.means == [head_score(network, head) for head in recipe.val]
    assert told == ["val image 1 of 2", "val image 2 of 2"]
    case, labels = scores.examples[0]
    assert case["label"].shape == case["image"].shape == (1, *labels.shape)
    assert recipe.score(network, slice(1, None, 2), Progress()).means == scores.means[1:]


def test_the_rate_warms_up_stays_and_falls_only_where_it_is_asked_to():
    level, falling = (
        SyntheticHeads(replace(HEADS, val_images=0, decay=decay), 2, *MAPS.values(), seed=0)
        for decay in (0.0, 0.3)
    )
    assert level.rate(Moment(5000, 0, 0.5)) == pytest.approx(0.01)
    assert level.rate(Moment(5000, 99, 0.5)) == level.rate(Moment(9000, 500, 1.0)) == 1.0
    assert falling.rate(Moment(500, 500, 0.69)) == 1.0
    assert falling.rate(Moment(500, 500, 0.85)) == pytest.approx(0.5)
    assert falling.rate(Moment(500, 500, 1.0)) == pytest.approx(0.01)


@pytest.mark.parametrize(
    "options, words",
    [
        ({"shape": (32, 40, 32)}, "multiple of 16 16 16"),
        ({"minutes": -1.0}, "--minutes is -1.0"),
        ({"decay": 2.0}, "share from 0 to 1"),
        ({"seed": -1}, "0 or more"),
        ({"start": "missing.safetensors"}, "cannot be read"),
    ],
)
def test_what_cannot_be_trained_is_one_sentence(tmp_path, options, words):
    with pytest.raises(UserError, match=words):
        train(tmp_path, **options)


def test_a_folder_without_splits_or_maps_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match=r"no splits\.json"):
        read_maps(tmp_path, Progress())
    (tmp_path / "splits.json").write_text('{"train": ["head"], "val": []}')
    with pytest.raises(UserError, match='no label map "head"'):
        read_maps(tmp_path, Progress())
