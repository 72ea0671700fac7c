"""Is this memory series a leak? Robust slope, sawtooth, and the time that is left.

The estimator is Theil and Sen's: the median of the slopes between all pairs of samples. Unlike least squares it is not
pulled by a few outliers (up to 29 % of them), so garbage collection and single bursts do not bend it. Its confidence
interval comes from Kendall's rank statistic and assumes no distribution (Sen 1968; Hollander & Wolfe, ch. 9).
Pure functions, standard library only, Python 3.8.
"""

from __future__ import annotations

import math
from statistics import NormalDist, median

KIB = 1024
MIB = 1024 * KIB
# Less growth than this over the whole window is never called growth: the kernel counts a cgroup's pages in batches per
# processor and rounds to pages, which moves a steady container by some hundred KiB.
FLOOR = 512 * KIB
# Fewer samples than this, or a shorter window, say nothing.
LEAST_SAMPLES = 10
LEAST_SECONDS = 8.0
# More samples than this are thinned (medians of bins): all pairs of 300 are 44,850 slopes.
MOST_SAMPLES = 300
# A fall counts as a return (garbage collected, cache flushed) when it is this share of the range round the trend.
RETURN_SHARE = 0.3
# A floor that rises by less than this share of a tooth's height is the same floor.
BASELINE_SHARE = 0.25
LEVEL = 0.95

VERDICTS = ("leaking", "unsteady", "sawtooth", "steady", "shrinking", "too short")


class Trend:
    """What one series of samples says.

    Attributes:
        verdict: one of VERDICTS.
        slope, low, high: bytes per second, with the confidence interval; None where nothing can be said.
        count: samples used; span: seconds from the first to the last of them.
        level: the interval's confidence (0.95).
        detectable: bytes per second below which this window cannot tell growth from rest.
        returns: how many times the series fell back.
        why: one line for a person.
    """

    def __init__(self, verdict, count, span, slope=None, low=None, high=None, returns=0, why=""):
        self.verdict = verdict
        self.count = count
        self.span = span
        self.slope = slope
        self.low = low
        self.high = high
        self.level = LEVEL
        self.detectable = FLOOR / span if span > 0 else None
        self.returns = returns
        self.why = why

    @property
    def leaking(self):
        return self.verdict == "leaking"

    def data(self):
        """As JSON."""
        return dict(vars(self))


def theil_sen(points, level=LEVEL):
    """The median of all pairwise slopes and its distribution-free confidence interval.

    Args:
        points: (time in seconds, value), times strictly rising.
        level: confidence, between 0 and 1.

    Returns:
        (slope, low, high); low and high are -inf and inf when there are too few points for the level.

    Raises:
        ValueError: fewer than two points.
    """
    count = len(points)
    if count < 2:
        raise ValueError("a slope needs two points")
    slopes = []
    for i in range(count - 1):
        t0, y0 = points[i]
        for t1, y1 in points[i + 1 :]:
            if t1 > t0:
                slopes.append((y1 - y0) / (t1 - t0))
    if not slopes:
        raise ValueError("a slope needs two different times")
    slopes.sort()
    # Variance of Kendall's S, corrected for equal values.
    ties = {}
    for _, value in points:
        ties[value] = ties.get(value, 0) + 1
    variance = count * (count - 1) * (2 * count + 5)
    variance -= sum(t * (t - 1) * (2 * t + 5) for t in ties.values() if t > 1)
    width = NormalDist().inv_cdf(0.5 + level / 2) * math.sqrt(max(variance, 0) / 18.0)
    number = len(slopes)
    low_rank = int(math.floor((number - width) / 2.0)) - 1
    high_rank = int(math.ceil((number + width) / 2.0))
    low = slopes[low_rank] if low_rank >= 0 else -math.inf
    high = slopes[high_rank] if high_rank < number else math.inf
    return median(slopes), low, high


def thin(points, most=MOST_SAMPLES):
    """At most C(most) points: the medians of neighbours, so that no single sample decides."""
    if len(points) <= most:
        return list(points)
    result = []
    for i in range(most):
        part = points[i * len(points) // most : (i + 1) * len(points) // most]
        result.append((median(t for t, _ in part), median(y for _, y in part)))
    return result


def smooth(points):
    """The running median of five: a spike of one or two samples leaves no trace, an edge stays where it is."""
    values = [y for _, y in points]
    return [(t, median(values[max(i - 2, 0) : i + 3])) for i, (t, _) in enumerate(points)]


def noise(points):
    """The standard deviation of the samples round their own course, from the differences between neighbours."""
    steps = [points[i + 1][1] - points[i][1] for i in range(len(points) - 1)]
    middle = median(steps)
    return 1.4826 * median(abs(step - middle) for step in steps) / math.sqrt(2)


class Teeth:
    """How a series rises and falls back.

    Attributes:
        troughs: the lowest (time, value) after each fall; height: of the middle tooth, in bytes.
        top: the highest value before the last fall; climbs: it has risen by more than noise, before a fall or after one.
    """

    def __init__(self):
        self.troughs, self.heights, self.top, self.climbs = [], [], -math.inf, False

    @property
    def height(self):
        return median(self.heights)

    def add(self, peak, trough):
        self.troughs.append(trough)
        self.heights.append(peak[1] - trough[1])
        self.top = max(self.top, peak[1])


def returns(points, slope):
    """Where the series falls back.

    A return begins at a peak and ends at the lowest value before the series has climbed again by the same amount that
    counts as a fall; what is smaller than that is noise. The measure is the range round the trend, not the range itself:
    a long rise must not hide the teeth on it.

    Args:
        points: (time, value).
        slope: the trend, per second.

    Returns:
        Teeth.
    """
    course = smooth(points)
    round_trend = [y - slope * t for t, y in course]
    step = max(RETURN_SHARE * (max(round_trend) - min(round_trend)), 5 * noise(points), FLOOR)
    teeth = Teeth()
    low = peak = trough = course[0]
    falling = False
    for point in course[1:]:
        if falling:
            if point[1] <= trough[1]:
                trough = point
            elif point[1] - trough[1] >= step:
                teeth.add(peak, trough)
                teeth.climbs = True
                low, peak, falling = trough, point, False
        elif point[1] > peak[1]:
            peak = point
        elif peak[1] - point[1] >= step:
            teeth.climbs = teeth.climbs or peak[1] - low[1] >= step
            trough, falling = point, True
        elif point[1] < low[1]:
            low = point
    if falling:
        teeth.add(peak, trough)
    return teeth


def persistent(points):
    """True if every third of the window carries its part of the growth.

    A start-up that levels off, or one large allocation, has all of its growth in one third; a leak goes on.
    """
    begin, end = points[0][0], points[-1][0]
    span = end - begin
    levels = []
    for part in range(4):
        middle = begin + span * part / 3.0
        near = [y for t, y in points if abs(t - middle) <= span / 15.0]
        if not near:
            near = [min(points, key=lambda point: abs(point[0] - middle))[1]]
        levels.append(median(near))
    total = levels[3] - levels[0]
    return total > 0 and all(levels[i + 1] - levels[i] >= 0.25 * total / 3.0 for i in range(3))


def analyse(samples, level=LEVEL):
    """What this series is.

    Args:
        samples: (time in seconds, bytes) since the container's last start, in order of time.
        level: confidence of the interval.

    Returns:
        Trend.
    """
    points = thin([(float(t), float(y)) for t, y in samples])
    count = len(samples)
    span = points[-1][0] - points[0][0] if len(points) > 1 else 0.0
    if count < LEAST_SAMPLES or span < LEAST_SECONDS:
        return Trend("too short", count, span, why="%d samples over %.0f s say nothing: sample longer" % (count, span))
    slope, low, high = theil_sen(points, level)
    teeth = returns(points, slope)
    if teeth.climbs and teeth.troughs:
        return _floor(points, teeth, count, span, level)
    growth = slope * span
    if high < 0 and growth < -FLOOR:
        return Trend("shrinking", count, span, slope, low, high, why="it gives memory back")
    if low <= 0 or growth < FLOOR:
        step = median(y for _, y in points[-5:]) - median(y for _, y in points[:5])
        if step >= 4 * FLOOR:
            return Trend("unsteady", count, span, slope, low, high, why="one jump, then rest: no trend yet, sample longer")
        return Trend("steady", count, span, slope, low, high, why="no growth")
    if not persistent(points):
        return Trend("unsteady", count, span, slope, low, high, why="it grew in a part of the window only: sample longer")
    return Trend("leaking", count, span, slope, low, high, why="it grew through the whole window and gave nothing back")


def _floor(points, teeth, count, span, level):
    """The verdict for a series that falls back: only its floor can leak."""
    troughs, height, number = teeth.troughs, teeth.height, len(teeth.troughs)
    if number >= 4:
        slope, low, high = theil_sen(troughs, level)
        if not math.isfinite(low):
            low, high = _extremes(troughs)
        rise = slope * (troughs[-1][0] - troughs[0][0])
        if low > 0 and rise >= max(FLOOR, 0.1 * height):
            return Trend("leaking", count, span, slope, low, high, number, "it falls back %d times, and the floor rises" % number)
        return Trend("sawtooth", count, span, slope, low, high, number, "it falls back %d times to the same floor" % number)
    # Few returns: compare their floor with the lowest value before the first of them, and the end with the peaks.
    slack = max(BASELINE_SHARE * height, FLOOR)
    base = min(y for t, y in points if t <= troughs[0][0]) if number == 1 else troughs[0][1]
    if troughs[-1][1] - base <= slack and median(y for _, y in points[-5:]) <= teeth.top + slack:
        return Trend("sawtooth", count, span, returns=number, why="it falls back to where it was")
    return Trend("unsteady", count, span, returns=number, why="it falls back, but not all the way: sample longer")


def _extremes(points):
    slopes = [(b[1] - a[1]) / (b[0] - a[0]) for i, a in enumerate(points) for b in points[i + 1 :]]
    return min(slopes), max(slopes)


def seconds_left(room, trend):
    """When the room is used up at this trend.

    Args:
        room: bytes that are left.
        trend: a Trend that is leaking.

    Returns:
        dict seconds, soonest, latest (latest None: the slope may be nearly zero); None when the trend is no leak.
    """
    if not trend.leaking or trend.slope is None or trend.slope <= 0:
        return None
    room = max(float(room), 0.0)
    return {
        "seconds": room / trend.slope,
        "soonest": room / trend.high if math.isfinite(trend.high) else 0.0,
        "latest": room / trend.low if trend.low > 0 else None,
    }


BLOCKS = "▁▂▃▄▅▆▇█"


def sparkline(values, width=16, least=MIB):
    """A series as a row of blocks.

    Args:
        values: numbers, at least one.
        width: characters.
        least: the smallest range that is drawn in full height, so that noise of a steady series stays flat.
    """
    values = list(values)
    if not values:
        return ""
    width = min(width, len(values))
    cells = [median(values[i * len(values) // width : (i + 1) * len(values) // width]) for i in range(width)]
    low = min(cells)
    scale = max(max(cells) - low, least)
    return "".join(BLOCKS[min(int((cell - low) / scale * len(BLOCKS)), len(BLOCKS) - 1)] for cell in cells)


def pressure_alarm(full, available_share, full_percent=5.0, low_share=0.1):
    """True when memory pressure hurts: tasks stand still B(and) memory is short.

    C(some) fires on healthy hosts while page cache is turned over, and even C(full) does for a moment while files are
    read; with plenty of memory available neither is a reason to wake anybody.

    Args:
        full: PSI C(full) avg60 in percent, None when the kernel keeps none.
        available_share: what is available of the host or of the limit, 0 to 1; None when unknown.
    """
    if full is None or available_share is None:
        return False
    return full >= full_percent and available_share <= low_share
