"""What the table of speed compares: a row, its contestants, and the sizes that they work on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from MedLLMSegLib.core.types import Json

Value = TypeVar("Value")

OURS = "ours"
FULL, QUICK = "full", "quick"
BOTH = (FULL, QUICK)
# Seconds of processor time so far; and the peak, in MiB, of processes that a run has started.
Clock: TypeAlias = Callable[[], float]
Peak: TypeAlias = Callable[[], float]


class NotMeasured(Exception):
    """Why a row cannot be measured on this machine, in the words that its table prints."""


@dataclass(frozen=True)
class Setting:
    """Where and on what a row is measured.

    scale: "full" for the table, "quick" for the tests. device: as `choose_device` takes it.
    threads: of torch and SimpleITK.
    """

    scale: str = FULL
    device: str = "cpu"
    threads: int = 1

    @property
    def quick(self) -> bool:
        """Whether ratios alone are wanted, within a minute."""
        return self.scale == QUICK

    @property
    def on_cuda(self) -> bool:
        """Whether the work is done by an NVIDIA GPU."""
        return self.device.startswith("cuda")

    def pick(self, full: Value, quick: Value) -> Value:
        """The value for this setting's scale."""
        return quick if self.quick else full


@dataclass(frozen=True, eq=False)
class Run:
    """A contestant that is ready.

    call: does the whole work once and returns its result. other_processor: processor time of other
    processes that work for it and still live. other_peak_mib: the peak of processes that it
    started, whose memory counts in place of this one's. close: ends such processes.
    """

    call: Callable[[], object]
    other_processor: Clock | None = None
    other_peak_mib: Peak | None = None
    close: Callable[[], object] | None = None


# Makes its input and returns what is to be measured. Raises `NotMeasured`.
Prepare: TypeAlias = Callable[[Setting], Run]


@dataclass(frozen=True, eq=False)
class Row:
    """One comparison.

    name: for options and files. title: for readers. contestants: name -> how it is made ready;
    "ours" is compared with each of the others. aim: for readers. facts: further figures, such as
    how many voxels differ. beside: the contestant whose memory is taken off the others'. voxels:
    of a row of growth, whose contestants are all ours on scans of that many voxels. rounds: how
    often each contestant runs in turn. memory: whether memory is measured. cuda: whether the work
    can be done on a GPU. large: only on request. scales: those that it takes part in.
    """

    name: str
    title: str
    contestants: Mapping[str, Prepare]
    aim: str = ""
    facts: Callable[[Setting], Json] | None = None
    beside: str | None = None
    voxels: Mapping[str, int] | None = None
    rounds: int = 3
    memory: bool = True
    cuda: bool = False
    large: bool = False
    scales: tuple[str, ...] = (FULL,)
