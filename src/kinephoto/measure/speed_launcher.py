"""Run by ``measure.speed`` as a program of its own: it starts another, waits, and tells what that one took.

    python speed_launcher.py TELLS PROGRAM WORDS…

writes TELLS: {"exit_code", "wall_s", "cpu_s", "maxrss"}, or {"error"} if there is no such program. It is small, and has
to be: Linux counts among a process's memory what its parent had when it was started.
"""

import json
import os
import subprocess
import sys
import time


def main(tells, *words):  # noqa: D103
    start = time.perf_counter()
    try:
        child = subprocess.Popen(words)
    except OSError as error:
        told = {"error": error.strerror}
    else:
        # wait4 tells this child's own usage, and that of those it waited for.
        _, status, usage = os.wait4(child.pid, 0)
        told = {
            "exit_code": os.waitstatus_to_exitcode(status),
            "wall_s": time.perf_counter() - start,
            "cpu_s": usage.ru_utime + usage.ru_stime,
            "maxrss": usage.ru_maxrss,
        }
    with open(tells, "w", encoding="utf-8") as file:
        json.dump(told, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
