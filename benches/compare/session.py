"""What all the measuring programs share: options, a folder, the head of a report, an orderly end."""

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

# Above that of what is measured (processes.py).
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
    """The options that all have."""
    parser = argparse.ArgumentParser(description=text)
    parser.add_argument("--rounds", type=int, default=rounds, help="how often each subject is measured")
    parser.add_argument("--realtime", action="store_true", help="go before all else on a machine that others use")
    return parser


@contextlib.contextmanager
def servers(chosen: argparse.Namespace):
    """Servers that are stopped whatever happens, with a folder that is removed."""
    # So that a signal leaves by the way on which servers are stopped.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    if chosen.realtime:
        # What looks at the servers must not wait for them.
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(REALTIME_PRIORITY))
    folder = tempfile.mkdtemp(prefix="compare-")
    try:
        with Servers(folder, Cores(realtime=chosen.realtime)) as started:
            yield started
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def print_head(text: str):
    """Where, when, with what, and how."""
    with open("/proc/cpuinfo", encoding="utf-8") as cpuinfo:
        model = re.search(r"model name\s*: (.*)", cpuinfo.read())
    with open("/proc/loadavg", encoding="utf-8") as loadavg:
        load = loadavg.read().split()[0]
    print(f"{datetime.date.today()}, {platform.platform()}, {model.group(1) if model else platform.machine()}, load {load}")
    print("; ".join(version(command) for command in VERSIONS))
    print(f"{text}: min / median / max\n", flush=True)


def version(command: list[str]) -> str:
    """The first line of what a program says of itself."""
    said = subprocess.run(command, check=False, capture_output=True, text=True)
    return (said.stdout + said.stderr).strip().splitlines()[0].strip()


def spread(values: list[float], form: str) -> str:
    """Least, middle and most."""
    return " / ".join(format(value, form) for value in (min(values), median(values), max(values)))


def row(*cells: str):
    """A line of a table in Markdown."""
    print("| " + " | ".join(cells) + " |", flush=True)


def rule(*heads: str):
    """The first two lines of one."""
    row(*heads)
    row(*("---" for _ in heads))
