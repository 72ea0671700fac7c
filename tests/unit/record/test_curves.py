from __future__ import annotations

from andon import curves, health, leaks, triage


def test_a_point_is_the_sum_of_what_is_known():
    assert curves.point(10.4, [1, None, 2.5]) == [[10, 3.5]]
    assert curves.point(10, [None]) == [] == curves.point(10, [])


def test_errors_per_minute_of_all_sources_together():
    sources = [{"buckets": [0, 6]}, {"buckets": [3, 0]}]
    assert curves.error_rate(sources, 1000, 1120) == [[1030, 3.0], [1090, 6.0]]
    assert curves.error_rate([], 0, 60) == [] == curves.error_rate(sources, 60, 60)


def test_the_reports_carry_their_curves_for_the_post_mortem():
    assert health.report({}, health.LIMITS)["data"]["error_rate"] == []
    assert triage.report({}, {}, {}, [], 1000.0, 60.0, "1m")["data"]["error_rate"] == []
    assert leaks.report({}, {"h": "down"}, 5.0)["data"]["memory"] == []
