#!/usr/bin/env python3
"""Processes under mpirun train, evaluate and predict like one, and end together whatever happens to one of them.

    python3 tests/mpi/ranks.py BRASA [--only WORD] [--kills 6] [--seed 1]

BRASA is the program built with the feature `mpi`; scripts/mpi.sh builds it and runs this. Needs Python and mpirun, and
nothing else. The same is tested with threads as ranks in tests/training/distributed.rs; here are processes, signals
and files.
"""

import argparse
import csv
import json
import os
import pathlib
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from support import Job, command, environment, load_npy, numbers, save_npy, weights

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
OPTIONS = None
# Longer than any run here takes.
LONG = 120

CONV = """
[data]
dataset = "npy"
x = "x.npy"
y = "y.npy"
[[layers]]
class_name = "Conv2D"
filters = 4
kernel_size = [3, 3]
activation = "relu"
input_shape = [8, 8, 1]
[[layers]]
class_name = "BatchNormalization"
synchronized = SYNCHRONIZED
[[layers]]
class_name = "Flatten"
[[layers]]
class_name = "Dropout"
rate = 0.3
[[layers]]
class_name = "Dense"
units = 3
activation = "softmax"
[compile]
optimizer = { class_name = "Adam", learning_rate = 0.01, global_clipnorm = 0.5 }
loss = "sparse_categorical_crossentropy"
metrics = ["accuracy"]
[fit]
epochs = 2
batch_size = 8
seed = 3
"""

LSTM = """
[data]
dataset = "npy"
x = "x.npy"
y = "y.npy"
sample_weight = "weights.npy"
validation_split = 0.2
[[layers]]
class_name = "Masking"
input_shape = [5, 2]
[[layers]]
class_name = "LSTM"
units = 4
return_sequences = true
dropout = 0.2
[[layers]]
class_name = "Dense"
units = 1
activation = "sigmoid"
[compile]
optimizer = { class_name = "RMSprop", learning_rate = 0.01, gradient_accumulation_steps = 2, clipnorm = 0.5 }
loss = "binary_crossentropy"
metrics = ["accuracy"]
weighted_metrics = ["mse"]
[fit]
epochs = 3
batch_size = 6
seed = 5
"""

# Some seconds of small steps, with a checkpoint every few of them.
DENSE = """
[data]
dataset = "npy"
x = "x.npy"
y = "y.npy"
validation_split = 0.2
[[layers]]
class_name = "Dense"
units = 32
activation = "relu"
input_shape = [12]
[[layers]]
class_name = "Dropout"
rate = 0.2
[[layers]]
class_name = "Dense"
units = 3
activation = "softmax"
[compile]
optimizer = { class_name = "Adam", learning_rate = 0.01 }
loss = "sparse_categorical_crossentropy"
metrics = ["accuracy"]
[fit]
epochs = 4
batch_size = 16
checkpoint_freq = 7
seed = 4
"""


class Place:
    """A folder with a recipe and its data."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)

    def arrays(self, x, y, classes, seed=1):
        """Random inputs of shape `x`, and labels below `classes` of shape `y` that they have something to do with."""
        values = numbers(count(x), seed)
        save_npy(self.folder / "x.npy", x, values)
        width = count(x) // count(y)
        sums = (sum(values[i * width : (i + 1) * width]) * 7 for i in range(count(y)))
        save_npy(self.folder / "y.npy", y, [int(one) % classes for one in sums])

    def alone(self, *arguments):
        """Runs one process without mpirun."""
        line = [OPTIONS.brasa, *map(str, arguments)]
        done = subprocess.run(line, cwd=self.folder, env=environment(), capture_output=True, text=True, timeout=LONG)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self, ranks, *arguments):
        """Starts a command in so many processes."""
        return Job(command(ranks, OPTIONS.brasa, [*map(str, arguments), "--distributed"]), self.folder)

    def together(self, ranks, *arguments):
        """Runs a command in so many processes."""
        code, out, err = self.start(ranks, *arguments).wait(LONG)
        assert code == 0, f"{ranks} ranks: {code}: {err}"
        return out

    def history(self, run):
        """The columns of a run's history."""
        with open(self.folder / run / "history.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        return {key: [float(row[key]) for row in rows] for key in (rows[0] if rows else {"epoch": []})}

    def weights(self, run):
        return weights(self.folder / run / "model.keras")


def count(shape):
    product = 1
    for size in shape:
        product *= size
    return product


def close(got, wanted, tolerance, what):
    """Two histories agree but for rounding."""
    assert got.keys() == wanted.keys(), f"{what}: {got.keys()}, alone {wanted.keys()}"
    for name in wanted:
        assert len(got[name]) == len(wanted[name]), f"{what}: {name}"
        for one, other in zip(got[name], wanted[name]):
            assert abs(one - other) <= tolerance * max(1, abs(other)), f"{what}: {name} {one}, alone {other}"


def like_one(place, tolerance, *arguments):
    """1 to 4 processes have the history of one without mpirun."""
    place.alone("train", *arguments, "--out", "alone", "--quiet", "--threads", 1)
    for ranks in (1, 2, 3, 4):
        out = f"ranks{ranks}"
        place.together(ranks, "train", *arguments, "--out", out, "--quiet", "--threads", 1)
        close(place.history(out), place.history("alone"), tolerance, f"{ranks} ranks")


# --- what is tested -----------------------------------------------------------------------------------------------


def notebook(place):
    """The notebook's network has the history of one process within 1e-5."""
    place.arrays((160, 28, 28, 1), (160,), 10)
    recipe = (ROOT / "configs" / "mnist_cnn.toml").read_text()
    recipe = recipe.replace('dataset = "mnist"', 'dataset = "npy"\nx = "x.npy"\ny = "y.npy"')
    (place.folder / "cnn.toml").write_text(recipe)
    like_one(place, 1e-5, "cnn.toml", "--epochs", 1, "--batch-size", 48)


def synchronized(place):
    """Batch normalization over all ranks, and clipping by the global norm."""
    place.arrays((24, 8, 8, 1), (24,), 3)
    (place.folder / "conv.toml").write_text(CONV.replace("SYNCHRONIZED", "true"))
    like_one(place, 1e-4, "conv.toml")


def by_parts(place):
    """Batch normalization by parts, with a last batch of one sample: the same bits in each run."""
    place.arrays((25, 8, 8, 1), (25,), 3)
    (place.folder / "conv.toml").write_text(CONV.replace("SYNCHRONIZED", "false"))
    for ranks in (2, 3):
        for run in ("a", "b"):
            out = f"{run}{ranks}"
            place.together(ranks, "train", "conv.toml", "--out", out, "--quiet", "--threads", 1)
        assert place.weights(f"a{ranks}") == place.weights(f"b{ranks}"), f"{ranks} ranks repeat"
        assert place.history(f"a{ranks}") == place.history(f"b{ranks}")


def one_sample(place):
    """A last batch of one sample leaves ranks without any."""
    place.arrays((25, 8, 8, 1), (25,), 3)
    recipe = CONV.replace('class_name = "BatchNormalization"\nsynchronized = SYNCHRONIZED', 'class_name = "ReLU"')
    (place.folder / "conv.toml").write_text(recipe)
    like_one(place, 2e-5, "conv.toml")


def masks(place):
    """An LSTM with masks and sample weights, clipped, with accumulated gradients."""
    samples, steps = 31, 5
    values = numbers(samples * steps * 2, 7)
    for sample in range(samples):
        for step in range(1 + sample % steps, steps):
            values[(sample * steps + step) * 2] = values[(sample * steps + step) * 2 + 1] = 0
    save_npy(place.folder / "x.npy", (samples, steps, 2), values)
    save_npy(place.folder / "y.npy", (samples, steps, 1), [float(one > 0.5) for one in numbers(samples * steps, 8)])
    save_npy(place.folder / "weights.npy", (samples,), [0.5 + sample % 4 for sample in range(samples)])
    (place.folder / "lstm.toml").write_text(LSTM)
    like_one(place, 5e-5, "lstm.toml")


def dense(place):
    """The data and the recipe of the runs that are cut off."""
    place.arrays((400, 12), (400,), 3)
    (place.folder / "small.toml").write_text(DENSE)


def killed(place):
    """SIGKILL to any rank at any moment: all end, and --resume ends with the bits of a run that was left alone."""
    dense(place)
    chance = random.Random(OPTIONS.seed)
    arguments = ("train", "small.toml", "--quiet", "--threads", 1, "--out")
    place.together(3, *arguments, "whole")
    begin = time.monotonic()
    place.together(3, *arguments, "again")
    whole = time.monotonic() - begin
    assert place.weights("again") == place.weights("whole"), "the same run has the same bits"
    kills, run = 0, 0
    while kills < OPTIONS.kills:
        run += 1
        out = f"run{run}"
        for _ in range(2):
            job = place.start(3, *arguments, out, "--resume")
            rank = chance.randrange(3)
            processes = job.ranks(3)
            time.sleep(chance.random() * whole)
            if rank in processes and job.process.poll() is None:
                try:
                    os.kill(processes[rank], signal.SIGKILL)
                except ProcessLookupError:
                    pass
            code, _, err = job.wait(LONG)
            assert code is not None, f"a kill of rank {rank} leaves the others waiting: {err}"
            kills += code != 0
            if code == 0:
                break
        place.together(3, *arguments, out, "--resume")
        assert place.weights(out) == place.weights("whole"), f"run {run} after {kills} kills"
        assert place.history(out) == place.history("whole")
    print(f"    {kills} kills in {run} runs of {whole:.1f} s")


def until(what, condition, seconds=30):
    """Waits until something holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.01)


def long_run(place, ranks, *more):
    """A run that goes on until something happens to it, as soon as it has a checkpoint."""
    dense(place)
    job = place.start(ranks, "train", "small.toml", "--epochs", 100000, "--out", "run", "--threads", 1, "--quiet", *more)
    processes = job.ranks(ranks)
    assert len(processes) == ranks, job.wait(1)
    checkpoint = place.folder / "run" / "checkpoint" / "last.ckpt"
    until("a checkpoint", lambda: checkpoint.exists() or job.process.poll() is not None)
    return job, processes, checkpoint


def resumes(place, checkpoint, ranks):
    """The run goes on from its checkpoint: an epoch more than it had."""
    assert checkpoint.exists()
    epochs = len(place.history("run")["epoch"]) if (place.folder / "run" / "history.csv").exists() else 0
    arguments = ("train", "--out", "run", "--resume", "--accept-changes", "--epochs", epochs + 1)
    place.together(ranks, *arguments, "--threads", 1, "--quiet")
    assert len(place.history("run")["epoch"]) == epochs + 1


def stopped(place):
    """A rank that no longer answers ends all within the named limit, with an error that names it."""
    for rank in (1, 0):
        job, processes, checkpoint = long_run(place, 3, "--distributed-timeout", 3)
        begin = time.monotonic()
        os.kill(processes[rank], signal.SIGSTOP)
        code, _, err = job.wait(LONG)
        took = time.monotonic() - begin
        assert code not in (0, None), f"{code}: {err}"
        assert "the other ranks have not answered within 3 s" in err, err
        assert took < 20, f"{took:.1f} s"
        print(f"    rank {rank} stopped: ended after {took:.1f} s")
        resumes(place, checkpoint, 3)
        shutil.rmtree(place.folder / "run")


def signals(place):
    """SIGINT and SIGTERM to any rank save and end all with 130; the run goes on."""
    for rank, number in ((0, signal.SIGINT), (2, signal.SIGINT), (1, signal.SIGTERM)):
        job, processes, checkpoint = long_run(place, 3)
        os.kill(processes[rank], number)
        code, _, err = job.wait(LONG)
        assert code == 130, f"{number.name} to rank {rank}: {code}: {err}"
        assert "to resume" in err, err
        resumes(place, checkpoint, 3)
        shutil.rmtree(place.folder / "run")
    # mpirun passes it on, and does not wait for long.
    job, _, checkpoint = long_run(place, 3)
    os.kill(job.process.pid, signal.SIGTERM)
    code, _, err = job.wait(LONG)
    assert code not in (0, None), f"SIGTERM to mpirun: {code}: {err}"
    resumes(place, checkpoint, 3)


def full_disk(place):
    """Files of rank 0 can grow no further: all end with its error, and the last checkpoint is whole."""
    job, processes, checkpoint = long_run(place, 2)
    resource.prlimit(processes[0], resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
    code, _, err = job.wait(LONG)
    assert code == 1, f"{code}: {err}"
    assert "rank 0" in err and "cannot write" in err, err
    resumes(place, checkpoint, 2)


def other_data(place):
    """Data that differs on one rank alone is an error that names it."""
    dense(place)
    other = Place(place.folder / "other")
    for samples, what in ((400, "the training data"), (399, "the number of samples")):
        other.arrays((samples, 12), (samples,), 3, seed=2)
        programs = [[OPTIONS.brasa]] * 2 + [["--wdir", str(other.folder), OPTIONS.brasa]]
        arguments = ["train", str(place.folder / "small.toml"), "--out", "run", "--quiet", "--distributed"]
        code, _, err = Job(command(3, programs, arguments), place.folder).wait(LONG)
        assert code == 1, f"{code}: {err}"
        assert f"rank 2: {what} differ" in err, err


def answers(place):
    """`evaluate` and `predict` write what one process writes."""
    dense(place)
    place.alone("train", "small.toml", "--out", "run", "--quiet", "--epochs", 2)
    save_npy(place.folder / "new.npy", (43, 12), numbers(43 * 12, 9))
    (place.folder / "new.csv").write_text(
        "".join(",".join(map(str, numbers(12, 20 + row))) + "\n" for row in range(29)) + "1,2\n"
    )
    commands = {
        "evaluate": ["evaluate", "run", "--batch-size", "16"],
        "evaluate --json": ["evaluate", "run", "--batch-size", "16", "--json"],
        "predict": ["predict", "run", "new.npy", "--batch-size", "4"],
        "predict --json": ["predict", "run", "new.npy", "--batch-size", "4", "--json"],
    }
    for name, arguments in commands.items():
        alone = place.alone(*arguments, "--threads", 1)
        for ranks in (1, 3):
            got = place.together(ranks, *arguments, "--threads", 1)
            # Sums over ranks differ by rounding.
            seen = rounded if name.startswith("evaluate") else str
            assert seen(got) == seen(alone), f"{name}, {ranks} ranks:\n{got}\nalone:\n{alone}"
    for output in ("y.csv", "y.jsonl", "y.npz"):
        arguments = ["predict", "run", "new.npy", "--batch-size", "4", "--threads", "1", "--output"]
        place.alone(*arguments, f"alone_{output}")
        place.together(3, *arguments, output)
        read = lambda name: (place.folder / name).read_bytes()
        if not output.endswith("npz"):
            assert read(output) == read(f"alone_{output}"), output
    arguments = ["predict", "run", "--input", "new.npy", "--batch-size", "4", "--threads", "1", "--output"]
    place.alone(*arguments, "alone.npy")
    for ranks in (2, 4):
        place.together(ranks, *arguments, "together.npy")
        assert load_npy(place.folder / "together.npy") == load_npy(place.folder / "alone.npy")
    # What cannot be read is reported in its place, and the exit code says so.
    code, out, err = place.start(3, "predict", "run", "new.csv", "--json", "--batch-size", "4", "--quiet").wait(LONG)
    found = json.loads(out)
    assert code == 1 and len(found) == 30, f"{code}: {err}"
    assert [index for index, one in enumerate(found) if "error" in one] == [29], found
    code, _, err = place.start(2, "predict", "run", "-").wait(LONG)
    assert code == 1 and "standard input" in err, err


def rounded(text):
    """A text with its numbers rounded."""
    words = text.replace(",", " , ").replace(":", " : ").replace("}", " }").replace("]", " ]").replace("[", "[ ").split()

    def word(one):
        try:
            return f"{float(one):.4f}"
        except ValueError:
            return one

    return [word(one) for one in words]


def bench(place):
    """`bench --distributed` prints what the guide says, and the efficiency by a baseline."""
    dense(place)
    arguments = ["bench", "small.toml", "--batch-size", "32,64", "--seconds", "0.1", "--repetitions", "2", "--threads", 1]
    alone = place.together(1, *arguments, "--json")
    (place.folder / "one.json").write_text(alone)
    found = json.loads(place.together(2, *arguments, "--json", "--baseline", "one.json"))
    assert [one["batch_size"] for one in found] == [32, 64]
    weights = 12 * 32 + 32 + 32 * 3 + 3
    for one in found:
        assert one["ranks"] == 2 and one["efficiency"] > 0 and one["lag_milliseconds"] >= 0, one
        # Which of the two is less depends on clocks: ranks that compute equally long take turns at being the slowest.
        assert 0 < one["exchanging_slowest"] < 1 and 0 < one["exchanging"] < 1, one
        # The gradients, and a few numbers more.
        assert 4 * weights < one["bytes_per_step"] < 4 * weights + 200, one
        assert abs(one["samples_per_second"] / one["samples_per_second_per_rank"] - 2) < 1e-9, one
    guide = (ROOT / "docs" / "guide" / "distributed.md").read_text()
    for key in found[0]:
        assert f"`{key}`" in guide, f"the guide does not name {key}"
    table = place.together(2, *arguments)
    assert "exchanging" in table and len(table.splitlines()) == 3, table
    for refused in (["--task", "predict"], ["--layers"]):
        code, _, err = place.start(1, *arguments, *refused).wait(LONG)
        assert code == 1 and refused[0] in err, err


def pace(place):
    """`train -v` says which rank is the slowest."""
    dense(place)
    code, _, err = place.start(2, "train", "small.toml", "--epochs", 1, "--out", "run", "-v").wait(LONG)
    assert code == 0, err
    assert "a step of 2 ranks takes" in err and "is the slowest" in err, err


TESTS = [
    notebook,
    synchronized,
    by_parts,
    one_sample,
    masks,
    killed,
    stopped,
    signals,
    full_disk,
    other_data,
    answers,
    bench,
    pace,
]


def main():
    global OPTIONS
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("brasa", type=pathlib.Path)
    parser.add_argument("--only", default="")
    parser.add_argument("--kills", type=int, default=6)
    parser.add_argument("--seed", type=int, default=1)
    OPTIONS = parser.parse_args()
    OPTIONS.brasa = str(OPTIONS.brasa.resolve())
    if shutil.which("mpirun") is None:
        print("SKIPPED: there is no mpirun (Debian: openmpi-bin)")
        return 0
    failed = []
    for test in TESTS:
        if OPTIONS.only not in test.__name__:
            continue
        begin = time.monotonic()
        print(f"{test.__name__}: {test.__doc__}", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            try:
                test(Place(folder))
                print(f"    ok, {time.monotonic() - begin:.1f} s", flush=True)
            except AssertionError as error:
                print(f"    FAILED: {error}", flush=True)
                failed.append(test.__name__)
    if failed:
        print(f"{len(failed)} failed: {', '.join(failed)}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
