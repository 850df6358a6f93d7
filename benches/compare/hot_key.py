#!/usr/bin/env python3
"""An origin fails for a hot key, and clients ask for it as fast as they can.

    benches/compare/hot_key.py target/dist/cachewarp

The origin answers well once, and then 503 for ten seconds. A row has the kind of the stored response,
the requests that CacheWarp answered, and the requests that reached the origin. The exit code is 1 if
the origin gets more than five requests in any second, or if an answer is not the stored one.
"""

import asyncio
import collections
import subprocess
import sys
import time

SECONDS = 10
CLIENTS = 16
A_SECOND_MAX = 5
BODY = b'{"is":"stored"}'
KINDS = {
    "stale after a second": b"Cache-Control: max-age=1, stale-if-error=600\r\n",
    "stale on arrival": b"Cache-Control: max-age=60, stale-if-error=600\r\nAge: 100\r\n",
}


class Origin:
    """Answers well until it fails, and notes the second of each request after that."""

    def __init__(self, fields):
        self.fields, self.failing_since, self.seconds = fields, None, collections.Counter()

    async def answer(self, reader, writer):
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                status, fields = b"200 OK", self.fields
                if self.failing_since is not None:
                    self.seconds[int(time.monotonic() - self.failing_since)] += 1
                    status, fields = b"503 Service Unavailable", b""
                writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Type: application/json\r\n" + fields
                             + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY)
                await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.CancelledError, OSError):
            pass
        finally:
            writer.close()


async def get(reader, writer):
    """Returns the status of one request."""
    writer.write(b"GET /hot HTTP/1.1\r\nHost: bench\r\n\r\n")
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
    await reader.readexactly(length)
    return head.split(b" ", 2)[1]


async def connect(port):
    for _ in range(200):
        try:
            return await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.05)
    raise SystemExit("CacheWarp does not listen")


async def run(binary, kind, fields):
    origin = Origin(fields)
    server = await asyncio.start_server(origin.answer, "127.0.0.1", 0)
    spare = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = spare.sockets[0].getsockname()[1]
    spare.close()
    await spare.wait_closed()
    program = subprocess.Popen([
        binary, f"--listen-addr=127.0.0.1:{port}", "--admin-addr=off", "--redis-url=off",
        f"--origin-url=http://127.0.0.1:{server.sockets[0].getsockname()[1]}", "--log-level=error"])
    try:
        first = await connect(port)
        assert await get(*first) == b"200"
        await asyncio.sleep(1.5)
        origin.failing_since = time.monotonic()
        statuses = collections.Counter()

        async def client():
            reader, writer = await connect(port)
            while time.monotonic() < origin.failing_since + SECONDS:
                statuses[await get(reader, writer)] += 1
            writer.close()
        await asyncio.gather(*(client() for _ in range(CLIENTS)))
    finally:
        program.terminate()
        program.wait()
    most = max(origin.seconds.values(), default=0)
    print(f"{kind:22} {sum(statuses.values()):8} answers  {sum(origin.seconds.values()):4} at the origin,"
          f" {most} in the worst second  {dict(statuses)}")
    return most <= A_SECOND_MAX and set(statuses) == {b"200"}


def main():
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    good = [asyncio.run(run(sys.argv[1], kind, fields)) for kind, fields in KINDS.items()]
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
