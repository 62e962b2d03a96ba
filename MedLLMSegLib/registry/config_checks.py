"""What all configurations share: checks of their values, and the way from JSON (no torch)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import (
    TYPE_CHECKING,
    Any,
    Literal,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from MedLLMSegLib.core.errors import UserError, in_short
from MedLLMSegLib.core.types import Json

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Config = TypeVar("Config", bound="DataclassInstance")
HUGE = 1e18  # no setting is so large; infinity and NaN are not below it
KINDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
    NoneType: "null",
    dict: "names with values",
}


def require_choice(config: DataclassInstance, name: str, *allowed: str) -> None:
    """Raise `UserError` unless the field `name` has one of the allowed values."""
    value = getattr(config, name)
    if value not in allowed:
        raise UserError(
            f"{type(config).__name__}.{name} is {in_short(repr(value))}, and one of"
            f" {', '.join(map(repr, allowed))} is needed."
        )


def require_positive(config: DataclassInstance, *names: str) -> None:
    """Raise `UserError` unless each of these fields is above 0."""
    for name in names:
        value = getattr(config, name)
        if not value > 0:
            raise UserError(
                f"{type(config).__name__}.{name} is {in_short(repr(value))}, and must be above 0."
            )


def require_fraction(config: DataclassInstance, *names: str) -> None:
    """Raise `UserError` unless each of these fields is from 0 to below 1."""
    for name in names:
        value = getattr(config, name)
        if not 0 <= value < 1:
            raise UserError(
                f"{type(config).__name__}.{name} is {in_short(repr(value))}, and must be from 0 to"
                " below 1."
            )


def config_from_json(config_class: type[Config], data: Json) -> Config:
    """A configuration from its JSON object, with lists as tuples. `UserError` for a key that the
    class does not have.
    """
    data = json_object(data, config_class.__name__)
    known = {field.name for field in fields(config_class)}
    unknown = sorted(set(data) - known)
    if unknown:
        raise UserError(
            f"{config_class.__name__} has no setting called {in_short(repr(unknown[0]))}; "
            "the file was written by a newer version, or its spelling is off."
        )
    return config_class(
        **checked_kinds(config_class, {name: _as_tuples(value) for name, value in data.items()})
    )


def json_object(data: Any, what: str) -> Json:
    """A copy of a JSON object. Raises `UserError` for anything else. what: its name for people."""
    if not isinstance(data, Mapping):
        raise UserError(
            f"The settings of {what} are {in_short(repr(data))}, and names with values are needed;"
            " the file is damaged."
        )
    return dict(data)


def checked_kinds(config_class: type, values: Json) -> Json:
    """The values, after a check that each is of the kind that the class annotates.

    values: name of a field -> value, lists as tuples and parts of the configuration already made.
    Raises `UserError` for a text in place of a number, a number that is none, and the like.
    """
    hints = get_type_hints(config_class)
    for name, value in values.items():
        if not _is_of_kind(value, hints[name]):
            raise UserError(
                f"{config_class.__name__}.{name} is {in_short(repr(value))}, and"
                f" {_kind_in_words(hints[name])} is needed."
            )
    return values


def _is_of_kind(value: Any, hint: Any) -> bool:
    """Whether a value fits an annotation, as far as JSON's kinds tell."""
    origin, arguments = get_origin(hint), get_args(hint)
    kind = origin or hint
    if origin in (Union, UnionType):
        return any(_is_of_kind(value, each) for each in arguments)
    if origin is Literal:
        return value in arguments
    if origin is tuple:
        return isinstance(value, tuple) and _are_of_kinds(value, arguments)
    if kind in (int, float):
        number = Integral if kind is int else Real
        is_number = isinstance(value, number) and not isinstance(value, bool)
        return is_number and abs(value) < HUGE
    return kind is Any or isinstance(value, kind)


def _are_of_kinds(values: tuple[Any, ...], hints: tuple[Any, ...]) -> bool:
    """Whether a tuple's values fit its annotation, which may end in "..."."""
    if hints[-1:] == (Ellipsis,):
        return all(_is_of_kind(each, hints[0]) for each in values)
    return len(values) == len(hints) and all(map(_is_of_kind, values, hints))


def _kind_in_words(hint: Any) -> str:
    """An annotation for people."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return " or ".join(map(_kind_in_words, arguments))
    if origin is Literal:
        return f"one of {', '.join(map(repr, arguments))}"
    if origin is tuple and arguments[-1:] != (Ellipsis,):
        return f"a list of {len(arguments)}, each {_kind_in_words(arguments[0])}"
    if origin is tuple:
        return f"a list, each {_kind_in_words(arguments[0])}"
    return KINDS.get(origin or hint, "an object of settings")


def _as_tuples(value: Any) -> Any:
    """Lists at any depth, as JSON has them, become tuples."""
    return tuple(map(_as_tuples, value)) if isinstance(value, list) else value
