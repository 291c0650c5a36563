"""Spans of time, written for people."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """Write a time as a clock would.

    >>> duration(5), duration(125), duration(3 * 3600 + 62), duration(26 * 3600)
    ('0:05', '2:05', '3:01:02', '1 d 2:00:00')
    """
    minutes, second = divmod(max(0, round(seconds)), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if not hours:
        return f"{minute}:{second:02d}"
    return (f"{days} d " if days else "") + f"{hour}:{minute:02d}:{second:02d}"


def in_words(seconds: float) -> str:
    """Write a time roughly, in the unit that suits it.

    >>> in_words(0.0312), in_words(5), in_words(150), in_words(9000)
    ('31 ms', '5 s', '2.5 minutes', '2.5 hours')
    """
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"
