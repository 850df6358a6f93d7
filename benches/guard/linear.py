"""Counts the instructions of a head by its length, by callgrind: the cost has to be linear.

    benches/guard/linear.py target/debug/cachewarp [PATTERN OF CASES]

Each case has a list in a field, a target or many fields, in three lengths: none, `SHORT` and four
times as much. What the long list costs beyond none may be at most `FACTOR_MAX` times as much as
what the short one does: a linear cost is four times as much, a quadratic one sixteen times. A
refusal (400, 414, 431, 502) is an answer too. The exit code is 1 if a case is dearer.
"""

import os
import re
import socket
import subprocess
import sys
import tempfile
import threading

FOLDER = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(FOLDER, "..", "compare"))
from processes import Process, free_port  # noqa: E402

SHORT, TIMES = 7_500, 4
FACTOR_MAX = 8.0
# A case whose long list costs less than this is cheap, whatever the ratio.
CHEAP = 6_000_000
ANSWERED = {200, 206, 304, 400, 412, 414, 416, 431, 502, 508}
STORED = "Cache-Control: max-age=36000\r\nETag: \"a\"\r\n"
PRIVATE = "Cache-Control: no-store\r\n"


def members(form: str, separator: str = ", "):
    """Returns the function that makes a list of different members with this many bytes."""
    def make(length: int) -> str:
        one = len(form.format(0)) + len(separator) + 3
        return separator.join(form.format(number) for number in range(length // one))
    return make


def lines(name: str, form: str):
    """Returns the function that makes lines of one field, 64 at most."""
    def make(length: int) -> str:
        part = members(form)(length // 64)
        return f"\r\n{name}: ".join([part] * 64) if length else ""
    return make


LISTS = {
    "names": members("x-n{}"),
    "directives": members("d{}=1"),
    "quoted": members('d{}="a, b"'),
    "open quote": lambda length: 'a="' + "\\\"," * (length // 3),
    "known": members("max-age={}"),
    "pairs": members("c{}=1", "; "),
    "media": members("text/a{};q=0.5"),
    "languages": members("en-a{};q=0.5"),
    "tags": members('"t{}"'),
    "weak tags": members('W/"t{}"'),
    "ranges": lambda length: "bytes=" + members("{0}-{0}", ",")(length) if length else "",
    "addresses": members("192.0.2.1{}"),
    "elements": members('for=192.0.2.1{};proto=http;by="_a"'),
    "hops": members("1.1 a{}"),
    "commas": lambda length: "," * length,
    "spaces": lambda length: "a" + " " * length + "b" if length else "",
    "letters": lambda length: "a" * length,
    "links": members("<http://127.0.0.1/a{}>; rel=next"),
}
REQUEST_FIELDS = [
    ("Connection", "names"), ("Connection", "commas"), ("Cache-Control", "directives"), ("Cache-Control", "quoted"),
    ("Cache-Control", "known"), ("Cache-Control", "commas"), ("Cache-Control", "open quote"), ("Pragma", "directives"),
    ("Cookie", "pairs"), ("Accept", "media"), ("Accept", "commas"), ("Accept-Language", "languages"),
    ("Accept-Encoding", "media"), ("Accept-Charset", "names"), ("Range", "ranges"), ("If-Range", "letters"),
    ("If-None-Match", "tags"), ("If-None-Match", "weak tags"), ("If-None-Match", "commas"), ("If-Match", "tags"),
    ("If-Modified-Since", "letters"), ("Via", "hops"), ("Via", "commas"), ("Forwarded", "elements"),
    ("Forwarded", "quoted"), ("X-Forwarded-For", "addresses"), ("X-Forwarded-For", "commas"),
    ("X-Forwarded-Host", "names"), ("X-Forwarded-Proto", "names"), ("TE", "names"), ("Trailer", "names"),
    ("Upgrade", "names"), ("User-Agent", "spaces"), ("Traceparent", "letters"), ("X-Unlisted", "names"),
    ("Authorization", "letters"), ("Content-Type", "directives"), ("Prefer", "quoted"), ("Origin", "letters"),
]
RESPONSE_FIELDS = [
    ("Vary", "names"), ("Vary", "commas"), ("Cache-Control", "directives"), ("Cache-Control", "quoted"),
    ("Cache-Control", "known"), ("Cache-Control", "open quote"), ("CDN-Cache-Control", "directives"),
    ("Connection", "names"), ("Cache-Tag", "names"), ("Surrogate-Key", "names"), ("Cache-Groups", "tags"),
    ("Cache-Group-Invalidation", "tags"), ("Link", "links"), ("Link", "commas"), ("Location", "letters"),
    ("Refresh", "letters"), ("ETag", "letters"), ("Content-Type", "directives"), ("Content-Encoding", "names"),
    ("Set-Cookie", "pairs"), ("Via", "hops"), ("Warning", "quoted"), ("Age", "names"), ("Expires", "letters"),
    ("Allow", "names"), ("Trailer", "names"), ("Retry-After", "letters"),
]
TARGETS = {
    "parameters": lambda length: "?" + members("p{}=1", "&")(length),
    "escaped parameters": lambda length: "?" + members("%70{}=%31", "&")(length),
    "segments": lambda length: "/" + members("s{}", "/")(length),
    "dot segments": lambda length: "/a/b" * (length // 7) + "/.." * (length // 7),
    "escaped segments": lambda length: "/%61" * (length // 4),
    "path parameters": lambda length: "/a;b" * (length // 4),
    "escaped twice": lambda length: "/%2561" * (length // 6),
    "slashes": lambda length: "/" * length,
}


def fields(form: str):
    """Returns the function that makes many fields."""
    def make(length: int) -> list[tuple[str, str]]:
        return [(form.format(number), "1") for number in range(length // 40)]
    return make


def answer(connection: socket.socket):
    """Serves one connection of the origin: the target's last part names the case."""
    reader = connection.makefile("rb")
    while head := reader.readline():
        while reader.readline() not in (b"\r\n", b""):
            pass
        case = re.search(rb"/answer/(\d+)/(\d+)", head)
        private = PRIVATE if b"private" in head else STORED
        extra = ""
        if case:
            (name, kind), length = RESPONSE_FIELDS[int(case[1])], int(case[2])
            extra = f"{name}: {LISTS[kind](length)}\r\n" if length else ""
        connection.sendall(
            f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{private}{extra}Content-Length: 2\r\n\r\n{{}}".encode())


def serve() -> int:
    """Starts the origin, and returns its port."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)

    def accept():
        while True:
            threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return listener.getsockname()[1]


def http1(port: int, target: str, head: list[tuple[str, str]]) -> int:
    """Sends one request on its own connection, and returns the status."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        text = f"GET {target} HTTP/1.1\r\nHost: bench\r\n" + "".join(f"{name}: {value}\r\n" for name, value in head)
        client.sendall(text.encode() + b"Connection: close\r\n\r\n" if not any(n == "Connection" for n, _ in head)
                       else text.encode() + b"\r\n")
        return int(client.makefile("rb").readline().split()[1])


def http2(port: int, target: str, head: list[tuple[str, str]]) -> int:
    """Sends one request on its own HTTP/2 connection, and returns 200 once its answer begins."""
    def literal(text: str) -> bytes:
        raw, rest = text.encode(), len(text) - 127
        if rest < 0:
            return bytes([len(raw)]) + raw
        prefix = [127]
        while rest >= 128:
            prefix.append(rest % 128 | 128)
            rest //= 128
        return bytes([*prefix, rest]) + raw

    def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
        return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload

    pseudo = [(":method", "GET"), (":scheme", "http"), (":authority", "bench"), (":path", target)]
    block = b"".join(b"\0" + literal(name.lower()) + literal(value) for name, value in [*pseudo, *head])
    parts = [block[at:at + 16_000] for at in range(0, len(block), 16_000)]
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        client.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b""))
        for index, part in enumerate(parts):
            client.sendall(frame(9 if index else 1, (0 if index else 1) | (4 if part is parts[-1] else 0), 1, part))
        reader = client.makefile("rb")
        while head_of := reader.read(9):
            reader.read(int.from_bytes(head_of[:3], "big"))
            if int.from_bytes(head_of[5:], "big") == 1:
                return 200 if head_of[3] == 1 else 400
        return 400


def cases():
    """Yields each case: its name, the name of the shortest request like it, and the function that sends its request
    of a length."""
    for name, kind in REQUEST_FIELDS:
        for path in ("/stored", "/private"):
            yield f"{name}: {kind} {path}", path, lambda port, length, name=name, kind=kind, path=path: http1(
                port, path, [(name, LISTS[kind](length))] if length else [])
    for name, form in (("Cookie", "c{}=1"), ("Cache-Control", "d{}=1"), ("Via", "1.1 a{}"), ("Accept", "text/a{}"),
                       ("X-Forwarded-For", "192.0.2.1{}"), ("If-None-Match", '"t{}"'), ("Forwarded", "for=192.0.2.1{}")):
        yield f"{name}: 64 lines", "/private", lambda port, length, name=name, form=form: http1(
            port, "/private", [(name, lines(name, form)(length))] if length else [])
        yield f"{name}: many lines, HTTP/2", "h2", lambda port, length, name=name, form=form: http2(
            port, "/private", [(name, form.format(number)) for number in range(length // 40)])
    options = ", ".join(f"x_o{number}" for number in range(63))
    for form in ("x-n{}", "x_n_{}", "accept-{}", "x-forwarded-{}", "x-b3-{}", "content-{}"):
        yield f"fields {form}, HTTP/2", "h2", lambda port, length, form=form: http2(
            port, "/private", fields(form)(length))
    yield "fields x-n{}, 63 options", "options", lambda port, length: http1(
        port, "/private", [("Connection", options), *fields("x-n{}")(length // 10)])
    for name, target in TARGETS.items():
        # A target has at most 16 KiB.
        yield f"target: {name}", "/private", lambda port, length, target=target: http1(
            port, "/private" + (target(length // 2) if length else ""), [])
    for index, (name, kind) in enumerate(RESPONSE_FIELDS):
        for path in ("/private", "/unstored"):
            yield f"response {name}: {kind} {path}", f"no-cache {path}", lambda port, length, index=index, path=path: http1(
                port, f"{path}/answer/{index}/{length}", [("Cache-Control", "no-cache")])


def main(binary: str, wanted: str):
    """Counts all cases, and fails if one is dearer than a linear one."""
    with tempfile.TemporaryDirectory(prefix="linear-") as folder:
        port, counts = free_port(), os.path.join(folder, "counts")
        environment = {
            "LISTEN_ADDR": f"127.0.0.1:{port}", "ADMIN_ADDR": "off", "WORKER_THREADS": "1", "REDIS_URL": "off",
            "ORIGIN_URL": f"http://127.0.0.1:{serve()}/base", "TRUSTED_PROXIES": "127.0.0.1",
            "IGNORED_COOKIES": "a*", "KEY_HEADERS": "accept-language",
        }
        valgrind = ["valgrind", "--quiet", "--tool=callgrind", f"--callgrind-out-file={counts}"]
        proxy = Process([], [*valgrind, binary], port, os.path.join(folder, "log"), environment)
        dumps, shortest = 0, {}

        def dump() -> int:
            """Returns the instructions since the last dump."""
            nonlocal dumps
            subprocess.run(["callgrind_control", "-d", str(proxy.popen.pid)], check=True,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            dumps += 1
            with open(f"{counts}.{dumps}", encoding="utf-8") as file:
                return int(re.findall(r"^(?:summary|totals): (\d+)", file.read(), re.MULTILINE)[-1])

        def count(send, length: int) -> tuple[int, int]:
            status = send(port, length)
            return dump(), status

        dearer = []
        try:
            for name, like, send in cases():
                if not re.search(wanted, name):
                    continue
                if like not in shortest:
                    # The first requests load and allocate what the others find.
                    count(send, 0)
                    shortest[like], _ = count(send, 0)
                none, (short, short_status), (long, status) = (
                    shortest[like], count(send, SHORT), count(send, SHORT * TIMES))
                ratio = (long - none) / max(short - none, 1)
                is_dearer = ratio > FACTOR_MAX and long - none > CHEAP
                print(f"{name:46} {none:>11,} {short:>11,} ({short_status}) {long:>12,} ({status})  x{ratio:5.1f}"
                      f"{'  DEARER' if is_dearer else ''}", flush=True)
                if is_dearer or status not in ANSWERED:
                    dearer.append(name)
        finally:
            proxy.stop()
    if dearer:
        sys.exit(f"more than linear, or not answered: {', '.join(dearer)}")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2] if len(sys.argv) == 3 else "")
