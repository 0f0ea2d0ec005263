"""Models as ONNX files, in ONNX Runtime.

    python3 tests/keras/onnx_files.py [--brasa target/debug/brasa] [--keep DIR]

Brasa (examples/onnx.rs) writes a model with each example of a layer, some graphs and Keras's operations; each file is
checked by `onnx.checker`, with its shapes, and computed by ONNX Runtime for one sample and for three, and the outputs
are compared with Brasa's predictions. What Brasa refuses to write has to be in `REFUSED`, with the reason. With `--brasa` the command
line converts a file and predicts, too. Exits with 1 if anything differs.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import environment

# Relative to the largest value.
TOLERANCE = 1e-5

PACKAGES = {"onnx": "1.23.2", "onnxruntime": "1.32.0"}

# The beginning of a model's name, and a part of the reason.
REFUSED = {
    "Lambda": "Lambda in ONNX",
    "ConvLSTM": "in ONNX",
    "Hashing": "texts, or integers",
    "HashedCrossing": "texts, or integers",
    "IntegerLookup": "texts, or integers",
    "AutoContrast": "AutoContrast in ONNX",
    "STFTSpectrogram": "STFTSpectrogram in ONNX",
    "MelSpectrogram": "MelSpectrogram in ONNX",
    "operation_floor_divide": "`FloorDivide`",
    "operation_mod": "`Mod`",
    "operation_integers": "`Mod`",
    "operation_bools_add": "`Multiply`",
    "operation_arctan2": "`Arctan2`",
    "operation_normalize_orders": "`Normalize`",
    "operation_arg": "`Argmax`",
    "operation_get_item_empty": "without elements",
    "operation_roll": "`Roll`",
    "operation_tile": "`Tile`",
    "operation_repeat": "`Repeat`",
    "operation_pad_": "`Pad`",
    "operation_take_flat": "`Take`",
}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--brasa", type=pathlib.Path, help="the command line, to be tried as well")
    parser.add_argument("--keep", type=pathlib.Path, help="a folder for the files, which then stay")
    arguments = parser.parse_args()
    versions = "; ".join(f"assert {name}.__version__ == '{version}'" for name, version in PACKAGES.items())
    packages = [f"{name}=={version}" for name, version in PACKAGES.items()]
    python = environment.python_with("onnx", [*packages, "numpy"], f"import {', '.join(PACKAGES)}; {versions}")
    with tempfile.TemporaryDirectory() as temporary:
        work = arguments.keep or pathlib.Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        subprocess.run([environment.built("--example", "onnx"), work], check=True)
        failed = subprocess.run([python, __file__, "--worker", work]).returncode != 0
        if arguments.brasa:
            failed |= command_line(arguments.brasa.resolve(), python, work)
    return int(failed)


def command_line(brasa, python, work):
    """`convert` to ONNX, and `predict` against ONNX Runtime."""
    recipe = pathlib.Path(environment.ROOT) / "configs" / "smoke.toml"
    subprocess.run([brasa, "train", recipe, "--out", work / "run", "--quiet"], check=True, cwd=environment.ROOT)
    subprocess.run([brasa, "convert", work / "run", work / "run.onnx"], check=True)
    return subprocess.run([python, __file__, "--worker-of", brasa, work]).returncode != 0


# --- inside the virtual environment ---------------------------------------------------------------------------------


def session_of(path):
    import onnx
    import onnxruntime

    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    if {operators.domain: operators.version for operators in model.opset_import} != {"": 17} or model.ir_version != 8:
        raise ValueError(f"IR version {model.ir_version}, {model.opset_import}")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return model, onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def difference(found, expected):
    import numpy as np

    if found.shape != expected.shape:
        raise ValueError(f"an output of {found.shape}, not {expected.shape}")
    if not np.array_equal(np.isnan(found), np.isnan(expected)):
        return np.inf
    scale = max(np.nanmax(np.abs(expected), initial=0.0), 1e-3)
    return float(np.nanmax(np.abs(found - expected), initial=0.0)) / scale


def run(session, inputs):
    types = {"tensor(float)": "float32", "tensor(int32)": "int32", "tensor(int64)": "int64"}
    given = session.get_inputs()
    return session.run(None, {one.name: x.astype(types[one.type]) for one, x in zip(given, inputs)})


def worker(work):
    import numpy as np

    index = json.loads((work / "index.json").read_text())
    problems, refused, worst, operators, listed = [], 0, 0.0, set(), set()
    for about in index:
        name = about["name"]
        if "error" in about:
            start = next((start for start in REFUSED if name.startswith(start)), None)
            refused += 1
            if start is None or REFUSED[start] not in about["error"]:
                problems.append(f"{name}: {about['error']}")
            listed.add(start)
            continue
        try:
            model, session = session_of(str(work / f"{name}.onnx"))
            operators |= {node.op_type for node in model.graph.node}
            names = [one.name for one in session.get_inputs()], [one.name for one in session.get_outputs()]
            if len(names[0]) != about["inputs"] or len(names[1]) != about["outputs"]:
                problems.append(f"{name}: inputs and outputs {names}")
            for batch in range(about["batches"]):
                load = lambda kind, count: [np.load(work / f"{name}.{batch}.{kind}{i}.npy") for i in range(count)]
                found = run(session, load("x", about["inputs"]))
                for one, expected in zip(found, load("y", about["outputs"])):
                    off = difference(one, expected)
                    worst = max(worst, off)
                    if not off <= TOLERANCE:
                        problems.append(f"{name}: differs by {off:.1e} in batch {batch}")
        except Exception as error:
            problems.append(f"{name}: {type(error).__name__}: {str(error)[:300]}")
    problems += [f"{start}: listed as refused, and is not" for start in REFUSED.keys() - listed]
    print(f"{len(index) - refused} ONNX files of {len(operators)} operators, largest difference {worst:.1e};")
    print(f"  {refused} models refused; {len(problems)} problems")
    for problem in problems:
        print(f"  {problem}")
    return int(bool(problems))


def worker_of(brasa, work):
    import numpy as np

    _, session = session_of(str(work / "run.onnx"))
    [given] = session.get_inputs()
    x = np.random.default_rng(3).uniform(0, 1, [3, *given.shape[1:]]).astype("float32")
    np.save(work / "x.npy", x)
    subprocess.run([brasa, "predict", work / "run", work / "x.npy", "--output", work / "y.npy"], check=True)
    off = difference(run(session, [x])[0], np.load(work / "y.npy"))
    print(f"  `brasa convert` and `brasa predict`: difference {off:.1e}")
    return int(not off <= TOLERANCE)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        sys.exit(worker(pathlib.Path(sys.argv[2])))
    if sys.argv[1:2] == ["--worker-of"]:
        sys.exit(worker_of(pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])))
    sys.exit(main())
