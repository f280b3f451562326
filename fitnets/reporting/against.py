"""Every method against one reference: which differences are real, how small a one could have been seen, at what cost.

The differences are paired by seed. Because several methods are compared with one reference, the probabilities are
corrected by Holm's method: with 20 methods of equal quality, one of them would otherwise look better by chance.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pandas as pd
from scipy import stats

from fitnets.console import markdown
from fitnets.console.quantities import duration, plural
from fitnets.reporting import verdicts
from fitnets.reporting.intervals import CONFIDENCE, interval, resolution, with_interval
from fitnets.reporting.verdicts import Comparison

_POWER = 0.8
"""The probability with which the smallest difference would have been seen."""
_HEADER = (
    "method", "n", "validation accuracy, %", "against {}, points", "p (Holm)", "verdict", "could be seen",
    "test, points", "training", "x {}", "remarks",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A method in comparison with the reference. Accuracies are in %, differences in percentage points."""

    method: str
    seeds: int
    """Number of seeds that both have."""
    accuracy: tuple[float, float]
    """Mean over all finished runs on validation, and half-width of its 95 % interval."""
    difference: float | None = None
    """Mean of the method minus mean of the reference on validation; None if they are not compared."""
    half_width: float | None = None
    """Half-width of the difference's 95 % interval; None with a single seed."""
    probability: float | None = None
    """Probability of a difference as large as this between equal methods, corrected by Holm's method."""
    smallest: float | None = None
    """The smallest true difference that so many seeds would have shown with a probability of 80 %, before the
    correction."""
    test_difference: str | None = None
    """The difference on test with its interval."""
    seconds: float | None = None
    """Mean seconds of the student's training, both stages counted."""
    relative_seconds: float | None = None
    """`seconds` divided by those of the reference."""
    remarks: str = ""
    """Why there is no comparison, and which runs are left out."""

    @property
    def word(self) -> str:
        """BETTER or WORSE if the difference is real after the correction, otherwise that it is not settled."""
        if self.difference is None:
            return "NO VERDICT"
        if self.probability is None or self.probability >= 1 - CONFIDENCE:
            return "not settled"
        return "BETTER" if self.difference > 0 else "WORSE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """All methods of a setting against one reference, the best mean first."""

    setting: dict[str, str]
    setting_hash: str
    reference: str
    rows: list[Row]

    @property
    def title(self) -> str:
        names = "{dataset}, schedule {schedule}: teacher {teacher}, student {student}".format(**self.setting)
        return f"{names}. Every method against {self.reference}."

    @property
    def header(self) -> list[str]:
        return [cell.format(self.reference) for cell in _HEADER]

    @property
    def cells(self) -> list[list[str]]:
        return [_cells(row) for row in self.rows]

    def markdown(self) -> str:
        """A Markdown table with the sentences that explain it."""
        return "\n\n".join([self.title, markdown.table(self.header, self.cells), *self.sentences()])

    def sentences(self) -> list[str]:
        """Say in sentences which differences are real."""
        compared = [row for row in self.rows if row.probability is not None]
        settled = {word: [row.method for row in compared if row.word == word] for word in ("BETTER", "WORSE")}
        said = [
            f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} {word.lower()} than {self.reference}"
            for word, names in settled.items()
            if names
        ]
        open_rows = [row for row in compared if row.word == "not settled"]
        if open_rows:
            said.append(
                f"of {plural(len(open_rows), 'method')} it is not settled: their order is no more than chance may give"
            )
        explained = (
            "Differences are in percentage points on validation, over the seeds that both methods have, with 95 % "
            "intervals. p is corrected for the number of methods (Holm). `could be seen` is the smallest true "
            "difference that so many seeds would have shown with a probability of 80 %, before that correction. "
            "`training` is the mean time of the student's stages."
        )
        return [*([f"{'; '.join(said)}."] if said else []), explained]


def rankings(frame: pd.DataFrame, reference: str = "kd") -> list[Ranking]:
    """Compare every method with the reference, in each setting that has it and another method.

    A comparison needs equal epochs of the student, both stages counted, the same teacher for each seed, and no run that
    diverged; otherwise the row says why there is none. Only finished runs count. If the reference has several variants
    in a setting, such as one with a further loss term, each is compared with all others.

    frame: rows of `runs.load`
    """
    finished = frame[frame["setting_hash"].notna()].assign(variant=verdicts.variant_names)
    found = []
    for _, runs in finished.groupby("setting_hash", sort=False):
        done = runs[runs["status"] == "finished"]
        if reference not in set(done["method"]) or done["variant"].nunique() < 2:
            continue
        found += list(_of_setting(runs, reference))
    return found


def _of_setting(runs: pd.DataFrame, reference: str) -> Iterator[Ranking]:
    variants = {name: group for name, group in runs.groupby("variant", sort=False)}
    for name, group in variants.items():
        if group["method"].iloc[0] != reference or not (group["status"] == "finished").any():
            continue
        others = [other for other in variants.values() if other is not group]
        compared = [verdicts.compared(other, group) for other in others]
        pairs = zip(others, compared, strict=True)
        rows = _corrected([row for other, one in pairs if (row := _row(other, group, one)) is not None])
        own = _row(group, group, None)
        assert own is not None
        rows.append(replace(own, remarks="the reference"))
        first = compared[0]
        yield Ranking(
            setting=first.setting,
            setting_hash=first.setting_hash,
            reference=str(name),
            rows=sorted(rows, key=lambda row: -row.accuracy[0]),
        )


def _row(runs: pd.DataFrame, reference: pd.DataFrame, comparison: Comparison | None) -> Row | None:
    """The row of a method, not yet corrected; None if it has no finished run.

    comparison: that with the reference; None for the reference's own row
    """
    done, other = (one[one["status"] == "finished"] for one in (runs, reference))
    if done.empty:
        return None
    accuracies = 100 * done["student_valid_accuracy"].astype(float)
    smallest_step = 100 * resolution(pd.concat([done, other]), "valid")
    seconds, reference_s = (_seconds(one) for one in (done, other))
    row = Row(
        method=str(runs["variant"].iloc[0]),
        seeds=int(done["seed"].nunique()),
        accuracy=interval(accuracies, smallest_step),
        seconds=seconds,
        relative_seconds=None if seconds is None or not reference_s else seconds / reference_s,
    )
    if comparison is None:
        return row
    verdict = comparison.valid
    remarks = "; ".join(filter(None, (comparison.refusal, comparison.at_chance, comparison.left_out)))
    if verdict is None:
        return replace(row, remarks=remarks)
    error, degrees = verdict.error, verdict.degrees
    return replace(
        row,
        seeds=verdict.seeds,
        difference=verdict.difference,
        half_width=verdict.half_width,
        probability=None if error is None else _probability(verdict.difference, error, degrees),
        smallest=None if error is None else error * _detectable(degrees),
        test_difference=None if comparison.test is None else _with_width(comparison.test),
        remarks=remarks,
    )


def _seconds(done: pd.DataFrame) -> float | None:
    total = done["student_seconds"].astype(float) + done["hint_seconds"].astype(float).fillna(0)
    return None if total.isna().all() else float(total.mean())


def _corrected(rows: list[Row]) -> list[Row]:
    """Correct the probabilities by Holm's method (1979): the smallest is multiplied by the number of methods, the next
    by one less, and so on; none may be smaller than one before it."""
    order = sorted((row.probability, place) for place, row in enumerate(rows) if row.probability is not None)
    corrected, largest = list(rows), 0.0
    for rank, (probability, place) in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * probability))
        corrected[place] = replace(rows[place], probability=largest)
    return corrected


def _probability(difference: float, error: float, degrees: float) -> float:
    """Two-sided probability of such a difference if the methods are equal."""
    if error == 0:
        return 0.0 if difference else 1.0
    return float(2 * stats.t.sf(abs(difference) / error, degrees))


def _detectable(degrees: float) -> float:
    """The true difference, in standard errors, that a test at the level of 5 % finds with a probability of 80 %."""
    bound = float(stats.t.ppf((1 + CONFIDENCE) / 2, degrees))
    low, high = 0.0, 10 * bound + 10
    while high - low > 1e-6 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if stats.nct.sf(bound, degrees, middle) >= _POWER else (middle, high)
    return high


# --- cells ---


def _cells(row: Row) -> list[str]:
    mean, half = row.accuracy
    return [
        row.method,
        str(row.seeds),
        f"{mean:.2f} (no interval)" if math.isnan(half) else with_interval(mean, half),
        "-" if row.difference is None else _points(row.difference, row.half_width),
        "-" if row.probability is None else f"{row.probability:.3f}",
        "-" if row.remarks == "the reference" else row.word,
        "-" if row.smallest is None else f"{row.smallest:.2f}",
        row.test_difference or "-",
        "-" if row.seconds is None else duration(row.seconds),
        "-" if row.relative_seconds is None else f"{row.relative_seconds:.2f}",
        row.remarks,
    ]


def _points(difference: float, half_width: float | None) -> str:
    return f"{difference:+.2f}" + ("" if half_width is None else f" ± {half_width:.2f}")


def _with_width(verdict: verdicts.Verdict) -> str:
    return _points(verdict.difference, verdict.half_width)
