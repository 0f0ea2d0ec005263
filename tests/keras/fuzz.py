"""Random models in Keras and in Brasa: `predict`, `evaluate`, an epoch of training, and saved files.

    python3 tests/keras/fuzz.py --brasa target/debug/brasa [--backend tensorflow|jax] [--start N] [--count M]
        [--minutes T] [--seeds 3,17] [--ignore PATTERN] [--workers W] [--work DIR]

Seed N always makes the same model (`random_models.py`). Keras saves it with random weights; Brasa loads it, predicts,
evaluates, trains an epoch, and saves it, and Keras loads that file. Predictions, losses, metrics, and all weights and
optimizer variables after training are compared. A difference no larger than Keras's own when its weights are perturbed
in the seventh digit is ill-conditioned, and not a finding. A model with another difference is minimized as long as it
differs, and shown as Python; the files that reproduce it stay in `--work`. A finding on one backend is also tried on
the other one, if installed: backends have their own defects.

Each line of the summary counts models: `agree`; `documented` (rejected, or different, as in `src/differences.md`);
`ill-conditioned`; `keras` (Keras itself fails, or dies); `wrong`. Exits with 1 if any is wrong.

The Python that runs this is used if it has Keras 3.15.1 and the backend; otherwise a virtual environment is created.
"""

import argparse
import collections
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time

import environment

CASE = pathlib.Path(__file__).with_name("fuzz_case.py")
OTHER = {"tensorflow": "jax", "jax": "tensorflow"}


def main():
    arguments = parsed()
    python = environment.keras_on(arguments.backend)
    seeds = arguments.seeds or range(arguments.start, arguments.start + arguments.count)
    with tempfile.TemporaryDirectory() as temporary:
        work = pathlib.Path(arguments.work or temporary).resolve()
        run = Run(arguments, work)
        run.all(python, arguments.backend, list(seeds))
        other = OTHER[arguments.backend]
        if run.wrong() and environment.works(python, environment.uses(other), other):
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


# --- the process that starts the workers, and counts ---------------------------------------------------------------


class Run:
    """Seeds, distributed among processes; one that dies is replaced, and its seed counted as Keras's failure."""

    PATIENCE = 900

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
        # Findings within the time are minimized completely.
        until = float("inf") if shrink else self.until
        while seeds and time.time() < until:
            # A process keeps everything it has compiled, hence a new one from time to time.
            now, left = seeds[:200], seeds[200:]
            flags = [json.dumps(now), self.ignore, str(int(shrink))]
            command = [python, CASE, self.brasa, self.work, *flags]
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


if __name__ == "__main__":
    sys.exit(main())
