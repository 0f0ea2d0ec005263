"""Reads the event files that the callback writes with the real TensorBoard.

    python3 tests/keras/tensorboard.py

Trains a small recipe, reads the files with TensorBoard's own reader and compares the scalars with the run's history.
TensorBoard is installed from PyPI into a virtual environment in the user's cache.
"""

import csv
import io
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

RECIPE = """
[data]
dataset = "npz"
path = "xy.npz"
validation_split = 0.25

[[layers]]
class_name = "Dense"
units = 4
activation = "relu"
input_shape = [3]

[[layers]]
class_name = "Dense"
units = 2
activation = "softmax"

[compile]
optimizer = { class_name = "Adam", learning_rate = 0.01 }
loss = "sparse_categorical_crossentropy"
metrics = ["accuracy"]

[fit]
epochs = 3
batch_size = 10
seed = 1

[[callbacks]]
class_name = "TensorBoard"
log_dir = "logs"
histogram_freq = 2
update_freq = 5
write_steps_per_second = true
"""


def npz(path, **arrays):
    import numpy as np

    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            data = io.BytesIO()
            np.save(data, array)
            archive.writestr(name + ".npy", data.getvalue())


def read(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"tensors": 0, "scalars": 0, "histograms": 0})
    events.Reload()
    return events


def scalars(events, tag):
    from tensorboard.util import tensor_util

    return [(event.step, float(tensor_util.make_ndarray(event.tensor_proto))) for event in events.Tensors(tag)]


def same(name, seen, expected):
    assert len(seen) == len(expected), (name, seen, expected)
    for (step, value), (expected_step, number) in zip(seen, expected):
        assert step == expected_step and abs(value - number) <= 1e-6 * max(1.0, abs(number)), (name, seen, expected)
    print(f"ok  {name}: {[round(value, 4) for _, value in seen]}")


def worker(brasa):
    import numpy as np
    from tensorboard.plugins.graph import keras_util
    from tensorboard.util import tensor_util

    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        numbers = np.random.default_rng(1)
        x = numbers.normal(size=(120, 3)).astype("float32")
        npz(folder / "xy.npz", x=x, y=(x[:, 0] > x[:, 1]).astype("float32"))
        (folder / "small.toml").write_text(RECIPE)
        subprocess.run([brasa, "train", "small.toml", "--out", "run", "--quiet"], cwd=folder, check=True)
        with open(folder / "run" / "history.csv") as table:
            rows = list(csv.DictReader(table))
        history = {name: [(int(row["epoch"]), float(row[name])) for row in rows] for name in rows[0] if name != "epoch"}

        train, validation = read(folder / "logs" / "train"), read(folder / "logs" / "validation")
        for name in ("loss", "accuracy"):
            same(f"train epoch_{name}", scalars(train, f"epoch_{name}"), history[name])
            same(f"validation epoch_{name}", scalars(validation, f"epoch_{name}"), history[f"val_{name}"])
            over_steps = [(9 * (epoch + 1), value) for epoch, value in history[f"val_{name}"]]
            tag = f"evaluation_{name}_vs_iterations"
            same(f"validation {tag}", scalars(validation, tag), over_steps)
        same("learning rate", scalars(train, "epoch_learning_rate"), [(epoch, 0.01) for epoch in range(3)])
        steps = [step for step, _ in scalars(train, "batch_loss")]
        assert steps == [5, 10, 15, 20, 25], steps
        assert all(value > 0 for _, value in scalars(train, "epoch_steps_per_second"))
        print("ok  batch_loss at the steps", steps)

        weights = {"dense/kernel": 12, "dense/bias": 4, "dense_1/kernel": 8, "dense_1/bias": 2}
        for name, size in weights.items():
            seen = train.Tensors(f"{name}/histogram")
            assert [event.step for event in seen] == [0, 2], seen
            for event in seen:
                bins = tensor_util.make_ndarray(event.tensor_proto)
                assert bins.shape[1] == 3 and bins[:, 2].sum() == size, bins
        print("ok  histograms of", ", ".join(weights))

        plugins = {tag: train.SummaryMetadata(tag).plugin_data.plugin_name for tag in train.Tags()["tensors"]}
        assert plugins["epoch_loss"] == "scalars" and plugins["dense/kernel/histogram"] == "histograms", plugins
        assert plugins["keras"] == "graph_keras_model" and plugins["summary"] == "text", plugins
        told = json.loads(train.Tensors("keras")[0].tensor_proto.string_val[0])
        graph = keras_util.keras_model_to_graph_def(told)
        nodes = [node.name for node in graph.node]
        assert any(node.endswith("dense_1") for node in nodes), nodes
        print("ok  graph with the nodes", nodes)
        summary = train.Tensors("summary")[0].tensor_proto.string_val[0].decode()
        assert "Total params: 26" in summary, summary
        print("ok  summary as text")


def main():
    import environment

    check = "import tensorboard.backend.event_processing.event_accumulator, tensorboard.plugins.graph.keras_util"
    python = environment.python_with("tensorboard", ["tensorboard"], check)
    return subprocess.run([python, __file__, "--worker", environment.built("--bin", "brasa")]).returncode


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        # The package of the same name is meant, not this file.
        sys.path.pop(0)
        worker(sys.argv[2])
    else:
        sys.exit(main())
