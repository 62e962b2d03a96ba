"""What the worker does with lines that are not requests."""

import os
import subprocess
import sys

from MedLLMSegLib.worker.protocol import decode, encode
from Testing.helpers.worker_owner import (
    ROOT,
    STAND_IN,
)


def test_garbage_is_left_out_and_the_next_request_is_answered():
    garbage = (
        b"\n",
        b"hello\n",
        b"\xff\x00\xfe\n",
        b"[1, 2]\n",
        b"null\n",
        b'{"do": "segment"}\n',
        b'{"id": 1}\n',
        b'{"id": 1, "do": "dance"}\n',
        b'{"id": "one", "do": "ping"}\n',
        b'{"id": 1, "do": ["ping"]}\n',
        b"[" * 50_000 + b"\n",
        b"x" * 2_500_000 + b"\n",
    )
    requests = (
        b"".join(garbage)
        + encode({"id": 7, "do": "cancel"})
        + encode({"id": 8, "do": "ping"})
        + encode({"do": "quit"})
    )
    done = subprocess.run(
        [sys.executable, STAND_IN],
        input=requests,
        capture_output=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    answers = [decode(line) for line in done.stdout.splitlines()]
    assert answers[0]["event"] == "hello"
    assert done.returncode == 0
    bad = [a for a in answers if a["event"] == "error"]
    assert len(bad) >= len(garbage)
    assert all(a["id"] is None and a["kind"] == "unexpected" for a in bad)
    assert sum(map(len, (a["details"] for a in bad))) < 500 * len(
        bad
    )  # it does not answer with all of it
    # "quit" does not wait for what was asked before it
    assert {a["event"] for a in answers if a["id"] == 8} <= {"progress", "result"}
