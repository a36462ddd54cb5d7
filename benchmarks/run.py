"""Run a benchmark by its name; each prints what it measured, `--help` says how.

python benchmarks/run.py quality    # our models on three data sets, beside the published results
python benchmarks/run.py mask_query # what a [MASK] should start from; mask_query_report writes it up
python benchmarks/run.py transfer   # a model of one shop on another one's items, with an adapter and without
python benchmarks/run.py softmax    # the softmax over the catalogue, plain against chunks
python benchmarks/run.py training   # speed, two cores, time to quality and memory, beside RecTools and RePlay
python benchmarks/run.py memory     # the last of these alone
python benchmarks/run.py content    # texts against ids, and items that training never saw
python benchmarks/run.py sounds     # what hearing items brings, on synthesised music
python benchmarks/run.py encoding   # what texts, images and sounds cost
python benchmarks/run.py page       # how soon the demo answers
"""

import runpy
import sys
from pathlib import Path

HERE = Path(__file__).parent
NAMES = sorted(path.stem for path in HERE.glob("*.py") if path.stem != "run")

if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in NAMES:
        sys.exit(f"{__doc__}\nExpected one of {NAMES}.")
    name = sys.argv.pop(1)
    sys.argv[0] = str(HERE / f"{name}.py")
    runpy.run_path(sys.argv[0], run_name="__main__")
