"""Tables and plots of what `benchmarks/mask_query.py` has finished so far, from its records alone.

    python benchmarks/mask_query_report.py [--records benchmarks/records/mask_query] [--docs docs]

Puts them into `docs/mask-query.md` and `docs/mask-query-tables.md`, between the comments that name them, and into
`docs/images/`. For each data set and similarity: NDCG@10 on validation and test, and the steps and the processor time
that it took; the best validation within a budget of time, and of targets that were asked for; differences on test,
paired over users. Seconds are steps times what a step of that arm costs on one core (`benchmarks/mask_query.py
--pace`). Also what a state knows on its way: validation NDCG@10 when it is scored after 0, 1, ... blocks (the logit
lens, nostalgebraist, 2020), of finished runs and of those that `benchmarks/mask_query.py --variants` stopped early.
"""

import argparse
import statistics
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from mask_query import ARMS, DATA, EARLY, OTHERWISE, RECORDS, SIMILARITIES, Run
from matplotlib.figure import Figure
from quality import ROOT, TITLES
from safetensors.numpy import load_file

from seqrec.folders import read_json, written_whole_file
from seqrec.metrics import paired_difference
from seqrec.metrics.ranking import ndcg_at_k

COLOURS = dict(zip(ARMS, ("#9ca3af", "#f59e0b", "#2563eb", "#10b981", "#a855f7", "#111827"), strict=True))
NAMES = {"cosine": "cosine", "dot": "dot product"}
SHARE = 0.95
BUDGETS = (1 / 8, 1 / 4, 1 / 2, 1)
PAIRS = (
    *((arm, "plain") for arm in ("previous", "neighbours", "shifted", "causal")),
    *(("neighbours", "previous"), ("shifted", "neighbours"), ("shifted", "previous")),
    ("causal", "neighbours"),
)
PAGES = ("mask-query.md", "mask-query-tables.md")
LENS = (("movielens-100k", "cosine"), ("amazon-beauty", "cosine"))
VARIED = ("amazon-beauty", "cosine", ("plain", "neighbours"))


class Finished(NamedTuple):
    """What a run left.

    Attributes:
        seed: Its seed.
        steps: Training steps at each evaluation.
        seconds: Processor time of training there, at the pace of one core.
        targets: Targets that training had asked for by then.
        values: Validation NDCG@10 there.
        test: NDCG@10 of each user.
    """

    seed: int
    steps: np.ndarray
    seconds: np.ndarray
    targets: np.ndarray
    values: np.ndarray
    test: np.ndarray

    def at_best(self, axis: str) -> float:
        """How far it was when it was best."""
        return float(getattr(self, axis)[self.values.argmax()])

    def first_at(self, value: float) -> float:
        """Seconds until a value was reached; infinite where it never was."""
        reached = np.flatnonzero(self.values >= value)
        return float(self.seconds[reached[0]]) if len(reached) else float("inf")

    def best_by(self, axis: str, budget: float) -> float:
        """Best value that was measured within a budget; NaN before the first evaluation."""
        within = self.values[: np.searchsorted(getattr(self, axis), budget, side="right")]
        return float(within.max()) if len(within) else float("nan")


Arms = dict[str, list[Finished]]


def main(options: argparse.Namespace) -> None:
    """Write the tables and draw the plots of all that has runs."""
    parts: dict[str, str] = {}
    for data in DATA:
        found = {similarity: read(options.records, data, similarity, options.seeds) for similarity in SIMILARITIES}
        if any(found.values()):
            parts[data] = "\n\n".join(quality(found))
            parts[f"budgets {data}"] = "\n\n".join(budgets(found))
            draw(found, TITLES[data].split(",")[0], options.docs / "images" / f"mask-query-{data}.png")
    for data, similarity in LENS:
        if lines := lens_lines(options.records, data, similarity, options.seeds):
            depths = range(len(lines[0]) - 3)
            titles = ["", "epochs", *(f"after {depth} block{'s' * (depth != 1)}" for depth in depths), "seeds"]
            parts[f"lens {data}"] = markdown(titles, lines)
    if lines := variant_lines(options.records, *VARIED):
        parts["variants"] = markdown(["", *VARIED[2], "difference"], lines)
    write(parts, [options.docs / page for page in PAGES])


def write(parts: dict[str, str], pages: Sequence[Path]) -> None:
    """Replace what stands between the two comments of each part, in the page that has them."""
    texts = {page: page.read_text(encoding="utf-8") for page in pages}
    for name, part in parts.items():
        begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
        page = next((page for page, text in texts.items() if text.count(begin) == text.count(end) == 1), None)
        if page is None:
            raise ValueError(f"No page has one {begin!r} and one {end!r}. Write both where the table belongs.")
        before, after = texts[page].split(begin)[0], texts[page].split(end)[1]
        texts[page] = f"{before}{begin}\n\n{part}\n\n{end}{after}"
    for page, text in texts.items():
        with written_whole_file(page) as temporary:
            temporary.write_text(text, encoding="utf-8")


def read(folder: Path, data: str, similarity: str, seeds: Sequence[int]) -> Arms:
    """Return the finished runs of each arm."""
    arms: Arms = {}
    pace = read_json(folder / "pace.json")
    for arm in ARMS:
        for run in (Run(data, similarity, arm, seed) for seed in seeds):
            if run.record(folder).is_file():
                if run.cell not in pace:
                    raise ValueError(f"{folder / 'pace.json'} lacks {run.cell!r}. Measure it: mask_query.py --pace.")
                arms.setdefault(arm, []).append(read_run(run.record(folder), run.seed, pace[run.cell]))
    return arms


def read_run(path: Path, seed: int, pace: float) -> Finished:
    """Return what a run left, its steps taking so many seconds each."""
    found = load_file(path)
    test = ndcg_at_k(found["test_ranks"].astype(np.int64), 10)
    return Finished(seed, found["steps"], found["steps"] * pace, found["targets"], found["values"], test)


def quality(found: dict[str, Arms]) -> Iterable[str]:
    """Return how good each arm of a data set got, and by how much they differ."""
    for similarity, arms in found.items():
        if arms:
            yield f"**Scores by {NAMES[similarity]}.**"
            yield quality_table(arms)
    yield "**Differences on test**, paired over users, with 95 % bootstrap intervals; then each of several seeds."
    yield difference_table(found)


def budgets(found: dict[str, Arms]) -> Iterable[str]:
    """Return what each arm of a data set has within shares of plain's time and targets."""
    for similarity, arms in found.items():
        if "plain" in arms:
            yield f"**Scores by {NAMES[similarity]}.**"
            yield budget_table(arms, "seconds", 1, "best validation within CPU-seconds")
            yield budget_table(arms, "targets", 1e6, "within million targets")


def quality_table(arms: Arms) -> str:
    """Return how good each arm got, and what that took."""
    titles = ("validation", "test", "test of each seed", "steps to best", "CPU-s to best", "CPU-s to 95 % of plain")
    plain = statistics.mean(run.values.max() for run in arms["plain"]) if "plain" in arms else np.inf
    lines = []
    for arm, runs in arms.items():
        tests = [float(run.test.mean()) for run in runs]
        times = [time for run in runs if np.isfinite(time := run.first_at(SHARE * plain))]
        reached = f"{statistics.mean(times):,.0f}" if len(times) == len(runs) else f"{len(times)} of {len(runs)} do"
        took = [f"{statistics.mean(run.at_best(axis) for run in runs):,.0f}" for axis in ("steps", "seconds")]
        seeds = ", ".join(f"{test:.4f}" for test in tests)
        if [run.seed for run in runs] != list(range(len(runs))):
            seeds += f" (of {', '.join(str(run.seed) for run in runs)})"
        lines.append([arm, mean([run.values.max() for run in runs]), mean(tests), seeds, *took, reached])
    return markdown(["", *titles], lines)


def budget_table(arms: Arms, axis: str, unit: float, title: str) -> str:
    """Return the best validation within shares of what plain took to its best, the mean over seeds."""
    whole = statistics.mean(run.at_best(axis) for run in arms["plain"])
    budgets = [share * whole for share in BUDGETS]
    lines = []
    for arm, runs in arms.items():
        ended = [any(getattr(run, axis)[-1] < budget for run in runs) for budget in budgets]
        values = [statistics.mean(run.best_by(axis, budget) for run in runs) for budget in budgets]
        cells = [
            "not yet" if np.isnan(value) else f"{value:.4f}{' *' * over}"
            for value, over in zip(values, ended, strict=True)
        ]
        lines.append([arm, *cells])
    return markdown([title, *(f"{budget / unit:,.{1 if unit > 1 else 0}f}" for budget in budgets)], lines)


def difference_table(found: dict[str, Arms]) -> str:
    """Return the paired differences of pairs of arms, for each similarity and for both together."""
    lines = []
    for pair in PAIRS:
        shared = [shared_tests(arms, *pair) for arms in found.values()]
        cells = [difference(tests) for tests in shared]
        lines.append(
            [f"{pair[0]} − {pair[1]}", *cells, difference([t for tests in shared for t in tests], brief=True)]
        )
    return markdown(["", *(NAMES[similarity] for similarity in found), "both together"], lines)


def shared_tests(arms: Arms, arm: str, other: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the users' values of two arms, of each seed that both have."""
    others = {run.seed: run.test for run in arms.get(other, [])}
    return [(run.test, others[run.seed]) for run in arms.get(arm, []) if run.seed in others]


def difference(tests: Sequence[tuple[np.ndarray, np.ndarray]], *, brief: bool = False) -> str:
    """Return a paired difference, each user's value the mean over runs."""
    if not tests:
        return ""
    found = paired_difference(*(np.mean(values, axis=0) for values in zip(*tests, strict=True)))
    p_value = f"p {found.p_value:.3f}" if found.p_value >= 0.001 else "p < 0.001"
    low, high = found.interval
    text = f"{found.difference:+.4f} [{low:+.4f}, {high:+.4f}], {p_value}"
    if not brief and len(tests) > 1:
        text += "; " + ", ".join(f"{(values - others).mean():+.4f}" for values, others in tests)
    return text.replace("-", "−")


def lens_lines(folder: Path, data: str, similarity: str, seeds: Sequence[int]) -> list[list[str]]:
    """Return what states know after each number of blocks, the mean over runs."""
    lines = []
    for arm in ARMS:
        for variant in (*EARLY, ""):
            records = [Run(data, similarity, arm, seed, variant).record(folder) for seed in seeds]
            values = [load_file(path)["lens"] for path in records if path.is_file()]
            if values:
                known = [f"{value:.4f}" for value in np.mean(values, axis=0)]
                lines.append([arm, variant.removeprefix("of-") or "at its best", *known, str(len(values))])
    return lines


def variant_lines(folder: Path, data: str, similarity: str, arms: Sequence[str]) -> list[list[str]]:
    """Return the best validation of arms with another recipe, where all of them are there, of the first seed."""
    lines = []
    for variant in ("", *OTHERWISE):
        records = [Run(data, similarity, arm, 0, variant).record(folder) for arm in arms]
        if all(path.is_file() for path in records):
            curves = [load_file(path)["values"] for path in records]
            cells = [f"{curve.max():.4f} (epoch {curve.argmax() + 1} of {len(curve)})" for curve in curves]
            name = ", ".join(f"`{name}: {value}`" for name, value in OTHERWISE.get(variant, {}).items())
            lines.append([name or "as above", *cells, f"{100 * (curves[-1].max() / curves[0].max() - 1):+.0f} %"])
    return lines


def mean(values: Sequence[float]) -> str:
    """Return a mean, with the standard deviation where there are enough values for one."""
    deviation = f" ± {statistics.stdev(values):.4f}" if len(values) > 2 else ""
    return f"{statistics.mean(values):.4f}{deviation}"


def markdown(titles: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a table."""
    rows = [titles, ["---", *("---:" for _ in titles[1:])], *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def draw(found: dict[str, Arms], title: str, path: Path) -> None:
    """Draw a panel for each similarity: the mean of the seeds as long as all of them ran, and each seed faintly."""
    figure = Figure(figsize=(11, 4.6), dpi=130, layout="constrained")
    panels: Any = figure.subplots(1, len(found), sharey=True)
    top = max(run.values.max() for arms in found.values() for runs in arms.values() for run in runs)
    for axes, (similarity, arms) in zip(panels, found.items(), strict=True):
        for arm, runs in arms.items():
            draw_arm(axes.plot, runs, COLOURS[arm])
        axes.set_title(f"{title}, {NAMES[similarity]}", loc="left", weight="bold")
        axes.set_xlabel("CPU-seconds of training, one core")
        axes.set_ylim(bottom=0.4 * top, top=1.03 * top)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="#e5e7eb")
    panels[0].set_ylabel("validation NDCG@10")
    for arm, colour in COLOURS.items():
        panels[-1].plot([], [], color=colour, linewidth=2, label=arm)
    panels[-1].legend(frameon=False, loc="lower right")
    with written_whole_file(path) as temporary:
        figure.savefig(temporary, format="png")


def draw_arm(plot: Callable[..., Any], runs: Sequence[Finished], colour: str) -> None:
    """Draw the curves of an arm's seeds and their mean."""
    for run in runs:
        plot(run.seconds, run.values, color=colour, linewidth=0.6, alpha=0.35)
    grid = np.linspace(max(run.seconds[0] for run in runs), min(run.seconds[-1] for run in runs), 100)
    plot(grid, np.mean([np.interp(grid, run.seconds, run.values) for run in runs], axis=0), color=colour, linewidth=2)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=Path, default=RECORDS)
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help=f"where {' and '.join(PAGES)} are")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    main(parser.parse_args())
