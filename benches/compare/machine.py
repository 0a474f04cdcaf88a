"""Processes and the machine under them, as /proc shows them.

CPU time is user + system time of all threads, in the kernel's ticks (10 ms). Memory is the largest resident set so far.
"""

import os
import platform
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def cpu(pid):
    """Seconds that the process has computed so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def peak_rss(pid):
    """Largest resident set so far, in MB of 10^6 bytes; 0 of a process that has just ended."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def settle(pid, limit=20.0):
    """Waits until the process has come to rest: less than 3 % of a core over one second."""
    deadline, before = time.monotonic() + limit, cpu(pid)
    while time.monotonic() < deadline:
        time.sleep(1)
        now = cpu(pid)
        if now - before < 0.03:
            return
        before = now


@dataclass
class Usage:
    """What a tool's processes have used together."""

    cpu: float
    rss: float


class Processes:
    """The processes of one tool. Ended, if need be, when the block is left.

    What wait4(2) tells of memory is of no use: it knows the largest set since the fork, which was this program's.
    """

    def __init__(self, log):
        self.log, self.running, self.ended, self.peaks = log, [], Usage(0.0, 0.0), {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.running:
            process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 20
        while self.running and time.monotonic() < deadline:
            self._reap()
            time.sleep(0.1)
        for process in self.running:
            process.kill()
            process.wait()

    def start(self, command, environment=None, directory=None):
        """Starts one; its output goes to the tool's log."""
        with open(self.log, "ab") as log:
            process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=directory,
                env=os.environ | (environment or {}),
            )
        self.running.append(process)

    def wait(self, limit):
        """Waits until all have ended by themselves; one that failed is an error."""
        deadline = time.monotonic() + limit
        while self.running:
            self._look()
            self._reap()
            if time.monotonic() > deadline:
                raise Failed(f"did not end within {limit} s\n{self._last_words()}")
            time.sleep(0.05)

    def usage(self):
        """Of those that run and of those that have ended."""
        self._look()
        running = sum(cpu(process.pid) for process in self.running)
        return Usage(self.ended.cpu + running, sum(self.peaks.values()))

    def _look(self):
        for process in self.running:
            self.peaks[process.pid] = peak_rss(process.pid) or self.peaks.get(process.pid, 0.0)

    def _reap(self):
        for process in list(self.running):
            pid, status, used = os.wait4(process.pid, os.WNOHANG)
            if pid == 0:
                continue
            self.running.remove(process)
            process.returncode = os.waitstatus_to_exitcode(status)
            self.ended.cpu += used.ru_utime + used.ru_stime
            self.ended.rss = sum(self.peaks.values())
            if process.returncode not in (0, -signal.SIGTERM, 128 + signal.SIGTERM):
                raise Failed(f"ended with {process.returncode}\n{self._last_words()}")

    def _last_words(self):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])


class Failed(Exception):
    """A tool did not do its work."""


def facts():
    """The machine in one line."""
    model = next((l.split(":")[1].strip() for l in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in l), "?")
    memory = int(Path("/proc/meminfo").read_text().split()[1]) / 2**20
    return f"{os.cpu_count()} × {model}, {memory:.0f} GiB, Linux {platform.release()}"


def load():
    """How much else wants to run: the load average of the last minute."""
    return os.getloadavg()[0]
