"""Round trips of files between Brasa and Keras for every layer and every optimizer.

    python3 tests/keras/roundtrip.py [--versions 3.15.1,3.3.3] [--keep DIR]

Brasa (examples/roundtrip.rs) saves a model of each layer class and of each optimizer as `.keras`, `.h5`, `.weights.h5`
and `.json`, after two training steps. Each Keras, in its own virtual environment in the user's cache, loads them,
compares predictions, trains two more steps and compares the losses, then saves the models itself; Brasa loads those and
compares. Exits with 1 if anything differs or is rejected.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import environment

# Predictions, relative to the largest value; chains of steps accumulate more rounding.
TOLERANCE, RECURRENT = 1e-6, 1e-5
# Losses after a step with gradients, which are summed in another order.
LOSSES = 1e-4

# Known differences, by version: the beginning of a problem's line, and the behaviour of that Keras.
SINGULAR = "on JAX the kernel stays and the gradient goes through the singular value; on TensorFlow and PyTorch as here"
CYCLE = "in a model, Keras takes the layer's output for its input, and refuses the cycle"
PENALTY = "the penalty of an activity regularizer is not divided by the batch's size, as 3.15 does"
KNOWN = {
    "3.15.1": {
        "SpectralNormalization_1 losses": SINGULAR,
        "Equalization_0": CYCLE,
        "Equalization_1": CYCLE,
        "Pipeline_2": "a pipeline without layers has no output",
        "optimizer_lamb.h5": "`keras.optimizers.deserialize`, which opens this form, does not list Lamb",
    },
    "3.3.3": {
        "SpectralNormalization_1 losses": SINGULAR,
        "Dense_2 losses": PENALTY,
        "Conv2D_5 losses": PENALTY,
        "Embedding_1 losses": "on JAX the mask does not reach the loss",
        "Conv2DTranspose_2.": "refuses an `output_padding` of 0",
        "ZeroPadding1D_1.": "has no argument `data_format`",
        "Resizing_3.": "has no argument `antialias`",
        "Discretization_4.": "refuses to count an input of rank 3, which 3.15 takes",
        "CategoryEncoding_2.": "declares (batch, tokens) for one number a sample and computes (batch, 1, tokens)",
        "optimizer_nadam.": "makes `u_product` before the slots, 3.15 after them: neither opens the other's state",
    },
}
# Files of Keras that are not loaded here again, with the reason.
OTHER = {
    "3.3.3": {
        "Conv2DTranspose_1": "does not write `output_padding`",
        "CategoryEncoding_2": KNOWN["3.3.3"]["CategoryEncoding_2."],
    }
}


# Keras computes them with TensorFlow, which is not installed; `texts.py` compares them.
TEXTS = {"TextVectorization", "StringLookup", "IntegerLookup", "Hashing", "HashedCrossing"}
# Image and audio layers with other arguments, or missing, before 3.15.
LATER = {
    "AugMix", "AutoContrast", "Equalization", "MelSpectrogram", "Pipeline", "RandAugment", "Solarization",
    "RandomBrightness", "RandomColorDegeneration", "RandomColorJitter", "RandomContrast", "RandomCrop",
    "RandomElasticTransform", "RandomErasing", "RandomFlip", "RandomGaussianBlur", "RandomGrayscale", "RandomHue",
    "RandomInvert", "RandomPerspective", "RandomPosterization", "RandomRotation", "RandomSaturation",
    "RandomSharpness", "RandomShear", "RandomTranslation", "RandomZoom", "STFTSpectrogram",
}


def is_known(problem, version):
    return any(problem.startswith(start) for start in KNOWN.get(version, {}))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--versions", default="3.15.1,3.3.3")
    parser.add_argument("--keep", type=pathlib.Path, help="a folder for the files, which then stay")
    arguments = parser.parse_args()
    failed = False
    with tempfile.TemporaryDirectory() as temporary:
        work = arguments.keep or pathlib.Path(temporary)
        written = work / "brasa"
        written.mkdir(parents=True, exist_ok=True)
        brasa = environment.built("--example", "roundtrip")
        subprocess.run([brasa, "write", written], check=True)
        for version in arguments.versions.split(","):
            own = work / version
            own.mkdir(exist_ok=True)
            worker = [environment.keras(version), __file__, "--worker", written, own]
            variables = {**os.environ, "KERAS_BACKEND": "jax", "TF_CPP_MIN_LOG_LEVEL": "3"}
            failed |= subprocess.run(worker, env=variables).returncode != 0
            failed |= subprocess.run([brasa, "read", own]).returncode != 0
    return int(failed)


# --- inside a virtual environment ---------------------------------------------------------------------------------


def worker(written, own):
    import warnings

    import keras
    import numpy as np

    warnings.filterwarnings("ignore")
    import logging

    logging.disable(logging.WARNING)

    def unknown(about, config):
        """Features that this Keras lacks, such as a layer class of a later version."""
        names = {about["class_name"]} | set(classes(config))
        missing = [n for n in names if n in LAYERS and not (hasattr(keras.layers, n) or hasattr(keras, n))]
        missing += sorted(names & TEXTS)
        if not keras.__version__.startswith("3.15"):
            missing += sorted(names & LATER)
        for key in ("activation", "recurrent_activation"):
            for value in values(config, key):
                try:
                    keras.activations.get(value)
                except ValueError:
                    missing.append(value)
        if about["name"].startswith("optimizer_"):
            known = {n.lower() for n in dir(keras.optimizers)}
            if about["optimizer"] not in known:
                missing.append(about["optimizer"])
        return missing

    def values(config, key):
        if isinstance(config, dict):
            if isinstance(config.get(key), str):
                yield config[key]
            config = list(config.values())
        if isinstance(config, list):
            for value in config:
                yield from values(value, key)

    def classes(config):
        return values(config, "class_name")

    def difference(found, expected):
        if np.shape(found) != np.shape(expected):
            return float("inf")
        scale = max(1e-3, float(np.max(np.abs(expected), initial=0.0)))
        return float(np.max(np.abs(np.asarray(found) - expected), initial=0.0)) / scale

    index = json.loads((written / "index.json").read_text())
    LAYERS = {about["class_name"] for about in index}
    version = keras.__version__
    unsaved = []
    problems, absent, worst, worst_loss, opened, trained = [], [], 0.0, 0.0, 0, 0
    for about in index:
        name = about["name"]
        config = json.loads((written / f"{name}.json").read_text())
        missing = unknown(about, config)
        if missing:
            absent.append(f"{name} ({', '.join(missing)})")
            continue
        load = lambda kind: np.load(written / f"{name}.{kind}.npy")
        x, y, expected = load("x"), load("y"), load("predicted")
        tolerance = RECURRENT if about["recurrent"] else TOLERANCE
        for form in ("keras", "h5", "weights.h5"):
            try:
                if form == "weights.h5":
                    model = keras.models.model_from_json((written / f"{name}.json").read_text())
                    model.load_weights(written / f"{name}.weights.h5")
                else:
                    model = keras.models.load_model(written / f"{name}.{form}")
                found = np.asarray(model(x, training=False))
            except Exception as error:
                problems.append(f"{name}.{form}: {type(error).__name__}: {str(error)[:300]}")
                continue
            opened += 1
            off = difference(found, expected)
            if not is_known(f"{name}.{form}", version):
                worst = max(worst, off)
            if not off <= tolerance:
                problems.append(f"{name}.{form}: predictions differ by {off:.1e}")
            # Keras restores no optimizer slots from `.h5`.
            if form != "keras":
                continue

            def train():
                losses = []
                for _ in range(2):
                    # Early versions report the mean since the last reset.
                    model.reset_metrics()
                    losses.append(float(np.asarray(model.train_on_batch(x, y)).ravel()[0]))
                return np.array(losses, "float32")

            try:
                if about["trains"]:
                    losses = train()
                    if not about["draws"]:
                        trained += 1
                        off = difference(losses, np.array(about["losses"]))
                        if not is_known(f"{name} losses", version):
                            worst_loss = max(worst_loss, off)
                        if not off <= LOSSES:
                            problems.append(f"{name} losses: {losses} where Brasa has {about['losses']}")
                saved = []
                for ending in ("keras", "h5") if name not in OTHER.get(version, {}) else ():
                    path = own / f"{name}_{ending}.{ending}"
                    try:
                        model.save(path)
                        saved.append(path)
                    except Exception as error:
                        # Keras cannot save some of its own models in the legacy format.
                        unsaved.append(f"{name}.{ending} ({type(error).__name__}: {str(error)[:80]})")
                        path.unlink(missing_ok=True)
                after = {"x": x, "predicted": np.asarray(model(x, training=False))}
                if about["trains"] and not about["draws"] and not is_known(f"{name} losses", version):
                    after |= {"y": y, "losses": train()}
                for path in saved:
                    for kind, array in after.items():
                        np.save(path.with_suffix(f".{kind}.npy"), array)
            except Exception as error:
                problems.append(f"{name}: {type(error).__name__}: {str(error)[:300]}")
    known = [problem for problem in problems if is_known(problem, version)]
    problems = [problem for problem in problems if problem not in known]
    for start in KNOWN.get(version, {}):
        if not any(problem.startswith(start) for problem in known):
            problems.append(f"{start}: listed as a known difference, and there is none")
    print(f"Keras {version}: {opened} files of {len(index) - len(absent)} models opened, largest difference {worst:.1e};")
    print(f"  {trained} models trained on, largest difference of losses {worst_loss:.1e}; {len(problems)} problems, {len(known)} known differences")
    if unsaved:
        print(f"  not saved by Keras itself: {'; '.join(unsaved)}")
    if absent:
        print(f"  not in this Keras: {'; '.join(absent)}")
    for problem in problems:
        print(f"  {problem}")
    return int(bool(problems))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        sys.exit(worker(pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])))
    sys.exit(main())
