"""Recommend next items with a trained model.

    python scripts/recommend.py runs/demo/model --history "Toy Story (1995)" "Alien (1979)" --k 10
    python scripts/recommend.py runs/demo/model --interactions clicks.csv --output top10.parquet

Items of a history are named by title or id, oldest first.
"""

import argparse
import json
import sys

from seqrec import Recommender


def main(argv: list[str]) -> None:
    """Load the model, and recommend for one history or for every user of a table."""
    arguments = parse_arguments(argv)
    recommender = Recommender.from_pretrained(arguments.model)
    if arguments.history is not None:
        history = recommender.find_items(arguments.history)
        rows = recommender.recommend([history], arguments.k, not arguments.include_seen)[0]
        for rank, row in enumerate(rows, start=1):
            shown = " | ".join(str(value) for name, value in row.items() if name not in ("item_id", "score"))
            print(f"{rank:3}  {row['score']:8.3f}  {row['item_id']:>8}  {shown}")
        return
    users = recommender.recommend_users(
        arguments.interactions, arguments.k, arguments.column_mapping, not arguments.include_seen
    )
    writers = {"parquet": users.to_parquet, "csv": users.to_csv, "jsonl": users.to_json}
    writers[arguments.output.rsplit(".", 1)[-1]](arguments.output)
    print(f"{len(users):,} rows in {arguments.output}")


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a model folder or a Hub id")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--history", nargs="*", help="titles or ids of one history, oldest first; may be empty")
    what.add_argument("--interactions", nargs="+", help="files of interactions: recommend for every user in them")
    parser.add_argument("--output", help="where the lists go: .parquet, .csv or .jsonl (with --interactions)")
    parser.add_argument("--column_mapping", type=json.loads, help='their column to ours: {"customer": "user_id"}')
    parser.add_argument("--k", type=int, default=10, help="items a list")
    parser.add_argument("--include_seen", action="store_true", help="items of the history may come back")
    arguments = parser.parse_args(argv)
    if arguments.interactions and not (arguments.output or "").endswith((".parquet", ".csv", ".jsonl")):
        parser.error(f"--output must name a .parquet, .csv or .jsonl file, not {arguments.output!r}")
    return arguments


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except ValueError as error:
        print(f"recommend.py: {error}", file=sys.stderr)
        sys.exit(2)
