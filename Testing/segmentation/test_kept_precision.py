"""A decision about precision is made once, and holds; a damaged one does not."""

import json
import multiprocessing

import pytest
import torch

from MedLLMSegLib.segmentation import kept_precision
from MedLLMSegLib.segmentation.kept_precision import Precision, keep, read_kept
from MedLLMSegLib.segmentation.precision import decide
from Testing.helpers.precision_clock import SHA, Network, ask, in_use, scan

pytestmark = pytest.mark.usefixtures("precision_cache")


def test_the_check_costs_once_for_a_model(has_bf16, clock):
    decided = ask(Network(clock))
    again = Network(clock, speed=0.5)
    assert ask(again) == decided
    assert again.calls == []
    assert ask(again, sha256="cd" * 32).name == "fp32"


@pytest.mark.parametrize(
    "owner, name, value",
    (
        (kept_precision, "processor_model", lambda: "another processor"),
        (torch, "__version__", "9.9.9"),
        (kept_precision, "CHECK_VERSION", 99),
    ),
)
def test_another_processor_torch_or_check_decides_anew(
    has_bf16, clock, monkeypatch, owner, name, value
):
    ask(Network(clock))
    assert in_use().settled().name == "bf16"
    monkeypatch.setattr(owner, name, value)
    assert in_use().settled() is None


def test_what_is_known_is_not_read_again(has_bf16, clock, precision_cache):
    subject = in_use(Network(clock))
    decided = decide(subject, scan(), (32, 32, 32))
    for file in precision_cache.iterdir():
        file.unlink()
    assert subject.settled() == decide(subject, scan(), (32, 32, 32)) == decided
    assert in_use().settled() is None


def changed(**fields):
    return lambda data: json.dumps(data | fields)


@pytest.mark.parametrize(
    "damage",
    (
        lambda data: "",
        lambda data: json.dumps(data)[:40],
        lambda data: "[1]",
        lambda data: "[" * 10_000,
        changed(name="fp16"),
        changed(name=["bf16"]),
        changed(agreement="all"),
        changed(why=None),
        changed(key={}),
        changed(surplus=1),
    ),
)
def test_a_damaged_file_is_ignored_and_replaced(has_bf16, clock, precision_cache, damage):
    decided = ask(Network(clock))
    (file,) = precision_cache.iterdir()
    file.write_text(damage(json.loads(file.read_text())))
    assert read_kept(SHA) is None
    assert ask(Network(clock)) == decided
    assert read_kept(SHA) == decided
    assert list(precision_cache.iterdir()) == [file]


def test_without_a_place_to_keep_the_decision_fp32_is_used(has_bf16, clock, precision_cache):
    """Else timing could decide otherwise the next time, and the same scan get other labels."""
    precision_cache.parent.mkdir()
    precision_cache.write_text("a file in the way")
    network = Network(clock)
    assert ask(network) == Precision("fp32", kept_precision.NOT_KEPT)
    assert network.calls == []


def test_the_first_of_several_processes_decides(precision_cache):
    first, second = Precision("bf16", "The first."), Precision("fp32", "The second.")
    assert keep(first, SHA) == first
    assert keep(second, SHA) == first
    assert read_kept(SHA) == first


def _keep_in_process(name, barrier, queue):
    barrier.wait()
    queue.put(keep(Precision(name, f"By {name}."), SHA).name)


@pytest.mark.slow
def test_processes_that_decide_at_once_agree():
    context = multiprocessing.get_context("spawn")
    barrier, queue = context.Barrier(4), context.Queue()
    workers = [
        context.Process(target=_keep_in_process, args=(name, barrier, queue))
        for name in ("fp32", "bf16") * 2
    ]
    for worker in workers:
        worker.start()
    names = {queue.get(timeout=120) for _ in workers}
    for worker in workers:
        worker.join()
    assert names == {read_kept(SHA).name}
