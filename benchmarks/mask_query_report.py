"""Tables and plots of what `benchmarks/mask_query.py` has finished so far.

    python benchmarks/mask_query_report.py [--runs runs/benchmarks/mask_query] [--plots docs/images] [--lens]

Prints Markdown. For each data set and similarity: the best validation and the test NDCG@10, the processor time to the
best and to 95 % of the plain [MASK]'s best, and paired differences on test over users, each user's value the mean over
seeds; then the best validation within shares of the time in which plain got to its best. With `--lens` also what a
state knows on its way: validation NDCG@10 when it is scored after 0, 1, ... blocks (the logit lens of nostalgebraist,
2020). Draws the learning curves: NDCG@10 on validation over CPU-seconds, which are steps times what a step of that arm
costs on one core (`pace.json` of `benchmarks/mask_query.py --pace`).
"""

import argparse
import statistics
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from mask_query import ARMS, DATA, SIMILARITIES, Run
from matplotlib.figure import Figure
from quality import ROOT, TITLES
from transformers.utils import SAFE_WEIGHTS_NAME

from seqrec import Recommender
from seqrec.data import PreparedData
from seqrec.evaluation import dataset_ranks
from seqrec.folders import read_json, written_whole_file
from seqrec.metrics import paired_difference
from seqrec.metrics.ranking import ndcg_at_k
from seqrec.report import trainer_log

COLOURS = dict(zip(ARMS, ("#9ca3af", "#f59e0b", "#2563eb", "#10b981", "#a855f7", "#111827"), strict=True))
SHARE = 0.95
BUDGETS = (1 / 8, 1 / 4, 1 / 2, 1)


class Finished(NamedTuple):
    """What a run left.

    Attributes:
        seed: Its seed.
        seconds: Processor time of training at each evaluation, at the pace of one core.
        values: Validation NDCG@10 there.
        test: NDCG@10 of each user.
    """

    seed: int
    seconds: np.ndarray
    values: np.ndarray
    test: np.ndarray

    def first_at(self, value: float) -> float:
        """Seconds until a value was reached; infinite where it never was."""
        reached = np.flatnonzero(self.values >= value)
        return float(self.seconds[reached[0]]) if len(reached) else float("inf")

    def best_by(self, seconds: float) -> float:
        """Best value within a budget."""
        return float(np.interp(seconds, self.seconds, np.maximum.accumulate(self.values)))

    @property
    def seconds_to_best(self) -> float:
        """When it was at its best."""
        return float(self.seconds[self.values.argmax()])


def main(options: argparse.Namespace) -> None:
    """Print tables and draw plots of every data set that has runs."""
    for data in DATA:
        found = {similarity: read(options.runs, data, similarity, options.seeds) for similarity in SIMILARITIES}
        for similarity, arms in found.items():
            if arms:
                print(f"### {TITLES[data].split(',')[0]}, {similarity}\n\n{table(arms)}\n\n{budget_table(arms)}\n")
                if options.lens:
                    print(f"{lens_table(options.runs, data, similarity, arms)}\n")
        if any(found.values()):
            draw(found, TITLES[data].split(",")[0], options.plots / f"mask-query-{data}.png")


def read(folder: Path, data: str, similarity: str, seeds: list[int]) -> dict[str, list[Finished]]:
    """Return the finished runs of each arm."""
    arms: dict[str, list[Finished]] = {}
    pace = read_json(folder / "pace.json")
    if missing := [cell for arm in ARMS if (cell := Run(data, similarity, arm, 0).cell) not in pace]:
        raise ValueError(f"{folder / 'pace.json'} has no {missing}. Measure it: benchmarks/mask_query.py --pace.")
    for arm in ARMS:
        for run in (Run(data, similarity, arm, seed) for seed in seeds):
            if (folder / run.name / "ranks.npz").is_file():
                rows = [entry for entry in trainer_log(folder / run.name) if "eval_ndcg@10" in entry]
                seconds = np.array([row["step"] for row in rows]) * pace[run.cell]
                values = np.array([row["eval_ndcg@10"] for row in rows])
                test = ndcg_at_k(np.load(folder / run.name / "ranks.npz")["test"].astype(np.int64), 10)
                arms.setdefault(arm, []).append(Finished(run.seed, seconds, values, test))
    return arms


def table(arms: dict[str, list[Finished]]) -> str:
    """Return the table of one data set and similarity."""
    lines = [["query", "seeds", "validation", "at CPU-s", "CPU-s to 95 % of plain", "test", "- plain", "- causal"]]
    lines.append(["---"] * len(lines[0]))
    plain = statistics.mean(run.values.max() for run in arms["plain"]) if "plain" in arms else np.inf
    for arm, runs in arms.items():
        best = [float(run.values.max()) for run in runs]
        at = statistics.mean(run.seconds_to_best for run in runs)
        times = [time for run in runs if np.isfinite(time := run.first_at(SHARE * plain))]
        reached = f"{statistics.mean(times):,.0f}" if len(times) == len(runs) else f"{len(times)} of {len(runs)} do"
        compared = [difference(runs, arms.get(other, [])) if other != arm else "" for other in ("plain", "causal")]
        test = spread([float(run.test.mean()) for run in runs])
        lines.append([arm, str(len(runs)), spread(best), f"{at:,.0f}", reached, test, *compared])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def budget_table(arms: dict[str, list[Finished]]) -> str:
    """Return the table of the best validation within shares of the time in which plain got to its best."""
    if "plain" not in arms:
        return ""
    whole = statistics.mean(run.seconds_to_best for run in arms["plain"])
    budgets = [share * whole for share in BUDGETS]
    lines = [["best within CPU-s", *(f"{budget:,.0f}" for budget in budgets)], ["---", *("---:" for _ in budgets)]]
    for arm, runs in arms.items():
        values = [statistics.mean(run.best_by(budget) for run in runs) for budget in budgets]
        lines.append([arm, *(f"{value:.4f}" for value in values)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def lens_table(folder: Path, data: str, similarity: str, arms: dict[str, list[Finished]]) -> str:
    """Return the table of what states know after each number of blocks, the mean over runs whose model is there."""
    folders = {arm: [folder / Run(data, similarity, arm, run.seed).name for run in runs] for arm, runs in arms.items()}
    found = {
        arm: [lens(run) for run in runs if (run / "model" / SAFE_WEIGHTS_NAME).is_file()]
        for arm, runs in folders.items()
    }
    rows = {arm: np.mean(values, axis=0) for arm, values in found.items() if values}
    depths = range(len(next(iter(rows.values()), ())))
    lines = [["query", *(f"after {depth} blocks" for depth in depths)], ["---", *("---:" for _ in depths)]]
    lines += [[arm, *(f"{value:.4f}" for value in values)] for arm, values in rows.items()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def lens(run: Path) -> list[float]:
    """Return validation NDCG@10 of a run's model without its last blocks: with none of them, with one, ..."""
    recommender = Recommender.from_pretrained(run / "model")
    rows = PreparedData.load(run / "data").dataset["validation"]
    (encoder,) = recommender.model.model.encoders
    blocks, found = encoder.layers, []
    for depth in range(len(blocks) + 1):
        encoder.layers = blocks[:depth]
        found.append(float(ndcg_at_k(dataset_ranks(recommender, rows), 10).mean()))
    return found


def spread(values: list[float]) -> str:
    """Return mean and standard deviation."""
    deviation = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.4f}{deviation}"


def difference(runs: list[Finished], others: list[Finished]) -> str:
    """Return the paired difference on test, each user's value the mean over the seeds that both have."""
    values, other_values = ({run.seed: run.test for run in of_arm} for of_arm in (runs, others))
    seeds = sorted(values.keys() & other_values.keys())
    if not seeds:
        return ""
    means = [np.mean([of_seed[seed] for seed in seeds], axis=0) for of_seed in (values, other_values)]
    found = paired_difference(*means)
    low, high = found.interval
    return f"{found.difference:+.4f} [{low:+.4f}, {high:+.4f}], p {found.p_value:.4f}"


def draw(found: dict[str, dict[str, list[Finished]]], title: str, path: Path) -> None:
    """Draw a panel for each similarity: the mean of the seeds as long as all of them ran, and each seed faintly."""
    figure = Figure(figsize=(11, 4.2), dpi=130, layout="constrained")
    panels: Any = figure.subplots(1, len(found), sharey=True)
    for axes, (similarity, arms) in zip(panels, found.items(), strict=True):
        for arm, runs in arms.items():
            end = min(run.seconds[-1] for run in runs)
            grid = np.linspace(max(run.seconds[0] for run in runs), end, 100)
            mean = np.mean([np.interp(grid, run.seconds, run.values) for run in runs], axis=0)
            for run in runs:
                axes.plot(run.seconds, run.values, color=COLOURS[arm], linewidth=0.6, alpha=0.35)
            axes.plot(grid, mean, color=COLOURS[arm], linewidth=2, label=arm)
        axes.set_title(f"{title}, {similarity}", loc="left", weight="bold")
        axes.set_xlabel("CPU-seconds of training, one core")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="#e5e7eb")
    panels[0].set_ylabel("validation NDCG@10")
    panels[-1].legend(frameon=False, loc="lower right")
    with written_whole_file(path) as temporary:
        figure.savefig(temporary, format="png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "benchmarks" / "mask_query")
    parser.add_argument("--plots", type=Path, default=ROOT / "docs" / "images")
    parser.add_argument("--lens", action="store_true", help="also score states after each number of blocks")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    main(parser.parse_args())
