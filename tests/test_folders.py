"""Folders are whole or not there, and nobody's files are lost."""

import pytest

from seqrec.folders import read_json, write_json, written_whole


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
    with pytest.raises(ValueError, match="'x'"), written_whole(tmp_path / "x", ["a"]):
        pass


def test_json_is_an_object_without_nan(tmp_path):
    assert read_json(tmp_path / "a.json") == {}
    write_json(tmp_path / "a.json", {"é": [1.5]})
    assert read_json(tmp_path / "a.json") == {"é": [1.5]}
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert read_json(tmp_path / "a.json") == {"é": [1.5]}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
