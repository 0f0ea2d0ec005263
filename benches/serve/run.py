#!/usr/bin/env python3
"""`brasa serve` compared with FastAPI servers of the same network under load: see README.md in this folder."""

import argparse
import datetime
import http.client
import json
import math
import os
import pathlib
import platform
import re
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time

FOLDER = pathlib.Path(__file__).resolve().parent
ROOT = FOLDER.parents[1]
MODEL = ROOT / "tests" / "fixtures" / "models" / "01_reference_cnn.keras"

# uvloop and httptools are uvicorn's fast forms; tf2onnx is what Keras writes ONNX with.
PACKAGES = ["keras==3.15.1", "tensorflow-cpu", "jax", "fastapi", "uvicorn", "uvloop", "httptools", "onnxruntime"]
PACKAGES += ["openvino", "onnx", "tf2onnx", "numpy"]
CHECK = "import keras, tensorflow, jax, fastapi, uvicorn, uvloop, httptools, onnxruntime, openvino, tf2onnx"
PEERS = {
    "keras-tf": "FastAPI + Keras, TensorFlow, compiled call",
    "keras-tf-predict": "FastAPI + Keras, TensorFlow, `predict`",
    "keras-jax": "FastAPI + Keras, JAX, compiled call",
    "onnxruntime": "FastAPI + ONNX Runtime",
    "openvino": "FastAPI + OpenVINO",
}
JSON_WAY, BINARY_WAY, LIVE_WAY = "JSON", "binary tensors", "/v2/health/live"
SIDE = 28
IMAGES = 16
# The pause between two measurements, in which threads that spin go to sleep.
PAUSE = 0.2
PAGE = 4096 if not hasattr(os, "sysconf") else os.sysconf("SC_PAGE_SIZE")
TICKS = 100 if not hasattr(os, "sysconf") else os.sysconf("SC_CLK_TCK")


def main():
    options = arguments()
    sys.path.insert(0, str(ROOT / "tests" / "keras"))
    import environment

    if not shutil.which("wrk"):
        sys.exit("wrk is needed (Debian: apt-get install wrk)")
    brasa = options.brasa or environment.built("--bin", "brasa", "--release")
    python = None
    if options.peers:
        note("looking for the peers' environment, or making it")
        python = environment.python_with("serve-load", PACKAGES, CHECK)
    report = {
        "machine": machine(options, python, brasa),
        "options": vars(options),
        "results": [],
        "memory": {},
        "agreement": {},
    }
    with tempfile.TemporaryDirectory() as folder:
        servers = start(options, brasa, python, pathlib.Path(folder), report)
        try:
            measure(servers, options, report)
            after(servers, options, report)
        finally:
            for server in servers:
                server.end()
    report["machine"]["load after"] = os.getloadavg()
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(report, indent=1, default=str) + "\n")
    print(markdown(report))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)

    def words(text):
        chosen = [] if text == "none" else text.split(",")
        if unknown := set(chosen) - set(PEERS):
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; known: none, {', '.join(PEERS)}")
        return chosen

    def count(text):
        if (number := int(text)) < 1:
            raise argparse.ArgumentTypeError("a number above 0 is wanted")
        return number

    def counts(text):
        return [count(word) for word in text.split(",")]

    cpus = os.cpu_count() or 1
    parser.add_argument("--model", type=pathlib.Path, default=MODEL, metavar="FILE",
                        help="a .keras file of a network for images of 28×28×1 (default: the notebook's, of the tests)")
    parser.add_argument("--peers", type=words, default=list(PEERS), help=f"none, or some of {','.join(PEERS)} (default: all)")
    parser.add_argument("--connections", type=counts, default=[1, 8, 64], help="default: 1,8,64")
    parser.add_argument("--rounds", type=count, default=5, help="how often each server is measured (default: 5)")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long a measurement takes (default: 5)")
    parser.add_argument("--requests", type=count, metavar="N", help="then send N requests, with memory after 10⁴, 10⁵ and N")
    parser.add_argument("--workers", type=count, default=cpus, help=f"processes of each peer (default: one for each processor, {cpus})")
    parser.add_argument("--brasa", type=pathlib.Path, help="the program (default: built with cargo build --release)")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="where to write all that was measured")
    return parser.parse_args()


def machine(options, python, brasa):
    cpu = platform.processor()
    if os.path.exists("/proc/cpuinfo"):
        names = [line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")]
        cpu = f"{len(names)} × {names[0]}" if names else cpu
    versions = {}
    if python:
        done = subprocess.run([python, FOLDER / "peer.py", "--versions"], check=True, stdout=subprocess.PIPE, text=True)
        versions = json.loads(done.stdout)
    # `wrk -v` ends with 1.
    about = subprocess.run(["wrk", "-v"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout
    return {
        "cpu": cpu,
        "system": platform.platform(),
        "load before": os.getloadavg(),
        "date": datetime.datetime.now().isoformat(timespec="seconds"),
        "brasa": subprocess.run([brasa, "--version"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip(),
        "wrk": about.split("Copyright")[0].strip(),
        "versions": versions,
    }


# --- requests -------------------------------------------------------------------------------------------------------


def images():
    """Images like MNIST's digits: a light ring or stroke on black, in float32 between 0 and 1."""
    def pixel(number, x, y):
        across, down = 13.5 + number % 3 - 1, 13.5 + number % 4 - 1.5
        if number % 2:
            distance = abs(math.hypot((x - across) * 1.3, y - down) - 7 - number % 5 / 2)
        else:
            distance = abs((x - across) + (y - down) * (number - 8) / 10) + max(0.0, abs(y - down) - 8)
        # As a byte of a file over 255, in float32.
        light = round(255 * min(1.0, max(0.0, 2 - distance)))
        return struct.unpack("<f", struct.pack("<f", light / 255))[0]

    return [[[[pixel(number, x, y)] for x in range(SIDE)] for y in range(SIDE)] for number in range(IMAGES)]


def request(method, path, headers=(), body=b""):
    head = [f"{method} {path} HTTP/1.1", "Host: localhost", *(f"{name}: {value}" for name, value in headers)]
    if method == "POST":
        head.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*head, "", ""]).encode() + body


def json_requests(samples):
    kind = [("Content-Type", "application/json")]
    bodies = (json.dumps({"instances": [sample]}).encode() for sample in samples)
    return [request("POST", "/v1/models/net:predict", kind, body) for body in bodies]


def binary_requests(samples, server):
    """The Open Inference Protocol with its extension for binary tensors."""
    about = server.ask("GET", "/v2/models/net")
    [given], [wanted] = about["inputs"], about["outputs"]
    whole = []
    for sample in samples:
        values = [value for row in sample for [value] in row]
        tensor = struct.pack(f"<{len(values)}f", *values)
        head = json.dumps({
            "inputs": [{"name": given["name"], "shape": [1, SIDE, SIDE, 1], "datatype": "FP32",
                        "parameters": {"binary_data_size": len(tensor)}}],
            "outputs": [{"name": wanted["name"], "parameters": {"binary_data": True}}],
        }).encode()
        headers = [("Content-Type", "application/octet-stream"), ("Inference-Header-Content-Length", len(head))]
        whole.append(request("POST", "/v2/models/net/infer", headers, head + tensor))
    return whole


class Connection:
    """A connection that is kept: requests as bytes, and their answers."""

    def __init__(self, port):
        self.socket, self.rest = socket.create_connection(("127.0.0.1", port), timeout=60), b""
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, whole):
        self.socket.sendall(whole)

    def more(self):
        piece = self.socket.recv(1 << 16)
        if not piece:
            raise ConnectionError("a server has ended its connection")
        self.rest += piece

    def answer(self):
        """The status, the head in small letters, and the body."""
        while (end := self.rest.find(b"\r\n\r\n")) < 0:
            self.more()
        head = self.rest[:end].lower()
        length = re.search(rb"\r\ncontent-length: *(\d+)", head)
        whole = end + 4 + (int(length[1]) if length else 0)
        while len(self.rest) < whole:
            self.more()
        body, self.rest = self.rest[end + 4 : whole], self.rest[whole:]
        return int(head.split(b" ", 2)[1]), head, body


def outputs(way, server, whole):
    """The numbers that a server answers to a request."""
    connection = Connection(server.port)
    connection.send(whole)
    status, head, body = connection.answer()
    connection.socket.close()
    if status != 200:
        raise SystemExit(f"{server.name} answers {status}: {body[:500].decode(errors='replace')}")
    if way == JSON_WAY:
        return json.loads(body)["predictions"][0]
    start = int(re.search(rb"\r\ninference-header-content-length: *(\d+)", head)[1])
    return struct.unpack(f"<{(len(body) - start) // 4}f", body[start:])


# --- servers --------------------------------------------------------------------------------------------------------


class Server:
    """A server's process, which lives until everything is measured."""

    def __init__(self, name, command, port=None, log=None, variables=None):
        self.name, self.port, self.log, self.files = name, port, log, {}
        out = subprocess.PIPE if port is None else subprocess.DEVNULL
        # A session of its own, so that the end reaches a peer's processes too.
        self.process = subprocess.Popen(
            [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=out, stderr=open(log, "w"), text=True,
            env={**os.environ, **(variables or {})}, start_new_session=True,
        )
        if port is None:
            line = self.process.stdout.readline()
            if not line:
                raise SystemExit(f"{name} did not start: {pathlib.Path(log).read_text()[-2000:]}")
            self.port = int(line.rsplit(":", 1)[1])

    def ask(self, method, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request(method, path)
        answer = json.loads(connection.getresponse().read())
        connection.close()
        return answer

    def lives(self, seconds):
        """Whether it answers within a time."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.process.poll() is None:
            try:
                self.ask("GET", "/v2/health/live")
                return True
            except (OSError, http.client.HTTPException, ValueError):
                time.sleep(0.2)
        return False

    def family(self):
        """The ids of its processes."""
        parents = {}
        for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
            try:
                parents[int(path.parent.name)] = int(path.read_text().rsplit(")", 1)[1].split()[1])
            except OSError:
                pass
        found = [self.process.pid]
        for process in found:
            found += [child for child, parent in parents.items() if parent == process]
        return found

    def memory(self):
        """The resident bytes of all its processes."""
        total = 0
        for process in self.family():
            try:
                total += int(pathlib.Path(f"/proc/{process}/statm").read_text().split()[1]) * PAGE
            except OSError:
                pass
        return total

    def busy(self):
        """The processor time of all its processes until now, in seconds."""
        total = 0
        for process in self.family():
            try:
                fields = pathlib.Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
                total += int(fields[11]) + int(fields[12])
            except OSError:
                pass
        return total / TICKS

    def end(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()


def free_port():
    with socket.socket() as own:
        own.bind(("127.0.0.1", 0))
        return own.getsockname()[1]


def start(options, brasa, python, folder, report):
    """All servers, with the requests of each; those that do not answer, or answer otherwise, are left out."""
    samples = images()
    model = f"net={options.model}"
    command = [brasa, "serve", "--model", model, "--listen", "127.0.0.1:0", "--no-access-log"]
    own = Server("brasa", command, log=folder / "brasa.log")
    servers = [own]
    try:
        if not own.lives(60):
            raise SystemExit(f"brasa does not answer: {(folder / 'brasa.log').read_text()[-2000:]}")
        ways = {JSON_WAY: json_requests(samples), BINARY_WAY: binary_requests(samples, own)}
        report["memory"]["brasa"] = {"started": own.memory()}
        expected = [outputs(JSON_WAY, own, whole) for whole in ways[JSON_WAY]]
        farthest("brasa", BINARY_WAY, own, ways[BINARY_WAY], expected, report)
        live = [request("GET", "/v2/health/live")]
        files = {way: written(folder, number, whole) for number, (way, whole) in enumerate({**ways, LIVE_WAY: live}.items())}
        own.files, own.json = files, ways[JSON_WAY]
        for name in options.peers:
            peer = started(name, options, python, folder)
            if peer is None:
                continue
            servers.append(peer)
            report["memory"][name] = {"started": peer.memory()}
            farthest(name, JSON_WAY, peer, ways[JSON_WAY], expected, report)
            peer.files, peer.json = {way: files[way] for way in (JSON_WAY, LIVE_WAY)}, ways[JSON_WAY]
    except BaseException:
        for server in servers:
            server.end()
        raise
    return servers


def started(name, options, python, folder):
    """A peer that answers; none, with a message, for one that does not."""
    note(f"starting {PEERS[name]}")
    file, threads = options.model.resolve(), max(1, (os.cpu_count() or 1) // options.workers)
    variables = {
        "OMP_NUM_THREADS": str(threads),
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "CUDA_VISIBLE_DEVICES": "",
        "JAX_PLATFORMS": "cpu",
    }
    if name in ("onnxruntime", "openvino"):
        file = folder / "net.onnx"
        if not file.exists():
            command = [python, FOLDER / "peer.py", "--onnx", options.model.resolve(), file]
            own = {**os.environ, **variables, "KERAS_BACKEND": "tensorflow"}
            done = subprocess.run(command, env=own, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            if done.returncode or not file.exists():
                file.unlink(missing_ok=True)
                note(f"left out: {name}, as the network cannot be written as ONNX: {done.stdout.strip()[-500:]}")
                return None
    log, port, ready = folder / f"{name}.log", free_port(), folder / f"{name}-ready"
    ready.mkdir()
    command = [python, FOLDER / "peer.py", name, file, port, options.workers, threads, ready]
    server = Server(name, command, port, log, variables)
    end = time.monotonic() + 300
    while time.monotonic() < end and server.process.poll() is None:
        # The first process that is ready answers; all are to be.
        if len(list(ready.iterdir())) >= options.workers and server.lives(10):
            return server
        time.sleep(0.2)
    server.end()
    note(f"left out: {name} does not answer: {log.read_text().strip()[-500:]}")
    return None


def farthest(name, way, server, wholes, expected, report):
    """How far a server's answers are from Brasa's in JSON: it has to be the same network."""
    pairs = ((outputs(way, server, whole), own) for whole, own in zip(wholes, expected, strict=True))
    most = max(abs(a - b) for numbers, own in pairs for a, b in zip(numbers, own, strict=True))
    report["agreement"][f"{name}, {way}"] = most
    if not most < 1e-4:
        raise SystemExit(f"{name} ({way}) answers other numbers, by {most}")


def written(folder, number, wholes):
    path = folder / f"requests-{number}"
    path.write_bytes(b"".join(b"%d\n" % len(whole) + whole for whole in wholes))
    return path


# --- measurements ---------------------------------------------------------------------------------------------------


def wrk(server, way, connections, seconds):
    command = ["wrk", "-t", "1", "-c", connections, "-d", f"{max(1, round(seconds))}s", "--timeout", "30s"]
    command += ["-s", FOLDER / "request.lua", f"http://127.0.0.1:{server.port}", "--", server.files[way]]
    busy = server.busy()
    done = subprocess.run([str(word) for word in command], check=True, stdout=subprocess.PIPE, text=True)
    busy = server.busy() - busy
    found = json.loads(done.stdout.splitlines()[-1])
    requests = max(found["requests"], 1)
    return {
        "requests_per_second": found["requests"] / found["microseconds"] * 1e6,
        "p50_ms": found["p50"] / 1e3,
        "p99_ms": found["p99"] / 1e3,
        "most_ms": found["most"] / 1e3,
        "errors": found["failed"] + found["timeouts"] + found["broken"],
        "processor_us": busy / requests * 1e6,
    }


def measure(servers, options, report):
    jobs = [(server, way) for server in servers for way in server.files]
    for server, way in jobs:
        # All processes of a peer take part, and all have computed.
        wrk(server, way, max(options.connections), max(1.0, options.seconds / 4))
    for server in servers:
        report["memory"][server.name]["warm"] = server.memory()
    for connections in options.connections:
        note(f"{connections} connections")
        runs = {}
        for number in range(options.rounds):
            # Each round begins with another one.
            first = number % len(jobs)
            for server, way in jobs[first:] + jobs[:first]:
                time.sleep(PAUSE)
                runs.setdefault((server.name, way), []).append(wrk(server, way, connections, options.seconds))
        for (name, way), own in runs.items():
            report["results"].append({"server": name, "way": way, "connections": connections, "rounds": own})


def after(servers, options, report):
    """Memory after everything, and after a number of requests."""
    for server in servers:
        report["memory"][server.name]["measured"] = server.memory()
    if not options.requests:
        return
    marks = [mark for mark in (10_000, 100_000) if mark < options.requests] + [options.requests]
    for server in servers:
        note(f"{options.requests:,} requests to {server.name}")
        sent, connections = 0, [Connection(server.port) for _ in range(8)]
        for mark in marks:
            while sent < mark:
                now = connections[: mark - sent]
                for number, connection in enumerate(now):
                    connection.send(server.json[(sent + number) % IMAGES])
                for connection in now:
                    status, _, body = connection.answer()
                    if status != 200:
                        raise SystemExit(f"{server.name} answers {status}: {body[:500].decode(errors='replace')}")
                sent += len(now)
            report["memory"][server.name][f"{mark:,} requests"] = server.memory()
            note(f"{server.name}: {server.memory() / 2**20:,.1f} MiB after {sent:,} requests")
        for connection in connections:
            connection.socket.close()


# --- the report -----------------------------------------------------------------------------------------------------


def spread(values):
    """The median, and between which values it lies."""
    middle = digits(statistics.median(values))
    return middle if len(values) == 1 else f"{middle} ({digits(min(values))}–{digits(max(values))})"


def digits(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def column(result, key):
    return [run[key] for run in result["rounds"]]


def shown(name, way):
    names = {"brasa": "Brasa", **PEERS}
    return f"{names[name]}, {way}" if name == "brasa" and way != LIVE_WAY else names[name]


def markdown(report):
    about, options = report["machine"], report["options"]
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    lines = [
        f"{about['cpu']}; {about['brasa']}; {versions or 'no peers'}; {about['wrk']}; "
        f"load {about['load before'][0]:.1f} before, {about['load after'][0]:.1f} after; {about['date']}",
        f"{options['rounds']} rounds of {options['seconds']:g} s each; peers in {options['workers']} processes; "
        "medians (least–greatest)",
    ]
    head = ["connections", "server", "requests/s", "p50, ms", "p99, ms", "errors", "processor µs/request"]
    for title, ways, last in [
        ("One image a request", (JSON_WAY, BINARY_WAY), ["Brasa in JSON / it"]),
        (f"HTTP alone: {LIVE_WAY}", (LIVE_WAY,), ["Brasa / it"]),
    ]:
        results = [result for result in report["results"] if result["way"] in ways]
        rows = []
        for result in results:
            [own] = [
                other for other in results
                if other["server"] == "brasa" and other["way"] == ways[0] and other["connections"] == result["connections"]
            ]
            pairs = zip(column(own, "requests_per_second"), column(result, "requests_per_second"), strict=True)
            # A server that answered nothing has no ratio.
            ratios = [ours / theirs for ours, theirs in pairs if theirs]
            rows.append([
                str(result["connections"]),
                shown(result["server"], result["way"]),
                spread(column(result, "requests_per_second")),
                spread(column(result, "p50_ms")),
                spread(column(result, "p99_ms")),
                f"{sum(column(result, 'errors')):,}",
                spread(column(result, "processor_us")),
                "–" if result is own or not ratios else spread(ratios),
            ])
        lines += ["", title, "", *table([*head, *last], rows, 2)]
    moments = list(dict.fromkeys(moment for own in report["memory"].values() for moment in own))
    rows = [
        [shown(name, LIVE_WAY), *(f"{own[moment] / 2**20:,.1f}" if moment in own else "–" for moment in moments)]
        for name, own in report["memory"].items()
    ]
    lines += ["", "Resident memory of all processes of a server, MiB", "", *table(["server", *moments], rows, 1)]
    return "\n".join(lines)


def table(head, rows, words):
    """A table whose first columns are words."""
    rule = [*["---"] * words, *["---:"] * (len(head) - words)]
    return [f"| {' | '.join(cells)} |" for cells in [head, rule, *rows]]


def note(text):
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
