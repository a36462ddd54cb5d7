"""A Hub on this machine: the few endpoints that the real client asks, over loopback HTTP."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import pytest

TOKEN = "hf_loopback"
LARGE = (".safetensors", ".parquet")  # files that go through LFS


class Repository:
    """Branches, each a list of commits: `(id, {path: bytes})`."""

    def __init__(self, files: dict[str, bytes], private: bool = False) -> None:
        self.private, self.branches, self.messages = private, {"main": []}, []
        self.commit("main", files, "initial commit")

    def commit(self, branch: str, files: dict[str, bytes], message: str) -> str:
        name = hashlib.sha1(f"{branch} {len(self.messages)} {sorted(files)}".encode()).hexdigest()
        self.branches[branch].append((name, files))
        self.messages.append(message)
        return name

    def at(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """The newest commit of a branch, or the commit of this id."""
        if revision in self.branches:
            return self.branches[revision][-1]
        every = [commit for commits in self.branches.values() for commit in commits]
        return next((commit for commit in every if commit[0] == revision), None)


class Handler(BaseHTTPRequestHandler):
    """`server.repositories` by `"datasets/owner/name"` or `"models/owner/name"`; a private one wants the token."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            self.content = b"".join(self.chunks())
        path = urlsplit(self.path).path.strip("/")
        self.server.requests.append(self.path)
        if path == "api/repos/create":
            return self.create()
        if path == "api/validate-yaml":
            return self.answer({"errors": [], "warnings": []})
        if path.startswith("lfs/"):
            self.server.large[path.removeprefix("lfs/")] = self.content
            return self.answer({})
        words = [unquote(word) for word in path.removeprefix("api/").split("/")]
        kind = words.pop(0) if words[0] in ("datasets", "models", "spaces") else "models"
        owner, name, *rest = [*words, "", ""][: max(2, len(words))]
        repository = self.server.repositories.get(f"{kind}/{owner}/{name.removesuffix('.git')}")
        if repository is None:
            return self.answer({}, 404, {"X-Error-Code": "RepoNotFound"})
        if repository.private and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.answer({}, 401, {"X-Error-Code": "GatedRepo" if "gated" in name else "RepoNotFound"})
        return self.about(repository, kind, f"{owner}/{name}", rest)

    do_HEAD = do_POST = do_PUT = do_GET

    def chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def create(self):
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.answer({"error": "Invalid username or password."}, 401)
        asked = json.loads(self.content)
        name, kind = f"{asked['organization']}/{asked['name']}", f"{asked.get('type', 'model')}s"
        if f"{kind}/{name}" in self.server.repositories:
            return self.answer({"url": f"{self.server.url}/{name}"}, 409)
        self.server.repositories[f"{kind}/{name}"] = Repository({}, private=asked.get("visibility") == "private")
        return self.answer({"url": f"{self.server.url}/{name}"})

    def about(self, repository, kind, name, rest):
        """Answer what is asked of one repository."""
        action, revision, *below = [*rest, "", ""]
        found = repository.at(revision if action and revision else "main")
        if action == "info":  # .git/info/lfs/objects/batch
            return self.large_files()
        if action == "branch":
            repository.branches.setdefault(revision, list(repository.branches["main"]))
            return self.answer({})
        if found is None:
            return self.answer({}, 404, {"X-Error-Code": "RevisionNotFound"})
        commit, files = found
        folder = "/".join(below).strip("/")
        if action == "preupload":
            return self.upload_modes()
        if action == "commit":
            return self.commit(repository, revision, files, name)
        if action == "resolve":
            return self.send_file(files.get(folder), commit)
        if action == "tree":
            return self.answer(listing(files, folder, commit))
        if action == "paths-info":  # asked by datasets below 5
            entries = [{"type": "file", "path": path, "size": len(files[path]), "oid": commit} for path in files]
            asked = unquote(self.content.decode())
            return self.answer([entry for entry in entries if entry["path"] in asked])
        siblings = [{"rfilename": path} for path in files]
        info = {"id": name, "sha": commit, "private": repository.private, "downloads": 0, "tags": []}
        return self.answer(info | {"siblings": siblings})

    def upload_modes(self):
        files = json.loads(self.content)["files"]
        modes = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(LARGE) else "regular",
                "shouldIgnore": False,
            }
            for file in files
        ]
        self.answer({"files": modes})

    def large_files(self):
        objects = [
            {**asked, "actions": {"upload": {"href": f"{self.server.url}/lfs/{asked['oid']}"}}}
            for asked in json.loads(self.content)["objects"]
        ]
        self.answer({"transfer": "basic", "objects": objects})

    def commit(self, repository, branch, files, name):
        files, message = dict(files), ""
        for line in map(json.loads, self.content.decode().splitlines()):
            value = line["value"]
            if line["key"] == "header":
                message = value["summary"]
            elif line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.server.large[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        target = branch
        if "create_pr=1" in self.path:
            target = f"refs/pr/{sum(of.startswith('refs/pr/') for of in repository.branches) + 1}"
            repository.branches[target] = []
        made = repository.commit(target, files, message)
        answer = {"commitUrl": f"{self.server.url}/{name}/commit/{made}", "commitOid": made, "success": True}
        if target != branch:
            answer["pullRequestUrl"] = f"{self.server.url}/{name}/discussions/{target.rpartition('/')[2]}"
        self.answer(answer)

    def send_file(self, content, commit):
        if content is None:
            self.answer({}, 404, {"X-Error-Code": "EntryNotFound"})
        else:
            etag = hashlib.sha1(content).hexdigest()
            self.reply(200, content, {"ETag": f'"{etag}"', "X-Repo-Commit": commit})

    def answer(self, content, status=200, headers=None):
        self.reply(status, json.dumps(content).encode(), {"Content-Type": "application/json", **(headers or {})})

    def reply(self, status, body, headers):
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *arguments):
        pass


def listing(files, folder, commit):
    """The files and folders right in a folder; `""` is the top."""
    prefix = f"{folder}/" if folder else ""
    below = {path: content for path, content in files.items() if path.startswith(prefix)}
    names = sorted({path[len(prefix) :].split("/")[0] for path in below})
    return [
        {"type": "file", "path": prefix + name, "size": len(below[prefix + name]), "oid": commit}
        if prefix + name in below
        else {"type": "directory", "path": prefix + name, "oid": commit}
        for name in names
    ]


@contextmanager
def serve(datasets=None, private=()) -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.repositories = {f"datasets/{name}": Repository(files) for name, files in (datasets or {}).items()}
        server.repositories |= {f"datasets/{name}": Repository({}, private=True) for name in private}
        server.requests, server.large, server.token = [], {}, TOKEN
        server.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def hub():
    """`with hub(data sets, private names) as server` serves them; `server.url` is what HF_ENDPOINT has to be."""
    return serve
