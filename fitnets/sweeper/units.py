"""Measures as text, with their units."""

from fitnets.config import measures
from fitnets.console import quantities


def with_unit(measure: str, value: float) -> str:
    """The value of a measure as text: '98.61 %', '1.2 M', '0.35 ms'."""
    return quantities.in_unit(value, measures.unit_of(measure))
