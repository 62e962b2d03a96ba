"""The processes of a batch: some of this computer, or those of a scheduler that runs already."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from MedLLMSegLib.core.errors import UserError

if TYPE_CHECKING:
    from distributed import Client

CONNECT_S = 15.0  # until a scheduler counts as not answering
# Of a thread pool, by whichever library computes
THREAD_SETTINGS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
LOCALHOST = "127.0.0.1"
SETTINGS = {
    # Neither dashboard nor any other page is served.
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
    # A scan is given to a worker when it has nothing else to do: scans take seconds and more.
    "distributed.scheduler.worker-saturation": 1.0,
}


@dataclass(frozen=True)
class Computers:
    """workers: processes to start on this computer; 0 for none. scheduler: a running dask
    scheduler's address or the path of its file; None for none.
    """

    workers: int = 0
    scheduler: str | None = None

    def check(self) -> None:
        """Raise `UserError` for what cannot be, and where dask is not installed."""
        if self.scheduler is not None and self.workers:
            raise UserError(
                "--workers starts processes on this computer, and --dask uses those of a running"
                " scheduler; leave one of the two out."
            )
        if self.scheduler is None and self.workers < 1:
            raise UserError(f"--workers is {self.workers}, and 1 or more are needed.")
        if find_spec("distributed") is None:
            raise UserError(
                "Several processes need the package dask.distributed, which is not installed; run"
                ' `pip install "medllmseg[many]"` or leave --workers and --dask out.'
            )


def threads_each(workers: int) -> int:
    """The threads of each of so many processes: the cores that this process may use, shared out;
    of those as many as OMP_NUM_THREADS allows, where the user has set it.
    """
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    allowed = os.environ.get("OMP_NUM_THREADS", "")
    if allowed.isdecimal() and int(allowed) > 0:
        cores = min(cores, int(allowed))
    return max(1, cores // workers)


@contextmanager
def connected(computers: Computers) -> Iterator[Client]:
    """A client of the processes, which are ended with the block if they were started for it.

    Raises `UserError` where no scheduler answers.
    """
    import dask

    computers.check()
    with ExitStack() as stack:
        stack.enter_context(dask.config.set(SETTINGS))
        if computers.scheduler is not None:
            yield stack.enter_context(_client_of(computers.scheduler))
        else:
            yield stack.enter_context(_own_processes(computers.workers))


@contextmanager
def _own_processes(workers: int) -> Iterator[Client]:
    """Processes of this computer, which no other one can reach.

    With the package cryptography, other users of this computer cannot reach them either: all
    connections then need a certificate of this batch, which is in no file that stays.
    """
    from distributed import Client, LocalCluster, Security

    threads = str(threads_each(workers))
    security = Security.temporary() if find_spec("cryptography") is not None else None
    with (
        tempfile.TemporaryDirectory(prefix="medllmseg-dask-", ignore_cleanup_errors=True) as folder,
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            host=LOCALHOST,
            dashboard_address=None,
            scheduler_kwargs={"dashboard_address": f"{LOCALHOST}:0"},
            memory_limit=0,  # how much a scan may take is our own matter
            security=security,
            local_directory=folder,
            env=dict.fromkeys(THREAD_SETTINGS, threads),
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@contextmanager
def _client_of(scheduler: str) -> Iterator[Client]:
    from distributed import Client

    address = _address(scheduler)
    try:
        client = Client(address, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f'No dask scheduler answers at "{address}"; check the address, and start one with'
            " `dask scheduler`."
        ) from error
    with client:
        yield client


def _address(scheduler: str) -> str:
    """The address that a scheduler's file holds, or what was given, which is one."""
    path = Path(scheduler).expanduser()
    if "://" in scheduler or not (path.exists() or path.suffix == ".json"):
        return scheduler
    from MedLLMSegLib.core.json_text import parse_json

    try:
        return str(parse_json(path.read_bytes())["address"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f'"{path}" is no file of a dask scheduler; name the one that `dask scheduler'
            " --scheduler-file` wrote, or the scheduler's address."
        ) from error
