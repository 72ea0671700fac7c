"""Sizes and money as exact numbers: a difference of one step must not come from the way a number is kept."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any


def exact(value: Any) -> Decimal | None:
    """A number as it was written: 0.1 stays 0.1. None for what is no finite number."""
    if value is None or isinstance(value, bool):
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def words(number: Decimal) -> str:
    """A number without exponent and trailing zeros: 0.5, 100, 0."""
    text = format(number, "f")
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text in ("", "-0") else text
