"""Folders are whole or not there, and nobody's files are lost."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from seqrec.folders import read_json, write_json, written_whole, written_whole_file

WRITER = """
import sys
from itertools import count
from seqrec.folders import written_whole
for number in count():
    with written_whole(sys.argv[1], ["a", "b"]) as folder:
        (folder / "a").write_text(str(number))
        (folder / "b").write_text(str(number))
    print(number, flush=True)
"""


def test_a_folder_appears_when_it_is_complete(tmp_path):
    with written_whole(tmp_path / "new", ["a"]) as folder:
        (folder / "a").write_text("1")
        assert not (tmp_path / "new").exists()
    assert (tmp_path / "new" / "a").read_text() == "1"
    with written_whole(tmp_path / "new", ["a"]) as folder:
        (folder / "a").write_text("2")
    assert (tmp_path / "new" / "a").read_text() == "2"
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_a_failure_leaves_the_old_folder(tmp_path):
    with written_whole(tmp_path / "new", ["a"]) as folder:
        (folder / "a").write_text("1")
    with pytest.raises(OSError, match="disk full"), written_whole(tmp_path / "new", ["a"]):
        raise OSError("disk full")
    assert (tmp_path / "new" / "a").read_text() == "1"
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


@pytest.mark.parametrize("foreign", ["thesis.tex", ".git"])
def test_a_folder_with_anything_else_in_it_is_refused(tmp_path, foreign):
    (tmp_path / "a").touch()
    (tmp_path / foreign).touch()
    with pytest.raises(ValueError, match=foreign), written_whole(tmp_path, ["a"]):
        pass
    assert (tmp_path / foreign).exists()


def test_a_file_in_the_way_is_refused(tmp_path):
    (tmp_path / "x").touch()
    with pytest.raises(ValueError, match="is a file"), written_whole(tmp_path / "x", ["a"]):
        pass


def test_json_is_an_object_without_nan(tmp_path):
    assert read_json(tmp_path / "a.json") == {}
    write_json(tmp_path / "a.json", {"é": [1.5]})
    assert read_json(tmp_path / "a.json") == {"é": [1.5]}
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert read_json(tmp_path / "a.json") == {"é": [1.5]}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize(
    "text", ["[1]", "{", "{'a': 1}", '{"a": NaN}', '{"a": ' * 5000, '{"a": ' + "9" * 5000 + "}", "\ufeff{}"]
)
def test_what_is_no_json_object_is_refused(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=r"a\.json'.* Make it again"):
        read_json(tmp_path / "a.json")
    (tmp_path / "a.json").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="not JSON"):
        read_json(tmp_path / "a.json")


def test_a_writer_that_is_killed_leaves_a_whole_folder(tmp_path):
    for kill in range(6):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, tmp_path / "new"], stdout=subprocess.PIPE, text=True)
        for _ in range(20 + 7 * kill):  # then somewhere within the next one
            writer.stdout.readline()
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
        assert (tmp_path / "new" / "a").read_text() == (tmp_path / "new" / "b").read_text()


def test_two_writers_at_once_leave_the_folder_of_one(tmp_path):
    with written_whole(tmp_path / "new", ["a"]) as first:
        (first / "a").write_text("1")
        with written_whole(tmp_path / "new", ["a"]) as second:
            (second / "a").write_text("2")
    assert (tmp_path / "new" / "a").read_text() == "1"
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_a_system_that_cannot_swap_folders_renames_them(tmp_path, monkeypatch):
    monkeypatch.setattr("seqrec.folders._exchange", lambda one, other: False)
    for number in "12":
        with written_whole(tmp_path / "new", ["a"]) as folder:
            (folder / "a").write_text(number)
    assert (tmp_path / "new" / "a").read_text() == "2"
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_a_link_to_a_folder_stays_a_link(tmp_path):
    (tmp_path / "big-disk").mkdir()
    (tmp_path / "new").symlink_to(tmp_path / "big-disk")
    with written_whole(tmp_path / "new", ["a"]) as folder:
        (folder / "a").touch()
    assert (tmp_path / "new").is_symlink()
    assert (tmp_path / "big-disk" / "a").exists()


def test_a_file_is_whole_or_the_old_one(tmp_path):
    path = tmp_path / "a.csv"
    with written_whole_file(path) as temporary:
        temporary.write_text("old")
        assert temporary.suffix == ".csv"
        assert not path.exists()
    with pytest.raises(OSError, match="disk full"), written_whole_file(path) as temporary:
        temporary.write_text("ha")
        raise OSError("disk full")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.csv"]
    with written_whole_file(tmp_path / "deep" / "er" / "a.csv") as temporary:
        temporary.write_text("new")
    assert os.listdir(tmp_path / "deep" / "er") == ["a.csv"]


def test_two_threads_write_one_file_at_once(tmp_path):
    with written_whole_file(tmp_path / "a") as first:
        first.write_text("1")
        with written_whole_file(tmp_path / "a") as second:
            second.write_text("2")
        assert (tmp_path / "a").read_text() == "2"
    assert (tmp_path / "a").read_text() == "1"


@pytest.mark.parametrize("times", [1, 2])
def test_a_folder_that_cannot_be_replaced_comes_back_or_stays_under_another_name(tmp_path, monkeypatch, times):
    """The system cannot swap; then it fails to rename the new folder, and in one case also the old one back."""
    with written_whole(tmp_path / "new", ["a"]) as folder:
        (folder / "a").write_text("dear")
    rename, failures = Path.rename, []

    def renamed(path, target):
        if target == tmp_path / "new" and len(list(tmp_path.glob("new"))) == 0 and len(failures) < times:
            failures.append(path)
            raise OSError("the disk is gone")
        return rename(path, target)

    monkeypatch.setattr("seqrec.folders._exchange", lambda one, other: False)
    monkeypatch.setattr(Path, "rename", renamed)
    with pytest.raises(OSError, match="the disk is gone"), written_whole(tmp_path / "new", ["a"]) as folder:
        (folder / "a").write_text("other")
    assert len(failures) == times
    [kept] = tmp_path.iterdir()
    assert (kept / "a").read_text() == "dear"
    assert (kept.name == "new") == (times == 1)
