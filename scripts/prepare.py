"""Clean a table of interactions, split it and write it with its catalogue into a folder.

    python scripts/prepare.py --dataset movielens-100k --output_dir prepared/ml100k
    python scripts/prepare.py --interactions clicks.csv --items items.csv \
        --column_mapping '{"customer": "user_id", "sku": "item_id"}' --min_value 4 --output_dir prepared/shop

The folder holds the splits (`datasets.load_from_disk`), items.parquet and preparation.json, and trains with
`scripts/train.py CONFIG --dataset FOLDER`.
"""

import argparse
import sys
from typing import Any

from seqrec.data import prepare
from seqrec.data.splits import SPLITS
from seqrec.data_arguments import PREPARATION_SETTINGS, parse_mapping
from seqrec.fetching import FetchError


def main(arguments: argparse.Namespace) -> None:
    """Prepare, save, and say what every step left."""
    settings = {name: getattr(arguments, name) for name in PREPARATION_SETTINGS}
    prepared = prepare(
        arguments.interactions or arguments.dataset,
        arguments.items,
        column_mapping=parse_mapping(arguments.column_mapping) if arguments.column_mapping else None,
        dataset_files=arguments.dataset_files,
        **settings,
    )
    prepared.save(arguments.output_dir)
    print(report_table(prepared.report))
    print(f"Written to {arguments.output_dir}")


def report_table(report: dict[str, Any]) -> str:
    """Return the counts after each step as lines of text."""
    start = report["steps"][0]["before"]
    lines = [f"{'':<20}{'users':>12}{'items':>12}{'interactions':>15}"]
    for name, counts in [("source", start), *((step["name"], step["after"]) for step in report["steps"])]:
        numbers = f"{counts['num_users']:>12,}{counts['num_items']:>12,}{counts['num_interactions']:>15,}"
        lines.append(f"{name:<20}{numbers}")
    lines += ["", split_sentence(report)]
    if report["content"].get("num_items_without_row"):
        lines.append(f"{report['content']['num_items_without_row']:,} items have no content")
    return "\n".join(lines)


def split_sentence(report: dict[str, Any]) -> str:
    """Return what the split asks of whom."""
    split = report["split"]
    asked = f"{split['name']}: {split['test']['num_users']:,} users are asked for "
    if split["name"] == "none":
        return "none: nothing is held out"
    if split["name"] == "leave_one_out":
        return f"{asked}their last item, {split['num_users_only_in_train']:,} are too short and stay in train"
    cuts = [f"{name} begins at {split[name]['cut']}" for name in ("validation", "test")]
    new = split["test"]["num_users_without_history"]
    return f"{asked}their first item of the test period, {new:,} of them are new there; {', '.join(cuts)}"


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--dataset", help="a named data set, or a data set of the Hub")
    source.add_argument("--interactions", nargs="+", help="files or globs: CSV, TSV, JSONL, Parquet")
    parser.add_argument("--items", nargs="+", help="files with one row an item")
    parser.add_argument("--column_mapping", help="JSON: their column names to ours")
    parser.add_argument("--dataset_files", nargs="+", default=(), help="files of a named data set that are here")
    parser.add_argument("--split", choices=SPLITS, default="leave_one_out")
    parser.add_argument("--time_fraction", type=float, help="share of the interactions in the test period (0.1)")
    parser.add_argument("--min_interactions", type=int, default=5, help="least interactions of a user and of an item")
    parser.add_argument("--min_value", type=float, help="least value that counts as an interaction")
    parser.add_argument("--drop_duplicates", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--burst_seconds", type=float, help="leave out the same item again within this time")
    parser.add_argument("--max_daily_interactions", type=int, help="leave out users with more within 24 hours")
    parser.add_argument("--cold_item_fraction", type=float, default=0.0, help="share of items taken out of training")
    parser.add_argument("--output_dir", required=True, help="the folder to write")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main(parse_arguments())
    except (ValueError, OSError, FetchError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
