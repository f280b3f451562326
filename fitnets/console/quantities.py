"""Formats numbers, sizes, durations and counts, alike in every table, message and figure."""

import math

_PREFIXES = ("", "k", "M", "G", "T", "P")
_MINUTE, _HOUR, _DAY = 60, 3600, 86400  # seconds


def number(value: float, unit: str = "") -> str:
    """Format three significant digits, with an SI prefix from 1000 on: '940', '29.9 k', '4.97 M'.

    unit: written after the prefix, as in '457 kB'
    """
    if not math.isfinite(value):
        return f"{value} {unit}".rstrip()
    rounded = float(f"{value:.3g}")  # 999,999 is 1 M and not 1000 k
    power = 0
    while abs(rounded) >= 1000 and power < len(_PREFIXES) - 1:
        rounded, power = rounded / 1000, power + 1
    return f"{rounded:.3g} {_PREFIXES[power]}{unit}".rstrip() if abs(rounded) < 1000 else f"{value:.3g} {unit}".rstrip()


def size(byte_count: float) -> str:
    """Format a number of bytes: '940 B', '457 kB', '1.23 GB'."""
    return number(byte_count, "B")


def duration(seconds: float) -> str:
    """Format seconds in their two largest units: '12 s', '3 min 05 s', '2 h 40 min', '242 days 1 h'."""
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE:02d} s"
    if whole < _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE:02d} min"
    return f"{plural(whole // _DAY, 'day')} {whole % _DAY // _HOUR} h"


def plural(count: int, noun: str, several: str | None = None) -> str:
    """Format a count with its noun: '1 trial', '1,200 trials'.

    several: the plural; None: the noun with an s
    """
    return f"{count:,} {noun if count == 1 else several or f'{noun}s'}"


def in_unit(value: float, unit: str) -> str:
    """A value with its unit, which is one of `fitnets.config.measures.Unit`: '98.61 %', '0.213 nats', '0.5 x'."""
    match unit:
        case "fraction":
            return f"{100 * value:.2f} %"
        case "nats":
            return f"{value:.4g} nats"
        case "count":
            return number(value)
        case "bytes":
            return size(value)
        case "ms":
            return f"{value:.2f} ms"
        case "ratio":
            return f"{value:.3g} x"
        case _:
            raise ValueError(f"no such unit: {unit}")
