#!/usr/bin/python3
"""Ends what a test run leaves that was itself killed: its processes, then its folders.

Started by fleet.py, told on stdin as things come into being; when that closes, whatever is still there goes.

    process PID START SIGNAL      with its group, if it leads one; when it started (/proc/PID/stat); what ends it
    folder PATH"""
import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

POLITE_S = 10  # then SIGKILL


def start_time(pid):
    """Tells a process from a later one with its number; None when it has ended."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
        return None if fields[0] == "Z" else fields[19]
    except (OSError, IndexError):
        return None


def send(pid, number):
    with contextlib.suppress(ProcessLookupError):
        (os.killpg if os.getpgid(pid) == pid else os.kill)(pid, number)


def end_all(processes):
    def alive():
        return [(pid, number) for pid, start, number in processes if start_time(pid) == start]
    for pid, number in alive():
        send(pid, signal.SIGCONT)
        send(pid, number)
    end = time.monotonic() + POLITE_S
    while alive() and time.monotonic() < end:
        time.sleep(0.05)
    for pid, _ in alive():
        send(pid, signal.SIGKILL)


def remove(folder):
    """With what killed nodes had mounted in it."""
    for line in reversed(pathlib.Path("/proc/self/mounts").read_text().splitlines()):
        if line.split()[1].startswith(f"{folder}/"):
            subprocess.run(["umount", "-l", line.split()[1]], check=False, capture_output=True)
    shutil.rmtree(folder, ignore_errors=True)


def main():
    processes, folders = [], []
    for line in sys.stdin:
        kind, said = line.rstrip("\n").split(" ", 1)
        if kind == "folder":
            folders.append(said)
        else:
            pid, start, number = said.split()
            processes.append((int(pid), start, int(number)))
    end_all(processes)
    for folder in folders:
        remove(folder)


if __name__ == "__main__":
    main()
