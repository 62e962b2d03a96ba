"""The measured model: whatever decides an answer changes its hash, and what does not is listed."""

import copy
import hashlib
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from MedLLMSegLib import UserError
from MedLLMSegLib.registry.bundle import read_bundle
from MedLLMSegLib.registry.catalogue import (
    METADATA,
    NOT_MEASURED,
    WEIGHTS,
    list_models,
    measured_model,
    model_entry,
    read_metadata,
)
from MedLLMSegLib.registry.measured_model import LEFT_OUT
from MedLLMSegLib.registry.monai_fields import monai_fields
from MedLLMSegLib.registry.own_figures import training_words
from MedLLMSegLib.registry.seen_cases import Marks, SeenCases
from Testing.helpers.tiny_segmenter import tiny_bundle

SEEN = SeenCases(
    train=Marks(frozenset({"0123456789abcdef"}), frozenset({"00000000000000aa"})),
    val=Marks(frozenset({"fedcba9876543210"})),
    known=True,
)
SHIPPED = {entry.id: read_metadata(entry.folder) for entry in list_models(None)}
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.floats(-9, 9), st.text())


def leaves(value, path=()):
    """The paths of every leaf of nested dicts and lists; empty ones are leaves too."""
    items = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    found = [leaf for key, inner in items for leaf in leaves(inner, (*path, key))]
    return found or [path]


def at(value, path):
    for key in path:
        value = value[key]
    return value


def replaced(metadata, path, new):
    changed = copy.deepcopy(metadata)
    at(changed, path[:-1])[path[-1]] = new
    return changed


def is_left_out(path):
    names = [str(key) for key in path]
    return any(".".join(names[:n]) in LEFT_OUT for n in range(1, len(names) + 1))


def same(one, other):
    return measured_model(one).sha256 == measured_model(other).sha256


FIELDS = [(model_id, path) for model_id, metadata in SHIPPED.items() for path in leaves(metadata)]


@settings(max_examples=300, deadline=None)
@given(field=st.sampled_from(FIELDS), new=SCALARS)
def test_every_field_of_a_bundle_changes_the_hash_unless_it_is_listed(field, new):
    model_id, path = field
    metadata = SHIPPED[model_id]
    if path == ("localizer",) or json.dumps(new) == json.dumps(at(metadata, path)):
        return  # another localizer has a test of its own
    assert same(metadata, replaced(metadata, path, new)) == is_left_out(path), path


@settings(max_examples=50, deadline=None)
@given(name=st.text(min_size=1), new=SCALARS)
def test_a_field_that_nobody_thought_of_changes_the_hash(name, new):
    """Unless it is null, which says no more than leaving it out."""
    metadata = SHIPPED["cardiac-cine-mr"]
    if name not in LEFT_OUT and name not in metadata and name != "localizer":
        assert same(metadata, metadata | {name: new}) == (new is None)


def test_figures_of_a_calibration_are_not_the_calibration():
    metadata = {**SHIPPED["cardiac-cine-mr"], "calibration": None}
    assert same(metadata, metadata | {"calibration": {"ece": 0.02}})
    assert not same(metadata, metadata | {"calibration": {"ece": 0.02, "temperature": 1.5}})


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return tiny_bundle(tmp_path_factory.mktemp("tiny") / "tiny", seen=SEEN.to_dict())


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_every_byte_of_the_weights_changes_the_hash(tiny, data):
    """A changed byte alone is refused; with its sha256 written anew, it is another model."""
    weights, metadata = (tiny / WEIGHTS).read_bytes(), read_metadata(tiny)
    position = data.draw(st.integers(0, len(weights) - 1))
    flipped = bytearray(weights)
    flipped[position] ^= data.draw(st.integers(1, 255))
    try:
        (tiny / WEIGHTS).write_bytes(flipped)
        with pytest.raises(UserError, match="not the ones it was published with"):
            read_bundle(tiny)
        sha256 = hashlib.sha256(flipped).hexdigest()
        assert not same(metadata, metadata | {"weights_sha256": sha256})
    finally:
        (tiny / WEIGHTS).write_bytes(weights)


def test_what_is_left_out_is_said_why():
    assert all(len(reason.split()) >= 4 for reason in LEFT_OUT.values())
    decisive = {"network", "preprocessing", "weights_sha256", "llm_sha256", "labels", "threshold"}
    assert not decisive & set(LEFT_OUT)
    assert not {"calibration", "calibration.temperature", "calibration.dice_lines"} & set(LEFT_OUT)


@pytest.mark.parametrize("model_id", sorted(SHIPPED))
def test_what_is_written_for_monai_leaves_the_hash(model_id):
    """It is made from the rest after the figures were checked."""
    metadata = SHIPPED[model_id]
    if metadata["kind"] != "classifier":
        assert set(monai_fields(metadata)) <= set(LEFT_OUT)


def test_the_hash_is_that_of_the_written_bundle(tiny):
    """Whether it is made before the bundle is written or after it was read."""
    bundle, metadata = read_bundle(tiny), read_metadata(tiny)
    assert bundle.measured == measured_model(metadata)
    lines = {2: (0.5, 1.0), 10: (0.25, 1.0), 1: (0.1, 1.0)}
    before = metadata | {"calibration": {"temperature": 1.7, "dice_lines": lines}}
    (tiny / METADATA).write_text(json.dumps(before))
    try:
        assert read_bundle(tiny).measured == measured_model(before)
    finally:
        (tiny / METADATA).write_text(json.dumps(metadata))


def test_another_localizer_makes_another_cascade(tmp_path):
    cascade = SHIPPED["hippocampus-t1"]
    localizer = SHIPPED["brain-t1-localizer"]
    folder = tmp_path / "localizer"
    (folder / "configs").mkdir(parents=True)

    def with_localizer(metadata):
        (folder / METADATA).write_text(json.dumps(metadata))
        return cascade | {"localizer": str(folder)}

    assert same(cascade, with_localizer(localizer | {"title": "Another title"}))
    assert not same(cascade, with_localizer(localizer | {"weights_sha256": "ab" * 32}))
    coarser = localizer["preprocessing"] | {"spacing_mm": 4.0}
    assert not same(cascade, with_localizer(localizer | {"preprocessing": coarser}))


def test_what_a_localizer_saw_counts_for_its_cascade(tmp_path):
    cascade, localizer = SHIPPED["hippocampus-t1"], SHIPPED["brain-t1-localizer"]
    (tmp_path / "configs").mkdir()
    figures = {"cases": 1, "marks": {"a": {"scans": ["0123456789abcdef"], "persons": []}}}

    def words(seen):
        (tmp_path / METADATA).write_text(json.dumps(localizer | {"seen": seen.to_dict()}))
        return training_words(figures, measured_model(cascade | {"localizer": str(tmp_path)}))

    assert words(SeenCases(known=True)) == "that had no part in training or choosing"
    assert "not known" in words(SeenCases())
    saw_it = SeenCases(train=Marks(frozenset({"0123456789abcdef"})), known=True)
    assert words(saw_it) == "of which 1 took part in training or choosing"


def test_what_was_seen_is_read_from_the_bundle(tiny):
    assert read_bundle(tiny).measured.seen == SEEN
    unknown = {k: v for k, v in read_metadata(tiny).items() if k != "seen"}
    assert not measured_model(unknown).seen.known
    with pytest.raises(UserError, match="list of seen cases"):
        measured_model(unknown | {"seen": {"train": []}})


def test_a_figure_of_another_model_is_not_shown(tiny):
    """Its temperature was changed after it was measured."""
    metadata = read_metadata(tiny) | {"accuracy": "mean Dice 0.900 on 3 test cases"}
    results = {"measured_model": measured_model(metadata).sha256}
    cooler = {"calibration": {"temperature": 1.2}}
    try:
        for more, shown in (({}, metadata["accuracy"]), (cooler, NOT_MEASURED)):
            (tiny / METADATA).write_text(json.dumps(metadata | {"results": results} | more))
            assert model_entry(tiny).accuracy == shown
    finally:
        (tiny / METADATA).write_text(json.dumps(metadata))
