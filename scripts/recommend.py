"""Recommend next items with a trained model.

    python scripts/recommend.py runs/demo/model --history "Toy Story (1995)" "Alien (1979)" --k 10
    python scripts/recommend.py runs/demo/model --interactions clicks.csv --output top10.parquet

Items of a history are named by title or id, oldest first.
"""

import argparse
import sys
from pathlib import Path

from datasets import Dataset

from seqrec import Recommender
from seqrec.data_arguments import parse_mapping
from seqrec.folders import written_whole_file


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
    mapping = parse_mapping(arguments.column_mapping) if arguments.column_mapping else None
    users = recommender.recommend_users(arguments.interactions, arguments.k, mapping, not arguments.include_seen)
    write(users, arguments.output)
    print(f"{len(users):,} rows in {arguments.output}")


def write(table: Dataset, path: Path) -> None:
    """Write the table in the format that the file's name says, whole or not at all."""
    writers = {".parquet": table.to_parquet, ".csv": table.to_csv, ".jsonl": table.to_json}
    with written_whole_file(path) as temporary:
        writers[path.suffix](str(temporary))


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a model folder or a Hub id")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--history", nargs="*", help="titles or ids of one history, oldest first; may be empty")
    what.add_argument("--interactions", nargs="+", help="files of interactions: recommend for every user in them")
    parser.add_argument(
        "--output", type=Path, help="where the lists go: .parquet, .csv or .jsonl (with --interactions)"
    )
    parser.add_argument("--column_mapping", help='their column to ours: {"customer": "user_id"}')
    parser.add_argument("--k", type=int, default=10, help="items a list")
    parser.add_argument("--include_seen", action="store_true", help="items of the history may come back")
    arguments = parser.parse_args(argv)
    if arguments.interactions and (arguments.output or Path()).suffix not in (".parquet", ".csv", ".jsonl"):
        parser.error(f"--output must name a .parquet, .csv or .jsonl file, not {str(arguments.output)!r}")
    if arguments.interactions and not arguments.output.parent.is_dir():
        parser.error(f"there is no folder {str(arguments.output.parent)!r} for --output; make it first")
    if arguments.history is not None and arguments.output:
        parser.error("--output goes with --interactions; the list of one --history is printed")
    return arguments


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
