"""One measurement of one server: what a request costs it, and how long clients wait.

The cost is CPU time of the server for each request that a closed loop of 64 connections completes. The server has one
core to itself and the load another, so the load does not wait for the server's core and CPU time, unlike throughput, is
the server's own. It is read from /proc before and after, over all threads and children. What others do on the machine
still shows (they empty the caches), so rounds go through all subjects in turn, and ratios are those of one round.

The waits are those of an open loop (benches/load): so many requests a second are due whatever the server does, and each
latency counts from when its request was due. The load reports its own lateness; where that is a large part of what it
has measured, the round says more about the load than about the server, and is counted as such.
"""

import json
import re
import subprocess
from dataclasses import dataclass

from processes import Cores, Process
from servers import FOLDER
from subjects import Subject

CONNECTIONS = 64
# A hit may ask the origin once in a while, not for every answer.
ORIGIN_SHARE_MAX = 0.05
LOAD = f"{FOLDER}/../load/target/release/load"
# Beyond what a phase should take.
PATIENCE_SECONDS = 60
# Even where the machine does much else.
FILLED_PER_SECOND_LEAST = 1_000
# A round in which the machine let so few through is no figure.
ANSWERS_LEAST = 300
ATTEMPTS = 5
# Of the rates at which waits are measured.
WARM_SECONDS = 0.5
# Where so much of the P99.9 is the load's own, the load was measured.
LAG_SHARE_MAX = 0.5


@dataclass
class Cost:
    """One round of one subject in a closed loop."""

    cpu_micros: float
    per_second: float
    errors: int


@dataclass
class Wait:
    """One round of one subject at one rate, in milliseconds."""

    p50: float
    p99: float
    p999: float
    errors: int
    is_spoiled: bool


def cost(subject: Subject, seconds: float, cores: Cores) -> Cost:
    """Asks as fast as it answers."""
    script = ["-s", subject.wrk_script] if subject.wrk_script else []
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{max(1, round(seconds))}s", *script, subject.url]
    cpu_before, origin_before = subject.server.cpu_seconds(), subject.origin.cpu_seconds()
    text = run(cores.on(cores.load, command), seconds + PATIENCE_SECONDS)
    cpu = subject.server.cpu_seconds() - cpu_before
    origin = subject.origin.cpu_seconds() - origin_before
    if subject.is_hit and origin > ORIGIN_SHARE_MAX * cpu:
        raise RuntimeError(f"{subject.name}: these are no hits, the origin worked {origin:.2f} s")
    requests, elapsed = re.search(r"(\d+) requests in ([\d.]+)s", text).groups()
    return Cost(1e6 * cpu / max(1, int(requests)), int(requests) / float(elapsed), _errors(text))


def waits(subject: Subject, rates: list[int], seconds: float, cores: Cores) -> list[Wait]:
    """Asks at each rate in turn."""
    phases = [f"at-{rate},rate={rate},seconds={seconds}" for rate in rates]
    warm = f"warm,rate={rates[0]},seconds={WARM_SECONDS}"
    # Real-time processes that spin are stopped by the kernel for a part of each second.
    idle = "sleep" if cores.realtime else "spin"
    _, *told = load(subject.server, [subject.path], [warm, *phases], cores, "--idle", idle)
    found = []
    for one in told:
        latency = one["latency_micros"]
        is_spoiled = one["lag_micros"]["p999"] > LAG_SHARE_MAX * latency["p999"]
        found.append(Wait(*(latency[name] / 1e3 for name in ("p50", "p99", "p999")), one["errors"], is_spoiled))
    return found


def fill(server: Process, path: str, requests: int, cores: Cores, *options: str) -> dict:
    """Asks for every number of the path's range in turn, so that the server has them all."""
    limit = PATIENCE_SECONDS + requests / FILLED_PER_SECOND_LEAST
    phase = f"fill,rate=max,requests={requests}"
    return flawless(server, path, phase, cores, "--order", "sequential", *options, patience=limit)


def flawless(
    server: Process, path: str, phase: str, cores: Cores, *options: str, patience: float = PATIENCE_SECONDS
) -> dict:
    """What the open-loop generator tells of one phase, in which nothing may fail."""
    [told] = load(server, [path], [phase], cores, *options, patience=patience)
    if told["errors"]:
        raise RuntimeError(f"{path}: {told['errors']} errors")
    return told


def load(
    server: Process, paths: list[str], phases: list[str], cores: Cores, *options: str, patience: float = PATIENCE_SECONDS
) -> list[dict]:
    """What the open-loop generator tells of each phase."""
    urls = [f"http://127.0.0.1:{server.port}{path}" for path in paths]
    arguments = [word for phase in phases for word in ("--phase", phase)]
    seconds = sum(float(found.group(1)) for phase in phases if (found := re.search(r"seconds=([\d.]+)", phase)))
    text = run(cores.on(cores.load, [LOAD, "--json", *options, *arguments, *urls]), seconds + patience)
    return [json.loads(line) for line in text.splitlines()]


def hits(server: Process, path: str, seconds: float, cores: Cores, *options: str) -> tuple[float, dict]:
    """CPU microseconds for each answer in a closed loop, and what the load tells; without opening and closing connections.

    For a server of one process. The load reads its CPU time, at the very moments between which it counts answers.
    """
    phases = [f"warm,rate=max,seconds={WARM_SECONDS}", f"hits,rate=max,seconds={seconds}", "end,rate=max,requests=1"]
    watch = ["--watch", str(server.popen.pid)]
    for _ in range(ATTEMPTS):
        _, told, _ = load(server, [path], phases, cores, *watch, *options)
        if told["answers"] >= ANSWERS_LEAST:
            return told["watched_cpu_micros_each"], told
    raise RuntimeError(f"{path}: the machine does too much else to measure on")


def run(command: list[str], limit: float) -> str:
    """What a program says that ends by itself."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}:\n{done.stderr}")
    return done.stdout


def _errors(text: str) -> int:
    """Answers that are no 2xx or 3xx, and whatever went wrong with a socket."""
    counts = re.findall(r"Non-2xx or 3xx responses: (\d+)", text)
    for line in re.findall(r"Socket errors: (.*)", text):
        counts += re.findall(r"\d+", line)
    return sum(map(int, counts))
