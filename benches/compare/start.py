"""The time from the start of a process to its first answer.

The clock runs from before the process is created to the end of the first answer to a GET, which
comes from the origin. A refused connection is retried at once. All servers behind the process are
already up.
"""

import os
import socket
import subprocess
import time

from processes import Cores, Process
from servers import ask
from session import options, print_head, row, rule, servers, spread

LIMIT_SECONDS = 10
REQUEST = b"GET /cached HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"


def main():
    """Runs all rounds, and prints the table."""
    chosen = options(__doc__.splitlines()[0], 30).parse_args()
    with servers(chosen) as started:
        origin, redis = started.origin(), started.redis()
        subjects = [
            ("CacheWarp", started.cachewarp(origin, redis)),
            ("CacheWarp, memory alone", started.cachewarp(origin, None)),
            ("nginx", started.nginx(origin)),
            ("HAProxy", started.haproxy(origin)),
        ]
        # Each server has run once, so it is known to serve; from here on each runs alone.
        for _, server in subjects:
            ask(server, "/cached")
            started.stop(server)
        rounds = [[first_answer(server, started.cores) for _, server in subjects] for _ in range(chosen.rounds)]
    print_head(f"{chosen.rounds} starts each")
    rule("subject", "ms to the first answer")
    for index, (name, _) in enumerate(subjects):
        row(name, spread([one[index] for one in rounds], ".1f"))


def first_answer(server: Process, cores: Cores) -> float:
    """Starts the server again, without a wrapper, and returns the milliseconds to its first answer."""
    mine = os.sched_getaffinity(0)
    # A child inherits the affinity of its parent.
    os.sched_setaffinity(0, {int(cores.server)})
    begin = time.monotonic()
    popen = subprocess.Popen(
        server.command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=server.environment,
    )
    try:
        os.sched_setaffinity(0, {int(cores.load)})
        while not answers(server.port):
            if popen.poll() is not None or time.monotonic() > begin + LIMIT_SECONDS:
                raise RuntimeError(f"{server.command[0]} does not serve")
        return 1e3 * (time.monotonic() - begin)
    finally:
        os.sched_setaffinity(0, mine)
        popen.terminate()
        popen.wait(LIMIT_SECONDS)


def answers(port: int) -> bool:
    """Returns whether a request gets a 200. Waits only if the connection is accepted."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=LIMIT_SECONDS) as stream:
            stream.sendall(REQUEST)
            return stream.recv(4096).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


if __name__ == "__main__":
    main()
