"""How two sides are compared: they take turns in rounds, and each round gives one ratio.

A shared machine is slower in one minute than in the next. The two sides of one round have run in the same minute. So a
figure is never a ratio of totals: it is the median of the rounds' ratios.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Spread:
    """The least, the median and the greatest of some values."""

    least: float
    median: float
    greatest: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of at least one value."""
        return cls(min(values), statistics.median(values), max(values))


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure should be: at most `bound`, or at least `bound`."""

    bound: float
    at_least: bool = False

    def met(self, value: float) -> bool:
        """Whether `value` meets the target."""
        return value >= self.bound if self.at_least else value <= self.bound

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.bound:g}"


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the results: `unit` is "x" for a ratio; `note` says from which values it was made."""

    comparison: str
    what: str
    spread: Spread
    unit: str = "x"
    target: Target | None = None
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the median meets the target; None where there is none."""
        return None if self.target is None else self.target.met(self.spread.median)


@dataclass(slots=True)
class Findings:
    """What one comparison found: figures, and more detailed tables of (title, header, rows)."""

    figures: list[Figure] = field(default_factory=list)
    tables: list[tuple[str, list[str], list[list[str]]]] = field(default_factory=list)

    def add(self, other: Findings) -> None:
        """Add what another comparison has found."""
        self.figures += other.figures
        self.tables += other.tables


@dataclass(frozen=True, slots=True)
class Options:
    """`quick` asks for fewer rounds. `say` shows a line about the progress."""

    quick: bool
    say: Callable[[str], None]

    def rounds(self, full: int) -> int:
        """The number of rounds: `full` of them in a full run."""
        return 3 if self.quick else full


def take_turns(sides: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """Run each side once a round, in the order A B, B A, A B …; one round before these does not count."""
    order = list(sides)
    for name in order:
        sides[name]()
    found: dict[str, list[T]] = {name: [] for name in order}
    for number in range(rounds):
        for name in order if number % 2 == 0 else reversed(order):
            found[name].append(sides[name]())
    return found


def ratios(subject: Sequence[float], baseline: Sequence[float]) -> Spread:
    """The spread of subject / baseline, round by round."""
    return Spread.of([a / b for a, b in zip(subject, baseline, strict=True)])
