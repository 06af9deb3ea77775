"""Fetch a file over HTTP: resumed, retried, checked, and only then put in place.

While a file comes in it is called NAME.part, and NAME.part.json says what it is a part of (address, ETag, length).

1. NAME is either absent or complete and checked: it is made by renaming NAME.part.
2. NAME.part is only ever continued with bytes of the very file it began with. A resume asks with If-Range, and the
   answer's ETag and length are compared again here, for servers that ignore If-Range. What does not fit, and a server
   that ignores Range, start the file afresh.
3. A dropped connection is retried from where it broke, with growing pauses, until several attempts in a row have got no
   further. A refusal (404 and the like) is final at once.
4. A file that fails its checksum is deleted.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import re
import shutil
import socket
import ssl
import struct
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tqdm import tqdm

from vsearch.errors import DownloadError, LockedError
from vsearch.evaluate.registry import File, download_folder

#: Attempts in a row that may get no further before giving up.
ATTEMPTS = 5

#: Seconds before the second attempt; doubled for each further one, up to 30.
PAUSE = 1.0

_BLOCK = 1 << 20
_TIMEOUT_SECONDS = 30

#: Answers that a later attempt may improve on.
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})

#: ann-benchmarks' server refuses Python's own user agent.
_HEADERS = {"User-Agent": "vsearch (https://pypi.org/project/vsearch-ann)", "Accept-Encoding": "identity"}


def fetch(
    file: File,
    folder: str | os.PathLike[str] | None = None,
    *,
    progress: bool = False,
    attempts: int = ATTEMPTS,
    pause: float = PAUSE,
) -> Path:
    """Fetch one file into ``folder``, unless it is there already, and return its path.

    Parameters
    ----------
    file : File
        What to fetch, and what is known of it.
    folder : path, optional
        Where to put it; by default $VSEARCH_DATA or ~/.cache/vsearch.
    progress : bool
        Show a bar.
    attempts : int
        Attempts in a row that may get no further before giving up.
    pause : float
        Seconds before the second attempt.

    Raises
    ------
    DownloadError
        It could not be fetched, or is not what is known of it. What did arrive is kept, and the next call continues.
    """
    target = download_folder(folder) / file.name
    if target.is_file():
        return target
    if not str(file.url).startswith(("http://", "https://")):
        raise DownloadError(f"{file.name} cannot be downloaded: its address is {file.url!r}, which is no web address.")
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    with _locked(part) as stream:
        transfer = _Transfer(file, part, stream)
        with tqdm(
            total=None, unit="B", unit_scale=True, unit_divisor=1024, desc=file.name, disable=not progress
        ) as bar:
            transfer.run(bar, attempts, pause)
        transfer.finish()
        if os.name == "nt":  # an open file cannot be renamed there; elsewhere the lock must outlast the renaming
            stream.close()
        os.replace(part, target)
        transfer.record.unlink(missing_ok=True)
    _sync_folder(target.parent)
    return target


class _Dropped(Exception):
    """The connection broke, or the server asked to come again later."""


@dataclass(frozen=True)
class _Origin:
    """Which file a part belongs to."""

    url: str
    validator: str | None
    total: int | None

    def same_file(self, other: _Origin) -> bool:
        return self == other and (self.validator is not None or self.total is not None)


class _Transfer:
    """One file on its way into its ``.part``."""

    def __init__(self, file: File, part: Path, stream: IO[bytes]) -> None:
        self.file = file
        self.part = part
        self.stream = stream
        self.record = part.with_name(part.name + ".json")
        self.origin = self._remembered()
        if self.origin is None:
            stream.truncate(0)

    @property
    def have(self) -> int:
        return self.stream.seek(0, os.SEEK_END)

    def run(self, bar: Any, attempts: int, pause: float) -> None:
        """Repeat `attempt` until the part is complete."""
        furthest, failures = self.have, 0
        while True:
            try:
                self.attempt(bar)
                return
            except _Dropped as drop:
                failures = 0 if self.have > furthest else failures + 1
                furthest = max(furthest, self.have)
                if failures >= attempts:
                    raise DownloadError(
                        f"{self.file.name} could not be downloaded from {self.file.url}: {drop}. "
                        f"{furthest:,} bytes are kept; run the same command again to continue."
                    ) from drop
                time.sleep(min(30.0, pause * 2**failures))

    def attempt(self, bar: Any) -> None:
        """Ask for what is missing and append it; raise _Dropped when less than that arrives."""
        if self.origin is not None and self.have and self.have == self._wanted(self.origin.total):
            return
        response = self._open()
        with contextlib.closing(response):
            start, total = self._begin(response)
            self.stream.truncate(start)
            self.stream.seek(start)
            wanted = self._wanted(total)
            self._check_room(wanted, start)
            bar.total, bar.n = wanted, start
            bar.refresh()
            self._copy(response, wanted, bar)
        if wanted is not None and self.have < wanted:
            raise _Dropped(f"the connection closed after {self.have:,} of {wanted:,} bytes")

    def finish(self) -> None:
        """Check what arrived, and give a cropped file its own row count."""
        self._check_total(self.have)
        if self.file.crop is not None:
            self._crop_header()
        if self.file.sha256 is not None:
            self.stream.seek(0)
            digest = hashlib.sha256()
            while block := self.stream.read(_BLOCK):
                digest.update(block)
            if digest.hexdigest() != self.file.sha256.lower():
                self._discard()
                raise DownloadError(
                    f"{self.file.name} from {self.file.url} has SHA-256 {digest.hexdigest()}, expected "
                    f"{self.file.sha256}. It was deleted; if it happens again, the file on the server was changed."
                )
        self.stream.flush()
        os.fsync(self.stream.fileno())

    def _remembered(self) -> _Origin | None:
        """Return what the part belongs to, if that is on record and is what is wanted now."""
        try:
            origin = _Origin(**json.loads(self.record.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None
        sound = isinstance(origin.validator, str | None) and isinstance(origin.total, int | None)
        return origin if sound and origin.url == self.file.url else None

    def _wanted(self, total: int | None) -> int | None:
        return self.file.size if self.file.crop is not None else total

    def _open(self) -> Any:
        request = urllib.request.Request(str(self.file.url), headers=_HEADERS)
        have = self.have
        if have or self.file.crop is not None:
            end = self.file.size - 1 if self.file.crop is not None else ""
            request.add_header("Range", f"bytes={have}-{end}")
            validator = self.origin.validator if self.origin else None
            if have and validator and not validator.startswith("W/"):  # a weak ETag may not be asked with
                request.add_header("If-Range", validator)
        try:
            return urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 416:  # the part is longer than the file has become
                self._discard()
                raise _Dropped("the file on the server became shorter") from error
            if error.code in _PASSING:
                raise _Dropped(f"the server answered {error.code} {error.reason}") from error
            raise DownloadError(
                f"{self.file.name} could not be downloaded: {self.file.url} answered {error.code} {error.reason}. "
                "The address may have moved; a file fetched by hand can be loaded by its path."
            ) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = getattr(error, "reason", error)
            if isinstance(reason, (socket.gaierror, ssl.SSLCertVerificationError, ValueError)):
                raise DownloadError(
                    f"{self.file.name} could not be downloaded from {self.file.url}: {reason}. Is the network up?"
                ) from error
            raise _Dropped(str(reason)) from error

    def _begin(self, response: Any) -> tuple[int, int | None]:
        """Return where the answer's bytes go and how long the whole file is; remember what they are part of."""
        headers = response.headers
        coding = headers.get("Content-Encoding", "identity")
        if coding != "identity":  # the bytes would be those of an archive, and parts of it could not be continued
            raise DownloadError(
                f"{self.file.name}: {self.file.url} sends it compressed ({coding}), though not asked to."
            )
        validator = headers.get("ETag") or headers.get("Last-Modified")
        length = _number(headers.get("Content-Length"))
        start, total = 0, length
        if response.status == 206:
            match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", headers.get("Content-Range", "").strip())
            if match is None:
                raise DownloadError(f"{self.file.name}: {self.file.url} sent a part without saying which.")
            start, total = int(match[1]), _number(match[2])
        now = _Origin(str(self.file.url), validator, total)
        if start and (start != self.have or self.origin is None or not self.origin.same_file(now)):
            self._discard()
            raise _Dropped("the file on the server was changed meanwhile")
        self._check_total(total)
        if start == 0:
            self.origin = now
            self.record.write_text(json.dumps(vars(now)), encoding="utf-8")
        return start, total

    def _check_total(self, total: int | None) -> None:
        size = self.file.size
        if total is None:
            return
        if self.file.approximate:
            fits = size / 2 <= total <= size * 2  # enough to tell the file from a log-in page
        elif self.file.crop is not None:
            fits = total >= size
        else:
            fits = total == size
        if not fits:
            self._discard()
            raise DownloadError(
                f"{self.file.name}: {self.file.url} offers {total:,} bytes, expected {size:,}. "
                "The file on the server was changed; a file fetched by hand can be loaded by its path."
            )

    def _check_room(self, wanted: int | None, start: int) -> None:
        free = shutil.disk_usage(self.part.parent).free
        if wanted is not None and wanted - start > free:
            raise DownloadError(
                f"{self.file.name} needs {wanted - start:,} more bytes in {self.part.parent}, which has {free:,} free. "
                "$VSEARCH_DATA names another folder."
            )

    def _copy(self, response: Any, wanted: int | None, bar: Any) -> None:
        have = self.stream.tell()
        while wanted is None or have < wanted:
            try:
                block = response.read(_BLOCK if wanted is None else min(_BLOCK, wanted - have))
            except (OSError, http.client.HTTPException) as error:
                self.stream.flush()
                raise _Dropped(str(error) or type(error).__name__) from error
            if not block:
                break
            self.stream.write(block)
            have += len(block)
            bar.update(len(block))
        self.stream.flush()

    def _crop_header(self) -> None:
        self.stream.seek(0)
        rows, dim = struct.unpack("<II", self.stream.read(8))
        if rows < int(self.file.crop or 0) or not dim or (self.file.size - 8) % (dim * int(self.file.crop or 1)):
            self._discard()
            raise DownloadError(f"{self.file.name}: {self.file.url} holds {rows:,} x {dim}, which is another data set.")
        self.stream.seek(0)
        self.stream.write(struct.pack("<I", self.file.crop))

    def _discard(self) -> None:
        self.origin = None
        self.stream.truncate(0)
        self.record.unlink(missing_ok=True)


@contextlib.contextmanager
def _locked(part: Path) -> Iterator[IO[bytes]]:
    """Open a part for reading and writing, and keep other processes off it where the system has flock."""
    with open(os.open(part, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o644), "r+b") as stream:
        if os.name == "posix":
            _lock(stream, part)
        yield stream


def _lock(stream: IO[bytes], part: Path) -> None:
    import fcntl

    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Its last owner may have renamed it between our opening and our locking it: then it is the finished file.
        ours = os.path.samestat(os.fstat(stream.fileno()), part.stat())
    except OSError:
        ours = False
    if not ours:
        raise LockedError(f"Another process is downloading {part.name.removesuffix('.part')} already.")


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
