import os
import subprocess
import sys

import pyarrow as pa

from seqrec.data.cleaning import clean


def test_daft_is_silent_unless_the_user_says_otherwise():
    program = """
import os, sys
from seqrec.data.cleaning import in_order
import pyarrow as pa
in_order(pa.table({"user": [0], "item": [0], "row": [0]}))
print(os.environ["DAFT_ANALYTICS_ENABLED"], os.environ["DAFT_PROGRESS_BAR"])
"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DAFT")}
    for given, expected in [({}, "0 0"), ({"DAFT_PROGRESS_BAR": "1"}, "0 1")]:
        run = subprocess.run(
            [sys.executable, "-c", program], env={**environment, **given}, capture_output=True, text=True, check=True
        )
        assert run.stdout.strip() == expected
        assert not run.stderr


def test_steps_run_in_order_and_only_where_they_apply():
    table = pa.table({"user": [0, 0, 1], "item": [0, 0, 1], "row": [0, 1, 2], "timestamp": [7, 7, 7]})
    kept, steps = clean(table, min_interactions=1, min_value=None, drop_duplicates=True)
    assert kept["row"].to_pylist() == [0, 2]
    assert [step["name"] for step in steps] == ["drop_duplicates", "min_interactions"]
