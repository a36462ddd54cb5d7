"""Train a recommender and write its run folder.

    accelerate launch scripts/train.py configs/movielens-100k.yaml
    accelerate launch scripts/train.py configs/movielens-100k.yaml --learning_rate 1e-3 --output_dir runs/mine
    accelerate launch --num_processes 2 --cpu scripts/train.py configs/movielens-100k.yaml
    accelerate launch scripts/train.py configs/movielens-100k.yaml --interactions clicks.csv --items items.csv \
        --column_mapping '{"customer": "user_id", "sku": "item_id"}' --output_dir runs/shop

Every setting of the config can be said again on the command line; `--help` lists them all.
"""

import os
import sys

from seqrec.fetching import FetchError
from seqrec.launching import launch
from seqrec.settings import parse_command_line
from seqrec.training import run


def main() -> None:
    """Read the settings, train, and write `output_dir/model`; `seqrec.train(...)` does the same from Python."""
    try:
        run(parse_command_line(sys.argv[1:]))
    except (ValueError, OSError, ImportError, FetchError) as error:
        if os.environ.get("LOCAL_RANK", "0") == "0" or not isinstance(
            error, ValueError
        ):  # all processes read one input
            print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    try:
        launch(main)
    except ValueError as error:
        sys.exit(f"error: {error}")
