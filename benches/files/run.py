#!/usr/bin/env python3
"""Saving and loading a model of 100 MB, alternating between Brasa and Keras (Linux).

    python3 benches/files/run.py [--rounds 5] [--keras 3.15.1]

Each measurement is a separate process that runs once and reports the time and the additional peak memory: imports and
building the model do not count. Loading reads a file that was just written, so it comes from the system's cache. Brasa
flushes the file to disk before it replaces the old one; Keras does not, so its time is reported without and with a
flush after it.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
UNITS, LAYERS = 1500, 11


def main():
    sys.path.insert(0, str(ROOT / "tests" / "keras"))
    import environment

    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--keras", default="3.15.1", help="the version of Keras")
    options = parser.parse_args()
    keras = [environment.keras(options.keras), __file__, "--worker"]
    own = [environment.built("--example", "roundtrip", "--release"), "time"]
    variables = {**os.environ, "KERAS_BACKEND": "jax", "TF_CPP_MIN_LOG_LEVEL": "3"}

    def measure(program, what, path):
        done = subprocess.run([*program, what, path], env=variables, stdout=subprocess.PIPE, text=True, check=True)
        return json.loads(done.stdout.splitlines()[-1])

    results = {}
    with tempfile.TemporaryDirectory(dir=ROOT / "target" if (ROOT / "target").is_dir() else None) as folder:
        print(f"load of the machine before: {os.getloadavg()[0]:.1f}")
        for form in ("keras", "h5"):
            for number in range(options.rounds):
                order = [("Brasa", own), ("Keras", keras)]
                for name, program in order[:: 1 - 2 * (number % 2)]:
                    path = pathlib.Path(folder) / f"{name}.{form}"
                    path.unlink(missing_ok=True)
                    results.setdefault((form, "save", name), []).append(measure(program, "save", path))
                # Both load the same file, alternating between Brasa's and Keras's.
                path = pathlib.Path(folder) / f"{order[number % 2][0]}.{form}"
                for name, program in order[:: 1 - 2 * (number % 2)]:
                    results.setdefault((form, "load", name), []).append(measure(program, "load", path))
        print(f"load after: {os.getloadavg()[0]:.1f}; medians of {options.rounds} (least, greatest)")
    for (form, what, name), runs in sorted(results.items()):
        times = [run["seconds"] * 1e3 for run in runs]
        line = f".{form} {what} {name}: {statistics.median(times):.0f} ms ({min(times):.0f}, {max(times):.0f})"
        if "flushed" in runs[0]:
            line += f", with a flush {statistics.median(run['flushed'] * 1e3 for run in runs):.0f} ms"
        print(f"{line}, {statistics.median(run['memory'] for run in runs) / 1e6:.0f} MB")


def status(line):
    for own in pathlib.Path("/proc/self/status").read_text().splitlines():
        if own.startswith(line):
            return int(own.split()[1]) * 1024
    raise KeyError(line)


def worker(what, path):
    import time

    import keras
    import numpy as np

    if what == "save":
        model = keras.Sequential([keras.Input((UNITS,)), *(keras.layers.Dense(UNITS) for _ in range(LAYERS))])
    else:
        # Excludes the setup for the first model of a process.
        keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    pathlib.Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS:")
    start = time.perf_counter()
    if what == "save":
        model.save(path)
    else:
        model = keras.models.load_model(path, compile=False)
        for weight in model.weights:
            weight.value.block_until_ready()
    said = {"seconds": time.perf_counter() - start, "memory": status("VmHWM:") - before}
    if what == "save":
        with open(path, "rb+") as file:
            os.fsync(file)
        said["flushed"] = time.perf_counter() - start
    assert sum(int(np.prod(weight.shape)) for weight in model.weights) == LAYERS * (UNITS * UNITS + UNITS)
    print(json.dumps(said))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        worker(*sys.argv[2:])
    else:
        main()
