"""Two training steps from each saved model, from Keras: `fixtures/models/steps.json`.

    pip install keras==3.15.1 jax
    python tests/keras/two_steps.py

Random layers (dropout, noise) are disabled in the file's config before it is loaded, as in the test.
"""

import json
import os
import tempfile
import zipfile
from pathlib import Path

os.environ["KERAS_BACKEND"] = "jax"

import keras
import numpy as np

RANDOM = {"Dropout", "SpatialDropout1D", "SpatialDropout2D", "GaussianNoise", "GaussianDropout", "AlphaDropout"}
MODELS = Path(__file__).parent.parent / "fixtures" / "models"


def without_chance(source, target):
    """Copies a model's file with all rates of random layers set to 0."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for member in old.namelist():
            data = old.read(member)
            if member == "config.json":
                config = json.loads(data)
                for layer in config["config"]["layers"]:
                    if layer["class_name"] in RANDOM:
                        key = "stddev" if layer["class_name"] == "GaussianNoise" else "rate"
                        layer["config"][key] = 0.0
                data = json.dumps(config).encode()
            new.writestr(member, data)


def main():
    steps = {}
    with tempfile.TemporaryDirectory() as folder:
        for path in sorted(MODELS.glob("*.keras")):
            copy = Path(folder) / path.name
            without_chance(path, copy)
            model = keras.saving.load_model(copy)
            x = np.load(path.with_suffix(".npz"))["x"]
            y = np.load(path.with_name(path.stem + "_target.npz"))["y_true"]
            logs = [model.train_on_batch(x, y, return_dict=True) for _ in range(2)]
            logs.append(model.test_on_batch(x, y, return_dict=True))
            steps[path.stem] = [{name: float(value) for name, value in log.items()} for log in logs]
    (MODELS / "steps.json").write_text(json.dumps(steps, indent=1) + "\n")


main()
