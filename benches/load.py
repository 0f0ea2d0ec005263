#!/usr/bin/env python3
"""Data that stay on disk compared with the same data in memory: throughput and memory of `brasa train`.

    cargo build --release
    python3 benches/load.py target/release/brasa

Trains the notebook's network (batches of 128, Adam) on digits of noise, in turns:

- `.npy` files, read in pieces and in a random order, against an `.npz` that is read whole;
- a folder of small PNGs, decoded as they are needed, against an `.npz` with the same pixels.

Each round trains both once; the result is the ratio of disk to memory in samples per second, its median over the
rounds, minimum and maximum. Then one epoch over an `.npy` file larger than most memories, which occupies no disk blocks
(it is all zeros, so that disk speed is irrelevant), with the memory of the process over time.

Needs Linux (`/proc`), no packages, and a machine that does nothing else.
"""

import argparse
import json
import os
import pathlib
import random
import shutil
import statistics
import struct
import subprocess
import tempfile
import time
import zipfile
import zlib

SIDE = 28
RECIPE = """
[data]
{data}

[[layers]]
class_name = "Conv2D"
filters = 32
kernel_size = [5, 5]
activation = "relu"
input_shape = [28, 28, 1]

[[layers]]
class_name = "MaxPooling2D"

[[layers]]
class_name = "Conv2D"
filters = 64
kernel_size = [5, 5]
activation = "relu"

[[layers]]
class_name = "MaxPooling2D"

[[layers]]
class_name = "Flatten"

[[layers]]
class_name = "Dense"
units = 10
activation = "softmax"

[compile]
optimizer = "adam"
loss = "sparse_categorical_crossentropy"
metrics = ["accuracy"]

[fit]
epochs = 1
batch_size = 128
seed = 1
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("brasa", type=pathlib.Path, help="the program")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--samples", type=int, default=60_000, help="digits in the .npy files")
    parser.add_argument("--pictures", type=int, default=20_000, help="PNGs in the folder")
    parser.add_argument("--gigabytes", type=float, default=10.0, help="the large file; 0 for none")
    parser.add_argument("--steps", type=int, help="batches of the large file (default: all)")
    parser.add_argument("--only", choices=["npy", "pictures", "large"], help="one of the parts")
    parser.add_argument("--folder", type=pathlib.Path, help="where the data is made (default: a temporary folder)")
    options = parser.parse_args()
    options.brasa = options.brasa.resolve()
    folder = pathlib.Path(tempfile.mkdtemp(dir=options.folder))
    try:
        if options.only in (None, "npy"):
            compare("npy", npy(folder, options.samples), options)
        if options.only in (None, "pictures"):
            compare("pictures", images(folder, options.pictures), options)
        if options.only in (None, "large") and options.gigabytes:
            large(folder, options)
    finally:
        shutil.rmtree(folder)


# --- data -----------------------------------------------------------------------------------------------------------


def header(descr, shape):
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"
    length = -(-(10 + len(text) + 1) // 64) * 64 - 10
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", length) + text.ljust(length - 1).encode() + b"\n"


def labels(count):
    return header("|u1", (count,)) + bytes(index * 7 % 10 for index in range(count))


def recipe(folder, name, data):
    path = folder / f"{name}.toml"
    path.write_text(RECIPE.format(data="\n".join(f"{key} = {json.dumps(str(value))}" for key, value in data.items())))
    return path


def npz(folder, name, x, y):
    """An archive of two existing files."""
    path = folder / f"{name}.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(x, "x.npy")
        archive.write(y, "y.npy")
    return recipe(folder, f"{name}-in-memory", {"dataset": "npz", "path": path})


def npy(folder, count):
    """float32, as in rescaled images."""
    noise, x, y = random.Random(1), folder / "x.npy", folder / "y.npy"
    byte = [struct.pack("<f", value / 255) for value in range(256)]
    with open(x, "wb") as file:
        file.write(header("<f4", (count, SIDE, SIDE, 1)))
        for _ in range(count):
            file.write(b"".join(byte[value] for value in noise.randbytes(SIDE * SIDE)))
    y.write_bytes(labels(count))
    return recipe(folder, "on-disk", {"dataset": "npy", "x": x, "y": y}), npz(folder, "npy", x, y)


def png(pixels):
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = b"".join(b"\0" + pixels[row * SIDE : (row + 1) * SIDE] for row in range(SIDE))
    start = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", start) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def images(folder, count):
    """Images with a square of noise on black: small files that are still compressed, like digits."""
    noise, root, x, y = random.Random(1), folder / "images", folder / "px.npy", folder / "py.npy"
    for label in range(10):
        (root / str(label)).mkdir(parents=True)
    byte = [struct.pack("<f", value / 255) for value in range(256)]
    with open(x, "wb") as file:
        file.write(header("<f4", (count, SIDE, SIDE, 1)))
        for index in range(count):
            inside = noise.randbytes(SIDE * SIDE)
            spot = range(8, 20)
            places = ((row, column) for row in range(SIDE) for column in range(SIDE))
            pixels = bytes(inside[r * SIDE + c] if r in spot and c in spot else 0 for r, c in places)
            file.write(b"".join(byte[value] for value in pixels))
            (root / str(index * 7 % 10) / f"{index}.png").write_bytes(png(pixels))
    y.write_bytes(labels(count))
    return recipe(folder, "on-disk", {"dataset": "image_folder", "path": root}), npz(folder, "images", x, y)


# --- measurements ---------------------------------------------------------------------------------------------------


def train(brasa, told, watch=None, steps=None):
    """Samples per second, the processor time of the whole process in seconds, and its peak memory in MiB."""
    run = told.parent / "run"
    command = [brasa, "train", told, "--out", run, "--json", "--quiet"]
    command += ["--set", f"fit.steps_per_epoch={steps}"] if steps else []
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    if watch:
        watch(process.pid, run)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command} has failed")
    shutil.rmtree(run)
    return json.loads(output)["images_per_second"], usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def compare(name, recipes, options):
    ratios, rates, seconds, memory = [], ([], []), ([], []), ([], [])
    train(options.brasa, recipes[1])
    for number in range(options.rounds):
        # Each round begins with the other one.
        for which in (0, 1) if number % 2 == 0 else (1, 0):
            rate, busy, most = train(options.brasa, recipes[which])
            rates[which].append(rate)
            seconds[which].append(busy)
            memory[which].append(most)
        ratios.append(rates[0][-1] / rates[1][-1])
    disk, held = (statistics.median(rate) for rate in rates)
    print(f"{name}: {disk:,.0f} samples/s from disk, {held:,.0f} in memory")
    print(f"{name}: ratio {statistics.median(ratios):.3f}, from {min(ratios):.3f} to {max(ratios):.3f}")
    disk, held = (statistics.median(busy) for busy in seconds)
    print(f"{name}: {disk:.1f} s of processor time from disk, {held:.1f} s in memory, start and report included")
    print(f"{name}: at most {max(memory[0]):,.0f} MiB from disk, {max(memory[1]):,.0f} MiB in memory", flush=True)


def large(folder, options):
    count = int(options.gigabytes * 1e9) // (SIDE * SIDE * 4)
    x, y = folder / "large.npy", folder / "large-y.npy"
    for path, start, size in [
        (x, header("<f4", (count, SIDE, SIDE, 1)), count * SIDE * SIDE * 4),
        (y, header("|u1", (count,)), count),
    ]:
        path.write_bytes(start)
        os.truncate(path, len(start) + size)
    seen = []

    def watch(process, run):
        begin = time.monotonic()
        # The model is saved when training is done; the rest is the report.
        while not (run / "model.keras").exists():
            try:
                status = pathlib.Path(f"/proc/{process}/status").read_text()
            except OSError:
                return
            line = [line for line in status.splitlines() if line.startswith("VmRSS:")]
            if not line:
                return
            seen.append((time.monotonic() - begin, int(line[0].split()[1]) / 1024))
            time.sleep(0.25)

    rate, _, _ = train(options.brasa, recipe(folder, "large", {"dataset": "npy", "x": x, "y": y}), watch, options.steps)
    end = seen[-1][0]
    tenths = [[most for at, most in seen if part <= 10 * at / end <= part + 1] for part in range(10)]
    shown = " ".join(f"{max(tenth):.0f}" if tenth else "-" for tenth in tenths)
    print(f"large: {x.stat().st_size / 1e9:.1f} GB, {count:,} samples, {rate:,.0f} samples/s, {end:,.0f} s")
    print("large: MiB at most in each tenth of the epoch:", shown)


if __name__ == "__main__":
    main()
