"""Processes of one comparison: bound to a core, observed through /proc, stopped by their ids."""

import os
import socket
import subprocess
import time
from dataclasses import dataclass

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
START_SECONDS_MAX = 60
STOP_SECONDS_MAX = 10


@dataclass(frozen=True)
class Cores:
    """The assignment of processes to cores, and their priority."""

    # Lists for taskset: the measured servers, and all other processes.
    server: str = "0"
    load: str = "1"
    # Real-time priority (SCHED_FIFO), for a machine with other load. Needs root.
    realtime: bool = False

    def on(self, cores: str, command: list[str]) -> list[str]:
        """Returns the command bound to cores, and ended with its parent, however that ends."""
        first = ["chrt", "-f", "10"] if self.realtime else []
        return ["setpriv", "--pdeathsig", "TERM", *first, "taskset", "-c", cores, *command]


def free_port() -> int:
    """Returns a free loopback port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Process:
    """A server and its children. It serves on `port` when the constructor returns."""

    # The port of the admin listener, if there is one.
    admin_port = 0

    def __init__(self, before: list[str], command: list[str], port: int, log_path: str, settings: dict[str, str]):
        self.port, self.command = port, command
        self.environment = {"PATH": os.environ["PATH"], **settings}
        with open(log_path, "ab") as log:
            self.popen = subprocess.Popen(
                [*before, *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment
            )
        deadline = time.monotonic() + START_SECONDS_MAX
        while not self._answers():
            if self.popen.poll() is not None or time.monotonic() > deadline:
                self.stop()
                with open(log_path, encoding="utf-8", errors="replace") as log:
                    raise RuntimeError(f"{' '.join(command)} does not serve:\n{log.read()[-2000:]}")
            time.sleep(0.05)

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            return True
        except OSError:
            return False

    def cpu_seconds(self) -> float:
        """Returns the user and system time so far, of all threads and of all living children."""
        return sum(_ticks(pid) for pid in self._family()) / TICKS_PER_SECOND

    def resident_bytes(self) -> int:
        """Returns the resident memory of the process and its children; shared pages count for each."""
        return sum(int(stat[21]) for pid in self._family() if (stat := _stat(pid))) * PAGE_BYTES

    def stop(self):
        """Terminates the process and its children, and kills them after a timeout."""
        family = self._family()
        if self.popen.poll() is None:
            self.popen.terminate()
        try:
            self.popen.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            for pid in family:
                _kill(pid)
            self.popen.wait()

    def _family(self) -> list[int]:
        parents = {int(pid): stat[1] for pid in os.listdir("/proc") if pid.isdigit() and (stat := _stat(pid))}
        family = [self.popen.pid]
        for pid in family:
            family += [child for child, parent in parents.items() if int(parent) == pid]
        return family


def _stat(pid) -> list[str]:
    """Returns the fields of /proc/PID/stat from the state on (proc(5), field 3)."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
            return stat.read().rpartition(") ")[2].split()
    except OSError:
        return []


def _ticks(pid) -> int:
    stat = _stat(pid)
    return int(stat[11]) + int(stat[12]) if stat else 0


def _kill(pid: int):
    try:
        os.kill(pid, 9)
    except ProcessLookupError:
        pass
