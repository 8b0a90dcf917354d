"""Downloads from a server on loopback, which can break off, lie, and know nothing of ranges."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from clipcore.errors import ModelUnavailable
from clipcore.models.catalogue import PublishedFile, resolve
from clipcore.models.checkpoint import find_checkpoint, find_or_download

CONTENT = bytes(range(256)) * 20_000  # 5 MB


class Server(ThreadingHTTPServer):
    """breaks_off_after: bytes sent of each answer. ranges: whether it goes on from the middle."""

    daemon_threads = True
    breaks_off_after: int | None = None
    ranges = True
    status = 200

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[str | None] = []
        self.answering = threading.Event()
        self.may_answer = threading.Event()
        self.may_answer.set()

    def file(self, content: bytes = CONTENT) -> PublishedFile:
        sha256 = hashlib.sha256(content).hexdigest()
        return PublishedFile(f"http://127.0.0.1:{self.server_address[1]}/models/{sha256}/RN50.pt", sha256)


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers["Range"]
        self.server.asked.append(asked)
        begin = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.server.ranges else 0
        status = self.server.status if self.server.status != 200 else 206 if begin else 200
        if begin >= len(CONTENT):
            status = 416
        body = CONTENT[begin:] if status < 300 else b""
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.server.answering.set()
        self.server.may_answer.wait(timeout=30)
        self.wfile.write(body[: self.server.breaks_off_after])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def test_a_file_is_downloaded_once_and_found_from_then_on(server, tmp_path):
    published = server.file()
    with pytest.raises(ModelUnavailable, match="is not on this machine; fetch http"):
        find_or_download(published, tmp_path, local_only=True)
    path = find_or_download(published, tmp_path)
    assert path.name == "RN50.pt"
    assert path.read_bytes() == CONTENT
    assert find_or_download(published, tmp_path) == find_or_download(published, tmp_path, local_only=True) == path
    assert len(server.asked) == 1
    assert [file.name for file in path.parent.iterdir()] == ["RN50.pt"]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_download_that_broke_off_goes_on_or_begins_again(server, tmp_path, ranges):
    server.ranges = ranges
    server.breaks_off_after = 3_000_000
    with pytest.raises(ModelUnavailable, match=r"RN50\.pt is not on this machine .*; try again"):
        find_or_download(server.file(), tmp_path)
    with pytest.raises(ModelUnavailable):
        find_or_download(server.file(), tmp_path, local_only=True)
    server.breaks_off_after = None
    assert find_or_download(server.file(), tmp_path).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=3000000-"]


def test_a_download_that_was_whole_but_not_named_yet_is_only_checked(server, tmp_path):
    published = server.file()
    folder = tmp_path / published.sha256
    folder.mkdir()
    (folder / "RN50.pt.part").write_bytes(CONTENT)
    assert find_or_download(published, tmp_path).read_bytes() == CONTENT


def test_two_that_want_the_same_file_download_it_once(server, tmp_path):
    published = server.file()
    server.may_answer.clear()
    with ThreadPoolExecutor(2) as both:
        first = both.submit(find_or_download, published, tmp_path)
        assert server.answering.wait(timeout=30)
        second = both.submit(find_or_download, published, tmp_path)
        wait([second], timeout=0.2)
        server.may_answer.set()
        assert first.result(timeout=30) == second.result(timeout=30)
    assert first.result().read_bytes() == CONTENT
    assert server.asked == [None]


def test_a_file_that_is_not_what_was_published_is_thrown_away(server, tmp_path):
    published = server.file(b"something else")
    with pytest.raises(ModelUnavailable, match="not what was published"):
        find_or_download(published, tmp_path)
    assert not list((tmp_path / published.sha256).iterdir())


def test_a_refusal_tells_where_the_file_is_to_be_had(server, tmp_path):
    server.status = 404
    published = server.file()
    with pytest.raises(ModelUnavailable, match="HTTP 404") as refused:
        find_or_download(published, tmp_path)
    assert published.url in str(refused.value)


def test_without_a_network_it_is_one_sentence(server, tmp_path):
    published = server.file()
    nowhere = PublishedFile(published.url.replace(str(server.server_address[1]), "9"), published.sha256)
    with pytest.raises(ModelUnavailable, match=r"\(Connection refused\); try again, .* give its path as the model"):
        find_or_download(nowhere, tmp_path)


def test_a_name_whose_file_is_cached_needs_no_network(tmp_path, monkeypatch):
    """As it would lie there: under its SHA-256, in the user's cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    published = resolve("RN50").published
    assert published is not None
    with pytest.raises(ModelUnavailable, match="RN50.*is not on this machine"):
        find_checkpoint("RN50", local_only=True)
    path = tmp_path / "clipcore" / "models" / published.sha256 / "RN50.pt"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"weights")
    found = find_checkpoint("RN50", local_only=True)
    assert (found.id, found.revision, found.file) == ("RN50", published.sha256[:12], path)
