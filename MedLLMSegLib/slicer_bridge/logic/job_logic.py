"""The part of the logic that runs jobs: polling, waiting, cancelling, closing."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from MedLLMSegLib.core.errors import Cancelled, UserError

if TYPE_CHECKING:
    from .jobs import Job, Steps
    from .services import LogicServices

POLL_S = 0.01  # between polls while a script waits for its job


class JobLogic:
    """Runs jobs. Making one imports neither numpy nor VTK, and starts nothing.

    A job goes on as long as `poll` is called: Slicer's module does so from a timer, a script in its
    own loop.
    """

    def __init__(self, makeClient: Callable | None = None):
        self._makeClient = makeClient
        self._made: LogicServices | None = None

    def poll(self) -> None:
        """Take the jobs on: read the worker's events, write finished results into the scene, call
        back.
        """
        if self._made is None:
            return
        self._made.runner.poll()
        if self._made is None or not self._made.runner.busy:  # a callback may have closed it
            self._stopPolling()

    def cancel(self, job) -> None:
        """Stop a job; it ends with the next `poll`, a training when it is saved. The scene stays as
        it is.
        """
        if self._made is not None:
            self._made.runner.cancel(job)

    def close(self) -> None:
        """End the jobs, without calling back, and the worker. What was overwritten can no longer be
        restored.
        """
        services, self._made = self._made, None
        if services is not None:
            self._stopPolling()
            services.close()

    # for the module

    def _startPolling(self) -> None:
        """Have `poll` called some twenty times a second from now on; the module's class does."""

    def _stopPolling(self) -> None:
        """There is nothing to poll for."""

    # internal

    @property
    def _services(self) -> LogicServices:
        """Made when they are first needed."""
        if self._made is None:
            from .services import LogicServices

            self._made = LogicServices(self._makeClient, self)
        return self._made

    def _add(self, job: Job, steps: Steps) -> Job:
        self._services.runner.add(job, steps)
        self._startPolling()
        return job

    def _finish(self, job: Job) -> Job:
        """Wait for a job; returns it when it is done, and raises an exception otherwise."""
        try:
            while job.running:
                self.poll()
                time.sleep(POLL_S)
        finally:
            self.cancel(job)  # after Ctrl-C; a job that has ended stays as it is
        if job.state == "done":
            return job
        if job.state == "cancelled" and job.message:
            raise UserError(job.message)
        raise job.error or Cancelled()
