import hashlib
import os
import subprocess
import sys
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from seqrec.fetching import (
    CacheError,
    FetchError,
    UnreachableError,
    WrongHashError,
    adopt,
    cache_dir,
    fetch_url,
    fetch_wheel,
    is_cached,
)

BODY = b"film" * 500_000
SHA256 = hashlib.sha256(BODY).hexdigest()
ROOT = Path(__file__).parents[1]


class Handler(BaseHTTPRequestHandler):
    """`/half` breaks off, `/missing` is not there, `/empty` and `/junk` are odd; everything else is the file."""

    def do_GET(self):
        self.server.num_requests += 1
        if self.path == "/missing":
            self.send_error(404)
            return
        self.send_response(200)
        if self.path != "/empty":
            self.send_header("Content-Length", "many" if self.path == "/junk" else str(len(BODY)))
        self.end_headers()
        self.wfile.write({"/half": BODY[: len(BODY) // 2], "/empty": b""}.get(self.path, BODY))

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.num_requests = 0
        server.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SEQREC_CACHE", str(tmp_path / "cache"))


def cached_files():
    return [path for path in cache_dir().rglob("*") if path.is_file()]


def test_the_cache_is_where_the_environment_says(tmp_path, monkeypatch):
    assert cache_dir() == tmp_path / "cache"
    monkeypatch.delenv("SEQREC_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert cache_dir() == Path("/x/seqrec")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/h")
    assert cache_dir() == Path("/h/.cache/seqrec")


def test_a_file_is_downloaded_once(server):
    path = fetch_url(f"{server.url}/a.zip", SHA256)
    assert path.read_bytes() == BODY
    assert fetch_url(f"{server.url}/a.zip", SHA256) == path
    assert server.num_requests == 1
    assert cached_files() == [path]


def test_a_wrong_hash_leaves_nothing_behind(server):
    with pytest.raises(WrongHashError, match=f"{SHA256}, expected 0000"):
        fetch_url(f"{server.url}/a.zip", "0" * 64)
    assert not cached_files()


@pytest.mark.parametrize("path", ["half", "missing", "empty", "junk"])
def test_a_download_that_fails_leaves_nothing_behind(server, path):
    with pytest.raises(UnreachableError, match=f"/{path} did not deliver its file"):
        fetch_url(f"{server.url}/{path}", SHA256)
    assert not cached_files()


def test_no_server_says_where_to_put_the_file(tmp_path):
    with pytest.raises(FetchError, match=f"put the file at {tmp_path}/cache/downloads/{SHA256}/a.zip"):
        fetch_url("http://127.0.0.1:9/a.zip", SHA256)


def test_a_damaged_cache_heals(server):
    path = fetch_url(f"{server.url}/a.zip", SHA256)
    path.write_bytes(BODY[:100])
    assert fetch_url(f"{server.url}/a.zip", SHA256).read_bytes() == BODY
    assert server.num_requests == 2


def test_processes_that_fetch_at_once_agree(server):
    program = f"from seqrec.fetching import fetch_url; print(fetch_url('{server.url}/a.zip', '{SHA256}'))"
    runs = [
        subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    paths = {run.communicate(timeout=60)[0].strip() for run in runs}
    assert {run.returncode for run in runs} == {0}
    assert [Path(path) for path in paths] == cached_files()
    assert cached_files()[0].read_bytes() == BODY


@pytest.fixture
def local_wheel(tmp_path, monkeypatch):
    """A wheel that pip finds in a folder instead of an index."""
    wheel = tmp_path / "wheels" / "toyfilms-1.0-py3-none-any.whl"
    wheel.parent.mkdir()
    info = "toyfilms-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: toyfilms\nVersion: 1.0\nRequires-Dist: nothere\n"
        )
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    return wheel


def test_a_wheel_comes_through_pip_once(local_wheel):
    sha256 = hashlib.sha256(local_wheel.read_bytes()).hexdigest()
    path = fetch_wheel("toyfilms==1.0", sha256)
    assert path.name == local_wheel.name
    local_wheel.unlink()
    assert fetch_wheel("toyfilms==1.0", sha256) == path


def test_another_wheel_under_the_same_name_is_refused(local_wheel):
    with pytest.raises(WrongHashError, match="toyfilms==1.0 gave a file with sha256"):
        fetch_wheel("toyfilms==1.0", "0" * 64)
    assert not cached_files()


def test_a_wheel_out_of_reach_names_the_command(local_wheel, tmp_path):
    command = "pip download --no-deps --only-binary=:all: nosuchthing==1.0"
    with pytest.raises(UnreachableError, match=f"run `{command}` and put the .whl file into {tmp_path}/cache"):
        fetch_wheel("nosuchthing==1.0", "0" * 64)


def test_a_python_without_pip_is_told_how_to_get_it(tmp_path):
    import tqdm

    without_pip = tmp_path / "site"
    without_pip.mkdir()
    (without_pip / "tqdm").symlink_to(Path(tqdm.__file__).parent)
    (without_pip / "seqrec").symlink_to(ROOT / "seqrec")
    program = f"from seqrec.fetching import fetch_wheel; fetch_wheel('recbole==1.2.1', '{'0' * 64}')"
    run = subprocess.run(
        [sys.executable, "-S", "-c", program],
        env={**os.environ, "PYTHONPATH": str(without_pip)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert "UnreachableError" in run.stderr
    assert "python -m ensurepip" in run.stderr


FULL_DISK = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
from pathlib import Path
from seqrec.fetching import FetchError, adopt, fetch_url
try:
    source, sha256 = sys.argv[1:]
    fetch_url(source, sha256) if source.startswith("http") else adopt(Path(source), "a", sha256)
except FetchError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize("place", ["address", "file"])
def test_a_full_disk_is_named_and_nothing_is_kept(server, tmp_path, place):
    (tmp_path / "a.zip").write_bytes(BODY)
    source = f"{server.url}/a.zip" if place == "address" else str(tmp_path / "a.zip")
    command = [sys.executable, "-c", FULL_DISK, source, SHA256]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert run.stdout.startswith(f"CacheError The cache '{cache_dir()}' cannot take a file (File too large)"), (
        run.stderr
    )
    assert "set SEQREC_CACHE to another folder" in run.stdout
    assert not cached_files()


def test_a_cache_that_is_a_file_is_named(server, tmp_path):
    (tmp_path / "cache").write_text("")
    with pytest.raises(CacheError, match="cannot take a file"):
        fetch_url(f"{server.url}/a.zip", SHA256)


def test_a_copy_is_taken_only_with_the_right_hash(tmp_path):
    (tmp_path / "mine").write_bytes(BODY)
    assert not is_cached(SHA256)
    adopt(tmp_path / "mine", "a.zip", SHA256)
    assert is_cached(SHA256)
    assert fetch_url("http://127.0.0.1:9/a.zip", SHA256).read_bytes() == BODY
    with pytest.raises(WrongHashError, match=f"mine gave a file with sha256 {SHA256}, expected 0000"):
        adopt(tmp_path / "mine", "a.zip", "0" * 64)


def test_a_killed_download_is_never_taken_for_whole(tmp_path):
    """`/slow` sends half and waits: the process is killed there."""
    with ThreadingHTTPServer(("127.0.0.1", 0), SlowHandler) as server:
        server.sent = threading.Event()
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/a.zip"
        program = f"from seqrec.fetching import fetch_url; fetch_url({url!r}, {SHA256!r})"
        run = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT)
        assert server.sent.wait(60)
        run.kill()
        run.wait(60)
        assert not is_cached(SHA256)
        server.shutdown()


class SlowHandler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY[: len(BODY) // 2])
        self.server.sent.set()
        self.rfile.read(1)  # until the other side is gone

    def log_message(self, *arguments):
        pass
