"""From a finished training to a bundle: calibration, evidence, card and export."""
