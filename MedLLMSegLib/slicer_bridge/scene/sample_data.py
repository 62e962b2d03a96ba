"""The tutorial's scan, Slicer's own MRHead: registered with SampleData, and downloaded without
blocking the window.
"""

from __future__ import annotations

import hashlib
import os
import threading
import urllib.request
from pathlib import Path

SHA256 = "cc211f0dfd9a05ca3841ce1141b292898b2dd2d3f08286affadf823a7e58df93"
URI = f"https://github.com/Slicer/SlicerTestingData/releases/download/SHA256/{SHA256}"
NAME, FILE = "MRHead", "MR-head.nrrd"
TIMEOUT_S = 30


def register_sample(category: str) -> None:
    """Offer MRHead in the SampleData module under a category of ours."""
    import SampleData

    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category=category,
        sampleName=NAME,
        uris=URI,
        fileNames=FILE,
        nodeNames=NAME,
        checksums=f"SHA256:{SHA256}",
    )


def load_sample():
    """The volume node of MRHead, through SampleData: at once where `Download` has put the file
    into Slicer's cache.
    """
    import SampleData

    return SampleData.SampleDataLogic().downloadSample(NAME)


class Download:
    """Downloads a file in a thread. error: why it failed, or None."""

    def __init__(self, folder, uri: str = URI, sha256: str = SHA256, name: str = FILE):
        self.path, self.uri, self.sha256 = Path(folder) / name, uri, sha256
        self._ended = threading.Event()
        self.error: Exception | None = None
        threading.Thread(target=self._run, name="MedLLMSeg sample", daemon=True).start()

    def _run(self) -> None:
        try:
            if not self._is_complete():
                self._fetch()
        # no network, a full disk, an answer that breaks off (http.client has errors of its own)
        except Exception as error:
            self.error = error
        finally:
            self._ended.set()

    def wait(self, seconds: float) -> bool:
        """Let the thread run for up to ``seconds``; returns whether it has ended."""
        return self._ended.wait(seconds)

    def _is_complete(self) -> bool:
        return (
            self.path.is_file()
            and hashlib.sha256(self.path.read_bytes()).hexdigest() == self.sha256
        )

    def _fetch(self) -> None:
        with urllib.request.urlopen(self.uri, timeout=TIMEOUT_S) as answer:
            data = answer.read()
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise ValueError("what was downloaded is not the file that was asked for")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_name(self.path.name + ".part")
        part.write_bytes(data)
        os.replace(part, self.path)
