"""What all configurations share: checks of their values, and the way from JSON (no torch)."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

from MedLLMSegLib.core.errors import UserError, in_short
from MedLLMSegLib.core.types import Json

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Config = TypeVar("Config", bound="DataclassInstance")


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
    known = {field.name for field in fields(config_class)}
    unknown = sorted(set(data) - known)
    if unknown:
        raise UserError(
            f"{config_class.__name__} has no setting called {in_short(repr(unknown[0]))}; "
            "the file was written by a newer version, or its spelling is off."
        )
    return config_class(**{name: _as_tuples(value) for name, value in data.items()})


def _as_tuples(value: Any) -> Any:
    """Lists at any depth, as JSON has them, become tuples."""
    return tuple(map(_as_tuples, value)) if isinstance(value, list) else value
