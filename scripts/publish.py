"""Publish a model folder, or an adapter alone, on the Hub.

    python scripts/publish.py runs/demo/model owner/name [--private]
    python scripts/publish.py runs/demo/model owner/name --columns
    python scripts/publish.py runs/adapted/adapter owner/name --base_model owner/base

Columns of items go out as they are; with `--columns` alone, items show ids and counts only. Log in before that by
`hf auth login`.
"""

import argparse
import sys
from pathlib import Path

from seqrec import Recommender
from seqrec.adapter_files import CONFIG_FILE
from seqrec.publishing import push_adapter_to_hub

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="the model or adapter folder that training wrote")
    parser.add_argument("repo_id", help="owner/name")
    parser.add_argument("--private", action="store_true", default=None, help="make a private repository")
    parser.add_argument("--revision", help="a branch, made if there is none")
    parser.add_argument("--commit_message", help="what the commit says")
    parser.add_argument("--create_pr", action="store_true", help="ask for the change in a pull request")
    parser.add_argument("--columns", nargs="*", help="columns of items that go out; all that are shown by default")
    parser.add_argument(
        "--have_rights", action="store_true", default=None, help="you may pass on what the licence forbids others"
    )
    parser.add_argument("--base_model", help="of an adapter: the Hub id of the model that it is for")
    options = {name: value for name, value in vars(parser.parse_args()).items() if value is not None}
    folder = options.pop("model")
    try:
        if (folder / CONFIG_FILE).is_file():
            print(push_adapter_to_hub(folder, **options))
        elif "base_model" in options:
            raise ValueError(
                f"{folder} is no adapter ({CONFIG_FILE} is missing), so it has no base_model. Leave it out."
            )
        else:
            print(Recommender.from_pretrained(folder).push_to_hub(**options))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
