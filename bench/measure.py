#!/usr/bin/env python3
"""Runs a program and measures it from outside.
usage: measure.py OUTPUT PROGRAM [ARGUMENT...]
The program's standard output goes to the file OUTPUT, its standard error passes through.
Prints one JSON line: exit_code, seconds (wall, from start to end of the process), cpu_seconds (user + system),
peak_rss_mb (MiB). Exits with the program's own exit code."""
import json
import resource
import subprocess
import sys
import time

if len(sys.argv) < 3:
    sys.exit(__doc__)
with open(sys.argv[1], "wb") as output:
    started = time.perf_counter()
    code = subprocess.run(sys.argv[2:], stdout=output, check=False).returncode
    seconds = time.perf_counter() - started
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
# Linux counts in KiB, macOS in bytes.
unit = 1024 * 1024 if sys.platform == "darwin" else 1024
print(json.dumps({
    "exit_code": code,
    "seconds": round(seconds, 3),
    "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 3),
    "peak_rss_mb": round(usage.ru_maxrss / unit),
}))
sys.exit(code if code >= 0 else 128 - code)
