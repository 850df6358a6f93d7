"""One measurement of one server: the CPU cost of a request, and the latencies of clients.

The cost is the CPU time of the server for each request that a closed loop of 64 connections
completes. The server has one core to itself and the load another, so the load does not wait for the
server's core, and CPU time, unlike throughput, is the server's own. It is read from /proc before and
after, over all threads and children. Other processes on the machine still have an effect (they
empty the CPU's caches), so rounds go through all subjects in turn, and ratios are those of one
round.

The latencies are those of an open loop (benches/load): a fixed number of requests a second are due,
whatever the server does, and each latency counts from the due time of its request. The generator
reports its own delays; a round in which they are a large part of the result counts as spoiled.
"""

import json
import re
import subprocess
from dataclasses import dataclass

from processes import Cores, Process
from servers import FOLDER
from subjects import Subject

CONNECTIONS = 64
# Hits may reach the origin occasionally, but not for every answer.
ORIGIN_SHARE_MAX = 0.05
LOAD = f"{FOLDER}/../load/target/release/load"
# The time that a run may take in addition to its phases.
EXTRA_SECONDS = 60
# A rate that every machine reaches, even under other load.
FILLED_PER_SECOND_LEAST = 1_000
# A round with fewer answers does not count.
ANSWERS_LEAST = 300
ATTEMPTS = 5
# The warm-up before the measured rates.
WARM_SECONDS = 0.5
# The share of the generator's own delay in the P99.9 from which a round counts as spoiled.
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
    """Measures the cost in a closed loop."""
    script = ["-s", subject.wrk_script] if subject.wrk_script else []
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{max(1, round(seconds))}s", *script, subject.url]
    cpu_before, origin_before = subject.server.cpu_seconds(), subject.origin.cpu_seconds()
    text = run(cores.on(cores.load, command), seconds + EXTRA_SECONDS)
    cpu = subject.server.cpu_seconds() - cpu_before
    origin = subject.origin.cpu_seconds() - origin_before
    if subject.is_hit and origin > ORIGIN_SHARE_MAX * cpu:
        raise RuntimeError(f"{subject.name}: not hits: the origin used {origin:.2f} s of CPU time")
    requests, elapsed = re.search(r"(\d+) requests in ([\d.]+)s", text).groups()
    return Cost(1e6 * cpu / max(1, int(requests)), int(requests) / float(elapsed), _errors(text))


def waits(subject: Subject, rates: list[int], seconds: float, cores: Cores) -> list[Wait]:
    """Measures the latencies at each rate in turn."""
    phases = [f"at-{rate},rate={rate},seconds={seconds}" for rate in rates]
    warm = f"warm,rate={rates[0]},seconds={WARM_SECONDS}"
    # The kernel suspends real-time processes that spin for a part of each second.
    idle = "sleep" if cores.realtime else "spin"
    _, *results = load(subject.server, [subject.path], [warm, *phases], cores, "--idle", idle)
    found = []
    for one in results:
        latency = one["latency_micros"]
        is_spoiled = one["lag_micros"]["p999"] > LAG_SHARE_MAX * latency["p999"]
        found.append(Wait(*(latency[name] / 1e3 for name in ("p50", "p99", "p999")), one["errors"], is_spoiled))
    return found


def fill(server: Process, path: str, requests: int, cores: Cores, *options: str) -> dict:
    """Requests every number of the path's range in turn, so that the server stores them all."""
    limit = EXTRA_SECONDS + requests / FILLED_PER_SECOND_LEAST
    phase = f"fill,rate=max,requests={requests}"
    return flawless(server, path, phase, cores, "--order", "sequential", *options, extra=limit)


def flawless(
    server: Process, path: str, phase: str, cores: Cores, *options: str, extra: float = EXTRA_SECONDS
) -> dict:
    """Runs one phase of the generator, in which no request may fail. Returns its results."""
    [result] = load(server, [path], [phase], cores, *options, extra=extra)
    if result["errors"]:
        raise RuntimeError(f"{path}: {result['errors']} errors")
    return result


def load(
    server: Process, paths: list[str], phases: list[str], cores: Cores, *options: str, extra: float = EXTRA_SECONDS
) -> list[dict]:
    """Runs phases of the generator. Returns the results of each."""
    urls = [f"http://127.0.0.1:{server.port}{path}" for path in paths]
    arguments = [word for phase in phases for word in ("--phase", phase)]
    seconds = sum(float(found.group(1)) for phase in phases if (found := re.search(r"seconds=([\d.]+)", phase)))
    text = run(cores.on(cores.load, [LOAD, "--json", *options, *arguments, *urls]), seconds + extra)
    return [json.loads(line) for line in text.splitlines()]


def hits(server: Process, path: str, seconds: float, cores: Cores, *options: str) -> tuple[float, dict]:
    """Returns the CPU microseconds for each answer in a closed loop, and the load's results.

    The figures exclude opening and closing connections. The server must be one process: the load
    reads its CPU time exactly at the beginning and the end of the counted phase.
    """
    phases = [f"warm,rate=max,seconds={WARM_SECONDS}", f"hits,rate=max,seconds={seconds}", "end,rate=max,requests=1"]
    watch = ["--watch", str(server.popen.pid)]
    for _ in range(ATTEMPTS):
        _, result, _ = load(server, [path], phases, cores, *watch, *options)
        if result["answers"] >= ANSWERS_LEAST:
            return result["watched_cpu_micros_each"], result
    raise RuntimeError(f"{path}: the machine has too much other load to measure")


def run(command: list[str], limit: float) -> str:
    """Runs a program to its end, and returns its output."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}:\n{done.stderr}")
    return done.stdout


def _errors(text: str) -> int:
    """Returns the number of answers other than 2xx or 3xx, and of socket errors."""
    counts = re.findall(r"Non-2xx or 3xx responses: (\d+)", text)
    for line in re.findall(r"Socket errors: (.*)", text):
        counts += re.findall(r"\d+", line)
    return sum(map(int, counts))
