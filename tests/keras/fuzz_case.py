"""A random model in Keras and in Brasa, the differences, and the smallest model with one: the worker of `fuzz.py`.

    python fuzz_case.py BRASA WORK SEEDS IGNORE SHRINK

Prints a line of JSON for each seed, with its verdict. Keras's backend is that of KERAS_BACKEND.
"""

import collections
import copy
import dataclasses
import json
import os
import pathlib
import re
import shutil
import sys
import time
import warnings

# Last in the path: `tensorboard` means TensorFlow's package, not the file in this folder.
sys.path.append(sys.path.pop(0))

import keras
import numpy as np
import random_models
from agreement import (
    Refused,
    as_array,
    brief,
    changed_by_convert,
    distance,
    documented,
    first_line,
    is_listed,
    largest,
    run,
    same,
    variables_of,
)

# Predictions, relative to the largest value; long chains of steps and layers accumulate rounding.
TOLERANCE, CHAINS = 1e-5, 1e-4
# Losses and metrics of `evaluate`, and of an epoch of training.
EVALUATE, FIT = 1e-4, 1e-3
# Weights after training, relative to how far they moved; optimizer variables, relative to the largest.
MOVED = 5e-3
# The number of trials of Keras with slightly perturbed weights; Brasa's error can be this multiple of Keras's then.
TRIALS, TIMES = 4, 20


def jax_fit(finding):
    return keras.backend.backend() == "jax" and finding.stage == "fit"


def is_metric(finding):
    return finding.name != "loss" and not finding.name.startswith(("layers/", "optimizer/"))


# Intentional differences of numbers: the row in `src/differences.md`, and the findings that it covers.
DIFFERENCES = {
    "`SpectralNormalization` in training": lambda spec, finding: jax_fit(finding)
    and "SpectralNormalization" in spec.classes(),
    "Metrics of masked steps during `fit`": lambda spec, finding: jax_fit(finding)
    and spec.masked()
    and is_metric(finding),
    "A mask of steps that reaches a `Softmax`": lambda spec, finding: spec.masked() and "Softmax" in spec.classes(),
    "`unroll=True` of a recurrent layer under a mask": lambda spec, finding: spec.masked() and "unroll=True" in repr(spec),
    "`OrthogonalRegularizer` of a single row or column": lambda spec, finding: "OrthogonalRegularizer" in repr(spec)
    and "nan" in finding.what.split("where Keras has")[-1],
    "`trainable=False` given to a `ConvLSTM1D`": lambda spec, finding: finding.stage == "fit"
    and "ConvLSTM" in repr(spec)
    and "trainable=False" in repr(spec),
    # The loss is the exact one, the metric the one of clipped probabilities: each agrees with one backend.
    "`softmax` or `sigmoid` at the end, with its crossentropy": lambda spec, finding: (
        finding.name.endswith("crossentropy")
        or (finding.name == "loss" or finding.stage == "fit") and "crossentropy" in repr(spec).lower()
    )
    and any(word in repr(spec) for word in ("activation='softmax'", "activation='sigmoid'", "Softmax(")),
    "A sparse crossentropy of outputs that are no probabilities": lambda spec, finding: (
        keras.backend.backend() == "tensorflow" and "SparseCategoricalCrossentropy" in repr(spec.compiled)
    )
    and "softmax" not in repr(spec.layers[-1]).lower(),
    "A metric of predictions that are NaN": lambda spec, finding: finding.nan and is_metric(finding),
    # With two samples a gradient before a batch normalization is 0 up to rounding.
    "A gradient that is 0 but for rounding": lambda spec, finding: finding.stage == "fit"
    and spec.batch_size == 2
    and "BatchNormalization" in spec.classes()
    and spec.compiled["optimizer"] != "sgd"
    and finding.name.startswith(("layers/", "optimizer/")),
    "A mask of steps that reaches `CTC`": lambda spec, finding: spec.masked() and spec.target == "labels",
}


@dataclasses.dataclass
class Finding:
    stage: str
    # The number's name; empty for a rejection or a change in a file.
    name: str
    what: str
    # The error, and the tolerance.
    off: float = float("inf")
    allowed: float = 0.0
    # Whether Keras's predictions contain NaN.
    nan: bool = False


class Case:
    """A model in its own folder, with the results of Keras and of Brasa."""

    STAGES = ("predict", "evaluate", "fit", "convert")

    def __init__(self, spec, folder, brasa):
        self.spec, self.folder, self.brasa = spec, folder, brasa
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.x = spec.x()
        self.model = self.built()
        output = (len(self.x), *self.model.output_shape[1:])
        self.y = spec.y(output)
        self.weighted = {"sample_weight": spec.weights(output)} if spec.sample_weight else {}

    def built(self, change=0.0):
        """The model with its weights; with a perturbation in the seventh digit, for a trial."""
        # Names are numbered throughout a session.
        keras.utils.clear_session()
        model = self.spec.make()
        numbers, noise = self.spec.numbers(), np.random.default_rng()
        weights = []
        for weight in model.weights:
            shape = tuple(weight.shape)
            fan_in = np.prod(shape[:-1]) if len(shape) > 1 else 4
            value = numbers.normal(size=shape) / np.sqrt(max(fan_in, 1))
            if weight.name in ("gamma", "scale", "moving_variance"):
                value = 1 + 0.5 * np.tanh(value)
            weights.append((value * (1 + change * noise.normal(size=shape))).astype("float32"))
        model.set_weights(weights)
        return model

    def save(self):
        self.spec.compile(self.model)
        self.model.save(self.folder / "m.keras")
        np.save(self.folder / "x.npy", self.x)
        np.savez(self.folder / "d.npz", x=self.x, y=self.y, **self.weighted)

    def of_keras(self, stages, model, x, order=None):
        """Each number that Keras computes, by name; for a stage where it fails, the failure."""
        numbers, size = {}, self.spec.batch_size
        order = np.arange(len(x)) if order is None else order
        x, y, weighted = x[order], self.y[order], {name: weights[order] for name, weights in self.weighted.items()}
        if keras.backend.backend() == "tensorflow":
            # For models this small, tracing takes longer than computing.
            model.run_eagerly = True
        for stage in stages:
            try:
                if stage == "predict":
                    numbers["predict"] = {"y": model.predict_on_batch(x)[np.argsort(order)]}
                if stage == "evaluate":
                    scores = model.evaluate(x, y, batch_size=size, verbose=0, return_dict=True, **weighted)
                    numbers["evaluate"] = {name: np.asarray(score, float) for name, score in scores.items()}
                if stage == "fit":
                    before = variables_of(self.folder / "m.keras")
                    history = model.fit(x, y, batch_size=size, shuffle=False, verbose=0, **weighted).history
                    after = self.folder / "trained.keras"
                    model.save(after)
                    history = {name: np.asarray(values[0], float) for name, values in history.items()}
                    numbers["fit"] = history | variables_of(after)
                    self.before = before
            except Exception as error:
                numbers[stage] = error
        return numbers

    def of_brasa(self, stage):
        size = str(self.spec.batch_size)
        if stage == "predict":
            self.run("predict", "m.keras", "--input", "x.npy", "--output", "y.npy")
            return {"y": np.load(self.folder / "y.npy")}
        if stage == "evaluate":
            scores = json.loads(self.run("evaluate", "m.keras", "--data", "d.npz", "--batch-size", size, "--json"))
            return {name: as_array(score) for name, score in ({"loss": scores["loss"]} | scores["metrics"]).items()}
        if stage == "fit":
            flags = ["--no-shuffle", "--epochs", "1", "--batch-size", size, "--seed", "1", "--json", "--out", "run"]
            history = json.loads(self.run("train", "--model", "m.keras", "--data", "d.npz", *flags))["history"]
            history = {name: as_array(values[0]) for name, values in history.items()}
            return history | variables_of(self.folder / "run" / "model.keras")
        self.run("convert", "m.keras", "back.keras")
        return {}

    def run(self, *arguments):
        return run(self.brasa, self.folder, *arguments)

    def tolerance(self, stage, name, right):
        scale = largest(right)
        if stage == "predict":
            chains = self.spec.classes() & {"LSTM", "GRU", "SimpleRNN"} or len(self.spec.layers) > 4
            return (CHAINS if chains else TOLERANCE) * max(scale, 1e-3)
        if name.startswith("layers/"):
            moved = largest(right - self.before[name]) if name in self.before else scale
            return MOVED * moved + 1e-6 * scale + 1e-9
        if name.startswith("optimizer/"):
            return MOVED * scale + 1e-8
        return (EVALUATE if stage == "evaluate" else FIT) * max(scale, 1e-2)

    def findings(self, stages=STAGES):
        # Without weights Keras on TensorFlow does not count steps.
        if self.spec.draws() or self.sparse() or not self.model.trainable_weights:
            stages = [stage for stage in stages if stage != "fit"]
        self.save()
        right = self.of_keras(stages, self.model, self.x)
        if all(isinstance(right.get(stage), Exception) for stage in stages if stage != "convert"):
            raise next(iter(right.values()))
        findings = []
        predicted = right.get("predict", {})
        nan = not isinstance(predicted, Exception) and bool(np.isnan(predicted.get("y", 0.0)).any())
        for stage in stages:
            numbers = right.get(stage, {})
            if isinstance(numbers, Exception):
                continue
            try:
                found = self.of_brasa(stage)
            except Refused as error:
                findings.append(Finding(stage, "", f"refused: {error}"))
                continue
            for name, value in numbers.items():
                if name not in found:
                    findings.append(Finding(stage, name, f"`{name}` is missing"))
                    continue
                if np.shape(found[name]) != np.shape(value):
                    shown = f"`{name}` has shape {np.shape(found[name])}, not {np.shape(value)}"
                    findings.append(Finding(stage, name, shown))
                    continue
                allowed = self.tolerance(stage, name, value)
                if not same(found[name], value, allowed):
                    off = distance(found[name], value)
                    shown = f"`{name}` is {brief(found[name])} where Keras has {brief(value)}, off by {off:.2g}"
                    findings.append(Finding(stage, name, shown, off, allowed, nan))
            if stage == "convert":
                findings += [Finding(stage, "", change) for change in changed_by_convert(self.folder)]
        return [f for f in findings if f.stage == "convert" or np.isinf(f.off)] + self.well_conditioned(
            [f for f in findings if f.stage != "convert" and not np.isinf(f.off)], right
        )

    def sparse(self):
        """Whether gradients are sparse: Keras on TensorFlow squares the contributions to an index before summing."""
        return keras.backend.backend() == "tensorflow" and "Embedding" in self.spec.classes()

    def well_conditioned(self, findings, right):
        """The findings that exceed Keras's own error when its weights and inputs are slightly perturbed, or when the
        samples of each batch are reordered, which changes the rounding of sums."""
        self.conditioned = True
        if not findings:
            return []
        stages = {finding.stage for finding in findings}
        spread = collections.defaultdict(float)
        for trial in range(TRIALS):
            model = self.built(change=1e-6)
            self.spec.compile(model)
            x = self.x
            if x.dtype == np.float32:
                moved = x * (1 + 1e-6 * np.random.default_rng().normal(size=x.shape)).astype("float32")
                x = np.where(x == self.spec.data.get("mask_value", 0.0), x, moved)
            size, samples = self.spec.batch_size, np.arange(len(x))
            turned = np.concatenate([samples[at : at + size][::-1] for at in range(0, len(x), size)])
            other = self.of_keras(stages, model, x, turned if trial % 2 else samples)
            for stage in stages:
                for name, value in right[stage].items():
                    if not isinstance(other[stage], Exception) and np.shape(other[stage].get(name)) == np.shape(value):
                        spread[stage, name] = max(spread[stage, name], distance(other[stage][name], value))
        left = [f for f in findings if f.off > f.allowed + TIMES * spread[f.stage, f.name]]
        self.conditioned = bool(left)
        return left


def smaller(spec):
    """Specs with one part removed, the largest removals first."""

    def changed(change):
        other = copy.deepcopy(spec)
        change(other)
        return other

    for at in range(len(spec.layers)):
        yield changed(lambda other: other.layers.pop(at))
        inner = spec.layers[at].arguments.get("layer")
        inner = [inner] if inner else spec.layers[at].arguments.get("layers")
        if inner:
            yield changed(lambda other: other.layers.__setitem__(slice(at, at + 1), copy.deepcopy(inner)))
    for key in ("metrics", "weighted_metrics"):
        for at in range(len(spec.compiled.get(key, []))):
            yield changed(lambda other: other.compiled[key].pop(at))
    if spec.sample_weight:
        yield changed(lambda other: setattr(other, "sample_weight", False))
    if spec.compiled["optimizer"] != "sgd":
        yield changed(lambda other: other.compiled.update(optimizer="sgd"))
    if spec.samples > spec.batch_size:
        yield changed(lambda other: setattr(other, "samples", spec.batch_size))
    parts = lambda spec: [part for layer in spec.layers for part in layer.parts()] + [
        part
        for value in spec.compiled.values()
        for entry in (value if isinstance(value, list) else [value])
        if hasattr(entry, "parts")
        for part in entry.parts()
    ]
    for at, part in enumerate(parts(spec)):
        for name in part.arguments:
            yield changed(lambda other: parts(other)[at].arguments.pop(name))


def shrunk(spec, stage, kind, folder, brasa, seconds=30):
    """The smallest model found that fails in this stage in the same way, and its finding."""
    until, best, finding = time.process_time() + seconds, spec, None
    again = True
    while again and time.process_time() < until:
        again = False
        for other in smaller(best):
            if time.process_time() > until:
                break
            try:
                findings = [f for f in Case(other, folder, brasa).findings([stage]) if kind_of(f) == kind]
            except Exception:
                continue
            if findings:
                best, finding, again = other, findings[0], True
                break
    return best, finding


def kind_of(finding):
    return (finding.stage, finding.what.split("`")[0].split(":")[0], "panicked" in finding.what)


def row_about(spec, finding):
    """The row of `src/differences.md` that covers a finding."""
    refused = documented(finding.what) if finding.what.startswith("refused") else None
    return refused or next((row for row, about in DIFFERENCES.items() if about(spec, finding) and is_listed(row)), None)


def judged(spec, folder, brasa, ignore):
    case = Case(spec, folder, brasa)
    # Opening files takes Keras as long as everything else.
    stages = case.STAGES if spec.seed % 3 == 0 else case.STAGES[:-1]
    findings = [finding for finding in case.findings(stages) if not (ignore and re.search(ignore, finding.what))]
    rows = [row_about(spec, finding) for finding in findings]
    left = [finding for finding, row in zip(findings, rows) if not row]
    if not findings:
        return {"verdict": "agree" if case.conditioned else "ill-conditioned"}, None
    if not left:
        return {"verdict": "documented", "why": rows[0]}, None
    return {"verdict": "wrong", "why": f"{left[0].stage}: {left[0].what}"}, left[0]


def shown(spec, finding, folder, brasa, shrink):
    """The model of a finding with its files, minimized if requested."""
    small = spec
    if shrink:
        small, smaller_finding = shrunk(spec, finding.stage, kind_of(finding), folder, brasa)
        Case(small, folder, brasa).save()
        finding = smaller_finding or finding
    text = f"{small!r}\n{finding.stage}: {finding.what}"
    (folder / "report.txt").write_text(f"{text}\n\nThe whole model:\n{spec!r}\n")
    return text


def worker(brasa, work, seeds, ignore, shrink):
    warnings.filterwarnings("ignore")
    kinds = collections.Counter()
    for count, seed in enumerate(seeds):
        folder, spec = work / str(seed), random_models.Models(seed).model()
        try:
            result, finding = judged(spec, folder, brasa, ignore)
            if shrink and finding:
                kinds[kind_of(finding)] += 1
                result["shown"] = shown(spec, finding, folder, brasa, kinds[kind_of(finding)] <= 3)
        except Exception as error:
            result = {"verdict": "keras", "why": first_line(error)}
        print(json.dumps({"seed": seed} | result), flush=True)
        if result["verdict"] != "wrong":
            shutil.rmtree(folder, ignore_errors=True)
        if count % 20 == 19 and os.environ["KERAS_BACKEND"] == "jax":
            import jax

            jax.clear_caches()


if __name__ == "__main__":
    program, folder, seeds, ignore, shrink = sys.argv[1:]
    worker(pathlib.Path(program), pathlib.Path(folder), json.loads(seeds), ignore, shrink == "1")
