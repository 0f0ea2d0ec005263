"""Shared by `fuzz.py` and `suite.py`: runs of Brasa, comparison of numbers and files, intentional differences."""

import io
import json
import pathlib
import re
import subprocess
import zipfile

import h5py
import numpy as np

DIFFERENCES = pathlib.Path(__file__).resolve().parents[2] / "src" / "differences.md"

# What Brasa rejects on purpose: its message, and the row in `src/differences.md`.
REFUSED = [
    (r"loss.* (is|became) (NaN|inf|not a number|not finite)", "The loss becomes NaN or infinite"),
    (r"not supported: `activity_regularizer` = ", "`activity_regularizer` of layers without weights"),
    (r"expected one output, as all layers of a Sequential", "`return_state=True`, `Bidirectional(merge_mode=None)`"),
    (r"the mask of the model's output: expected losses", "A mask of the output that does not fit its losses"),
    (r"TimeDistributed with a stateful layer", "`stateful=True` of a layer in `TimeDistributed`"),
    (r"global_average_pooling1d.*a mask of shape", "A mask of steps that reaches `GlobalAveragePooling1D("),
    (r"`lora_rank` = |dtype .*(Int4|Int8|Quantized|Float8)", "LoRA (`lora_rank`), quantized weights"),
    (r"`(renorm|rms_scaling)` = true", "`BatchNormalization(renorm=True)`, `LayerNormalization(rms_scaling=True)`"),
    (r"`sparse` = true", "`CategoryEncoding(sparse=True)`, `Discretization(sparse=True)`"),
]


class Refused(Exception):
    """Brasa returned an error."""


def run(brasa, folder, *arguments):
    """Runs Brasa and returns its output."""
    done = subprocess.run([brasa, *arguments], cwd=folder, capture_output=True, text=True, timeout=600)
    if done.returncode:
        raise Refused(said(done.stderr, done.returncode))
    return done.stdout


def said(errors, code):
    """The line with the error: that of a panic, else the last."""
    lines = [line for line in errors.splitlines() if line.strip()]
    panics = [line for line in lines if "panicked" in line]
    return (panics or lines or [f"exit {code}"])[-1]


def documented(refusal):
    """The row of `src/differences.md` for a rejection, if there is one."""
    return next((row for pattern, row in REFUSED if re.search(pattern, str(refusal)) and is_listed(row)), None)


def is_listed(row):
    """Whether `src/differences.md` has a row that begins with this text."""
    return f"| {row}" in DIFFERENCES.read_text()


def variables_of(path):
    """The weights and the optimizer's variables in a `.keras` file, by their paths."""
    variables = {}

    def visit(name, item):
        if isinstance(item, h5py.Dataset) and "seed_generator" not in name:
            variables[name] = np.asarray(item, float)

    with zipfile.ZipFile(path) as archive, h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as file:
        file.visititems(visit)
    return variables


def as_array(score):
    """A number or a list of them from JSON, where NaN is null."""
    return np.array(score, dtype=float)


def same(found, right, allowed):
    unequal = ~((found == right) | (np.isnan(found) & np.isnan(right)))
    with np.errstate(invalid="ignore"):
        return not np.any(unequal & ~(np.abs(found - right) <= allowed))


def distance(found, right):
    with np.errstate(invalid="ignore"):
        off = np.abs(np.asarray(found, float) - right)
    off = np.where((found == right) | (np.isnan(found) & np.isnan(right)), 0.0, off)
    return float(np.max(np.where(np.isnan(off), 1e300, off), initial=0.0))


def largest(values):
    """The largest magnitude of the finite numbers."""
    finite = np.abs(np.asarray(values, float))
    return float(np.max(finite[np.isfinite(finite)], initial=0.0))


def brief(values):
    flat = np.ravel(values)
    shown = ", ".join(f"{value:.7g}" for value in flat[:6])
    return f"[{shown}{', …' if len(flat) > 6 else ''}]" if np.ndim(values) else shown


def first_line(error):
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {(lines or [''])[0][:200]}"


def plain(config):
    """A config as JSON, without keys about how it is computed or on what it was built."""
    config = json.loads(json.dumps(config, default=str))
    neutral = ("jit_compile", "run_eagerly", "build_config", "build_input_shape", "shared_object_id")

    def cleaned(value):
        if isinstance(value, dict):
            return {key: cleaned(entry) for key, entry in value.items() if key not in neutral}
        return [cleaned(entry) for entry in value] if isinstance(value, list) else value

    return cleaned(config)


def first_difference(old, new, where=""):
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            difference = first_difference(old.get(key), new.get(key), f"{where}.{key}")
            if difference:
                return difference
        return None
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for at, (a, b) in enumerate(zip(old, new)):
            difference = first_difference(a, b, f"{where}[{at}]")
            if difference:
                return difference
        return None
    if isinstance(old, float) and isinstance(new, (int, float)) and abs(old - new) <= 1e-6 * abs(old):
        return None
    return None if old == new else f"{where}: {old!r} became {new!r}"[:300]


def changed_by_convert(folder):
    """The changes in `back.keras`, written by Brasa, compared with `m.keras`, as seen by Keras."""
    import keras

    try:
        back = keras.saving.load_model(folder / "back.keras")
    except Exception as error:
        return [f"Keras does not open the file: {first_line(error)}"]
    original = keras.saving.load_model(folder / "m.keras")
    changes = []
    for part, told in (("config", "get_config"), ("compile config", "get_compile_config")):
        difference = first_difference(plain(getattr(original, told)()), plain(getattr(back, told)()))
        if difference:
            changes.append(f"{part} changed: {difference}")
    if any(not np.array_equal(a, b, equal_nan=True) for a, b in zip(original.get_weights(), back.get_weights())):
        changes.append("the weights changed")
    return changes
