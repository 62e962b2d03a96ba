"""bf16 is used where the processor has it, the labels stay and it is faster; else fp32 is."""

import json
import multiprocessing
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from MedLLMSegLib import Cancelled, UserError, load_model, save_volume, segment
from MedLLMSegLib.anatomy.structures import hippocampus_structures
from MedLLMSegLib.cli.main import main as cli
from MedLLMSegLib.reporting.scan_report import write_report
from MedLLMSegLib.segmentation import kept_precision, precision
from MedLLMSegLib.segmentation.kept_precision import Precision, keep, read_kept
from MedLLMSegLib.segmentation.precision import (
    NetworkInUse,
    autocast,
    cpu_has_bf16,
    decide,
    float32_logits,
    label_agreement,
)
from MedLLMSegLib.worker.array_files import load_segmentation, save_segmentation
from Testing.helpers.bright_organ import BrightIsOrgan, bright_organ_model, bright_organ_scan
from Testing.helpers.grids import GRIDS, dice, ellipsoid, make_grid
from Testing.helpers.heart_bundle import heart_bundle

CPU = torch.device("cpu")
SHA = "ab" * 32


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("MEDLLMSEG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "precision"


@pytest.fixture
def has_bf16(monkeypatch):
    monkeypatch.setattr(precision, "cpu_has_bf16", lambda: True)


@pytest.fixture
def clock(monkeypatch):
    """The processor time that the networks below take, in a clock that only they move."""
    clock = Clock()
    monkeypatch.setattr("time.process_time", lambda: clock.seconds)
    return clock


class Clock:
    seconds = 0.0


class Network(torch.nn.Module):
    """Calls bright voxels foreground.

    In bf16 it is so many times as fast, and a share of the foreground is lost.
    """

    def __init__(self, clock, speed=2.0, lost=0.0, error=None):
        super().__init__()
        self.clock, self.speed, self.lost, self.error = clock, speed, lost, error
        self.calls = []

    def forward(self, image):  # (B, 1, K, J, I) -> (B, 2, K, J, I)
        rounded = torch.is_autocast_enabled("cpu")
        self.calls.append("bf16" if rounded else "fp32")
        self.clock.seconds += 1 / self.speed if rounded else 1
        score = image - 0.5
        if rounded and self.error:
            raise self.error
        if rounded and self.lost:
            bright = torch.nonzero(score[0, 0] > 0)
            gone = bright[: round(len(bright) * self.lost)]
            score[0, 0, gone[:, 0], gone[:, 1], gone[:, 2]] = -1
        return torch.cat((torch.zeros_like(score), score), 1)


def scan(shape=(20, 20, 20), box=(slice(5, 15),) * 3):
    array = np.zeros(shape, np.float32)
    array[box] = 1
    return array


def in_use(network=None, device="cpu", requested="auto", sha256=SHA, **labels):
    return NetworkInUse(network, torch.device(device), requested, sha256, **labels)


def ask(network, array=None, window=(32, 32, 32), progress=None, **options):
    array = scan() if array is None else array
    return decide(in_use(network, **options), array, window, progress)


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


def test_nothing_is_measured_where_the_processor_has_no_bf16(monkeypatch, clock, cache):
    monkeypatch.setattr(precision, "cpu_has_bf16", lambda: False)
    network = Network(clock)
    assert ask(network).name == "fp32"
    assert network.calls == []
    assert not cache.exists()


@pytest.mark.parametrize("requested", ("fp32", "bf16"))
def test_what_is_asked_for_is_used_and_not_measured(requested, monkeypatch, clock, cache):
    monkeypatch.setattr(precision, "cpu_has_bf16", lambda: False)
    network = Network(clock)
    assert ask(network, requested=requested).name == requested
    assert network.calls == []
    assert not cache.exists()


def test_another_word_is_refused():
    with pytest.raises(UserError, match='"fp16" is not a precision; use auto, fp32 or bf16'):
        in_use(requested="fp16").settled()


def test_a_gpu_keeps_fp32_unless_asked(has_bf16):
    assert in_use(device="cuda").settled().name == "fp32"
    assert in_use(device="cuda", requested="bf16").settled().name == "bf16"


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


def test_what_is_known_is_not_read_again(has_bf16, clock, cache):
    subject = in_use(Network(clock))
    decided = decide(subject, scan(), (32, 32, 32))
    for file in cache.iterdir():
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
def test_a_damaged_file_is_ignored_and_replaced(has_bf16, clock, cache, damage):
    decided = ask(Network(clock))
    (file,) = cache.iterdir()
    file.write_text(damage(json.loads(file.read_text())))
    assert read_kept(SHA) is None
    assert ask(Network(clock)) == decided
    assert read_kept(SHA) == decided
    assert list(cache.iterdir()) == [file]


def test_without_a_place_to_keep_the_decision_fp32_is_used(has_bf16, clock, cache):
    """Else timing could decide otherwise the next time, and the same scan get other labels."""
    cache.parent.mkdir()
    cache.write_text("a file in the way")
    network = Network(clock)
    assert ask(network) == Precision("fp32", kept_precision.NOT_KEPT)
    assert network.calls == []


def test_the_first_of_several_processes_decides(cache):
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


def test_the_window_nearest_to_the_middle_with_foreground_decides(has_bf16, clock):
    """The windows in the middle and beside it are empty."""
    network = Network(clock, lost=0.5)
    decided = ask(network, scan((60, 20, 20), (slice(0, 12),) * 3), window=(20, 20, 20))
    assert decided.agreement == pytest.approx(0.5)
    assert 2 <= network.calls.index("bf16") <= 3


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


def test_it_can_be_cancelled(has_bf16, clock, cache):
    def stop(stage, fraction):
        raise Cancelled

    network = Network(clock)
    with pytest.raises(Cancelled):
        ask(network, progress=stop)
    assert network.calls == []
    assert not cache.exists()


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


class SeesPrecision(BrightIsOrgan):
    """Remembers in which precision it is called, and answers in it."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def forward(self, image):
        rounded = torch.is_autocast_enabled("cpu")
        self.calls.append("bf16" if rounded else "fp32")
        logits = super().forward(image)
        return logits.bfloat16() if rounded else logits


@pytest.mark.parametrize("requested", ("fp32", "bf16"))
@pytest.mark.parametrize("window", (None, [16, 16, 16]))
def test_a_scan_is_segmented_in_the_precision_that_was_asked_for(requested, window):
    """Of an organ in a crop, and of a whole-scan model in windows, with one more view."""
    model = replace(bright_organ_model(), network=SeesPrecision())
    if window:
        structures = hippocampus_structures(lateral=False)
        settings = {"spacing_mm": 1.0, "window": window}
        model = replace(model, anatomy=None, settings=settings, structures=structures)
    grid = GRIDS["oblique"]
    result = segment(bright_organ_scan(grid), model, precision=requested, augment=1)
    assert set(model.network.calls) == {requested}
    assert result.precision == requested
    if not window:
        assert dice(result.labels.array > 0, ellipsoid(grid)) > 0.87


def test_a_loaded_model_s_precision_holds_where_none_is_asked_for():
    model = replace(bright_organ_model(), network=SeesPrecision()).with_precision("bf16")
    assert segment(bright_organ_scan(GRIDS["oblique"]), model).precision == "bf16"
    with pytest.raises(UserError, match='"fp16" is not a precision'):
        segment(bright_organ_scan(GRIDS["oblique"]), model, precision="fp16")


def test_the_first_scan_decides_and_the_same_scan_is_segmented_alike_again(has_bf16):
    model = replace(bright_organ_model(), network=SeesPrecision()).with_precision("auto")
    assert model.settled_precision() is None
    first, second = (segment(bright_organ_scan(GRIDS["oblique"]), model) for _ in range(2))
    assert first.precision == second.precision == model.settled_precision().name
    assert np.array_equal(first.labels.array, second.labels.array)


def test_a_model_is_loaded_to_decide_by_itself(tmp_path, has_bf16):
    bundle = heart_bundle(tmp_path)
    assert load_model(bundle, "cpu").settled_precision() is None
    assert load_model(bundle, "cpu", "bf16").settled_precision().name == "bf16"
    with pytest.raises(UserError, match='"half" is not a precision'):
        load_model(bundle, "cpu", "half")


def test_a_result_of_the_worker_says_its_precision(tmp_path):
    result = segment(bright_organ_scan(GRIDS["oblique"]), bright_organ_model(), precision="bf16")
    save_segmentation(result, tmp_path / "result")
    assert load_segmentation(tmp_path / "result").precision == "bf16"


def test_the_command_line_asks_for_a_precision_and_the_record_says_it(tmp_path, capsys):
    """What was segmented in another precision is segmented again."""
    grid = make_grid(field_mm=40)
    scan = save_volume(bright_organ_scan(grid), tmp_path / "scan.nii.gz")
    command = ["segment", str(scan), "--model", str(heart_bundle(tmp_path)), "--device", "cpu"]
    command += ["--output", str(tmp_path / "out"), "--precision"]

    def run(requested):
        assert cli([*command, requested]) == 0
        record = json.loads((tmp_path / "out" / "scan.medllmseg.json").read_text())
        return "skipped" if "finished before" in capsys.readouterr().out else record["precision"]

    assert [run(each) for each in ("bf16", "bf16", "fp32", "fp32")] == [
        "bf16",
        "skipped",
        "fp32",
        "skipped",
    ]
    with pytest.raises(SystemExit):
        cli([*command, "fp16"])


def test_a_report_names_the_precision(tmp_path):
    pytest.importorskip("matplotlib")
    scan = bright_organ_scan(GRIDS["oblique"])
    result = segment(scan, bright_organ_model(), precision="bf16")
    page = write_report(scan, result, tmp_path / "report", "medllmseg segment").read_text()
    assert "model stand-in in bf16" in page
