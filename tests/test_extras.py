import math
import sys

import pytest

from seqrec.extras import require


def test_what_is_installed_is_returned():
    assert require("math", "plots") is math


def test_what_is_missing_is_answered_with_the_command():
    with pytest.raises(ImportError) as caught:
        require("not_there_at_all.pyplot", "plots")
    assert f"`{sys.executable} -m pip install not_there_at_all`" in str(caught.value)


def test_a_package_that_is_broken_itself_says_so(tmp_path, monkeypatch):
    (tmp_path / "half_installed.py").write_text("import not_there_at_all\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="No module named 'not_there_at_all'"):
        require("half_installed", "plots")
