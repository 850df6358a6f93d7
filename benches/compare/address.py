#!/usr/bin/env python3
"""One client address takes all that it can hold, over HTTP/1.1 and over HTTP/2. Another address
requests misses meanwhile.

    benches/compare/address.py target/dist/cachewarp

The attacker's requests are for an endless response that it never reads, and for a path that always
gets 503 from the origin. A row has the latencies of the other address's misses, their errors, and
the memory of CacheWarp. The exit code is 1 if a miss fails, if the P99 exceeds twice that without an
attack, or if memory exceeds the bound in SECURITY.md (0.5 MiB for each unread response).
"""

import asyncio
import multiprocessing
import re
import signal
import struct
import subprocess
import sys
import time

ATTACKER, VICTIM = "127.0.0.1", "127.0.0.2"
# One and a half times the default of max_requests_per_address.
HELD = 1536
STREAMS = 96
FAILING_A_SECOND = 100
VICTIM_CLIENTS = 4
MISSES = 2000
UNREAD_MIB = 0.5
FACTOR = 2.0
BODY = b'"' + b"x" * 1000 + b'"'


async def answer(reader, writer):
    """Serves one connection of the origin."""
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            path = head.split(b" ", 2)[1]
            if path.startswith(b"/endless"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
                             b"Cache-Control: no-store\r\nContent-Length: 1000000000000\r\n\r\n")
                for _ in range(64):
                    writer.write(bytes(65536))
                    await writer.drain()
                await asyncio.sleep(3600)
            status = b"503 Service Unavailable" if path.startswith(b"/failing") else b"200 OK"
            writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Type: application/json\r\n"
                         b"Cache-Control: max-age=60\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY)
            await writer.drain()
    except (asyncio.IncompleteReadError, OSError):
        pass
    finally:
        writer.close()


async def serve(port):
    server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=4096)
    port.send(server.sockets[0].getsockname()[1])
    await server.serve_forever()


def get(path):
    return f"GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode()


def hold_http1(port):
    """Returns connections, each with a request whose response is not read."""
    async def hold():
        _, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(ATTACKER, 0), limit=1)
        writer.transport.pause_reading()
        writer.write(get("/endless"))
        return writer
    return [hold() for _ in range(HELD)]


def hold_http2(port):
    """Returns connections, each with streams whose windows are empty."""
    def frame(kind, flags, stream, payload):
        return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload

    def literal(index, text):
        return bytes([index, len(text)]) + text

    # RFC 7541, appendix A: :method GET, :scheme http, :path and :authority.
    block = b"\x82\x86" + literal(0x04, b"/endless") + literal(0x01, b"bench")

    async def hold():
        reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(ATTACKER, 0))
        writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, struct.pack(">HI", 4, 0)))
        for stream in range(1, 2 * STREAMS, 2):
            writer.write(frame(1, 5, stream, block))

        async def acknowledge():
            try:
                while True:
                    head = await reader.readexactly(9)
                    payload = await reader.readexactly(int.from_bytes(head[:3], "big"))
                    if head[3] in (4, 6) and not head[4] & 1:
                        writer.write(frame(head[3], 1, 0, payload if head[3] == 6 else b""))
            except (asyncio.IncompleteReadError, OSError):
                pass
        return writer, asyncio.create_task(acknowledge())
    return [hold() for _ in range(HELD // STREAMS)]


async def attack(port, protocol, begun):
    held = await asyncio.gather(*(hold_http1 if protocol == "HTTP/1.1" else hold_http2)(port))

    begun.send(len(held))
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(ATTACKER, 0))
            while True:
                writer.write(get("/failing"))
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(re.search(rb"(?i)content-length: (\d+)", head)[1]))
                await asyncio.sleep(1 / FAILING_A_SECOND)
        except (asyncio.IncompleteReadError, OSError):
            await asyncio.sleep(1 / FAILING_A_SECOND)


async def ask(port, phase):
    """Returns the latencies of the other address's misses in ms, and their errors."""
    latencies, errors = [], {}

    async def client(number):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(VICTIM, 0))
        for count in range(MISSES // VICTIM_CLIENTS):
            begun = time.perf_counter()
            writer.write(get(f"/miss/{phase}/{number}/{count}"))
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(re.search(rb"(?i)content-length: (\d+)", head)[1]))
            latencies.append((time.perf_counter() - begun) * 1e3)
            status = head.split(b" ", 2)[1].decode()
            if status != "200":
                errors[status] = errors.get(status, 0) + 1
        writer.close()
    await asyncio.gather(*(client(number) for number in range(VICTIM_CLIENTS)))
    return sorted(latencies), errors


def run(function, *arguments):
    """Starts a process, and returns it with its first message."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.Process(target=lambda: asyncio.run(function(*arguments, sender)), daemon=True)
    process.start()
    return process, receiver.recv()


def resident_mib(process):
    with open(f"/proc/{process.pid}/status") as status:
        return int(re.search(r"VmRSS:\s+(\d+)", status.read())[1]) / 1024


def main(binary):
    multiprocessing.set_start_method("fork")
    origin, origin_port = run(serve)
    arguments = ["--listen-addr=127.0.0.1:0", "--admin-addr=off", "--redis-url=off", "--log-format=json",
                 f"--origin-url=http://127.0.0.1:{origin_port}", "--cache-namespace=bench"]
    cachewarp = subprocess.Popen([binary, *arguments], stderr=subprocess.PIPE, text=True)
    try:
        line = next(line for line in cachewarp.stderr if '"serving"' in line)
        port = int(re.search(r'"addr":"[^"]*:(\d+)"', line)[1])
        print("| the other address | misses: P50 / P99 / max in ms | errors | resident MiB |")
        print("| --- | --- | --- | --- |")
        fair, missed, before = None, [], None
        for protocol in ["none", "HTTP/1.1", "HTTP/2"]:
            attacker = run(attack, port, protocol)[0] if protocol != "none" else None
            # The first misses warm up, and wait until the origin has accepted all connections.
            early = asyncio.run(ask(port, protocol.replace("/", "") + "-early"))[1]
            latencies, errors = asyncio.run(ask(port, protocol.replace("/", "")))
            errors = {status: early.get(status, 0) + errors.get(status, 0) for status in {*early, *errors}}
            p50, p99 = (latencies[len(latencies) * part // 1000] for part in (500, 990))
            resident = resident_mib(cachewarp)
            fair, before = fair or p99, before or resident
            name = "no attack" if attacker is None else f"attack over {protocol}"
            print(f"| {name} | {p50:.1f} / {p99:.1f} / {latencies[-1]:.1f} | {errors or 0} | {resident:.0f} |",
                  flush=True)
            if errors or p99 > FACTOR * fair or resident - before > HELD * UNREAD_MIB:
                missed.append(name)
            if attacker is not None:
                attacker.kill()
                attacker.join()
        return missed
    finally:
        cachewarp.send_signal(signal.SIGINT)
        cachewarp.kill()
        cachewarp.wait()
        origin.kill()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    if missed := main(sys.argv[1]):
        sys.exit(f"missed: {', '.join(missed)}")
