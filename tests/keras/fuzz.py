"""Random models, computed by Keras and by Brasa: `predict`, `evaluate`, an epoch of training, files back.

    python3 tests/keras/fuzz.py --brasa target/debug/brasa [--backend tensorflow|jax] [--start N] [--count M]
        [--minutes T] [--seeds 3,17] [--ignore PATTERN] [--workers W] [--work DIR]

Seed N always makes the same model (`random_models.py`). Keras saves it with random weights; Brasa loads it, predicts,
evaluates and trains an epoch, and writes it in its own hand, which Keras opens. Predictions, losses, metrics, and all
weights and optimizer variables after training are compared. What differs by no more than Keras itself does when its
weights are changed in the seventh digit is ill-conditioned, and no finding. A model that differs in another way is made
smaller as long as it does, and shown as Python; the files that reproduce it stay in `--work`. A finding on one backend
is tried on the other one too, where that is installed: backends have defects of their own.

Each line of the summary counts models: `agree`; `documented` (refused, or different, as `src/differences.md` says);
`ill-conditioned`; `keras` (Keras itself fails, or dies); `wrong`. Ends with 1 if any is wrong.

The Python that runs this is used if it has Keras 3.15.1 and the backend; else a virtual environment is made.
"""

import argparse
import collections
import copy
import dataclasses
import io
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import zipfile

import environment
import random_models

VERSION = "3.15.1"
OTHER = {"tensorflow": "jax", "jax": "tensorflow"}

# Predictions, relative to the largest value; in chains of steps and long rows of layers rounding gathers.
TOLERANCE, CHAINS = 1e-5, 1e-4
# Losses and metrics of `evaluate`, and of an epoch of training.
EVALUATE, FIT = 1e-4, 1e-3
# Weights after training, relative to how far they moved; optimizer variables, relative to the largest.
MOVED = 5e-3
# Keras with slightly other weights is tried this often; Brasa may be off by this many times what it then is.
TRIALS, TIMES = 3, 20

# What Brasa refuses on purpose: its message, and the words of the row in `src/differences.md`.
REFUSED = [
    (r"loss.* (is|became) (NaN|inf|not a number|not finite)", "The loss becomes NaN or infinite"),
]


def main():
    arguments = parsed()
    python = interpreter(arguments.backend)
    seeds = arguments.seeds or range(arguments.start, arguments.start + arguments.count)
    with tempfile.TemporaryDirectory() as temporary:
        work = pathlib.Path(arguments.work or temporary).resolve()
        run = Run(arguments, work)
        run.all(python, arguments.backend, list(seeds))
        other = OTHER[arguments.backend]
        if run.wrong() and has(python, other):
            again = Run(arguments, work / other)
            again.all(python, other, run.wrong())
            for seed in set(run.wrong()) - set(again.wrong()):
                run.results[seed]["verdict"] = f"only on {arguments.backend}"
        run.all(python, arguments.backend, run.wrong(), shrink=True)
        return run.summary()


def parsed():
    parser = argparse.ArgumentParser()
    parser.add_argument("--brasa", type=pathlib.Path, help="the program; without it, it is built")
    parser.add_argument("--backend", default="jax", choices=OTHER)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seeds", type=lambda text: [int(seed) for seed in text.split(",")])
    parser.add_argument("--minutes", type=float, default=1e9)
    parser.add_argument("--ignore", default="", help="a pattern: findings with such words are none")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--work", help="a folder for what is found, which then stays")
    arguments = parser.parse_args()
    arguments.brasa = (arguments.brasa or pathlib.Path(environment.built("--bin", "brasa"))).resolve()
    return arguments


def has(python, backend):
    check = f"import keras, {backend}, h5py; assert keras.__version__ == '{VERSION}'"
    variables = {**os.environ, "KERAS_BACKEND": backend}
    return not subprocess.run([python, "-c", check], env=variables, capture_output=True).returncode


def interpreter(backend):
    if has(sys.executable, backend):
        return sys.executable
    if backend == "jax":
        return environment.keras(VERSION)
    check = f"import keras, tensorflow, jax, h5py; assert keras.__version__ == '{VERSION}'"
    packages = [f"keras=={VERSION}", "tensorflow-cpu", "jax", "h5py"]
    return environment.python_with(f"keras-{VERSION}-tensorflow", packages, check)


# --- the process that starts others, and counts -------------------------------------------------------------------


class Run:
    """Seeds, shared out among processes; one that dies is replaced, and its seed counted as Keras's failure."""

    PATIENCE = 300

    def __init__(self, arguments, work):
        self.brasa, self.workers, self.work = arguments.brasa, arguments.workers, work
        self.ignore = arguments.ignore
        self.until = time.time() + 60 * arguments.minutes
        self.results, self.lock = {}, threading.Lock()

    def wrong(self):
        return sorted(seed for seed, result in self.results.items() if result["verdict"] == "wrong")

    def all(self, python, backend, seeds, shrink=False):
        shares = [seeds[worker :: self.workers] for worker in range(self.workers)]
        share = lambda seeds: self.share(python, backend, seeds, shrink)
        threads = [threading.Thread(target=share, args=(seeds,)) for seeds in shares]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def share(self, python, backend, seeds, shrink):
        variables = {
            **os.environ,
            "KERAS_BACKEND": backend,
            "CUDA_VISIBLE_DEVICES": "",
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "XLA_FLAGS": "--xla_backend_optimization_level=0",
            "RAYON_NUM_THREADS": "1",
        }
        # What was found within the time is shown whole.
        until = float("inf") if shrink else self.until
        while seeds and time.time() < until:
            # A process keeps what it has compiled: a new one from time to time.
            now, left = seeds[:200], seeds[200:]
            command = [
                python,
                __file__,
                "--worker",
                self.brasa,
                self.work,
                json.dumps(now),
                self.ignore,
                str(int(shrink)),
            ]
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
            with subprocess.Popen(command, env=variables, **pipes) as worker:
                watch = threading.Timer(self.PATIENCE, worker.kill)
                watch.start()
                for line in worker.stdout:
                    watch.cancel()
                    if time.time() > until:
                        worker.kill()
                        break
                    watch = threading.Timer(self.PATIENCE, worker.kill)
                    watch.start()
                    if line.startswith("{"):
                        now.remove(self.note(json.loads(line)))
                watch.cancel()
            if now and time.time() < until:
                self.note({"seed": now.pop(0), "verdict": "keras", "why": "the process died, or hung"})
            seeds = now + left

    def note(self, result):
        with self.lock:
            self.results[result["seed"]] = result
            if "shown" in result:
                print(f"\n--- seed {result['seed']}: {result['why']}\n{result['shown']}", flush=True)
            elif len(self.results) % 50 == 0:
                print(self.counts(), flush=True)
        return result["seed"]

    def counts(self):
        counts = collections.Counter(result["verdict"] for result in self.results.values())
        return f"{len(self.results)} models: " + ", ".join(f"{count} {verdict}" for verdict, count in counts.items())

    def summary(self):
        print(f"\n{self.counts()}")
        for verdict in sorted({result["verdict"] for result in self.results.values()} - {"agree"}):
            whys = collections.Counter(r.get("why", "")[:150] for r in self.results.values() if r["verdict"] == verdict)
            for why, count in whys.most_common(15):
                print(f"  {verdict}: {count} {why}")
        return int(any(result["verdict"] == "wrong" for result in self.results.values()))


# --- the process that computes ------------------------------------------------------------------------------------


class Refused(Exception):
    """Brasa answers with an error."""


@dataclasses.dataclass
class Finding:
    stage: str
    what: str
    # How far off, and how far is allowed.
    off: float = float("inf")
    allowed: float = 0.0


class Case:
    """A model, in a folder of its own: what Keras makes of it, and what Brasa does."""

    STAGES = ("predict", "evaluate", "fit", "convert")

    def __init__(self, spec, folder, brasa):
        self.spec, self.folder, self.brasa = spec, folder, brasa
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.x = spec.x()
        self.model = self.built()
        self.y = spec.y((len(self.x), *self.model.output_shape[1:]))
        self.weighted = {"sample_weight": spec.weights_of_samples()} if spec.sample_weight else {}

    def built(self, change=0.0):
        """The model with its weights; with a change in the seventh digit, for a trial."""
        import keras
        import numpy as np

        # Names count on in a session.
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
        import numpy as np

        self.spec.compile(self.model)
        self.model.save(self.folder / "m.keras")
        np.save(self.folder / "x.npy", self.x)
        np.savez(self.folder / "d.npz", x=self.x, y=self.y, **self.weighted)

    def of_keras(self, stages, model, x):
        """Each number that Keras computes, by name; for a stage where it fails, that it does."""
        import keras
        import numpy as np

        numbers, size = {}, self.spec.batch_size
        if keras.backend.backend() == "tensorflow":
            # Models this small are computed sooner than traced.
            model.run_eagerly = True
        for stage in stages:
            try:
                if stage == "predict":
                    numbers["predict"] = {"y": model.predict(x, verbose=0)}
                if stage == "evaluate":
                    scores = model.evaluate(x, self.y, batch_size=size, verbose=0, return_dict=True, **self.weighted)
                    numbers["evaluate"] = {name: np.asarray(score, float) for name, score in scores.items()}
                if stage == "fit":
                    before = variables_of(self.folder / "m.keras")
                    history = model.fit(x, self.y, batch_size=size, shuffle=False, verbose=0, **self.weighted).history
                    after = self.folder / "trained.keras"
                    model.save(after)
                    history = {name: np.asarray(values[0], float) for name, values in history.items()}
                    numbers["fit"] = history | variables_of(after)
                    self.before = before
            except Exception as error:
                numbers[stage] = error
        return numbers

    def of_brasa(self, stage):
        import numpy as np

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
        command = [self.brasa, *arguments]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=120)
        if done.returncode:
            said = [line for line in done.stderr.splitlines() if line.strip()]
            panics = [line for line in said if "panicked" in line]
            raise Refused((panics or said or [f"exit {done.returncode}"])[-1])
        return done.stdout

    def tolerance(self, stage, name, right):
        import numpy as np

        largest = float(np.max(np.abs(right), initial=0.0))
        if stage == "predict":
            chains = self.spec.classes() & {"LSTM", "GRU", "SimpleRNN"} or len(self.spec.layers) > 4
            return (CHAINS if chains else TOLERANCE) * max(largest, 1e-3)
        if name.startswith("layers/"):
            moved = float(np.max(np.abs(right - self.before[name]), initial=0.0)) if name in self.before else largest
            return MOVED * moved + 1e-6 * largest + 1e-9
        if name.startswith("optimizer/"):
            return MOVED * largest + 1e-8
        return (EVALUATE if stage == "evaluate" else FIT) * max(largest, 1e-2)

    def findings(self, stages=STAGES):
        import numpy as np

        if self.spec.draws() or self.sparse():
            stages = [stage for stage in stages if stage != "fit"]
        self.save()
        right = self.of_keras(stages, self.model, self.x)
        if all(isinstance(right.get(stage), Exception) for stage in stages if stage != "convert"):
            raise next(iter(right.values()))
        findings = []
        for stage in stages:
            numbers = right.get(stage, {})
            if isinstance(numbers, Exception):
                continue
            try:
                found = self.of_brasa(stage)
            except Refused as error:
                findings.append(Finding(stage, f"refused: {error}"))
                continue
            for name, value in numbers.items():
                if name not in found:
                    findings.append(Finding(stage, f"`{name}` is missing"))
                    continue
                if np.shape(found[name]) != np.shape(value):
                    findings.append(
                        Finding(stage, f"`{name}` has shape {np.shape(found[name])}, not {np.shape(value)}")
                    )
                    continue
                allowed = self.tolerance(stage, name, value)
                if not same(found[name], value, allowed):
                    off = distance(found[name], value)
                    shown = f"`{name}` is {brief(found[name])} where Keras has {brief(value)}, off by {off:.2g}"
                    findings.append(Finding(stage, shown, off, allowed))
            if stage == "convert":
                findings += self.changed_by_convert()
        return [f for f in findings if f.stage == "convert" or np.isinf(f.off)] + self.well_conditioned(
            [f for f in findings if f.stage != "convert" and not np.isinf(f.off)], right
        )

    def sparse(self):
        """Whether gradients are sparse: Keras on TensorFlow squares the parts for an index before it adds them."""
        import keras

        return keras.backend.backend() == "tensorflow" and "Embedding" in self.spec.classes()

    def well_conditioned(self, findings, right):
        """Those findings that are more than Keras itself is off where its weights and inputs are, slightly."""
        import numpy as np

        self.conditioned = True
        if not findings:
            return []
        stages = {finding.stage for finding in findings}
        spread = collections.defaultdict(float)
        for _ in range(TRIALS):
            model = self.built(change=1e-6)
            self.spec.compile(model)
            x = self.x
            if x.dtype == np.float32:
                moved = x * (1 + 1e-6 * np.random.default_rng().normal(size=x.shape)).astype("float32")
                x = np.where(x == self.spec.data.get("mask_value", 0.0), x, moved)
            other = self.of_keras(stages, model, x)
            for stage in stages:
                for name, value in right[stage].items():
                    if not isinstance(other[stage], Exception) and np.shape(other[stage].get(name)) == np.shape(value):
                        spread[stage, name] = max(spread[stage, name], distance(other[stage][name], value))
        name_of = lambda finding: finding.what.split("`")[1]
        left = [f for f in findings if f.off > f.allowed + TIMES * spread[f.stage, name_of(f)]]
        self.conditioned = bool(left)
        return left

    def changed_by_convert(self):
        """What Keras finds changed in the file that Brasa wrote."""
        import keras
        import numpy as np

        try:
            back = keras.saving.load_model(self.folder / "back.keras")
        except Exception as error:
            return [Finding("convert", f"Keras does not open the file: {first_line(error)}")]
        original = keras.saving.load_model(self.folder / "m.keras")
        findings = []
        for part, told in (("config", "get_config"), ("compile config", "get_compile_config")):
            difference = first_difference(plain(getattr(original, told)()), plain(getattr(back, told)()))
            if difference:
                findings.append(Finding("convert", f"{part} changed: {difference}"))
        if any(not np.array_equal(a, b, equal_nan=True) for a, b in zip(original.get_weights(), back.get_weights())):
            findings.append(Finding("convert", "the weights changed"))
        return findings


def variables_of(path):
    """The weights and the optimizer's variables in a `.keras` file, by their paths."""
    import h5py
    import numpy as np

    variables = {}

    def visit(name, item):
        if isinstance(item, h5py.Dataset) and "seed_generator" not in name:
            variables[name] = np.asarray(item, float)

    with zipfile.ZipFile(path) as archive, h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as file:
        file.visititems(visit)
    return variables


def as_array(score):
    import numpy as np

    return np.asarray(
        [np.nan if v is None else v for v in score] if isinstance(score, list) else np.nan if score is None else score,
        float,
    )


def same(found, right, allowed):
    import numpy as np

    unequal = ~((found == right) | (np.isnan(found) & np.isnan(right)))
    with np.errstate(invalid="ignore"):
        return not np.any(unequal & ~(np.abs(found - right) <= allowed))


def distance(found, right):
    import numpy as np

    with np.errstate(invalid="ignore"):
        off = np.abs(np.asarray(found, float) - right)
    off = np.where((found == right) | (np.isnan(found) & np.isnan(right)), 0.0, off)
    return float(np.max(np.where(np.isnan(off), 1e300, off), initial=0.0))


def brief(values):
    import numpy as np

    flat = np.ravel(values)
    shown = ", ".join(f"{value:.7g}" for value in flat[:6])
    return f"[{shown}{', …' if len(flat) > 6 else ''}]" if np.ndim(values) else shown


def first_line(error):
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {(lines or [''])[0][:200]}"


def plain(config):
    """A config as JSON has it, without what says only how it is computed."""
    config = json.loads(json.dumps(config, default=str))

    def cleaned(value):
        if isinstance(value, dict):
            return {key: cleaned(entry) for key, entry in value.items() if key not in ("jit_compile", "run_eagerly")}
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


def smaller(spec):
    """Specs with one thing less, those first that leave most out."""

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
    """The smallest model found that fails in this stage in the same way, and how."""
    until, best, finding = time.time() + seconds, spec, None
    again = True
    while again and time.time() < until:
        again = False
        for other in smaller(best):
            if time.time() > until:
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


def documented(spec, finding):
    """The row of `src/differences.md` that a finding is about."""
    import keras

    for pattern, row in REFUSED:
        if re.search(pattern, finding.what):
            return row
    if keras.backend.backend() == "jax" and finding.stage == "fit" and "SpectralNormalization" in spec.classes():
        return "`SpectralNormalization` in training"
    return None


def judged(spec, folder, brasa, ignore):
    case = Case(spec, folder, brasa)
    findings = [finding for finding in case.findings() if not (ignore and re.search(ignore, finding.what))]
    rows = [documented(spec, finding) for finding in findings]
    left = [finding for finding, row in zip(findings, rows) if not row]
    if not findings:
        return {"verdict": "agree" if case.conditioned else "ill-conditioned"}, None
    if not left:
        return {"verdict": "documented", "why": rows[0]}, None
    return {"verdict": "wrong", "why": f"{left[0].stage}: {left[0].what}"}, left[0]


def shown(spec, finding, folder, brasa, shrink):
    """The model of a finding, made smaller if that is wanted, with its files."""
    small = spec
    if shrink:
        small, smaller_finding = shrunk(spec, finding.stage, kind_of(finding), folder, brasa)
        Case(small, folder, brasa).save()
        finding = smaller_finding or finding
    text = f"{small!r}\n{finding.stage}: {finding.what}"
    (folder / "report.txt").write_text(f"{text}\n\nThe whole model:\n{spec!r}\n")
    return text


def worker(brasa, work, seeds, ignore, shrink):
    import warnings

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
    if sys.argv[1:2] == ["--worker"]:
        # TensorFlow's `tensorboard` is meant, not the file of that name here.
        sys.path.pop(0)
        worker(
            pathlib.Path(sys.argv[2]),
            pathlib.Path(sys.argv[3]),
            json.loads(sys.argv[4]),
            sys.argv[5],
            sys.argv[6] == "1",
        )
    else:
        sys.exit(main())
