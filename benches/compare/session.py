"""The common parts of all measuring programs: options, a folder, the head of a report, cleanup."""

import argparse
import contextlib
import datetime
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from statistics import median

from processes import Cores
from servers import Servers

# Above the priority of the measured servers (processes.py).
REALTIME_PRIORITY = 20
VERSIONS = [
    ["nginx", "-v"],
    ["haproxy", "-v"],
    ["varnishd", "-V"],
    ["redis-server", "--version"],
    ["wrk", "-v"],
    ["rustc", "--version"],
    ["git", "describe", "--always", "--dirty"],
]


def options(text: str, rounds: int) -> argparse.ArgumentParser:
    """Returns the common options."""
    parser = argparse.ArgumentParser(description=text)
    parser.add_argument("--rounds", type=int, default=rounds, help="rounds for each subject")
    parser.add_argument("--realtime", action="store_true", help="run at real-time priority, for a machine with other load")
    return parser


@contextlib.contextmanager
def servers(chosen: argparse.Namespace):
    """Yields servers that are always stopped, and whose folder is removed."""
    # A signal exits through the cleanup below.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    if chosen.realtime:
        # The measuring program must not wait for the servers.
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(REALTIME_PRIORITY))
    folder = tempfile.mkdtemp(prefix="compare-")
    try:
        with Servers(folder, Cores(realtime=chosen.realtime)) as started:
            yield started
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def print_head(text: str):
    """Prints the date, the machine, the versions, and the text."""
    with open("/proc/cpuinfo", encoding="utf-8") as cpuinfo:
        model = re.search(r"model name\s*: (.*)", cpuinfo.read())
    with open("/proc/loadavg", encoding="utf-8") as loadavg:
        load = loadavg.read().split()[0]
    print(f"{datetime.date.today()}, {platform.platform()}, {model.group(1) if model else platform.machine()}, load {load}")
    print("; ".join(version(command) for command in VERSIONS))
    print(f"{text}: min / median / max\n", flush=True)


def version(command: list[str]) -> str:
    """Returns the first line of a program's version."""
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return (done.stdout + done.stderr).strip().splitlines()[0].strip()


def spread(values: list[float], form: str) -> str:
    """Formats the minimum, the median and the maximum."""
    return " / ".join(format(value, form) for value in (min(values), median(values), max(values)))


def row(*cells: str):
    """Prints a row of a Markdown table."""
    print("| " + " | ".join(cells) + " |", flush=True)


def rule(*heads: str):
    """Prints the head of a Markdown table."""
    row(*heads)
    row(*("---" for _ in heads))
