"""What this computer's processor is called, from /proc/cpuinfo where there is one."""

import platform

import pytest

from MedLLMSegLib.core import processor
from MedLLMSegLib.core.processor import is_arm, processor_model, processor_name

TWO_PROCESSORS = """\
processor\t: 0
cpu family\t: 25
model\t\t: 17
model name\t: AMD EPYC
stepping\t: 1

processor\t: 1
cpu family\t: 99
model\t\t: 99
model name\t: Another
"""


@pytest.fixture
def cpu_info(monkeypatch, tmp_path):
    """cpu_info(text): what /proc/cpuinfo holds; a system without that file before."""
    path = tmp_path / "cpuinfo"
    monkeypatch.setattr(processor, "CPU_INFO", path)
    processor._cpu_info.cache_clear()
    yield path.write_text
    processor._cpu_info.cache_clear()


def test_the_first_processor_is_named_with_the_maker_s_numbers(cpu_info):
    """A virtual machine calls many processors the same."""
    cpu_info(TWO_PROCESSORS)
    assert processor_name() == "AMD EPYC"
    assert processor_model() == "AMD EPYC, cpu family 25, model 17, stepping 1"


def test_without_such_a_file_the_system_names_it(cpu_info, monkeypatch):
    monkeypatch.setattr(platform, "processor", lambda: "Intel64 Family 6")
    assert processor_name() == processor_model() == "Intel64 Family 6"
    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert processor_name() == "riscv64"


def test_an_arm_says_implementer_and_part_and_no_name(cpu_info, monkeypatch):
    cpu_info("processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd4f\n")
    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert processor_model() == "aarch64, CPU implementer 0x41, CPU part 0xd4f"


@pytest.mark.parametrize(
    "machine, arm", (("aarch64", True), ("ARM64", True), ("x86_64", False), ("AMD64", False))
)
def test_arm(monkeypatch, machine, arm):
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert is_arm() is arm
