#!/usr/bin/env python3
"""Brasa compared with PyTorch, Keras (on TensorFlow and JAX) and runtimes on the CPU: see README.md in this folder."""

import argparse
import datetime
import functools
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time
import venv

FOLDER = pathlib.Path(__file__).resolve().parent
ROOT = FOLDER.parent.parent
WORK = ROOT / "target" / "peers"

PACKAGES = ["torch", "torchvision", "tensorflow-cpu", "keras", "jax", "numpy"]
RUNTIME_PACKAGES = ["onnxruntime", "openvino", "ai-edge-litert", "onnx", "tf2onnx"]
PEERS = {
    "torch": "PyTorch",
    "torch-channels-last": "PyTorch",
    "torch-compile": "PyTorch",
    "torch-compile-channels-last": "PyTorch",
    "keras-tf": "Keras, TensorFlow",
    "keras-jax": "Keras, JAX",
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
    "litert": "LiteRT",
    "rten": "RTen",
    "burn": "Burn, by hand",
}
# They only predict.
RUNTIMES = ["onnxruntime", "openvino", "litert", "rten"]
CPU = ["cpu", "flex", "ndarray"]
# Those that can use a GPU, without what is for the CPU alone.
ON_GPUS = [name for name in PEERS if name.startswith("torch") or name == "burn"]
FRAMEWORKS = list(dict.fromkeys(PEERS.values()))
LARGE = ["resnet50", "mobilenetv2", "efficientnetb0", "densenet121"]
GRAPHS = ["transformer", *LARGE]
IMAGES = ["cnn", "vgg", "separable", *LARGE]
BATCH_SIZES = {
    ("cnn", "train"): [128, 32, 512],
    ("cnn", "predict"): [1, 128, 1024],
    **{(network, "predict"): [1, 128] for network in ["mlp", "vgg", "separable", "lstm", "conv1d"]},
    ("transformer", "train"): [32],
    ("transformer", "predict"): [1, 32],
    **{(network, "train"): [8] for network in LARGE},
    **{(network, "predict"): [1, 8] for network in LARGE},
}
# The pause between the measurements of two programs: threads can spin for a while before they sleep.
PAUSE = 0.1


def main():
    options = arguments()
    WORK.mkdir(parents=True, exist_ok=True)
    if options.threads < os.cpu_count() and hasattr(os, "sched_setaffinity"):
        # Some libraries start one thread per processor, regardless of their settings.
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    python = environment(options)
    brasa = options.brasa or build(options.backend)
    if "rten" in options.peers and "predict" in options.tasks:
        rten()
    if "burn" in options.peers:
        burn(options.backend)
    report = {"machine": machine(options, python, brasa), "options": vars(options), "results": [], "processes": []}
    for network in options.networks:
        data = WORK / f"{network}.npz"
        if not all(data.with_suffix(ending).exists() for ending in [".npz", ".f32", ".i32"]):
            subprocess.run([python, FOLDER / "peer.py", "--samples", network, data], check=True)
        runtimes = "predict" in options.tasks and set(options.peers) & set(RUNTIMES)
        if (network in GRAPHS or runtimes) and not saved(network).exists():
            subprocess.run([python, FOLDER / "peer.py", "--model", network, saved(network)], check=True)
        if runtimes:
            # RTen reads this file alone; ONNX Runtime and OpenVINO are measured with that of tf2onnx, too.
            onnx = saved(network).with_suffix(".onnx")
            subprocess.run([brasa, "convert", saved(network), onnx], check=True, stdout=subprocess.DEVNULL)
        measure(network, data, python, brasa, options, report)
        if options.json:
            options.json.write_text(json.dumps(report, indent=1, default=str) + "\n")
    print(markdown(report))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)

    def words(known):
        def parse(text):
            chosen = text.split(",")
            if unknown := set(chosen) - set(known):
                raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; known: {', '.join(known)}")
            return chosen

        return parse

    def count(text):
        if (number := int(text)) < 1:
            raise argparse.ArgumentTypeError("a number above 0 is wanted")
        return number

    networks = ["cnn", "mlp", "vgg", "separable", "lstm", "conv1d", *GRAPHS]
    help = f"{','.join(networks)} (default: {','.join(networks[:6])})"
    parser.add_argument("--networks", type=words(networks), default=networks[:6], help=help)
    parser.add_argument("--tasks", type=words(["train", "predict"]), default=["train", "predict"], help="train,predict")
    parser.add_argument("--batch-sizes", type=lambda text: [count(word) for word in text.split(",")],
                        help="default: cnn 32,128,512 to train and 1,128,1024 to predict, graphs 8 or 32 and 1, the others 128 and 1")
    parser.add_argument("--rounds", type=count, default=5, help="how often each program is measured (default: 5)")
    parser.add_argument("--seconds", type=float, default=1.0, help="how long a measurement takes (default: 1)")
    parser.add_argument("--threads", type=count, default=os.cpu_count(), help="default: one for each processor")
    help = f"{','.join(PEERS)} (default: all but burn; on a GPU {','.join(ON_GPUS)})"
    parser.add_argument("--peers", type=words(PEERS), help=help)
    help = "Brasa's and Burn's backend (default: cpu); on a GPU, PyTorch uses CUDA"
    parser.add_argument("--backend", default="cpu", help=help)
    parser.add_argument("--quick", action="store_true", help="one short round: shows that all runs, and fills caches")
    parser.add_argument("--venv", type=pathlib.Path, help="a virtual environment with the peers (default: made)")
    parser.add_argument("--brasa", type=pathlib.Path, help="the program (default: built with cargo build --release)")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="where to write all that was measured")
    options = parser.parse_args()
    on_gpu = options.backend not in CPU
    options.peers = options.peers or (ON_GPUS if on_gpu else [name for name in PEERS if name != "burn"])
    if on_gpu and (others := set(options.peers) - set(ON_GPUS)):
        parser.error(f"not measured on a GPU: {', '.join(others)}")
    if options.quick:
        options.rounds, options.seconds = 1, min(options.seconds, 0.05)
    return options


def environment(options):
    """The interpreter of a virtual environment with the peers; creates one if none is given."""
    folder = options.venv or WORK / "venv"
    python = folder / "bin" / "python"
    if not python.exists():
        packages = PACKAGES + RUNTIME_PACKAGES
        note(f"installing {', '.join(packages)} into {folder}")
        venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
    return python.absolute()


@functools.cache
def rten():
    """The program that measures RTen."""
    return peer_program("rten", [])


@functools.cache
def burn(backend):
    """The program that measures the network by hand in Burn."""
    return peer_program("burn", [] if backend in CPU else ["--features", backend])


def peer_program(name, features):
    """A program of this folder, which is built."""
    note(f"building {name}")
    command = ["cargo", "build", "--quiet", "--release", "--target-dir", WORK / name, *features]
    subprocess.run(command, cwd=FOLDER / name, check=True)
    return WORK / name / "release" / f"{name}-peer"


def build(backend):
    """The path of Brasa's program, built for a backend."""
    note("building Brasa")
    command = ["cargo", "build", "--release", "--bin", "brasa", "--message-format", "json-render-diagnostics"]
    if backend in ["cuda", "vulkan", "metal"]:
        command += ["--features", backend]
    lines = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    built = [json.loads(line).get("executable") for line in lines]
    return pathlib.Path([path for path in built if path][-1])


def machine(options, python, brasa):
    cpu = platform.processor()
    if os.path.exists("/proc/cpuinfo"):
        names = [line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")]
        cpu = f"{len(names)} × {names[0]}" if names else cpu
    versions = subprocess.run([python, FOLDER / "peer.py", "--versions"], check=True, capture_output=True, text=True)
    return {
        "cpu": cpu,
        "threads": options.threads,
        "load": os.getloadavg(),
        "date": datetime.datetime.now().isoformat(timespec="seconds"),
        "brasa": subprocess.run([brasa, "--version"], check=True, capture_output=True, text=True).stdout.strip(),
        "versions": json.loads(versions.stdout),
    }


class Peer:
    """A peer's process, which lives while its network is measured."""

    def __init__(self, name, network, data, python, options):
        threads = options.threads
        on_gpu = options.backend not in CPU
        variables = {
            "OMP_NUM_THREADS": str(threads),
            "MKL_NUM_THREADS": str(threads),
            "TF_CPP_MIN_LOG_LEVEL": "2",
            "PEER_DEVICE": "cuda" if on_gpu else "cpu",
            **({} if on_gpu else {"CUDA_VISIBLE_DEVICES": ""}),
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": f"--xla_cpu_multi_thread_eigen=true intra_op_parallelism_threads={threads}",
            "TORCHINDUCTOR_CACHE_DIR": str(WORK / "inductor"),
            "RTEN_NUM_THREADS": str(threads),
        }
        command = [python, FOLDER / "peer.py", name, network, data, str(threads), saved(network)]
        if name == "rten":
            command = [rten(), saved(network).with_suffix(".onnx"), data.with_suffix(".f32")]
        if name == "burn":
            command = [burn(options.backend), options.backend, data.with_suffix(".f32"), data.with_suffix(".i32")]
        log = open(WORK / f"{name}.log", "a")
        self.name, self.network, self.started, self.first = name, network, time.perf_counter(), None
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env={**os.environ, **variables}
        )

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise ChildProcessError(f"{self.name} ended: see {WORK / self.name}.log")
        return json.loads(line)

    def ask(self, **request):
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return self.answer()

    def prepare(self, task, batch_size, seconds):
        self.ask(prepare=task, batch_size=batch_size, seconds=seconds)
        self.first = self.first or time.perf_counter() - self.started
        self.answer()

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def bench(brasa, network, data, task, batch_size, options):
    """One measurement of Brasa, in its own process."""
    model = saved(network) if network in GRAPHS else FOLDER / f"{network}.toml"
    command = [brasa, "bench", model, "--backend", options.backend, "--threads", options.threads, "--data", data]
    command += ["--task", task, "--batch-size", batch_size, "--seconds", options.seconds, "--repetitions", 1, "--json"]
    done = subprocess.run([str(word) for word in command], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)[0]


def saved(network):
    """The path of a graph's file."""
    return WORK / f"{network}.keras"


def measure(network, data, python, brasa, options, report):
    named = [name for name in options.peers if network in IMAGES or "channels-last" not in name]
    named = [name for name in named if name != "burn" or network == "cnn"]
    peers, own, started = [], [], set()
    for task in options.tasks:
        for batch_size in options.batch_sizes or BATCH_SIZES.get((network, task), [128]):
            note(f"{network}, {task}, batch {batch_size}")
            for peer in peers if task == "train" else []:
                if peer.name in RUNTIMES:
                    peer.end()
            peers = [peer for peer in peers if task != "train" or peer.name not in RUNTIMES]
            peers = [peer for peer in peers if prepared(peer, task, batch_size, options)]
            # Each starts, and takes its first step, while the others wait.
            for name in named:
                if name in started or (task == "train" and name in RUNTIMES):
                    continue
                started.add(name)
                peer = Peer(name, network, data, python, options)
                if prepared(peer, task, batch_size, options):
                    peers.append(peer)
            rates = {}
            for number in range(options.rounds):
                # Each round begins with another program.
                order = [None, *peers]
                order = order[number % len(order) :] + order[: number % len(order)]
                for peer in order:
                    time.sleep(PAUSE)
                    if peer is None:
                        result = bench(brasa, network, data, task, batch_size, options)
                        own.append({"task": task, **result})
                        rates.setdefault("brasa", []).append(result["samples_per_second"])
                    else:
                        for way, rate in peer.ask(measure=True).items():
                            rates.setdefault(f"{peer.name} {way}", []).append(rate)
            result = {"network": network, "task": task, "batch_size": batch_size, "rates": rates}
            report["results"].append({**result, "ratio": ratio(rates)})
            if not report["processes"] or report["processes"][-1]["network"] != network:
                report["processes"].append(first_steps(network, task, batch_size, own, peers))
    for peer in peers:
        peer.end()


def prepared(peer, task, batch_size, options):
    """Whether the peer can be measured; one that fails is skipped with a message."""
    try:
        peer.prepare(task, batch_size, options.seconds)
        return True
    except (ChildProcessError, BrokenPipeError) as error:
        note(f"left out: {error}")
        peer.process.kill()
        return False


def first_steps(network, task, batch_size, own, peers):
    """The startup costs of the processes: time to the first step, and memory after all rounds.

    Not of the runtimes, whose processes convert the model, too."""
    median = statistics.median
    peers = [peer for peer in peers if peer.name not in RUNTIMES]
    return {
        "network": network,
        "task": task,
        "batch_size": batch_size,
        "seconds_to_first_step": {
            "brasa": median(run["milliseconds_to_first_step"] for run in own) / 1000,
            **{peer.name: peer.first for peer in peers},
        },
        "peak_rss_bytes": {
            "brasa": median(run["peak_rss_bytes"] for run in own),
            **{peer.name: peer.ask(memory=True)["peak_rss_bytes"] for peer in peers},
        },
    }


def ratio(rates):
    """Brasa's rate over that of the fastest peer, and its name: median, minimum and maximum of the rounds."""
    peers = {name: statistics.median(values) for name, values in rates.items() if name != "brasa"}
    if not peers:
        return None
    best = max(peers, key=peers.get)
    ratios = [own / other for own, other in zip(rates["brasa"], rates[best])]
    return {"peer": best, "median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)}


def markdown(report):
    """The tables."""
    about = report["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    lines = [f"{about['cpu']}, {about['threads']} threads; {about['brasa']}, {versions}; load before: {about['load'][0]:.1f}"]
    for task in report["options"]["tasks"]:
        results = [result for result in report["results"] if result["task"] == task]
        results.sort(key=lambda result: (report["options"]["networks"].index(result["network"]), result["batch_size"]))
        head = ["network", "batch", "Brasa", *FRAMEWORKS, "Brasa / fastest peer", "in the rounds"]
        lines += ["", f"Samples a second, {task}: medians, of a framework's ways the fastest", ""]
        lines += table(head, map(row, results))
        ways = list(dict.fromkeys(way for result in results for way in result["rates"]))
        lines += ["", f"Samples a second, {task}: medians of all ways", ""]
        lines += table(["network", "batch", *ways], (all_ways(result, ways) for result in results))
    peers = ["brasa", *dict.fromkeys(name for run in report["processes"] for name in run["peak_rss_bytes"] if name in PEERS)]
    for key, what, text in [
        ("seconds_to_first_step", "Seconds from the start of the process to its first finished step", "{:.3f}".format),
        ("peak_rss_bytes", "Most memory of the process, MiB", lambda bytes: f"{bytes / 2**20:,.0f}"),
    ]:
        lines += ["", what, ""]
        rows = []
        for run in report["processes"]:
            cells = [text(run[key][name]) if name in run[key] else "–" for name in peers]
            rows.append([run["network"], f"{run['task']}, {run['batch_size']}", *cells])
        lines += table(["network", "task, batch", *peers], rows)
    return "\n".join(lines)


def table(head, rows):
    return [f"| {' | '.join(cells)} |" for cells in [head, ["---", *["---:"] * (len(head) - 1)], *rows]]


def all_ways(result, ways):
    rates = {way: f"{statistics.median(values):,.0f}" for way, values in result["rates"].items()}
    return [result["network"], str(result["batch_size"]), *(rates.get(way, "–") for way in ways)]


def row(result):
    """Brasa, each framework, and the ratio of Brasa to the fastest."""
    rates = {name: statistics.median(values) for name, values in result["rates"].items()}
    cells = [f"{rates['brasa']:,.0f}"]
    for framework in FRAMEWORKS:
        own = {name: rate for name, rate in rates.items() if PEERS.get(name.split(" ")[0]) == framework}
        best = max(own, key=own.get, default=None)
        cells.append("–" if best is None else f"{own[best]:,.0f} ({how(best)})")
    against = ratio(result["rates"])
    cells += ["–", "–"] if against is None else [f"{against['median']:.2f}", f"{against['min']:.2f}–{against['max']:.2f}"]
    return [result["network"], str(result["batch_size"]), *cells]


def how(name):
    """How a framework was used: the end of PyTorch's name, or Keras's method."""
    peer, way = name.split(" ")
    return peer.removeprefix("torch").strip("-") or "eager" if peer.startswith("torch") else way


def note(text):
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
