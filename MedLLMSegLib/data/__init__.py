"""Labelled cases for training and evaluation: their files, their patients, and their splits."""

from .case import Case, CaseSet, assumed_alone, group_of, patients_counted
from .channel_names import channel_names, load_case, load_images, with_channels
from .decathlon import (
    choose_cases,
    decathlon_case,
    file_of,
    listed_ids,
    split_ids,
    stated_channels,
    stated_labels,
)
from .label_checks import read_label_map, read_labels
from .sources import read_cases
from .splits import folds, split_cases

__all__ = [
    "Case",
    "CaseSet",
    "assumed_alone",
    "channel_names",
    "choose_cases",
    "decathlon_case",
    "file_of",
    "folds",
    "group_of",
    "listed_ids",
    "load_case",
    "load_images",
    "patients_counted",
    "read_cases",
    "read_label_map",
    "read_labels",
    "split_cases",
    "split_ids",
    "stated_channels",
    "stated_labels",
    "with_channels",
]
