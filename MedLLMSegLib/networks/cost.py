"""What a classifier costs for one image: milliseconds and memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor, nn

from MedLLMSegLib.networks.classification.classifier import Batch

from .controls import count_parameters


@dataclass(frozen=True)
class ImageCost:
    """The cost of a network for one image; MB are 10^6 bytes.

    trained, frozen: numbers of parameters. weights_mb: of all parameters and buffers in memory.
    ms: of a forward pass in evaluation mode. training_ms: of a forward and a backward pass.
    activations_mb: what autograd keeps between the two. A training step also needs gradients and
    the optimiser's moments: three times the memory of the trained parameters.
    """

    trained: int
    frozen: int
    weights_mb: float
    ms: float
    training_ms: float
    activations_mb: float

    def __str__(self) -> str:
        return (
            f"{self.trained:,} trained and {self.frozen:,} frozen parameters, {self.weights_mb:.0f}"
            f" MB; one image: {self.ms:.1f} ms, in training {self.training_ms:.1f} ms and"
            f" {self.activations_mb:.1f} MB of activations"
        )


def measure_cost(network: nn.Module, batch: Batch, repeats: int = 5) -> ImageCost:
    """Measure a network on a batch, on the device of both.

    Times are medians over `repeats` runs after a first one, divided by the batch's images.
    Parameters, buffers, mode and the random state are left as they were; gradients become None.
    """
    images = len(next(iter(batch.values())))
    was_training = network.training
    cuda = [p.device for p in network.parameters() if p.is_cuda][:1]

    def infer() -> None:
        with torch.inference_mode():
            network(batch)

    def train() -> None:
        network(batch).square().mean().backward()
        network.zero_grad(set_to_none=True)

    with torch.random.fork_rng(devices=cuda), _buffers_restored(network):
        network.eval()
        ms = _median_ms(infer, repeats, cuda)
        network.train()
        activations = _activation_bytes(network, batch)
        training_ms = _median_ms(train, repeats, cuda)
    network.train(was_training)
    counts = count_parameters(network)
    tensors = (*network.parameters(), *network.buffers())
    return ImageCost(
        trained=counts["trained"],
        frozen=counts["frozen"],
        weights_mb=sum(t.numel() * t.element_size() for t in tensors) / 1e6,
        ms=ms / images,
        training_ms=training_ms / images,
        activations_mb=activations / images / 1e6,
    )


@contextmanager
def _buffers_restored(network: nn.Module) -> Iterator[None]:
    """Put the buffers back after the block: a training step moves the statistics of batch norm."""
    saved = {name: buffer.clone() for name, buffer in network.named_buffers()}
    yield
    with torch.no_grad():
        for name, buffer in network.named_buffers():
            buffer.copy_(saved[name])


def _median_ms(run: Callable[[], None], repeats: int, cuda: list[torch.device]) -> float:
    """Median time of `repeats` runs after a first one, in ms. cuda: the device to wait for."""
    times_ms = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        run()
        if cuda:
            torch.cuda.synchronize(cuda[0])
        times_ms.append(1000 * (time.perf_counter() - start))
    return median(times_ms[1:])


def _activation_bytes(network: nn.Module, batch: Batch) -> int:
    """Bytes that autograd keeps of one forward pass: each storage once, without parameters, buffers
    and the batch.
    """
    tensors = (*network.parameters(), *network.buffers(), *batch.values())
    excluded = {tensor.untyped_storage().data_ptr() for tensor in tensors}
    bytes_of: dict[int, int] = {}  # by the address of the storage

    def record(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in excluded:
            bytes_of[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(record, lambda tensor: tensor):
        logits = network(batch)  # holds the graph, and so all storages, until here
    del logits
    return sum(bytes_of.values())
