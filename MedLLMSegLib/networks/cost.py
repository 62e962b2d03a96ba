"""What a classifier costs for one image: milliseconds and memory."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median

import torch
from torch import nn

from MedLLMSegLib.networks.classification.classifier import Batch

from .controls import count_parameters


@dataclass(frozen=True)
class Cost:
    """trained, frozen: parameters. weights_mb: of all parameters and buffers, as they lie in
    memory. ms, training_ms: for one image, to its logits, and with the way back. kept_mb: what a
    training step keeps for one image on its way back (the activations; of the weights, gradients
    and the optimiser's moments come on top: three times the trained ones). All in MB of 10^6 bytes.
    """

    trained: int
    frozen: int
    weights_mb: float
    ms: float
    training_ms: float
    kept_mb: float

    def __str__(self) -> str:
        return (
            f"{self.trained:,} trained and {self.frozen:,} frozen parameters, {self.weights_mb:.0f}"
            f" MB; one image: {self.ms:.1f} ms, in training {self.training_ms:.1f} ms and"
            f" {self.kept_mb:.1f} MB of activations"
        )


def measure_cost(network: nn.Module, batch: Batch, repeats: int = 5) -> Cost:
    """Medians over `repeats` runs of a batch, on the device where both lie, divided by its images;
    a first run is left out.

    The network's parameters, its mode and the random state are as before; gradients are set to
    None.
    """
    count, training = len(next(iter(batch.values()))), network.training
    buffers = {name: b.clone() for name, b in network.named_buffers()}

    def forward() -> None:
        with torch.inference_mode():
            network(batch)

    def forward_and_back() -> None:
        network(batch).square().mean().backward()
        network.zero_grad(set_to_none=True)

    cuda = [p.device for p in network.parameters() if p.is_cuda]
    with torch.random.fork_rng(devices=cuda[:1]):
        network.eval()
        ms = _median_ms(forward, repeats, cuda)
        network.train()
        kept = _kept_bytes(network, batch)
        training_ms = _median_ms(forward_and_back, repeats, cuda)
    network.train(training)
    with torch.no_grad():  # a training step moves what batch norm remembers
        for name, b in network.named_buffers():
            b.copy_(buffers[name])
    counts = count_parameters(network)
    weights = sum(t.numel() * t.element_size() for t in (*network.parameters(), *network.buffers()))
    return Cost(
        counts["trained"],
        counts["frozen"],
        weights / 1e6,
        ms / count,
        training_ms / count,
        kept / count / 1e6,
    )


def _median_ms(run, repeats: int, cuda: list) -> float:
    taken = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        run()
        if cuda:
            torch.cuda.synchronize(cuda[0])
        taken.append(1000 * (time.perf_counter() - began))
    return median(taken[1:])


def _kept_bytes(network: nn.Module, batch: Batch) -> int:
    """Bytes that autograd keeps of one forward pass, each storage once, without parameters and
    the batch itself.
    """
    own = {
        t.untyped_storage().data_ptr()
        for t in (*network.parameters(), *network.buffers(), *batch.values())
    }
    seen: dict[int, int] = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        logits = network(batch)
    del logits
    return sum(seen.values())
