"""Batches over many processes: the same files and table, whatever is killed, refused or stopped."""

import csv
import io
import os
import signal
import sys
import threading
from dataclasses import replace

import pytest

pytest.importorskip("distributed")

import psutil
from distributed import Client, LocalCluster, get_worker

from MedLLMSegLib.cli.main import main
from MedLLMSegLib.core.errors import Cancelled, UserError
from MedLLMSegLib.io.volume_files import save_volume
from MedLLMSegLib.segmentation.batch.many import clusters, segment_many
from MedLLMSegLib.segmentation.batch.many.clusters import LOCALHOST, SETTINGS, Computers
from MedLLMSegLib.segmentation.batch.many.model_request import LoadedModels, ModelRequest
from MedLLMSegLib.segmentation.batch.outputs import SegmentOptions
from MedLLMSegLib.segmentation.batch.result_folder import ResultFolder
from MedLLMSegLib.segmentation.batch.segment_batch import segment_files
from MedLLMSegLib.segmentation.loaded_segmenter import load_model
from Testing.helpers.noise_volumes import noise_volume
from Testing.helpers.tiny_segmenter import tiny_bundle

OPTIONS = SegmentOptions(volumetry=True)
SMALL, LARGE = (8, 32, 24), (60, 96, 80)  # LARGE takes long enough to be met at work
LARGE_ONE = 2


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """Five scans, of which one is large, and a damaged one."""
    folder = tmp_path_factory.mktemp("scans")
    shapes = [SMALL, SMALL, LARGE, SMALL, SMALL]
    for number, shape in enumerate(shapes):
        save_volume(noise_volume(shape, seed=number), folder / f"scan{number}.nii.gz")
    (folder / "scan5.nii.gz").write_bytes(b"")
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def model(bundle):
    return load_model(bundle, "cpu", "fp32")


def run_many(scans, folder, model, bundle, computers, progress=None, **changes):
    loaded = LoadedModels(model)
    request = ModelRequest.of((str(bundle), None), loaded, "cpu")
    options = replace(OPTIONS, overwrite=changes.pop("overwrite", False))
    return segment_many.segment_many(
        scans, ResultFolder(folder), replace(request, **changes), loaded, options, computers,
        progress,
    )  # fmt: skip


def table(folder):
    return (folder / "volumes.csv").read_text()


def results_in(folder):
    """Name -> bytes of every file but the records, which say how long each scan took."""
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.suffix != ".json"}


@pytest.fixture(scope="module")
def one_process(scans, model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("one")
    segment_files(scans, folder, model, OPTIONS)
    return folder


@pytest.fixture
def local_cluster(tmp_path):
    """A scheduler with two workers, all threads of this process: its start takes a moment."""
    import dask

    with (
        dask.config.set(SETTINGS),
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None,
            local_directory=tmp_path / "dask",
        ) as cluster,
    ):  # fmt: skip
        yield cluster


@pytest.fixture
def cluster(local_cluster):
    return Computers(scheduler=local_cluster.scheduler_address)


class KillOne:
    """Kills the worker that has the large scan, once, and keeps what it saw of the processes."""

    def __init__(self):
        self.killed = None
        self.listening = set()
        self.threads = set()

    def watch(self, connected):
        """`connected`, with its client kept."""

        def watched(computers):
            self.context = connected(computers)
            return self

        return watched

    def __enter__(self):
        self.client = self.context.__enter__()
        return self.client

    def __exit__(self, *exception):
        return self.context.__exit__(*exception)

    def progress(self, number, stage, fraction):
        if number != LARGE_ONE or self.killed is not None or fraction == 1:
            return
        self._look()
        holders = [
            worker
            for worker, keys in self.client.processing().items()
            if any(key[1] == LARGE_ONE for key in keys)
        ]
        pids = self.client.run(os.getpid, workers=holders)
        (self.killed,) = pids.values()
        os.kill(self.killed, signal.SIGKILL)

    def _look(self):
        me = psutil.Process()
        for process in (me, *me.children(recursive=True)):
            listening = [c for c in process.net_connections() if c.status == "LISTEN"]
            self.listening.update(c.laddr.ip for c in listening)
        self.threads.update(self.client.run(lambda: os.environ["OMP_NUM_THREADS"]).values())


@pytest.mark.slow
def test_what_a_killed_worker_had_begun_is_done_by_another_one(
    scans, one_process, model, bundle, tmp_path, monkeypatch
):
    kill = KillOne()
    monkeypatch.setattr(segment_many, "connected", kill.watch(clusters.connected))
    results = run_many(scans, tmp_path / "out", model, bundle, Computers(2), kill.progress)
    assert kill.killed is not None
    assert [result.status for result in results] == ["done"] * 5 + ["failed"]
    assert table(tmp_path / "out") == table(one_process)
    rows = list(csv.DictReader(io.StringIO(table(tmp_path / "out"))))
    assert [row["scan"] for row in rows] == [str(scan) for scan in scans]
    assert results_in(tmp_path / "out") == results_in(one_process)
    assert kill.listening == {LOCALHOST}
    assert kill.threads == {str(clusters.threads_each(2))}


def test_a_running_scheduler_gives_the_same_and_the_next_run_skips(
    scans, one_process, model, bundle, tmp_path, cluster
):
    seen = []
    results = run_many(scans, tmp_path, model, bundle, cluster, lambda *event: seen.append(event))
    assert [result.status for result in results] == ["done"] * 5 + ["failed"]
    assert table(tmp_path) == table(one_process)
    assert {number for number, stage, fraction in seen if fraction == 1} == set(range(6))
    assert any(0 < fraction < 1 for _, _, fraction in seen)
    again = run_many(scans, tmp_path, model, bundle, cluster)
    assert [result.status for result in again] == ["skipped"] * 5 + ["failed"]
    rows_of_many = table(tmp_path)
    segment_files(scans, tmp_path, model, OPTIONS)  # one process recognises what many did
    assert table(tmp_path) == rows_of_many


def test_a_worker_with_another_model_refuses_and_the_others_do_its_scans(
    scans, model, bundle, tmp_path, cluster, monkeypatch
):
    load, workers = ModelRequest.load, set()

    def load_on_one(request):
        if get_worker().name == 0:
            raise UserError("Another model.")
        workers.add(get_worker().name)
        return load(request)

    monkeypatch.setattr(ModelRequest, "load", load_on_one)
    results = run_many(scans, tmp_path, model, bundle, cluster)
    assert [result.status for result in results] == ["done"] * 5 + ["failed"]
    assert workers == {1}


def test_when_the_workers_that_did_not_refuse_end_their_scans_go_to_a_new_one(
    scans, model, bundle, tmp_path, local_cluster, cluster, monkeypatch
):
    load, swapped = ModelRequest.load, []

    def load_on_others(request):
        if get_worker().name == 0:
            raise UserError("Another model.")
        return load(request)

    def swap(number, stage, fraction):
        """With scans that only one worker may do: it ends, and a third one comes."""
        tasks = list(local_cluster.scheduler.tasks.values())
        if swapped or not any(task.worker_restrictions for task in tasks):
            return
        swapped.append(number)
        with Client(local_cluster, set_as_default=False) as client:
            client.retire_workers([local_cluster.workers[1].address])
            local_cluster.scale(3)
            client.wait_for_workers(2)

    monkeypatch.setattr(ModelRequest, "load", load_on_others)
    results = run_many(scans, tmp_path, model, bundle, cluster, swap)
    assert swapped
    assert [result.status for result in results] == ["done"] * 5 + ["failed"]


def test_without_a_worker_the_user_is_told_once(
    scans, model, bundle, tmp_path, local_cluster, cluster, monkeypatch, caplog
):
    monkeypatch.setattr(segment_many, "WAIT_S", 0.3)
    with Client(local_cluster, set_as_default=False) as client:
        client.retire_workers()
    late = threading.Timer(2.5, local_cluster.scale, [3])
    late.start()
    results = run_many(scans[:2], tmp_path, model, bundle, cluster)
    late.join()
    assert [result.status for result in results] == ["done"] * 2
    assert caplog.text.count("Waiting for workers") == 1


def test_the_workers_precision_decides_what_is_finished(
    scans, model, bundle, tmp_path, cluster, monkeypatch
):
    """Theirs may be that of a GPU, and the one of who asks that of a CPU."""
    load, small = ModelRequest.load, scans[:2]

    def load_bf16(request):
        return LoadedModels(load(request).model.with_precision("bf16"))

    segment_files(small, tmp_path, model, OPTIONS)
    monkeypatch.setattr(ModelRequest, "load", load_bf16)
    for status in ("done", "skipped"):
        results = run_many(small, tmp_path, model, bundle, cluster)
        assert [result.status for result in results] == [status] * 2
        assert {result.record["precision"] for result in results} == {"bf16"}


@pytest.mark.parametrize(
    "change, message",
    [
        ({"sha256": "00" * 32}, 'has another model ".*tiny".*takes no part'),
        ({"version": "0.0.1"}, "has MedLLMSeg .*, and 0.0.1 is needed"),
    ],
)
def test_where_every_worker_refuses_the_batch_ends_in_one_sentence(
    scans, model, bundle, tmp_path, cluster, change, message
):
    with pytest.raises(UserError, match=message):
        run_many(scans, tmp_path, model, bundle, cluster, **change)
    assert not list(tmp_path.glob("*.nii.gz"))


def test_a_cancel_stops_the_workers_and_leaves_nothing_half_written(
    scans, model, bundle, tmp_path, cluster
):
    def cancel(number, stage, fraction):
        if number == LARGE_ONE and 0 < fraction < 1:
            raise Cancelled

    with pytest.raises(Cancelled):
        run_many(scans, tmp_path, model, bundle, cluster, cancel)
    assert not list(tmp_path.glob("scan2*"))
    assert not (tmp_path / "volumes.csv").exists()
    results = run_many(scans, tmp_path, model, bundle, cluster)
    assert results[LARGE_ONE].status == "done"
    assert results[0].status == "skipped"


@pytest.fixture
def command(scans, bundle, tmp_path):
    def run(*more, output="out"):
        folder = str(scans[0].parent)
        words = ["segment", folder, "--model", str(bundle), "--device", "cpu"]
        return main([*words, "-o", str(tmp_path / output), *more])

    return run


def test_the_command_line_names_the_scheduler_by_its_file(
    command, cluster, tmp_path, one_process, capsys
):
    file = tmp_path / "scheduler.json"
    file.write_text(f'{{"address": "{cluster.scheduler}"}}')
    assert command("--dask", str(file), "--volumetry", "--precision", "fp32") == 1
    assert "5 segmented, 0 skipped, 1 failed" in capsys.readouterr().out
    assert table(tmp_path / "out") == table(one_process)


@pytest.mark.parametrize(
    "options, message",
    [
        (["--workers", "0"], "--workers is 0, and 1 or more are needed"),
        (["--workers", "2", "--dask", "tcp://localhost:1"], "leave one of the two out"),
        (["--dask", "nowhere.json"], "is no file of a dask scheduler"),
        (["--dask", "tcp://127.0.0.1:9"], "No dask scheduler answers at"),
        (["--dask", "somewhere"], "No dask scheduler answers at"),
    ],
)
def test_what_cannot_be_is_one_sentence(command, monkeypatch, capsys, options, message):
    monkeypatch.setattr(clusters, "CONNECT_S", 0.5)
    assert command(*options) == 2
    assert message in capsys.readouterr().err


def test_many_scans_need_a_folder(command, scans, capsys):
    assert command("--workers", "2", output="one.nii.gz") == 2
    assert "name a folder" in capsys.readouterr().err


def test_without_dask_one_sentence_says_what_to_install(command, monkeypatch, capsys):
    monkeypatch.setattr(clusters, "find_spec", lambda name: None)
    assert command("--workers", "2") == 2
    assert 'pip install "medllmseg[many]"' in capsys.readouterr().err


def test_without_the_options_dask_is_not_imported(monkeypatch, command, capsys):
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert command() == 1
    assert "5 segmented" in capsys.readouterr().out


@pytest.mark.parametrize(
    "cores, allowed, workers, threads",
    [(8, None, 2, 4), (8, None, 3, 2), (2, None, 4, 1), (8, "4", 2, 2), (8, "", 1, 8)],
)
def test_the_workers_share_the_cores(monkeypatch, cores, allowed, workers, threads):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(cores)), raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if allowed is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", allowed)
    assert clusters.threads_each(workers) == threads
