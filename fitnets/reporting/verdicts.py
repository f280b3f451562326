"""Is one method better than another? An honest answer: a difference of means with its 95 % interval, and how many more
seeds would settle it. Never a bare best of n."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd
from scipy import stats

from fitnets.console.quantities import plural
from fitnets.experiment import chance
from fitnets.reporting.runs import students

CONFIDENCE = 0.95
_MOST_SEEDS = 1000
_POWER = 0.8
METHODS = [  # in the order of tables and colours: what hints are compared with comes first
    "backprop", "labels_then_labels", "labels_with_labels", "dsn", "mimic", "kd", "labels_then_kd", "labels_with_kd",
    "joint", "hints",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """difference: of the means, first minus second, in the metric's unit; half_width: of its 95 % interval, None with
    fewer than two seeds; more_seeds: with about so many more of each the interval excludes 0 with a probability of
    80 %, if mean and spread are what they seem; None where it does already, or 1,000 would not."""

    word: Literal["BETTER", "WORSE", "INCONCLUSIVE"]
    difference: float
    half_width: float | None
    seeds: int
    is_paired: bool
    more_seeds: int | None

    def __str__(self) -> str:
        return f"{self.word}, {self.numbers}"

    @property
    def numbers(self) -> str:
        """In words, the difference in points."""
        if self.half_width is None:
            return f"{self.difference:+.2f} points with a single seed: {self.outlook}"
        seeds = f"{self.seeds} seeds{', paired' if self.is_paired else ''}"
        told = f"{self.difference:+.2f} ± {self.half_width:.2f} points (95 % interval, {seeds})"
        return "; ".join(filter(None, [told, self.outlook]))

    @property
    def outlook(self) -> str:
        """What would settle it; nothing where it is settled."""
        if self.word != "INCONCLUSIVE":
            return ""
        if self.half_width is None:
            return "give at least two"
        if self.more_seeds is None:
            return f"not even {_MOST_SEEDS:,} seeds would settle it"
        return f"about {plural(self.more_seeds, 'more seed')} would settle it with a probability of 80 %"


def compare(first: pd.Series, second: pd.Series, *, larger_is_better: bool = True, resolution: float = 0.0) -> Verdict:
    """Two methods by a metric, each indexed by seed. Paired where they have the same seeds, by Welch's test where they
    share none. ValueError for anything between, or a seed that occurs twice: such a comparison is no fair one.

    resolution: the smallest difference that can be measured, in the metric's unit: the standard deviation is taken to
    be no smaller, since equal differences of a few seeds are a coincidence and no certainty."""
    first, second = first.dropna().sort_index(), second.dropna().sort_index()
    if first.index.has_duplicates or second.index.has_duplicates:
        raise ValueError("a seed occurs twice: compare runs that differ in method and seed alone")
    is_paired = first.index.equals(second.index)
    if not is_paired and len(first.index.intersection(second.index)):
        raise ValueError(f"seeds differ: {list(first.index)} and {list(second.index)}: run both with the same seeds")
    difference = float(first.mean() - second.mean())
    seeds = min(len(first), len(second))
    told: dict[str, Any] = {"difference": difference, "seeds": seeds, "is_paired": is_paired}
    error, degrees = _standard_error(first, second, is_paired=is_paired, resolution=resolution)
    if error is None:
        return Verdict(word="INCONCLUSIVE", half_width=None, more_seeds=None, **told)
    half_width = error * _t(degrees)
    if abs(difference) > half_width:
        is_better = (difference > 0) == larger_is_better
        return Verdict(word="BETTER" if is_better else "WORSE", half_width=half_width, more_seeds=None, **told)
    more = _more_seeds(difference, error, seeds, is_paired=is_paired)
    return Verdict(word="INCONCLUSIVE", half_width=half_width, more_seeds=more, **told)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two methods in one setting (all that methods have in common, but for seeds): accuracies in percentage points.

    valid: what decides; test: beside it, None where it was not evaluated, or the final networks are of other lengths;
    refusal: why there is no verdict; left_out: runs that are not in it; epochs: of the student, both stages counted;
    setting_hash: of two settings that read alike, which one; at_chance: which method has not begun to learn."""

    setting: dict[str, str]
    setting_hash: str
    first: str
    second: str
    valid: Verdict | None
    test: Verdict | None
    refusal: str | None
    left_out: str | None
    epochs: int | None
    at_chance: str | None = None

    def __str__(self) -> str:
        name = f"{self.first} against {self.second}"
        if self.valid is None:
            return f"{name}: no verdict: {self.refusal}"
        remarks = "; ".join(filter(None, [self.at_chance, self.left_out]))
        return f"{name}: {self.valid}" + (f" ({remarks})" if remarks else "")


def comparisons(frame: pd.DataFrame) -> list[Comparison]:
    """Of hints with every other method, and of KD with backprop, in each setting that has both, at equal epochs and the
    same temperature and weight of Eq. 2. frame: of `runs.load`; what did not finish is told, not compared."""
    known = _with_teacherless(frame[frame["method"].isin(METHODS)]).assign(variant=variant_names)
    found = []
    for _, runs in known.groupby("setting_hash", sort=False):
        if (runs["status"] == "finished").sum() < 2 or runs["method"].nunique() < 2:
            continue
        by_variant = {key: group for key, group in runs.groupby(["method", "method_hash"], sort=False)}
        variants = sorted(by_variant.values(), key=lambda group: METHODS.index(group["method"].iloc[0]))
        for variant in sorted(variants, key=lambda group: -METHODS.index(group["method"].iloc[0])):
            found += list(_against(variant, [other for other in variants if _is_asked(variant, other)]))
    return found


def _with_teacherless(frame: pd.DataFrame) -> pd.DataFrame:
    """Each run without a teacher (teacher=none) stands in every setting that differs from its own by a teacher alone,
    unless the same method ran there with the same seed."""
    alone = frame[frame["teacher"].isna() & frame["student_setting_hash"].notna()]
    taught = frame[frame["teacher"].notna()]
    settings = taught[["setting_hash", "student_setting_hash"]].dropna().drop_duplicates()
    copies = alone.drop(columns="setting_hash").merge(settings, on="student_setting_hash")
    same_run = ["setting_hash", "method", "method_hash", "seed"]
    there = taught.set_index(same_run).index
    copies = copies[~copies.set_index(same_run).index.isin(there)]
    if copies.empty:
        return frame
    return pd.concat([frame, copies[frame.columns]], ignore_index=True)


def _is_asked(variant: pd.DataFrame, other: pd.DataFrame) -> bool:
    first, second = (group["method"].iloc[0] for group in (variant, other))
    return first != second and (first == "hints" or (first, second) == ("kd", "backprop"))


def variant_names(frame: pd.DataFrame) -> pd.Series:
    """The method of each run, with its pair where the setting has several variants of it, and with the beginning of its
    hash where these read alike."""
    pairs = (" (" + frame["guided_layer"] + " learns " + frame["hint_layer"] + ")").fillna("")
    several = frame.groupby(["setting_hash", "method"])["method_hash"].transform("nunique") > 1
    names = frame["method"] + pairs.where(several, "")
    alike = frame.groupby([frame["setting_hash"], names])["method_hash"].transform("nunique") > 1
    return names + (" [" + frame["method_hash"].str[:6] + "]").where(alike, "")


def _against(variant: pd.DataFrame, others: list[pd.DataFrame]) -> Iterator[Comparison]:
    """With each other method; of its variants with those alone that are as this one in length and in Eq. 2."""
    for method in dict.fromkeys(other["method"].iloc[0] for other in others):
        variants = [other for other in others if other["method"].iloc[0] == method]
        fair = [other for other in variants if _mismatch(variant, other) is None]
        for other in fair or variants[:1]:
            yield _comparison(variant, other)


def _comparison(variant: pd.DataFrame, other: pd.DataFrame) -> Comparison:
    both = pd.concat([variant, other])
    done, other_done = (runs[runs["status"] == "finished"] for runs in (variant, other))
    refusal = _mismatch(variant, other) or _refusal(done, other_done, both)
    same_length = both["retrain_epochs"].nunique() <= 1 and both["retrain_epochs"].isna().nunique() == 1
    epochs = total_epochs(both).dropna()
    first = both.iloc[0]
    setting = {"dataset": str(first["data"]), "teacher": str(first["teacher_name"]), "schedule": str(first["schedule"])}
    return Comparison(
        setting=setting | {"student": str(students(both).iloc[0])},
        setting_hash=str(both["setting_hash"].iloc[0]),
        first=str(variant["variant"].iloc[0]),
        second=str(other["variant"].iloc[0]),
        valid=None if refusal else _on("valid", done, other_done),
        test=_on("test", done, other_done) if refusal is None and same_length else None,
        refusal=refusal,
        left_out=_left_out(done, other_done, both),
        epochs=int(epochs.iloc[0]) if len(epochs) else None,
        at_chance=_at_chance(done, other),
    )


def _mismatch(variant: pd.DataFrame, other: pd.DataFrame) -> str | None:
    """What makes two variants incomparable, whatever their seeds."""
    if not equal_epochs(pd.concat([variant, other])):
        return (
            "they were not trained for the same number of epochs (schedule.equal_epochs=true sees to it, unless "
            "patience ends a stage)"
        )
    kd = {value for runs in (variant, other) for value in runs["kd_hash"].dropna()}
    return "they have other temperatures or weights of the teacher's outputs" if len(kd) > 1 else None


def _refusal(done: pd.DataFrame, other: pd.DataFrame, both: pd.DataFrame) -> str | None:
    if done.empty or other.empty:
        return "one of them has no finished run"
    for runs in (done, other):
        if runs["seed"].duplicated().any():
            method = runs["method"].iloc[0]
            return f"{method} has a seed with several teachers: such runs are no independent repetitions"
    diverged = both[both["status"] == "diverged"]
    if len(diverged):
        return f"{len(diverged)} of {len(both)} runs diverged ({_named(diverged)}): what is left is no fair sample"
    if all(is_at_chance(runs, "student") for runs in (done, other)):
        return "neither has begun to learn: no network is better than always naming one class"
    if done["is_taught"].fillna(True).all() and other["is_taught"].fillna(True).all():
        teachers = [runs.set_index("seed")["teacher_hash"] for runs in (done, other)]
        common = teachers[0].index.intersection(teachers[1].index)
        if (teachers[0][common] != teachers[1][common]).any():
            return "they had other teachers for the same seed"
    return None


def is_at_chance(runs: pd.DataFrame, side: str) -> bool:
    """Whether none of these runs has a network of that side, teacher or student, that is better on validation than
    always naming one class, as far as that is known."""
    return chance.are_all_no_better(accuracies(runs, side))


def accuracies(runs: pd.DataFrame, side: str) -> list[chance.Accuracy]:
    """Of each run, as `chance` wants them. side: teacher or student."""
    columns = runs[[f"{side}_valid_accuracy", "commonest_class", "valid_images"]].astype(object)
    known = columns.where(columns.notna(), None)
    return list(known.itertuples(index=False, name=None))


def _at_chance(done: pd.DataFrame, other: pd.DataFrame) -> str | None:
    """The method whose networks have not begun to learn, in words; where both have not, there is no verdict."""
    names = [runs["variant"].iloc[0] for runs in (done, other) if len(runs) and is_at_chance(runs, "student")]
    return f"{names[0]} is no better than always naming one class" if len(names) == 1 else None


def _left_out(done: pd.DataFrame, other: pd.DataFrame, both: pd.DataFrame) -> str | None:
    """Runs that did not finish, and seeds that one method alone has."""
    unfinished = both[both["status"] != "finished"]
    told = [f"not in it: {_named(unfinished)}, {status}" for status, unfinished in unfinished.groupby("status")]
    alone = set(done["seed"]) ^ set(other["seed"])
    if alone and set(done["seed"]) & set(other["seed"]):
        told.append(f"not in it: seeds that one of them has ({', '.join(map(str, sorted(alone)))})")
    return "; ".join(told) or None


def _named(runs: pd.DataFrame) -> str:
    return ", ".join(f"{method} seed {seed}" for method, seed in zip(runs["method"], runs["seed"], strict=True))


def _on(split: str, done: pd.DataFrame, other: pd.DataFrame) -> Verdict | None:
    """By the seeds that both have; by all where they share none."""
    column = f"student_{split}_accuracy"
    first, second = (100 * runs.set_index("seed")[column].dropna().astype(float) for runs in (done, other))
    common = first.index.intersection(second.index)
    if len(common):
        first, second = first[common], second[common]
    if first.empty or second.empty:
        return None
    return compare(first, second, resolution=100 * resolution(pd.concat([done, other]), split))


def resolution(frame: pd.DataFrame, split: str) -> float:
    """The smallest difference of accuracies that can be measured, a fraction: one image; 0 if their number is not
    known."""
    images = frame[f"{split}_images"].min()
    return 0.0 if pd.isna(images) else 1 / float(images)


def interval(values: pd.Series, resolution: float = 0.0) -> tuple[float, float]:
    """Mean and half-width of its 95 % interval (Student's t); the half-width of a single value is NaN. resolution: the
    standard deviation is taken to be no smaller, as in `compare`."""
    known = values.astype(float)
    return float(known.mean()), float(half_width(max(float(known.std()), resolution), len(known)))


def bounds(mean: float, half_width: float) -> tuple[float, float]:
    """The ends of the interval of an accuracy or error in %, cut off at 0 and 100 %."""
    return max(0.0, mean - half_width), min(100.0, mean + half_width)


def with_interval(mean: float, half_width: float, digits: int = 2) -> str:
    """'94.90 ± 0.98', or the ends of an interval that is cut off at 0 or 100 %: '93.00 (76.10 to 100.00)'. In %."""
    low, high = bounds(mean, half_width)
    if is_cut_off(mean, half_width):
        return f"{mean:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"
    return f"{mean:.{digits}f} ± {half_width:.{digits}f}"


def is_cut_off(mean: float, half_width: float) -> bool:
    """Whether the interval would go beyond 0 or 100 %."""
    return mean - half_width < -_ROUNDING or mean + half_width > 100 + _ROUNDING


_ROUNDING = 1e-9
CUT_OFF = "Intervals of accuracies are cut off at 0 and 100 %; such a one is given by its ends."


def half_width(deviation: Any, count: Any) -> Any:
    """Of the 95 % interval of a mean, from the standard deviation (by count - 1) and the count of the values."""
    return stats.t.ppf((1 + CONFIDENCE) / 2, count - 1) * deviation / count**0.5


def equal_epochs(frame: pd.DataFrame) -> bool:
    """Whether all runs trained their students for the same number of epochs, both stages counted. frame: of
    `runs.load`."""
    return bool(total_epochs(frame).nunique() <= 1)


def total_epochs(frame: pd.DataFrame) -> pd.Series:
    """Of the student, both stages counted; missing where it was not trained to the end."""
    return frame["student_epochs"] + frame["hint_epochs"].fillna(0)


def _standard_error(
    first: pd.Series, second: pd.Series, *, is_paired: bool, resolution: float
) -> tuple[float | None, float]:
    """(of the difference of means, degrees of freedom)."""
    if min(len(first), len(second)) < 2:
        return None, 0
    if is_paired:
        return max(float((first - second).std()), resolution) / math.sqrt(len(first)), len(first) - 1
    parts = [max(float(sample.std()), resolution) ** 2 / len(sample) for sample in (first, second)]
    total = sum(parts)
    if total == 0:
        return 0.0, len(first) + len(second) - 2
    degrees = total**2 / sum(part**2 / (len(sample) - 1) for part, sample in zip(parts, (first, second), strict=True))
    return math.sqrt(total), degrees


def _t(degrees: float) -> float:
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, degrees))


def _more_seeds(difference: float, error: float, seeds: int, *, is_paired: bool) -> int | None:
    """The smallest number with enough power, by bisection: power grows with the seeds."""

    def suffices(wanted: int) -> bool:
        degrees = wanted - 1 if is_paired else 2 * (wanted - 1)
        shift = abs(difference) / (error * math.sqrt(seeds / wanted))
        return bool(stats.nct.sf(_t(degrees), degrees, shift) >= _POWER)

    low, high = seeds, _MOST_SEEDS
    if difference == 0 or not suffices(high):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if suffices(middle) else (middle, high)
    return high - seeds
