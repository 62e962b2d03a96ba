"""``python -m MedLLMSegLib`` is the command line."""

import sys

from MedLLMSegLib.cli.main import main

sys.exit(main())
