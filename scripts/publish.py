"""Publish a model folder on the Hub.

    python scripts/publish.py runs/demo/model owner/name [--private]
    python scripts/publish.py runs/demo/model owner/name --columns

Columns of items go out as they are; with `--columns` alone, items show ids and counts only. Log in before that by
`hf auth login`.
"""

import argparse
import sys
from pathlib import Path

from seqrec import Recommender

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="the model folder that training wrote")
    parser.add_argument("repo_id", help="owner/name")
    parser.add_argument("--private", action="store_true", default=None, help="make a private repository")
    parser.add_argument("--revision", help="a branch, made if there is none")
    parser.add_argument("--commit_message", help="what the commit says")
    parser.add_argument("--create_pr", action="store_true", help="ask for the change in a pull request")
    parser.add_argument("--columns", nargs="*", help="columns of items that go out; all that are shown by default")
    parser.add_argument("--have_rights", action="store_true", help="you may pass on what the licence forbids others")
    options = vars(parser.parse_args())
    try:
        print(Recommender.from_pretrained(options.pop("model")).push_to_hub(**options))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
