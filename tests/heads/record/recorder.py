#!/usr/bin/env python3
"""Records the request heads of real clients as fixtures for tests/scenarios/recorded_heads.rs.

The recorder listens on 127.0.0.1:PORT and writes the head of `GET /NAME` to OUT/NAME.raw: an
HTTP/1.1 head byte for byte, an HTTP/2 head (prior knowledge) with one line for each field. The
script of `/page.html` sends the requests of a browser. Every response is `200`, JSON, `no-store`,
and allows every origin.

    python3 recorder.py PORT OUT
"""

import os
import re
import socket
import sys
import threading

PORT, OUT = int(sys.argv[1]), sys.argv[2]
HERE = os.path.dirname(os.path.abspath(__file__))
PREFACE = b"PRI * HTTP/2.0\r\n\r\n"


def keep(target, head):
    """Writes the first head of a name; skips pages, preflights and icons."""
    name = target.lstrip("/").split("?")[0]
    path = os.path.join(OUT, name + ".raw")
    if re.fullmatch(r"[a-z0-9-]+", name) and not os.path.exists(path):
        with open(path, "wb") as file:
            file.write(head)


def respond(target, fields):
    """Returns the fields and the body of a response."""
    if target.startswith("/page.html"):
        with open(os.path.join(HERE, "page.html"), "rb") as file:
            kind, body = "text/html", file.read()
    elif target.startswith("/jquery.js") and os.environ.get("JQUERY"):
        with open(os.environ["JQUERY"], "rb") as file:
            kind, body = "text/javascript", file.read()
    else:
        kind, body = "application/json", b'{"ok":true}'
    return [
        ("content-type", kind),
        ("content-length", str(len(body))),
        ("cache-control", "no-store"),
        ("access-control-allow-origin", fields.get("origin", "*")),
        ("access-control-allow-credentials", "true"),
        ("access-control-allow-headers", fields.get("access-control-request-headers", "*")),
    ], body


def http1(stream, begun):
    data = begun
    while True:
        while b"\r\n\r\n" not in data:
            more = stream.recv(65536)
            if not more:
                return
            data += more
        head, data = data.split(b"\r\n\r\n", 1)
        lines = head.decode("latin-1").split("\r\n")
        method, target, _ = lines[0].split(" ", 2)
        if target.startswith("http://"):
            target = "/" + target.split("/", 3)[3]
        pairs = (line.split(":", 1) for line in lines[1:])
        fields = {name.lower(): value.strip() for name, value in pairs}
        if method == "GET":
            keep(target, head.replace(b"\r\n", b"\n") + b"\n")
        about, body = respond(target, fields)
        text = "HTTP/1.1 200 OK\r\n" + "".join(f"{name}: {value}\r\n" for name, value in about)
        stream.sendall(text.encode() + b"\r\n" + (b"" if method == "HEAD" else body))


def http2(stream, begun):
    from h2.config import H2Configuration
    from h2.connection import H2Connection
    from h2.events import RequestReceived

    peer = H2Connection(H2Configuration(client_side=False, header_encoding="latin-1"))
    peer.initiate_connection()
    stream.sendall(peer.data_to_send())
    data = begun
    while data:
        for event in peer.receive_data(data):
            if isinstance(event, RequestReceived):
                fields = dict(event.headers)
                lines = [f"GET {fields[':path']} HTTP/2", f"host: {fields.get(':authority', '')}"]
                lines += [f"{name}: {value}" for name, value in event.headers if name[0] != ":"]
                if fields[":method"] == "GET":
                    keep(fields[":path"], ("\n".join(lines) + "\n").encode("latin-1"))
                about, body = respond(fields[":path"], fields)
                peer.send_headers(event.stream_id, [(":status", "200"), *about])
                peer.send_data(event.stream_id, body, end_stream=True)
        stream.sendall(peer.data_to_send())
        data = stream.recv(65536)


def serve(stream):
    with stream:
        try:
            begun = stream.recv(65536)
            (http2 if begun.startswith(PREFACE) else http1)(stream, begun)
        except (OSError, ValueError, IndexError) as error:
            print("recorder:", error, file=sys.stderr)


def main():
    listener = socket.create_server(("127.0.0.1", PORT), backlog=64)
    print("recording on", listener.getsockname(), flush=True)
    while True:
        stream, _ = listener.accept()
        threading.Thread(target=serve, args=(stream,), daemon=True).start()


main()
