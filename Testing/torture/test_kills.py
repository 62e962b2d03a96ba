"""Three kills of each job of `make torture TORTURE_ARGS="--kill all"`; and that the torture sees
what a bad job would lose.
"""

import subprocess
import sys
from pathlib import Path

import pytest

SEED = 17
ROOT = Path(__file__).parents[2]
# Jobs of one file that is read as a result, each with a fault; they run in a process of their own,
# as the torture forks.
BAD_JOBS = """
import sys, time
from pathlib import Path
sys.path.insert(0, {root!r})
from Testing.torture.killed_jobs import KilledJob
from Testing.torture.kills import torture_job

def half(box):
    for text in ('{{"a":', '1}}'):
        with open(box / "a.json", "a" if text[0] == "1" else "w") as file:
            file.write(text)
    return 0

def refuse(box):
    (box / "lock").touch()
    if (box / "begun").exists():
        return 2
    (box / "begun").touch()
    (box / "lock").touch()
    return 0

def litter(box):
    scratch = box / f".scratch{{time.time_ns()}}"
    scratch.touch()
    scratch.unlink()
    return 0

def repeat(box):
    for n in range(2):
        with open(box / "rows.txt", "a") as file:
            file.write("row ")
    return 0

def outcome(box):
    return [path.read_text() for path in box.glob("*.txt")]

for run in (half, refuse, litter, repeat):
    job = KilledJob(run.__name__, lambda box: box.mkdir(parents=True), run, lambda box: [], outcome)
    tally = torture_job(job, Path(sys.argv[1]) / job.name, 6, 1, time.monotonic() + 60)
    print(*(" ".join(fault.split()) for fault in tally.faults), sep="\\n")
"""


def run_python(*words):
    return subprocess.run(
        [sys.executable, *map(str, words)], capture_output=True, text=True, cwd=ROOT, check=False
    )


@pytest.mark.slow
@pytest.mark.parametrize("job", ["batch", "training", "import", "worker", "two"])
def test_a_killed_job_loses_nothing_and_goes_on(job):
    run = run_python("tools/torture.py", "--kill", job, "--count", 3, "--seed", SEED)
    assert run.returncode == 0, run.stdout + run.stderr
    assert f"| {job} | 3 |" in run.stdout or f"| {job} | 4 |" in run.stdout, run.stdout


@pytest.mark.slow
def test_bad_jobs_are_seen(tmp_path):
    run = run_python("-c", BAD_JOBS.format(root=str(ROOT)), tmp_path)
    for job, says in (
        ("half", "a.json: JSONDecodeError"),
        ("refuse", "exit code 2"),
        ("litter", "left behind: .scratch"),
        ("repeat", "another outcome"),
    ):
        lines = [line for line in run.stdout.splitlines() if line.startswith(f"{job} ")]
        assert any(says in line for line in lines), (job, run.stdout, run.stderr)
