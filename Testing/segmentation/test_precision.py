"""bf16 is used where the processor has it, the labels stay and it is faster; else fp32 is."""

from functools import partial

import numpy as np
import pytest
import torch

from MedLLMSegLib import Cancelled, UserError
from MedLLMSegLib.segmentation import precision
from MedLLMSegLib.segmentation.kept_precision import read_kept
from MedLLMSegLib.segmentation.precision import (
    autocast,
    cpu_has_bf16,
    float32_logits,
    label_agreement,
)
from Testing.helpers.precision_clock import SHA, Network, ask, in_use, scan

CPU = torch.device("cpu")

pytestmark = pytest.mark.usefixtures("precision_cache")


def test_bf16_where_labels_stay_and_it_is_faster(has_bf16, clock):
    network = Network(clock)
    decided = ask(network)
    assert (decided.name, decided.agreement, decided.speed) == ("bf16", 1.0, pytest.approx(2))
    assert decided.torch_version == torch.__version__
    assert set(network.calls) == {"fp32", "bf16"}


def test_fp32_where_labels_change(has_bf16, clock):
    decided = ask(Network(clock, lost=0.05))
    assert decided.name == "fp32"
    assert decided.agreement == pytest.approx(0.95)
    assert "too few" in decided.why


def test_labels_are_read_as_the_network_means_them(has_bf16, clock):
    """Its first output is the background's, and the second something else than a class."""

    def all_foreground(logits):
        return torch.ones_like(logits[:, 0])

    assert ask(Network(clock, lost=0.5), labels=all_foreground).agreement == 1


def test_fp32_where_it_is_hardly_faster(has_bf16, clock):
    decided = ask(Network(clock, speed=1.05))
    assert (decided.name, decided.speed) == ("fp32", pytest.approx(1.05))


def test_fp32_where_the_network_does_not_run_in_bf16(has_bf16, clock):
    decided = ask(Network(clock, error=RuntimeError("no kernel for BFloat16")))
    assert decided.name == "fp32"
    assert "does not run in bf16" in decided.why
    assert read_kept(SHA) == decided


def test_voxels_without_a_number_count_as_other_labels(has_bf16, clock):
    class Overflowing(Network):
        def forward(self, image):
            logits = super().forward(image)
            return logits * torch.inf if torch.is_autocast_enabled("cpu") else logits

    assert ask(Overflowing(clock)).name == "fp32"


def test_nothing_is_measured_where_the_processor_has_no_bf16(monkeypatch, clock, precision_cache):
    monkeypatch.setattr(precision, "cpu_has_bf16", lambda: False)
    network = Network(clock)
    assert ask(network).name == "fp32"
    assert network.calls == []
    assert not precision_cache.exists()


@pytest.mark.parametrize("requested", ("fp32", "bf16"))
def test_what_is_asked_for_is_used_and_not_measured(requested, monkeypatch, clock, precision_cache):
    monkeypatch.setattr(precision, "cpu_has_bf16", lambda: False)
    network = Network(clock)
    assert ask(network, requested=requested).name == requested
    assert network.calls == []
    assert not precision_cache.exists()


def test_another_word_is_refused():
    with pytest.raises(UserError, match='"fp16" is not a precision; use auto, fp32 or bf16'):
        in_use(requested="fp16").settled()


def test_a_gpu_keeps_fp32_unless_asked(has_bf16):
    assert in_use(device="cuda").settled().name == "fp32"
    assert in_use(device="cuda", requested="bf16").settled().name == "bf16"


def test_the_window_nearest_to_the_middle_with_foreground_decides(has_bf16, clock):
    """The windows in the middle and beside it are empty."""
    network = Network(clock, lost=0.5)
    decided = ask(network, scan((60, 20, 20), (slice(0, 12),) * 3), window=(20, 20, 20))
    assert decided.agreement == pytest.approx(0.5)
    assert 2 <= network.calls.index("bf16") <= 3


def test_of_a_large_window_a_part_is_enough(has_bf16, clock):
    sizes = []

    class Watched(Network):
        def forward(self, image):
            sizes.append(tuple(image.shape[2:]))
            return super().forward(image)

    array = scan((140, 20, 20), (slice(60, 80), slice(0, 20), slice(0, 20)))
    assert ask(Watched(clock), array, window=(256, 256, 256)).name == "bf16"
    assert set(sizes) == {(128, 20, 20)}


@pytest.mark.parametrize("length, size", ((20, 20), (21, 20), (60, 20), (75, 20), (400, 96)))
def test_windows_cover_an_axis_and_one_lies_in_its_middle(length, size):
    starts = precision._starts(length, size)
    covered = np.zeros(length, bool)
    for start in starts:
        assert 0 <= start <= length - size
        covered[start : start + size] = True
    assert covered.all()
    assert min(abs(start - (length - size) / 2) for start in starts) <= 0.5


def test_a_scan_with_hardly_any_foreground_decides_nothing(has_bf16, clock):
    assert ask(Network(clock), scan(box=(slice(5, 8),) * 3)).name == "fp32"
    assert read_kept(SHA) is None
    assert ask(Network(clock)).name == "bf16"


def test_too_little_memory_for_the_check_decides_nothing(has_bf16, clock):
    error = torch.OutOfMemoryError("out of memory")
    assert ask(Network(clock, error=error)).name == "fp32"
    assert read_kept(SHA) is None


def test_a_fault_of_the_network_itself_is_not_hidden(has_bf16, clock):
    class Broken(Network):
        def forward(self, image):
            raise RuntimeError("sizes do not match")

    with pytest.raises(RuntimeError, match="sizes do not match"):
        ask(Broken(clock))


def test_it_can_be_cancelled(has_bf16, clock, precision_cache):
    def stop(stage, fraction):
        raise Cancelled

    network = Network(clock)
    with pytest.raises(Cancelled):
        ask(network, progress=stop)
    assert network.calls == []
    assert not precision_cache.exists()


def test_agreement_is_over_what_either_calls_foreground():
    first, second = torch.tensor([0, 0, 1, 1, 2, 0]), torch.tensor([0, 0, 1, 2, 2, 1])
    assert label_agreement(first, second) == pytest.approx(2 / 4)
    assert label_agreement(first * 0, second * 0) == 1


def test_what_this_cpu_has_is_what_torch_says_of_it(monkeypatch):
    monkeypatch.setattr(precision, "is_arm", lambda: False)
    for bf16, amx in ((True, False), (False, True), (False, False)):
        for name, has in (("_is_avx512_bf16_supported", bf16), ("_is_amx_tile_supported", amx)):
            monkeypatch.setattr(f"torch.cpu.{name}", partial(bool, has), raising=False)
        assert cpu_has_bf16() is (bf16 or amx)
    monkeypatch.delattr("torch.cpu._is_avx512_bf16_supported")
    monkeypatch.delattr("torch.cpu._is_amx_tile_supported")
    assert cpu_has_bf16() is False  # a torch that cannot tell


@pytest.mark.parametrize("has", (True, False))
def test_on_arm_onednn_says_it(monkeypatch, has):
    monkeypatch.setattr(precision, "is_arm", lambda: True)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: has, raising=False)
    monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda: not has, raising=False)
    assert cpu_has_bf16() is has


def test_bf16_on_this_cpu():
    """A convolution gives bf16 in the context and float32 outside of it, and nearly the same."""
    if not cpu_has_bf16():
        pytest.skip("THIS PROCESSOR HAS NO BF16: what the networks do in it was not tried")
    torch.manual_seed(0)
    network = torch.nn.Conv3d(1, 4, 3, padding=1).eval()
    image = torch.randn(1, 1, 24, 24, 24)
    with torch.inference_mode():
        plain = float32_logits(network, image, "fp32")
        rounded, again = (float32_logits(network, image, "bf16") for _ in range(2))
        with autocast(CPU, "bf16"):
            assert network(image).dtype == torch.bfloat16
    assert plain.equal(network(image))
    assert rounded.dtype == torch.float32
    assert rounded.equal(again)
    assert 0 < float((plain - rounded).abs().max()) < 0.05
    decided = ask(network, image[0, 0].numpy())
    assert decided.agreement > 0.9
    assert decided.speed is None or decided.speed > 0
