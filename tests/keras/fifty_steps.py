"""The loss of each of 50 training steps of the runs in `goldens.json`, from Keras: `fixtures/goldens/steps.json`.

    pip install keras==3.15.1 jax
    python tests/keras/fifty_steps.py

Model, weights, batches and optimizer are those recorded in the group `misc`; the batches are repeated in order.
"""

import json
import os
from pathlib import Path

os.environ["KERAS_BACKEND"] = "jax"

import keras
import numpy as np

GOLDENS = Path(__file__).parent.parent / "fixtures" / "goldens"
STEPS = 50


def load(path):
    """The tensors of a safetensors file: a length, a JSON header, the data."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    types = {"F32": np.float32, "I32": np.int32, "U8": np.uint8}
    tensors = {}
    for name, entry in json.loads(data[8 : 8 + length]).items():
        start, end = (8 + length + offset for offset in entry["data_offsets"])
        tensors[name] = np.frombuffer(data[start:end], types[entry["dtype"]]).reshape(entry["shape"])
    return tensors


def main():
    tensors = load(GOLDENS / "goldens.safetensors")
    runs = json.loads((GOLDENS / "goldens.json").read_text())["misc"]
    curves = {}
    for name, run in runs.items():
        model = keras.models.model_from_json(json.dumps(run["config"]))
        model.set_weights([tensors[f"train/{name}/init{i}"] for i in range(len(run["weights"]))])
        model.compile_from_config(run["compile"])
        x, y, size = tensors[f"train/{name}/x"], tensors[f"train/{name}/y"], run["batch_size"]
        starts = list(range(0, len(x), size))
        curves[name] = []
        for step in range(STEPS):
            start = starts[step % len(starts)]
            logs = model.train_on_batch(x[start : start + size], y[start : start + size], return_dict=True)
            curves[name].append(float(logs["loss"]))
    (GOLDENS / "steps.json").write_text(json.dumps(curves, indent=0) + "\n")


main()
