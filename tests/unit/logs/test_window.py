"""--since and --until: what a person may write, and clear errors."""

from __future__ import annotations

import pytest

from andon.window import WindowError, moment, window

NOW = 1795316400.0  # 2026-11-22T03:00:00Z


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("now", 0),
        ("30m", -1800),
        ("1.5h", -5400),
        ("2d", -172800),
        ("2026-11-22T02:30Z", -1800),
        ("2026-11-22T03:30:00+01:00", -1800),
        ("2026-11-22 02:30", -1800),
        ("2026-11-22 03:30 Europe/Berlin", -1800),
        ("2026-11-22T03:30 Europe/Berlin", -1800),
        ("02:30", -1800),
        ("03:30", 1800 - 86400),
        ("2026-11-22", -10800),
    ],
)
def test_times_are_read(text, seconds):
    assert moment(text, NOW) == NOW + seconds


@pytest.mark.parametrize(
    ("since", "until", "words"),
    [
        ("yesterday", "now", "is no time"),
        ("2026-11-22T02:30 Mars/Olympus", "now", "no time zone"),
        ("2026-11-22T02:30 ../../etc/passwd", "now", "no time zone"),
        ("2026-11-22T02:30+01:00 Europe/Berlin", "now", "two zones"),
        ("2026-10-25 02:30 Europe/Berlin", "now", "not exact"),
        ("2026-11-22T04:00Z", "now", "is in the future"),
        ("1h", "2h", "is not after"),
        ("1h", "1h", "is not after"),
        ("25:00", "now", "no time of day"),
        ("", "now", "is no time"),
    ],
)
def test_nonsense_is_refused_in_words(since, until, words):
    with pytest.raises(WindowError, match=words):
        window(since, until, NOW)


def test_an_end_in_the_future_is_now():
    assert window("1h", "2026-11-22T05:00Z", NOW) == (NOW - 3600, NOW)
