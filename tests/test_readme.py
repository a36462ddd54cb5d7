"""README tells the truth about the repository.

The rule for its tree, the first fenced block under the heading `## The tree`:

- One line an entry: two spaces of indent a level, the name (a folder's ends in `/`), two spaces or more, a phrase.
- All files and folders at the top are there, except those whose name begins with a dot.
- Inside `seqrec/` all folders and all `.py` files are there, except `__init__.py`; inside `scripts/` all `.py` files;
  inside `configs/` all `.yaml` files. Of any other folder only the name is there.
- An entry that is not on the disk may not be there. What git ignores does not count.

Besides, in README's code (fences and backticks) each `make WORD` is a target, and each `scripts/NAME.EXT` and
`configs/NAME.EXT` is a file.
"""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent
OPENED = {"seqrec": ".py", "scripts": ".py", "configs": ".yaml"}
ENTRY = re.compile(r"(?P<indent>(?:  )*)(?P<name>[^\s/]+/?)  +(?P<phrase>\S.*)")


def read_readme() -> str:
    return (ROOT / "README.md").read_text(encoding="utf-8")


def files_on_disk() -> list[str]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return [name for name in listed if (ROOT / name).is_file()]


def expected_entries(files: list[str]) -> set[str]:
    """The entries that the rule asks for: paths, a folder's with a slash at the end."""
    entries = set()
    for name in files:
        top, *inner = name.split("/")
        if top.startswith("."):
            continue
        entries.add(f"{top}/" if inner else top)
        if inner and name.endswith(OPENED.get(top, "\n")):
            folders = [top, *inner[:-1]]
            entries.update("/".join(folders[:depth]) + "/" for depth in range(2, len(folders) + 1))
            if inner[-1] != "__init__.py":
                entries.add(name)
    return entries


def tree_entries(readme: str) -> dict[str, str]:
    """The entries of README's tree and their phrases."""
    match = re.search(r"^## The tree\n.*?^```[a-z]*\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    assert match, "README.md has no fenced block under the heading '## The tree'"
    entries: dict[str, str] = {}
    folders: list[str] = []
    for line in match[1].splitlines():
        entry = ENTRY.fullmatch(line)
        assert entry, f"not an entry of the tree (indent, name, two spaces, phrase): {line!r}"
        depth = len(entry["indent"]) // 2
        assert depth <= len(folders), f"too deep for the line above it: {line!r}"
        path = "".join(folders[:depth]) + entry["name"]
        assert path not in entries, f"twice in the tree: {path}"
        entries[path] = entry["phrase"]
        folders = [*folders[:depth], *([entry["name"]] if entry["name"].endswith("/") else [])]
    return entries


def code_of(readme: str) -> str:
    """All that README shows as code: fenced blocks and spans."""
    return "\n".join(re.findall(r"```.*?```|`[^`\n]+`", readme, re.DOTALL))


def test_the_tree_lists_what_is_there():
    shown, there = set(tree_entries(read_readme())), expected_entries(files_on_disk())
    assert {"missing": sorted(there - shown), "gone": sorted(shown - there)} == {"missing": [], "gone": []}


def test_every_make_target_in_readme_exists():
    targets = set(re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z]+)", code_of(read_readme())))
    assert {"demo", "test"} <= named <= targets


def test_every_script_and_config_in_readme_exists():
    named = re.findall(r"\b(?:scripts|configs)/[\w-]+\.\w+", code_of(read_readme()))
    assert [name for name in named if not (ROOT / name).is_file()] == []


def test_the_rule_on_a_made_up_repository():
    files = [".gitignore", "Makefile", "seqrec/__init__.py", "seqrec/data/a.py", "seqrec/py.typed", "docs/x.md"]
    readme = "# t\n\n## The tree\n\nText.\n\n```\nMakefile  all commands\ndocs/     guides\nseqrec/   the package\n"
    readme += "  data/   tables\n    a.py  reads them\n```\n"
    assert set(tree_entries(readme)) == expected_entries(files)
    assert tree_entries(readme)["seqrec/data/a.py"] == "reads them"
