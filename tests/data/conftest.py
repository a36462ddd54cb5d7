"""A Hub of data sets on this machine: the few endpoints that the real client asks, over loopback HTTP."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Handler(BaseHTTPRequestHandler):
    """Data sets of the server: `{"owner/name": {"path": bytes}}`; a name in `private` answers 401."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        asked = unquote(self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode())
        self.server.requests.append(self.path)
        api, _, rest = unquote(urlsplit(self.path).path).partition("/datasets/")
        name = "/".join(rest.split("/")[:2])
        files, rest = self.server.datasets.get(name), rest[len(name) :].strip("/")
        if name in self.server.private:
            self.reply(401, b"{}", {"X-Error-Code": "GatedRepo" if "gated" in name else "RepoNotFound"})
        elif files is None:
            self.reply(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        elif rest.startswith("resolve/"):
            self.send_file(files.get(rest.split("/", 2)[2]))
        elif rest.startswith("tree/"):
            self.reply(200, json.dumps(listing(files, folder="/".join(rest.split("/")[2:]))).encode())
        elif rest.startswith("paths-info/"):  # asked by datasets below 5
            found = [{"type": "file", "path": path, "size": len(files[path]), "oid": COMMIT} for path in files]
            self.reply(200, json.dumps([entry for entry in found if entry["path"] in asked]).encode())
        else:
            siblings = [{"rfilename": path} for path in files]
            info = {"id": name, "sha": COMMIT, "private": False, "downloads": 0, "tags": [], "siblings": siblings}
            self.reply(200, json.dumps(info).encode())

    do_HEAD = do_POST = do_GET

    def send_file(self, content):
        if content is None:
            self.reply(404, b"{}", {"X-Error-Code": "EntryNotFound"})
        else:
            etag = hashlib.sha1(content).hexdigest()
            self.reply(200, content, {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT})

    def reply(self, status, body, headers=None):
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *arguments):
        pass


def listing(files, folder):
    """The files and folders right in a folder; `""` is the top."""
    prefix = f"{folder}/" if folder else ""
    below = {path: content for path, content in files.items() if path.startswith(prefix)}
    names = sorted({path[len(prefix) :].split("/")[0] for path in below})
    return [
        {"type": "file", "path": prefix + name, "size": len(below[prefix + name]), "oid": COMMIT}
        if prefix + name in below
        else {"type": "directory", "path": prefix + name, "oid": COMMIT}
        for name in names
    ]


@contextmanager
def serve(datasets: dict[str, dict[str, bytes]], private: tuple[str, ...] = ()) -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.datasets, server.private, server.requests = datasets, private, []
        server.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def hub():
    """`with hub(data sets, private names) as server` serves them; `server.url` is what HF_ENDPOINT has to be."""
    return serve
