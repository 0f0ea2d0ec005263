#!/usr/bin/env python3
"""Instruction counts of a step of eight small networks, against those that are committed.

    scripts/instructions.py             # fails where a count has grown by more than 3 %
    scripts/instructions.py --write     # keeps today's counts in benches/instructions.json

A count is that of valgrind's callgrind on one thread, the difference between runs of several steps divided by their
number, so that start-up and the first step are not in it. It depends on the compiler, the C library, valgrind and the
processor (libraries choose by it how to copy, and blocks are cut for its second-level cache), and not on how busy the
machine is: where one of them differs nothing is compared. Needs valgrind, which offers AVX2 at most.
"""

import concurrent.futures
import json
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
COUNTS = ROOT / "benches" / "instructions.json"
NETWORKS = ["mlp", "cnn", "nested", "conv1d", "separable", "vgg", "lstm", "transformer"]
CASES = [("predict", 1, 8), ("predict", 128, 2), ("train", 32, 2)]
TOLERANCE = 0.03


def build():
    """The program that runs the steps, compiled as for development."""
    command = ["cargo", "build", "--bench", "instructions", "--message-format=json"]
    lines = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True, text=True).stdout.splitlines()
    built = (json.loads(line) for line in lines)
    return next(m["executable"] for m in built if m.get("target", {}).get("name") == "instructions" and m.get("executable"))


def output(*command):
    """What a command prints; nothing if it is missing."""
    if shutil.which(command[0]) is None:
        return ""
    return subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=False, text=True).stdout.strip()


def count(program, network, action, batch, steps):
    """The instructions of a whole run."""
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", program, network, action]
    run = subprocess.run([*command, str(batch), str(steps)], stderr=subprocess.PIPE, text=True, check=False)
    if run.returncode != 0:
        sys.exit(f"{network} {action} {batch}: {run.stderr}")
    return int(re.search(r"Collected : (\d+)", run.stderr).group(1))


def step(program, network, action, batch, steps):
    """The instructions of one step."""
    first, last = (count(program, network, action, batch, total) for total in (2, 2 + steps))
    return (last - first) // steps


def main():
    """Counts, compares, and prints a line for each case."""
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    processor = re.search(r"model name\s*: (.*)", cpuinfo.read_text()) if cpuinfo.exists() else None
    machine = {
        "rustc": output("rustc", "--version"),
        "rustflags": os.environ.get("RUSTFLAGS", ""),
        "libc": " ".join(platform.libc_ver()),
        "valgrind": output("valgrind", "--version"),
        "processor": processor.group(1) if processor else "",
        "level2_cache": output("getconf", "LEVEL2_CACHE_SIZE"),
    }
    kept = json.loads(COUNTS.read_text()) if COUNTS.exists() else {**machine, "counts": {}}
    differs = [f"{key} {kept.get(key)!r}, not {value!r}" for key, value in machine.items() if kept.get(key) != value]
    if "--write" not in sys.argv and differs:
        print(f"not compared: the counts were taken with {', '.join(differs)}")
        return
    program = build()
    before, now, worse = kept["counts"], {}, []
    cases = [(network, *case) for network in NETWORKS for case in CASES]
    with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for (network, action, batch, _), counted in zip(cases, pool.map(lambda case: step(program, *case), cases)):
            name = f"{network} {action} {batch}"
            now[name] = counted
            change = counted / before[name] - 1 if name in before else 0.0
            print(f"{name:24} {counted:>14,} {change:+8.1%}", flush=True)
            if change > TOLERANCE:
                worse.append(name)
    if "--write" in sys.argv:
        COUNTS.write_text(json.dumps({**machine, "counts": now}, indent=2) + "\n")
    elif worse:
        sys.exit(f"more instructions than before: {', '.join(worse)}")


if __name__ == "__main__":
    main()
