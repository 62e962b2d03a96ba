"""Where the checkout lies, and the data that some tests need."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("MEDLLMSEG_DATA", ROOT.parent / "shared" / "data"))
SAMPLES = DATA / "samples"
