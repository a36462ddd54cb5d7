"""Write the training histories and validation items of a data set as lines of JSON, for systems that read numbers.

    python benchmarks/systems/histories.py FILE.jsonl --dataset movielens-100k --min_interactions 5

Words after the file name the data as they do for `scripts/train.py`. A row is a user: `items`, oldest first, by their
place in the catalogue, and `target`, the validation item, -1 for none.
"""

import json
import sys

from seqrec.data import PreparedData
from seqrec.data_source import load_data
from seqrec.folders import written_whole_file
from seqrec.settings import parse_command_line


def rows_of(prepared: PreparedData) -> list[dict[str, list[int] | int]]:
    """Return the row of every user who has a training history."""
    places = {item: place for place, item in enumerate(prepared.items["item_id"])}
    targets = {row["user_id"]: places[row["targets"][0]] for row in prepared.dataset["validation"]}
    return [
        {"items": [places[item] for item in row["history"]], "target": targets.get(row["user_id"], -1)}
        for row in prepared.dataset["train"]
    ]


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    rows = rows_of(load_data(parse_command_line(sys.argv[2:])))
    with written_whole_file(sys.argv[1]) as file:
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
