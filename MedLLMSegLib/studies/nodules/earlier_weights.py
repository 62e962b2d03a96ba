"""Networks of an earlier --output, tested again without another training."""

from __future__ import annotations

import shutil
from pathlib import Path

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.safe_files import make_folder
from MedLLMSegLib.core.types import Json
from MedLLMSegLib.studies.study.settings import SETTINGS, read_json
from MedLLMSegLib.studies.study.study import RESULT
from MedLLMSegLib.training.checkpoint import BEST

OF_THE_TEST = ("window_step", "copies", "each")  # settings that no training depends on
OF_THE_TRAINING = ("val_dice", "training_seconds", "parameters")  # entries of a result


def take_earlier(earlier: Path, settings: Json, folder: Path) -> Json:
    """Copy a run's best weights into its folder; returns what was noted of their training.

    Raises `UserError` where it has not ended, or was one with other settings.
    """
    run = earlier / folder.name
    if not all(path.is_file() for path in (earlier / SETTINGS, run / RESULT, run / BEST)):
        raise UserError(
            f'"{earlier}" holds no finished training "{folder.name}"; give the --output of an'
            " earlier run of this study, or leave --weights out."
        )
    before = read_json(earlier / SETTINGS)
    other = [key for key in settings if key not in OF_THE_TEST and before.get(key) != settings[key]]
    if other:
        raise UserError(
            f'The networks of "{earlier}" were trained with other settings ({", ".join(other)});'
            " leave --weights out to train anew."
        )
    shutil.copyfile(run / BEST, make_folder(folder) / BEST)
    result = read_json(run / RESULT)
    return {key: result[key] for key in OF_THE_TRAINING}
