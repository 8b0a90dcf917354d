"""A model hub on loopback, as far as the hub's client needs one to download a checkpoint."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
    """Serves one directory as a repository; `someone/secret` asks for a login, `someone/ill` fails."""

    daemon_threads = True

    def __init__(self, directory: Path, repository: str) -> None:
        self.repository = repository
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = {file.name: file.read_bytes() for file in directory.iterdir() if file.is_file()}
        self.downloads: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def serve_hub(directory: Path, repository: str = "someone/tiny") -> Iterator[Hub]:
    with Hub(directory, repository) as hub:
        thread = threading.Thread(target=hub.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        repository = self.server.repository
        prefix = f"/{repository}/resolve/{COMMIT}/"
        if path.startswith(prefix) and (name := path.removeprefix(prefix)) in self.server.files:
            self._file(name)
        elif path in (f"/api/models/{repository}", f"/api/models/{repository}/revision/main"):
            siblings = [{"rfilename": name} for name in self.server.files]
            self._json({"id": repository, "sha": COMMIT, "siblings": siblings})
        elif path.startswith(f"/api/models/{repository}/tree/{COMMIT}"):
            self._json([self._entry(name) for name in self.server.files])
        else:
            status = 500 if "/ill" in path else 401 if "/secret" in path else 404
            self._answer(status, b"{}", {})

    def _entry(self, name: str) -> dict[str, object]:
        content = self.server.files[name]
        return {"type": "file", "path": name, "size": len(content), "oid": self._etag(name)}

    def _etag(self, name: str) -> str:
        return hashlib.sha256(self.server.files[name]).hexdigest()[:40]

    def _file(self, name: str) -> None:
        if self.command == "GET":
            self.server.downloads.append(name)
        self._answer(200, self.server.files[name], {"ETag": f'"{self._etag(name)}"', "X-Repo-Commit": COMMIT})

    def _json(self, content: object) -> None:
        self._answer(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _answer(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass
