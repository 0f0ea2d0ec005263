#!/usr/bin/env python3
"""100,000 reviews through `TextVectorization`, alternating between Brasa and Keras on TensorFlow.

    python3 benches/text/run.py [--reviews 100000] [--rounds 5]

The reviews are drawn from 50,000 made-up words with the frequencies of Zipf's law, 20 to 400 words each, with capitals
and punctuation. Both learn a vocabulary of 20,000 tokens from them (`adapt`) and map all of them to 200 indices each
(`transform`; Keras by its fastest way, `tf.data` in batches of 1,024 mapped in parallel). Each measurement is a process
of its own; reading the file, imports and a first call on ten reviews do not count. The sums of all indices have to agree.
"""

import argparse
import itertools
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOKENS, LENGTH = 20_000, 200


def main():
    sys.path.insert(0, str(ROOT / "tests" / "keras"))
    import environment

    parser = argparse.ArgumentParser()
    parser.add_argument("--reviews", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--brasa", help="the program `vectorize`; without it, it is built")
    options = parser.parse_args()
    keras = [environment.keras_on("tensorflow"), __file__, "--worker"]
    own = [options.brasa or environment.built("--bench", "vectorize", "--release")]
    variables = {**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "reviews.txt"
        write(path, options.reviews)
        print(f"{options.reviews:,} reviews, {path.stat().st_size / 1e6:.0f} MB; load before: {os.getloadavg()[0]:.1f}")
        for number in range(options.rounds):
            for name, program in [("Brasa", own), ("Keras", keras)][:: 1 - 2 * (number % 2)]:
                done = subprocess.run(
                    [*program, path, str(TOKENS), str(LENGTH)],
                    env=variables,
                    stdout=subprocess.PIPE,
                    text=True,
                    check=True,
                )
                results.setdefault(name, []).append(json.loads(done.stdout.splitlines()[-1]))
    sums = {run["sum"] for runs in results.values() for run in runs}
    if len(sums) != 1:
        sys.exit(f"the indices differ: sums {sums}")
    for what in ("adapt", "transform"):
        for name, runs in results.items():
            print(f"{what} {name}: {spread([run[what] for run in runs])} s")
        ratios = [theirs[what] / ours[what] for ours, theirs in zip(results["Brasa"], results["Keras"])]
        print(f"{what}, Brasa's speed as a multiple of Keras's: {spread(ratios)}")


def spread(values):
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


def write(path, reviews):
    draw = random.Random(1)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(draw.choices(letters, k=draw.randint(2, 10))) for _ in range(50_000)]
    weights = list(itertools.accumulate(1 / (rank + 2) for rank in range(len(words))))
    with open(path, "w") as file:
        for _ in range(reviews):
            text = draw.choices(words, cum_weights=weights, k=draw.randint(20, 400))
            text[0] = text[0].capitalize()
            text[len(text) // 2] += ","
            file.write(" ".join(text) + ".\n")


def worker(path, tokens, length):
    import time

    import keras
    import tensorflow as tf

    lines = pathlib.Path(path).read_text().splitlines()
    layer = keras.layers.TextVectorization(max_tokens=tokens, output_sequence_length=length)
    layer.adapt(lines[:10])
    layer(tf.constant(lines[:10]))
    data = tf.data.Dataset.from_tensor_slices(lines).batch(1024)
    layer = keras.layers.TextVectorization(max_tokens=tokens, output_sequence_length=length)
    begun = time.perf_counter()
    layer.adapt(data)
    adapted = time.perf_counter() - begun
    mapped = data.map(layer, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)
    begun = time.perf_counter()
    batches = [batch.numpy() for batch in mapped]
    transformed = time.perf_counter() - begun
    total = float(sum(int(batch.sum()) for batch in batches))
    print(json.dumps({"adapt": adapted, "transform": transformed, "sum": total}))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        worker(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    else:
        main()
