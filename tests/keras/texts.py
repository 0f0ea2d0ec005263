"""Models with text inputs: saved by Keras, converted by Brasa and loaded by Keras again.

    python3 tests/keras/texts.py [--brasa target/debug/brasa]

Each file in `fixtures/text` is converted to `.keras` and `.h5` by Brasa. Keras, on TensorFlow, loads both and must give
the same predictions; a vocabulary learned by `adapt` can still be replaced by `adapt`. The classifier then trains one
step from the original file and from Brasa's, to the same loss. Exits with 1 if anything differs.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

FIXTURES = pathlib.Path(__file__).resolve().parents[1] / "fixtures" / "text"


def main():
    import environment

    parser = argparse.ArgumentParser()
    parser.add_argument("--brasa", type=pathlib.Path, help="the program; without it, it is built")
    arguments = parser.parse_args()
    brasa = (arguments.brasa or pathlib.Path(environment.built("--bin", "brasa"))).resolve()
    python = environment.keras_on("tensorflow")
    variables = {**os.environ, "KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    sys.exit(subprocess.run([python, __file__, "compare", brasa], env=variables).returncode)


def compare(brasa):
    import keras
    import numpy as np
    import tensorflow as tf

    def tensor(rows):
        return tf.constant(rows) if isinstance(rows[0][0], str) else np.array(rows)

    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        for path in sorted(FIXTURES.glob("*.keras")):
            case = json.loads(path.with_suffix(".json").read_text())
            several = path.stem == "hashed_crossing"
            x = [tensor(rows) for rows in case["x"]] if several else tensor(case["x"])
            for form in ["keras", "h5"]:
                written = pathlib.Path(folder) / f"{path.stem}.{form}"
                subprocess.run([brasa, "convert", path, written], check=True, capture_output=True)
                try:
                    model = keras.models.load_model(written)
                    difference = np.abs(model.predict(x, verbose=0) - np.array(case["y"])).max()
                    found = f"off by {difference:.1e}"
                    if difference > 1e-5:
                        wrong += 1
                        found += " WRONG"
                    if form == "keras" and path.stem == "text_classifier":
                        data = tf.constant([["one two"], ["three"]]), np.array([[0.0], [1.0]])
                        losses = [keras.models.load_model(own).train_on_batch(*data)[0] for own in [path, written]]
                        found += f", a step's loss {losses[0]:.7f} and {losses[1]:.7f}"
                        wrong += abs(losses[0] - losses[1]) > 1e-6
                        model.layers[0].adapt(["x y", "x"])
                        wrong += model.layers[0].get_vocabulary() != ["", "[UNK]", "x", "y"]
                except Exception as error:
                    wrong += 1
                    found = f"{type(error).__name__}: {str(error)[:300]} WRONG"
                print(f"{written.name}: {found}")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    compare(sys.argv[2]) if sys.argv[1:2] == ["compare"] else main()
