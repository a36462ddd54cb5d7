"""What pyproject.toml promises: every Python it names, and the default tests with its lowest and the newest versions.

The lowest are tried with the Python that runs this, the newest with the newest Python on the PATH. Their environments
stay in `.matrix/`, a log of the last run beside each; both take 7 GB where PyPI's torch brings its CUDA libraries.
"""

import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MATRIX = ROOT / ".matrix"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
NAMED_PYTHON = "Programming Language :: Python :: 3."
PYTHONS = [line.split()[-1] for line in PROJECT["classifiers"] if line.startswith(NAMED_PYTHON)]
SHOWN = ("torch", "transformers", "numpy", "datasets")

pytestmark = [pytest.mark.slow, pytest.mark.network]


def run(*command: str | Path) -> str:
    """Run a command and return what it printed; if it fails, show all it said."""
    ran = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, f"{command}\n{ran.stdout}{ran.stderr}"
    return ran.stdout


def resolve(python: str, *options: str | Path) -> str:
    """The exact versions of seqrec's dependencies with all its extras, one a line; wheels only."""
    compile_pins = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--no-header", "--no-annotate"]
    wanted = ["--all-extras", "--only-binary", ":all:", "--python-version", python]
    return run(*compile_pins, *wanted, *options, ROOT / "pyproject.toml")


def shown(pins: str) -> str:
    """The versions that matter most, as one phrase."""
    versions = dict(line.split("==", 1) for line in pins.splitlines() if "==" in line)
    return ", ".join(f"{name} {versions[name]}" for name in SHOWN)


def newest_python() -> str:
    """The newest of the supported Pythons that is on the PATH and can make an environment, or this one."""
    for python in filter(None, (shutil.which(f"python{version}") for version in reversed(PYTHONS))):
        if subprocess.run([python, "-c", "import ensurepip"], capture_output=True, check=False).returncode == 0:
            return python
    return sys.executable


def environment(name: str, base: str, *options: str | Path) -> Path:
    """Bring an environment up to date, made the first time; return its interpreter."""
    python = MATRIX / name / "bin" / "python"
    if not python.exists():
        run(base, "-m", "venv", MATRIX / name)
    wanted = f"{ROOT}[{','.join(PROJECT['optional-dependencies'])}]"
    run(python, "-m", "pip", "install", "--upgrade", "--upgrade-strategy=eager", "-e", wanted, *options)
    run(python, "-m", "pip", "check")
    return python


def check_default_tests(name: str, python: Path, record_property: Callable[[str, str], None]) -> None:
    """Run the default tests with an environment's interpreter, and record what it was and what they ended with."""
    about = f"{run(python, '--version').strip()}, {shown(run(python, '-m', 'pip', 'list', '--format=freeze'))}"
    log = MATRIX / f"{name}.log"
    with log.open("w", encoding="utf-8") as file:
        tests = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        ran = subprocess.run(tests, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, check=False)
    last = log.read_text(encoding="utf-8").splitlines()[-1]
    record_property("measured", f"{name}: {about}: {last}")
    assert ran.returncode == 0, f"{last}; all of it is in {log}"


def test_the_lowest_named_python_is_the_lowest_allowed():
    assert PROJECT["requires-python"] == f">={PYTHONS[0]}"


@pytest.mark.parametrize("python", PYTHONS)
def test_every_python_resolves_with_all_extras(python, record_property):
    newest = resolve(python)
    resolve(python, "--constraints", ROOT / "constraints.txt")
    record_property("measured", f"Python {python} resolves, all extras: {shown(newest)}; also under constraints.txt")


def test_the_default_tests_pass_with_the_lowest_versions(record_property):
    MATRIX.mkdir(exist_ok=True)
    pins = MATRIX / "lowest.txt"
    pins.write_text(resolve(f"{sys.version_info.major}.{sys.version_info.minor}", "--resolution", "lowest-direct"))
    python = environment("lowest", sys.executable, "-c", pins)
    check_default_tests("lowest", python, record_property)


def test_the_default_tests_pass_with_the_newest_versions(record_property):
    check_default_tests("newest", environment("newest", newest_python()), record_property)
