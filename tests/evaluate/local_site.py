"""A web server on this machine that can be told to misbehave, for the download tests."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Site:
    """One file, and how it is served.

    Attributes
    ----------
    cuts : list of int
        For each answer in turn, the bytes after which the connection breaks; then no more cuts.
    statuses : list of int
        For each answer in turn, an error to answer with instead.
    ranges, conditions, lengths : bool
        The server honours Range, honours If-Range, and says Content-Length.
    moved : bool
        It answers with a redirect first.
    headers : dict of str to str
        Further headers of each answer.
    """

    content: bytes
    etag: str | None = '"one"'
    cuts: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    ranges: bool = True
    conditions: bool = True
    lengths: bool = True
    moved: bool = False
    headers: dict[str, str] = field(default_factory=dict)
    url: str = ""
    requests: list[dict[str, str]] = field(default_factory=list)

    def replace(self, content: bytes, etag: str | None) -> None:
        self.content, self.etag = content, etag


@contextmanager
def serve(site: Site) -> Iterator[Site]:
    """Serve ``site`` at ``site.url`` while the block runs."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(site))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    site.url = f"http://127.0.0.1:{server.server_address[1]}/set.bin"
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(site: Site) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.requests.append(dict(self.headers))
            if site.moved and self.path == "/set.bin":
                self.send_response(302)
                self.send_header("Location", "/elsewhere.bin")
                self.end_headers()
            elif site.statuses:
                self.send_error(site.statuses.pop(0))
            else:
                self.answer()

        def answer(self) -> None:
            start, end = self.wanted()
            if start >= len(site.content) > 0:
                self.send_error(416)
                return
            body = site.content[start:end]
            partial = "Range" in self.headers and site.ranges and not self.changed()
            self.send_response(206 if partial else 200)
            for name, value in site.headers.items():
                self.send_header(name, value)
            if site.etag is not None:
                self.send_header("ETag", site.etag)
            if partial:
                self.send_header("Content-Range", f"bytes {start}-{start + len(body) - 1}/{len(site.content)}")
            if site.lengths:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with suppress(ConnectionError):  # the client may have left
                self.wfile.write(body[: site.cuts.pop(0)] if site.cuts else body)

        def changed(self) -> bool:
            return site.conditions and self.headers.get("If-Range", site.etag) != site.etag

        def wanted(self) -> tuple[int, int]:
            asked = self.headers.get("Range")
            if asked is None or not site.ranges or self.changed():
                return 0, len(site.content)
            first, _, last = asked.removeprefix("bytes=").partition("-")
            return int(first), min(len(site.content), int(last) + 1) if last else len(site.content)

        def log_message(self, *_: object) -> None:
            pass

    return Handler
