"""Train a recommender and write its run folder.

    accelerate launch scripts/train.py configs/movielens-100k.yaml
    accelerate launch scripts/train.py configs/movielens-100k.yaml --learning_rate 1e-3 --output_dir runs/mine
    accelerate launch scripts/train.py configs/movielens-100k.yaml --interactions clicks.csv --items items.csv \
        --column_mapping '{"customer": "user_id", "sku": "item_id"}' --output_dir runs/shop

Every setting of the config can be said again on the command line; `--help` lists them all.
"""

import sys

from seqrec.fetching import FetchError
from seqrec.settings import parse_command_line
from seqrec.training import run


def main(argv: list[str]) -> None:
    """Read the settings, train, and write `output_dir/model`; `seqrec.train(...)` does the same from Python."""
    run(parse_command_line(argv))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (ValueError, OSError, ImportError, FetchError) as error:
        print(f"train.py: {error}", file=sys.stderr)
        sys.exit(2)
