"""A server on loopback that gives files and lists repositories as the Hugging Face hub does, for tests of fetching models."""

import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

NEWEST = "c0ffee" * 6 + "beef"
"""The commit that every revision which is no commit stands for."""
Asked = list[tuple[str, str, str]]
"""Method, path and range of every request."""


def git_name(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def is_large(name: str) -> bool:
    return name.endswith((".safetensors", ".bin", ".pt"))


def tag(name: str, content: bytes) -> str:
    """The hub's ETag: SHA-256 of what git keeps aside, git's own name of small files."""
    return hashlib.sha256(content).hexdigest() if is_large(name) else git_name(content)


def repository_files(folder: Path, repository: str, revision: str) -> dict[str, bytes]:
    """What a hub serves of a repository whose files lie in `folder`: its listing and each file, at the revision's commit."""
    commit = revision if re.fullmatch("[0-9a-f]{40}", revision) else NEWEST
    contents = {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    siblings = []
    for name, content in contents.items():
        lfs = {"sha256": tag(name, content), "size": len(content), "pointerSize": 134}
        entry = {"rfilename": name, "size": len(content), "blobId": git_name(content)}
        siblings.append(entry | ({"lfs": lfs} if is_large(name) else {}))
    listing = {"id": repository, "sha": commit, "siblings": siblings, "tags": [], "private": False, "downloads": 0, "likes": 0}
    served = {f"/api/models/{repository}/revision/{quote(revision, safe='')}": json.dumps(listing).encode()}
    return served | {f"/{repository}/resolve/{commit}/{name}": content for name, content in contents.items()}


@contextlib.contextmanager
def files_server(files: dict[str, bytes], cut: int = 0) -> Iterator[tuple[str, Asked]]:
    """A server of files as a hub answers; the first GET of a file longer than `cut` > 0 bytes breaks off there."""
    asked: Asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer(send=False)

        def do_GET(self) -> None:
            self.answer(send=True)

        def answer(self, send: bool) -> None:
            path, wanted = self.path.split("?")[0], self.headers.get("Range", "")
            first = not any(method == "GET" and known == path for method, known, _ in asked)
            asked.append((self.command, path, wanted))
            content = files.get(path)
            if content is None:
                self.send_response(404)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            begin = int(wanted.removeprefix("bytes=").rstrip("-") or 0) if wanted else 0
            self.send_response(206 if wanted else 200)
            self.send_header("Content-Length", str(len(content) - begin))
            if wanted:
                self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
            self.send_header("ETag", f'"{tag(path, content)}"')
            commit = re.search("/resolve/([0-9a-f]{40})/", path)
            self.send_header("X-Repo-Commit", commit[1] if commit else NEWEST)
            self.end_headers()
            if send:
                self.wfile.write(content[begin : begin + cut] if cut and first and len(content) > cut else content[begin:])

        def log_message(self, format: str, *arguments: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", asked
        finally:
            server.shutdown()
