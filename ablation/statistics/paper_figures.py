"""The paper's own figures of OPT-66B, each with what it is a figure of, to set like beside like (Method 5, 7).

Bansal et al. 2023, ACL 2023, arXiv 2212.09095. Its .13, its 71% and its 76% are no averages: they are of two named
pairs of tasks without demonstrations, the lowest of its matrix, and belong beside the same pairs here, and our lowest.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TaskPair:
    """Two tasks' rankings of the heads: what the released script calls their rank correlation, and the share of the
    30% most important heads that they have in common."""

    tasks: tuple[str, str]
    shots: int
    correlation: float
    common: float


@dataclass(frozen=True)
class ShotPair:
    """The mean over tasks of the correlation of one task's rankings at two numbers of shots."""

    shots: tuple[int, int]
    correlation: float


@dataclass(frozen=True)
class JointRemoval:
    """Points of accuracy lost when this share of heads and of FFNs is removed together."""

    shots: int
    heads: int
    ffns: int
    points: int


LAYERS, HEADS_PER_LAYER = 64, 72
COMMON_PERCENT = 30
# Figure 8a, the lowest pairs, and the overlaps that the text gives for them.
LOWEST_PAIRS = (TaskPair(("record", "copa"), 0, 0.13, 0.71), TaskPair(("record", "winogrande"), 0, 0.13, 0.76))
# Table 1.
BETWEEN_SHOTS = (ShotPair((0, 1), 0.39), ShotPair((0, 5), 0.37), ShotPair((1, 5), 0.41))
REMOVABLE_HEADS, REMOVABLE_FFNS = 70, 20
JOINT_REMOVALS = (JointRemoval(0, 70, 20, 5), JointRemoval(1, 70, 10, 6), JointRemoval(5, 60, 20, 4))
# First layers of the heads that match prefixes, and of most that copy.
MATCHING_FROM, COPYING_FROM = 31, 41
