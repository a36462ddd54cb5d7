"""Imports point down: a part of seqrec uses only parts on lines below its own."""

import ast
from collections.abc import Iterator
from pathlib import Path

import seqrec

PACKAGE = Path(seqrec.__file__).parent

LAYERS = [
    [
        "explanation",
        "extras",
        "fetching",
        "finding",
        "folders",
        "item_ids",
        "launching",
        "machine",
        "metrics",
        "model",
        "ranker",
    ],
    ["adapter_files", "data", "tables"],
    ["adapters", "card", "counting", "tokenization"],
    ["adapter_card", "content", "evaluation", "model_folder", "run_folder", "starting"],
    ["baselines", "data_arguments", "publishing", "space_folder"],
    ["arguments", "item_content", "item_rows"],
    ["catalogue", "settings"],
    ["building", "data_source", "recommender", "trainer"],
    ["estimate", "lora"],
    ["training_run"],
    ["training"],
    ["plots", "report"],
]


def part_of(path: Path, package: Path) -> str:
    """The folder or module right under the package: `data` for `data/splits.py`, `ranker` for `ranker.py`."""
    return path.relative_to(package).parts[0].removesuffix(".py")


def imported_modules(path: Path, package: Path) -> Iterator[tuple[str, int]]:
    """Every module that a file imports, anywhere in it, as an absolute dotted name, and the line."""
    here = [package.name, *path.relative_to(package).parent.parts]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), filename=str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            if module == package.name:  # from seqrec import data, from .. import data
                for alias in node.names:
                    yield f"{module}.{alias.name}", node.lineno
            else:
                yield module, node.lineno


def upward_imports(package: Path, layers: list[list[str]]) -> list[str]:
    """Say which imports do not point down, and which parts stand on no line."""
    level = {part: number for number, layer in enumerate(layers) for part in layer}
    files = [path for path in sorted(package.rglob("*.py")) if part_of(path, package) != "__init__"]
    parts = {part_of(path, package) for path in files}
    complaints = [f"{part} stands on no line of LAYERS" for part in sorted(parts - level.keys())]
    complaints += [f"{part} of LAYERS does not exist" for part in sorted(level.keys() - parts)]
    for path in files:
        own = part_of(path, package)
        for module, line in imported_modules(path, package):
            root, _, rest = module.partition(".")
            used = rest.partition(".")[0]
            if root != package.name or used == own:
                continue
            if level.get(used, len(layers)) >= level.get(own, -1):
                complaints.append(f"{path.relative_to(package)}:{line} imports {module}, which is not below {own}")
    return complaints


def foreign_imports(package: Path, part: str) -> list[str]:
    """Say which imports of ours in a part are not relative imports from its own folder."""
    complaints = []
    for path in sorted((package / part).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), filename=str(path))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = ["." * node.level + (node.module or "")]
            for name in names:
                if name.partition(".")[0] == package.name or name.startswith(".."):
                    complaints.append(f"{path.relative_to(package)}:{node.lineno} imports {name}")
    return complaints


def test_imports_point_down():
    assert upward_imports(PACKAGE, LAYERS) == []


def test_the_documentation_shows_these_layers():
    page = (PACKAGE.parent / "docs" / "inside.md").read_text(encoding="utf-8")
    assert "\n".join("  ".join(line) for line in LAYERS) in page


def test_the_model_folder_stands_alone():
    """It travels to the Hub with the weights: flat, and nothing of ours from outside."""
    assert foreign_imports(PACKAGE, "model") == []
    assert [path.name for path in (PACKAGE / "model").iterdir() if path.is_dir() and path.name != "__pycache__"] == []


def made_up_package(folder: Path, files: dict[str, str]) -> Path:
    package = folder / "shop"
    for name, code in {"__init__.py": "import shop.top\n", "low.py": "", "top.py": "", **files}.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(code, encoding="utf-8")
    return package


def test_allowed_imports_pass(tmp_path):
    files = {"mid/a.py": "import shop.low\nfrom . import b\nfrom ..low import x\n", "mid/b.py": "import numpy.top\n"}
    package = made_up_package(tmp_path, files | {"top.py": "from shop.mid.a import y\nfrom shop import low\n"})
    assert upward_imports(package, [["low"], ["mid"], ["top"]]) == []


def test_every_way_to_import_upwards_is_seen(tmp_path):
    ways = {
        "mid/a.py": "from shop.top import x",
        "mid/b.py": "import shop.top as t",
        "mid/c.py": "from ..top import x",
        "mid/d.py": "from .. import top",
        "mid/e.py": "from shop import top",
        "mid/f.py": "def late():\n    from shop.top import x",
        "mid/deep/g.py": "from ...top import x",
        "mid/h.py": "from shop import __version__",
        "low.py": "from .mid import a",
    }
    complaints = upward_imports(made_up_package(tmp_path, ways), [["low"], ["mid"], ["top"]])
    assert sorted(complaint.partition(":")[0] for complaint in complaints) == sorted(ways)
    assert "mid/f.py:2 imports shop.top, which is not below mid" in complaints


def test_neighbours_on_one_line_may_not_import_each_other(tmp_path):
    package = made_up_package(tmp_path, {"low.py": "import shop.top"})
    assert upward_imports(package, [["low", "top"]]) == ["low.py:1 imports shop.top, which is not below low"]


def test_a_part_without_a_line_and_a_line_without_a_part_are_seen(tmp_path):
    package = made_up_package(tmp_path, {})
    assert upward_imports(package, [["low"], ["gone"]]) == [
        "top stands on no line of LAYERS",
        "gone of LAYERS does not exist",
    ]


def test_foreign_imports_in_the_model_folder_are_seen(tmp_path):
    code = "from shop.low import x\nfrom ..low import x\nimport shop\nfrom .b import y\nimport torch\n"
    package = made_up_package(tmp_path, {"model/a.py": code, "model/b.py": ""})
    assert foreign_imports(package, "model") == [
        "model/a.py:1 imports shop.low",
        "model/a.py:2 imports ..low",
        "model/a.py:3 imports shop",
    ]
