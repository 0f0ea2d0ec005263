"""The networks of `keras.applications`, computed by Keras and by Brasa.

    python3 tests/keras/applications.py [--brasa target/debug/brasa] [--only MobileNetV2,VGG16 | --small]

Each network is made small (few pixels, seven classes) with random weights and random statistics of its batch
normalizations. Brasa loads Keras's file, predicts, and saves the model in its own format, which Keras loads and
predicts with; both agree with Keras's predictions to 1e-4 of the largest. A training step without dropout has Keras's
loss. `--small` omits the slow networks: it is what CI runs. Exits with 1 if anything differs.

The Python that runs this is used if it has Keras 3.15.1 and JAX; otherwise a virtual environment is created.
"""

import argparse
import csv
import os
import pathlib
import subprocess
import sys
import tempfile

import environment

# The image size for each family; every member of a family has the same layers. Where the last batch normalizations
# would have one cell, Keras's loss on JAX differs from that on TensorFlow: there the size is larger.
NETWORKS = {
    "ConvNeXtTiny": 32,
    "ConvNeXtBase": 32,
    "DenseNet121": 32,
    "DenseNet201": 32,
    "EfficientNetB0": 96,
    "EfficientNetB3": 96,
    "EfficientNetV2B0": 96,
    "EfficientNetV2S": 32,
    "InceptionResNetV2": 75,
    "InceptionV3": 139,
    "MobileNet": 32,
    "MobileNetV2": 32,
    "MobileNetV3Small": 32,
    "MobileNetV3Large": 32,
    "NASNetMobile": 32,
    "ResNet50": 32,
    "ResNet152": 64,
    "ResNet50V2": 64,
    "VGG16": 32,
    "VGG19": 32,
    "Xception": 71,
}
SMALL = ["MobileNet", "MobileNetV2", "MobileNetV3Small"]
TOLERANCE = 1e-4


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--brasa", type=pathlib.Path, help="the program; without it, it is built")
    parser.add_argument("--only", default=",".join(NETWORKS))
    parser.add_argument("--small", action="store_true")
    arguments = parser.parse_args()
    python = environment.keras_on("jax")
    brasa = (arguments.brasa or pathlib.Path(environment.built("--bin", "brasa"))).resolve()
    names = SMALL if arguments.small else arguments.only.split(",")
    unknown = set(names) - set(NETWORKS)
    if unknown:
        sys.exit(f"no such network: {', '.join(sorted(unknown))}; there are {', '.join(NETWORKS)}")
    variables = {**os.environ, "KERAS_BACKEND": "jax", "CUDA_VISIBLE_DEVICES": "", "BRASA_CASE": "1"}
    failed = 0
    for name in names:
        # Each in its own process, which releases its memory.
        failed += subprocess.run([python, __file__, name, brasa], env=variables).returncode != 0
    print(f"{len(names)} networks, {failed} with problems")
    return failed > 0


def case(name, brasa):
    import keras
    import numpy as np

    keras.utils.set_random_seed(3)
    side = NETWORKS[name]
    model = getattr(keras.applications, name)(weights=None, input_shape=(side, side, 3), classes=7)
    randomize(model, np.random.default_rng(5))
    random = np.random.default_rng(7)
    x = random.uniform(0, 255, (4, side, side, 3)).astype("float32")
    y = random.integers(0, 7, 4).astype("float32")
    for layer in model.layers:
        for rate in ["rate", "drop_path_rate"]:
            if hasattr(layer, rate):
                setattr(layer, rate, 0.0)
    model.compile(keras.optimizers.SGD(1e-3), "sparse_categorical_crossentropy")
    problems = []
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        model.save("keras.keras")
        # Loading lets a Normalization take over weights that were assigned.
        model = keras.saving.load_model("keras.keras")
        np.save("x.npy", x)
        np.savez("d.npz", x=x, y=y)
        expected = model.predict(x, verbose=0)
        run(brasa, "predict", "keras.keras", "--input", "x.npy", "--output", "y.npy")
        compare(problems, "predictions", np.load("y.npy"), expected)
        run(brasa, "convert", "keras.keras", "brasa.keras")
        back = keras.saving.load_model("brasa.keras")
        compare(problems, "predictions of the file that Brasa wrote", back.predict(x, verbose=0), expected)
        options = ["--epochs", "1", "--batch-size", "4", "--no-shuffle", "--out", "run", "-q"]
        run(brasa, "train", "--model", "keras.keras", "--data", "d.npz", *options)
        with open("run/history.csv") as table:
            loss = float(next(csv.DictReader(table))["loss"])
        compare(problems, "the loss of a step", np.array(loss), np.array(float(model.train_on_batch(x, y))))
        os.chdir("/")
    said = "; ".join(problems) or "agrees"
    print(f"{name}: {model.count_params():,} parameters: {said}", flush=True)
    return bool(problems)


def randomize(model, random):
    """Weights that keep activations of order 1, and moving statistics that differ from those of a new model."""
    for layer in model.layers:
        for weight in getattr(layer, "weights", []):
            name, shape = weight.path.split("/")[-1], weight.shape
            if name in ("moving_variance", "gamma"):
                weight.assign(random.uniform(0.5, 1.5, shape))
            elif name in ("moving_mean", "beta", "bias"):
                weight.assign(random.normal(0, 0.1, shape))
            elif len(shape) == 1 or not shape:
                weight.assign(random.uniform(0.1, 1.0, shape))


def compare(problems, what, value, expected):
    import numpy as np

    if value.shape != expected.shape:
        problems.append(f"{what}: shape {value.shape} where Keras has {expected.shape}")
        return
    worst = float(np.max(np.abs(value - expected))) / max(1e-30, float(np.max(np.abs(expected))))
    if not worst <= TOLERANCE:
        problems.append(f"{what}: off by {worst:.2g}")


def run(brasa, *arguments):
    done = subprocess.run([brasa, *arguments], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"brasa {' '.join(arguments)}: {done.stderr.strip()[-500:]}")


if __name__ == "__main__":
    sys.exit(case(sys.argv[1], sys.argv[2]) if os.environ.get("BRASA_CASE") else main())
