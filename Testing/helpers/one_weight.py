"""A training of one weight, by the real loop."""

import torch
from torch import nn
from torch.utils.data import Dataset

from MedLLMSegLib.training.loop_config import NO_LIMIT, LoopConfig
from MedLLMSegLib.training.recipe import Recipe, ValidationScores
from MedLLMSegLib.training.trainer import Trainer

CONFIG = LoopConfig(
    steps=6, batch=2, lr=0.1, weight_decay=0.0, validate_every=3, log_every=1, checkpoint_s=1e9
)


class Numbers(Dataset):
    """Sample number n -> the number itself."""

    def __getitem__(self, number):
        return {"x": torch.tensor([float(number)]), "case": f"number {number}"}

    def __len__(self):
        return NO_LIMIT


class OneWeight(Recipe):
    """Learns that a weight is 2; each of ``bad`` steps has no finite loss. On val the weight
    ``best`` is the best one.
    """

    def __init__(self, bad=(), tolerated=0, best=2.0):
        self.samples, self.bad, self.tolerated, self.best = Numbers(), bad, tolerated, best
        self.seen, self.moments = [], []

    def loss(self, network, batch, step):
        self.seen.append(batch["x"].flatten().tolist())
        return (network.weight - 2).square().sum() * (float("nan") if step in self.bad else 1.0)

    def score(self, network, share, progress):
        progress("looking at the weight", 0.5)
        scores = ValidationScores()
        scores.add(1 / (1 + abs(network.weight.item() - self.best)), {}, torch.zeros(1).numpy())
        return scores

    def rate(self, moment):
        self.moments.append(moment)
        return 1.0


def trainer(output, recipe=None, config=CONFIG, **more):
    network = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(network.weight)
    return Trainer(network, recipe or OneWeight(), config, output, {"of": "tests"}, **more)
