"""Keras's own layer tests, replayed in Brasa.

    python3 tests/keras/suite.py --brasa target/debug/brasa [--backend tensorflow|jax] [--only rnn,pooling] [--work DIR]

Keras's wheel includes its tests. They run under pytest with `run_layer_test` and `Layer.__call__` wrapped: config,
weights, input and output of every layer that is called on arrays are recorded. Each record becomes a Sequential of that
layer; Brasa predicts, and the outputs are compared; Brasa saves the model, Keras loads it, and config and weights are
compared. The summary counts `agree`; `documented` (rejected, as in `src/differences.md`); `left out` (anything but a
Sequential of one layer: several inputs, samples without a batch, a state); `wrong`. Exits with 1 if any is wrong.
"""

import argparse
import collections
import hashlib
import json
import os
import pathlib
import pickle
import re
import subprocess
import sys
import tempfile
import warnings

DIRECTORIES = "activations convolutional core normalization pooling preprocessing regularization reshaping rnn".split()
# Among the preprocessing tests; the rest needs other packages.
PREPROCESSING = (
    "category_encoding_test discretization_test normalization_test rescaling_test center_crop_test resizing_test"
)
# Layers that also accept a sample without a batch: the smallest rank with a batch.
UNBATCHED = {"Resizing": 4, "CenterCrop": 4, "CategoryEncoding": 2}
TOLERANCE, CHAINS = 1e-5, 1e-4
MOST_VALUES = 2_000_000


def main():
    import environment

    parser = argparse.ArgumentParser()
    parser.add_argument("--brasa", type=pathlib.Path, help="the program; without it, it is built")
    parser.add_argument("--backend", default="tensorflow", choices=["tensorflow", "jax"])
    parser.add_argument("--only", default=",".join(DIRECTORIES), help="directories of Keras's tests of layers")
    parser.add_argument("--work", help="a folder for the records and for what is found, which then stays")
    arguments = parser.parse_args()
    brasa = (arguments.brasa or pathlib.Path(environment.built("--bin", "brasa"))).resolve()
    # Tests of preprocessing use TensorFlow with any backend.
    python = environment.keras_on(arguments.backend, "tensorflow", "pytest")
    variables = {
        **os.environ,
        "KERAS_BACKEND": arguments.backend,
        "CUDA_VISIBLE_DEVICES": "",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    with tempfile.TemporaryDirectory() as temporary:
        work = pathlib.Path(arguments.work or temporary).resolve()
        for name in arguments.only.split(","):
            subprocess.run(
                [python, __file__, "record", work / "records", name], env=variables, stderr=subprocess.DEVNULL
            )
        replay = [python, __file__, "replay", work, brasa]
        return subprocess.run(replay, env=variables, stderr=subprocess.DEVNULL).returncode


# --- recording ----------------------------------------------------------------------------------------------------


class Recorder:
    """Records each call of a layer on arrays, once, in its own file."""

    def __init__(self, folder):
        import keras
        from keras.src.testing import test_case

        self.folder, self.depth, self.keras, self.create = folder, 0, keras, test_case.create_eager_tensors
        folder.mkdir(parents=True, exist_ok=True)
        self.call = keras.src.layers.layer.Layer.__call__
        recorder = self

        def __call__(layer, *arguments, **named):
            recorder.depth += 1
            try:
                output = recorder.call(layer, *arguments, **named)
            finally:
                recorder.depth -= 1
            if recorder.depth == 0 and len(arguments) == 1:
                recorder.note(layer, arguments[0], named, output)
            return output

        def run_layer_test(test, layer_cls, init_kwargs, input_shape=None, input_dtype=None, input_data=None, **other):
            """Only calls the layer: Keras's other checks are irrelevant here."""
            if input_shape is None and input_data is None or other.get("call_kwargs") or other.get("input_sparse"):
                return
            if input_data is None:
                input_data = recorder.create(input_shape, input_dtype or "float32", False, False)
            if not isinstance(input_data, (dict, list, tuple)):
                layer_cls(**init_kwargs)(input_data)

        keras.src.layers.layer.Layer.__call__ = __call__
        test_case.TestCase.run_layer_test = run_layer_test

    def note(self, layer, x, named, output):
        import numpy as np

        named = {key: value for key, value in named.items() if value is not None and value is not False}
        module = layer.__module__
        if named or getattr(x, "_keras_mask", None) is not None:
            return
        # Layers of the tests themselves, and models with branches, are not compared here.
        if not module.startswith("keras.src.layers.") or module.endswith("_test"):
            return
        try:
            x, output = (np.asarray(self.keras.ops.convert_to_numpy(value)) for value in (x, output))
            weights = [np.asarray(weight) for weight in layer.get_weights()]
            config = json.dumps(self.keras.saving.serialize_keras_object(layer), sort_keys=True)
        except Exception:
            # Symbols, several outputs, functions in a config.
            return
        if x.dtype.kind not in "fiub" or output.dtype.kind not in "fiub" or x.size > MOST_VALUES:
            return
        record = {"class": type(layer).__name__, "config": config, "weights": weights, "x": x, "output": output}
        record["test"] = os.environ.get("PYTEST_CURRENT_TEST", "").split("/")[-1]
        same = pickle.dumps([without_names(json.loads(config)), weights, x])
        (self.folder / f"{type(layer).__name__}-{hashlib.sha256(same).hexdigest()[:16]}").write_bytes(
            pickle.dumps(record)
        )


def without_names(config):
    if isinstance(config, dict):
        return {key: without_names(value) for key, value in config.items() if key not in ("name", "shared_object_id")}
    return [without_names(value) for value in config] if isinstance(config, list) else config


def record(folder, name):
    import types

    # Some tests import the first for data sets; the second is not in the wheel.
    sys.modules.setdefault("grain", types.ModuleType("grain"))
    conftest = sys.modules["conftest"] = types.ModuleType("conftest")
    conftest.skip_if_backend = lambda *_: lambda test: test
    import keras
    import pytest

    tests = pathlib.Path(keras.__file__).parent / "src" / "layers" / name
    files = sorted(str(path) for path in tests.rglob("*_test.py"))
    if name == "preprocessing":
        files = [file for file in files if pathlib.Path(file).stem in PREPROCESSING.split()]
    Recorder(folder)
    keras.config.disable_traceback_filtering()
    return pytest.main(["-q", "--no-header", "--tb=no", "-p", "no:cacheprovider", "-p", "no:warnings", *files])


# --- replaying ----------------------------------------------------------------------------------------------------


def replay(work, brasa):
    verdicts, whys = collections.Counter(), collections.Counter()
    for path in sorted((work / "records").iterdir()):
        record = pickle.loads(path.read_bytes())
        folder = work / "cases" / path.name
        verdict, why = judged(record, folder, brasa)
        verdicts[verdict] += 1
        if verdict != "agree":
            whys[verdict, record["class"], why[:160]] += 1
        if verdict == "wrong":
            print(f"{path.name} ({record['test']}): {why[:300]}", flush=True)
    print(
        f"{sum(verdicts.values())} records: " + ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items())
    )
    for (verdict, name, why), count in sorted(whys.items()):
        print(f"  {verdict}: {count} {name}: {why}")
    return int(verdicts["wrong"] > 0)


def judged(record, folder, brasa):
    import keras
    import numpy as np
    from agreement import Refused, brief, changed_by_convert, distance, documented, largest, run, same

    # Brasa's dtypes: float64 in the tests is incidental.
    x = record["x"].astype("float32" if record["x"].dtype.kind == "f" else "int32")
    right = record["output"].astype(float)
    if x.ndim < UNBATCHED.get(record["class"], 0):
        return "left out", "one sample, without a batch"
    if re.search(r"(One|Two)States?RNNCell", record["config"]):
        return "left out", "a cell of the test's own, in Python"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        layer = keras.saving.deserialize_keras_object(json.loads(record["config"]))
        model = keras.Sequential([keras.Input(x.shape[1:], dtype=x.dtype.name), layer])
        model.set_weights(record["weights"])
        again = np.asarray(keras.ops.convert_to_numpy(model(x, training=False)), float)
        model.save(folder / "m.keras")
    except Exception as error:
        return "left out", f"no Sequential: {type(error).__name__}"
    if np.shape(again) != np.shape(right) or not same(again, right, 1e-6 * max(1.0, largest(right))):
        return "left out", "as a Sequential it computes something else in Keras too"
    np.save(folder / "x.npy", x)
    try:
        run(brasa, folder, "predict", "m.keras", "--input", "x.npy", "--output", "y.npy")
        run(brasa, folder, "convert", "m.keras", "back.keras")
    except Refused as error:
        row = documented(error)
        return ("documented", row) if row else ("wrong", f"refused: {error}")
    found = np.load(folder / "y.npy")
    recurrent = any(name in record["config"] for name in ("LSTM", "GRU", "RNN"))
    allowed = (CHAINS if recurrent else TOLERANCE) * max(1e-3, largest(right))
    if found.shape != right.shape:
        return "wrong", f"shape {found.shape}, not {right.shape}"
    if not same(found, right, allowed):
        # Keras's own result for inputs perturbed in the seventh digit.
        moved = x * (1 + 1e-7 * np.random.default_rng(0).normal(size=x.shape)).astype("float32")
        allowed += 20 * distance(np.asarray(keras.ops.convert_to_numpy(model(moved, training=False))), right)
    if not same(found, right, allowed):
        return "wrong", f"{brief(found)} where Keras has {brief(right)}, off by {distance(found, right):.2g}"
    changes = changed_by_convert(folder)
    return ("wrong", changes[0]) if changes else ("agree", "")


if __name__ == "__main__":
    if sys.argv[1:2] in (["record"], ["replay"]):
        warnings.filterwarnings("ignore")
        # Last in the path: Keras's tests and TensorFlow's `tensorboard` are meant, not the files of these names here.
        sys.path.append(sys.path.pop(0))
        run_part = {"record": record, "replay": replay}[sys.argv[1]]
        sys.exit(run_part(pathlib.Path(sys.argv[2]), sys.argv[3]))
    sys.exit(main())
