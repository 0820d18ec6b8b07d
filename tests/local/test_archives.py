"""Downloads from a server of our own: whole, cut short, altered, and archives that want to get out."""

from __future__ import annotations

import hashlib
import http.server
import io
import tarfile
import threading
from pathlib import Path

import pytest

from cycle.errors import UserError
from local import archives


def tar(members: dict[str, bytes | str], kind: bytes = tarfile.REGTYPE) -> bytes:
    """A .tar.gz of files (bytes) and symbolic links (str)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


class Server:
    """Serves bytes by name; `cut` ends answers after so many bytes, `asked` keeps the ranges."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.cut: int | None = None
        self.ranges = True
        self.asked: list[str | None] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body, wanted = outer.files.get(self.path.lstrip("/")), self.headers.get("Range")
                outer.asked.append(wanted)
                start = int(wanted[6:-1]) if wanted and outer.ranges else 0
                if body is None or (start and start >= len(body)):
                    self.send_error(404 if body is None else 416)
                    return
                self.send_response(206 if start else 200)
                self.send_header("Content-Length", str(len(body) - start))
                self.end_headers()
                self.wfile.write(body[start:][: outer.cut])

            def log_message(self, *words: object) -> None:
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()


@pytest.fixture
def server():
    made = Server()
    yield made
    made.http.shutdown()
    made.http.server_close()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file() and not p.name.startswith(".")}


def test_archives_are_fetched_once_and_unpacked(tmp_path, server):
    one, two, text = tar({"c/a/1.wav": b"one"}), tar({"c/b/2.wav": b"two"}), b"no archive"
    server.files = {"12/a.tgz": one, "12/b.tgz": two, "11/text.gz": text}
    sums = {"12/a.tgz": sha256(one), "12/b.tgz": hashlib.md5(two).hexdigest(), "11/text.gz": sha256(text)}
    for _ in range(2):
        assert archives.corpus(server.url, sums, tmp_path / "corpus") == tmp_path / "corpus"
        assert tree(tmp_path / "corpus") == {"c/a/1.wav": b"one", "c/b/2.wav": b"two", "text.gz": text}
    assert len(server.asked) == 3


@pytest.mark.parametrize("ranges", [True, False])
def test_a_download_cut_short_goes_on(tmp_path, server, ranges):
    data = bytes(range(256)) * 4000
    server.files, server.cut, server.ranges = {"a": data}, 300_000, ranges
    with pytest.raises(UserError, match=r"/a: cannot be downloaded \(cut short after 300000 of 1024000 bytes\); call again"):
        archives.download(f"{server.url}/a", tmp_path / "a", sha256(data))
    assert not (tmp_path / "a").exists()
    server.cut = None
    assert archives.download(f"{server.url}/a", tmp_path / "a", sha256(data)).read_bytes() == data
    assert server.asked == [None, "bytes=300000-"]


def test_nothing_missing_but_the_name(tmp_path, server):
    server.files = {"a": b"whole"}
    (tmp_path / ".a.part").write_bytes(b"whole")
    assert archives.download(f"{server.url}/a", tmp_path / "a", sha256(b"whole")).read_bytes() == b"whole"


def test_an_altered_file_is_refused_and_forgotten(tmp_path, server):
    server.files = {"a": b"altered"}
    with pytest.raises(UserError, match=r"/a: is not the published file \(checksum [0-9a-f]{64} of 7 bytes\)"):
        archives.download(f"{server.url}/a", tmp_path / "a", sha256(b"published"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/a", "/missing"])
def test_no_network_is_one_line(tmp_path, server, url):
    with pytest.raises(UserError, match=r"cannot be downloaded .*--data DIR") as caught:
        archives.download(url if url[0] == "h" else server.url + url, tmp_path / "a", "0" * 64)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "members",
    [
        {"../out": b"x"},
        {"ok/../../out": b"x"},
        {"link": "..", "link/out": b"x"},
        {"/tmp/../tmp/cycle-test-out": "/etc/passwd"},
        {"link": "/etc/passwd"},
    ],
)
def test_nothing_gets_out_of_an_archive(tmp_path, members):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.tgz").write_bytes(tar({"good": b"x", **members}))
    with pytest.raises(UserError, match=r"a\.tgz: reaches outside of its folder"):
        archives.unpack(tmp_path / "in" / "a.tgz", tmp_path / "in")
    assert [str(p.relative_to(tmp_path)) for p in sorted(tmp_path.rglob("*"))] == ["in", "in/a.tgz"]


@pytest.mark.parametrize("spoil", [lambda data: data[: len(data) // 2], lambda data: data[:20] + b"\0" * 40 + data[60:], lambda data: b""])
def test_a_damaged_archive_is_one_line(tmp_path, spoil):
    (tmp_path / "a.tgz").write_bytes(spoil(tar({f"{n}.wav": bytes(range(256)) * n for n in range(20)})))
    with pytest.raises(UserError, match=r"a\.tgz: is damaged"):
        archives.unpack(tmp_path / "a.tgz", tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["a.tgz"]
