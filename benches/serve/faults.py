#!/usr/bin/env python3
"""What `brasa serve` does when clients are idle, gone, slow or too many, its file changes, and it is asked to end: see
README.md in this folder."""

import argparse
import concurrent.futures
import json
import os
import pathlib
import resource
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time

import run

# Requests whose latency is measured.
REQUESTS = 2000


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--brasa", type=pathlib.Path, help="the program (default: built with cargo build --release)")
    parser.add_argument("--idle", type=int, default=10_000, help="idle connections (default: 10000)")
    parser.add_argument("--rounds", type=int, default=20, help="ends under load (default: 20)")
    parser.add_argument("--reloads", type=int, default=200, help="new model files under load (default: 200)")
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(CHECKS), metavar="CHECK,…",
                        help=f"some of {','.join(CHECKS)} (default: all)")
    options = parser.parse_args()
    if unknown := set(options.only) - set(CHECKS):
        sys.exit(f"unknown: {', '.join(unknown)}; known: {', '.join(CHECKS)}")
    sys.path.insert(0, str(run.ROOT / "tests" / "keras"))
    if not options.brasa:
        import environment

        options.brasa = pathlib.Path(environment.built("--bin", "brasa", "--release"))
    # Each connection is an open file here, too.
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    for name in options.only:
        print(f"- {CHECKS[name](options)}", flush=True)


class Server(run.Server):
    """A server of the notebook's network, which ends with the block."""

    def __init__(self, brasa, *arguments, model=run.MODEL, before=None):
        self.folder = tempfile.TemporaryDirectory()
        command = [brasa, "serve", "--model", f"net={model}", "--listen", "127.0.0.1:0", "--no-access-log", *arguments]
        self.name, self.log = "brasa", pathlib.Path(self.folder.name, "log")
        self.process = subprocess.Popen(
            [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=open(self.log, "w"), text=True, preexec_fn=before,
        )
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"brasa did not start: {self.log.read_text()[-2000:]}")
        self.port = int(line.rsplit(":", 1)[1])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(60)
        self.folder.cleanup()
        if code != 0:
            raise SystemExit(f"the server ended with {code}")

    def count(self, name):
        """A number among the metrics."""
        connection = run.Connection(self.port)
        connection.send(run.request("GET", "/metrics"))
        _, _, body = connection.answer()
        connection.socket.close()
        lines = (line.rsplit(" ", 1) for line in body.decode().splitlines())
        return next((float(value) for own, value in lines if own == name), 0.0)

    def until(self, name, value):
        end = time.monotonic() + 30
        while (now := self.count(name)) != value:
            if time.monotonic() > end:
                raise SystemExit(f"{name} is {now}, not {value}")
            time.sleep(0.05)


def mib(bytes):
    return f"{bytes / 2**20:,.1f} MiB"


def good(connection, whole):
    connection.send(whole)
    status, _, body = connection.answer()
    if status != 200:
        raise SystemExit(f"the server answers {status}: {body[:300]}")


def latencies(server, count):
    """Milliseconds of requests one after another: the median, and what 99 of 100 stay below."""
    connection, wholes, times = run.Connection(server.port), run.json_requests(run.images()), []
    for number in range(count):
        begun = time.perf_counter()
        good(connection, wholes[number % run.IMAGES])
        times.append((time.perf_counter() - begun) * 1e3)
    connection.socket.close()
    return f"{statistics.median(times):.2f} / {statistics.quantiles(times, n=100)[98]:.2f} ms"


def idle(options):
    """Connections that only are there, half of them after a request."""
    with Server(options.brasa, "--client-timeout", "600") as server:
        latencies(server, 500)
        alone, before = latencies(server, REQUESTS), server.memory()
        connections, begun = [], time.monotonic()
        for number in range(options.idle):
            connections.append(run.Connection(server.port))
            if number % 2:
                good(connections[-1], run.request("GET", "/v2/health/live"))
        took = time.monotonic() - begun
        server.until("brasa_connections", options.idle + 1)
        beside, during = latencies(server, REQUESTS), server.memory()
        for connection in connections:
            connection.socket.close()
        server.until("brasa_connections", 1)
        # The allocator gives memory back after a while, when there is work.
        time.sleep(2)
        latencies(server, 200)
        return (
            f"{options.idle:,} idle connections, made in {took:.1f} s: memory {mib(before)} before, {mib(during)} with them "
            f"({(during - before) / options.idle / 1024:.1f} KiB each), {mib(server.memory())} after; a request (p50 / p99) "
            f"{alone} without, {beside} beside them"
        )


def gone(options):
    """Clients that are killed with a request on its way, and those that close their side."""
    with Server(options.brasa) as server:
        wholes = run.json_requests(run.images())
        clients = 2000
        for number in range(clients):
            connection = run.Connection(server.port)
            connection.send(wholes[number % run.IMAGES][: None if number % 2 else -100])
            if number % 3:
                # The kernel sends a reset, as for a process that was killed with unread bytes.
                connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.socket.close()
            else:
                connection.socket.shutdown(socket.SHUT_WR)
                while connection.socket.recv(1 << 16):
                    pass
                connection.socket.close()
        for name, left in [("brasa_connections", 1), ("brasa_in_flight_requests", 0), ("brasa_request_bytes", 0)]:
            server.until(name, left)
        return (
            f"{clients:,} clients that reset or half-closed their connection during a request: no connection, request or byte "
            f"is left; a request afterwards (p50 / p99) {latencies(server, REQUESTS)}"
        )


def slow(options):
    """Clients that ask for much and read nothing."""
    with tempfile.TemporaryDirectory() as folder:
        model = pathlib.Path(folder, "repeat.keras")
        keras_model(model, "Input((1000,)), L.RepeatVector(1000)")
        with Server(options.brasa, "--client-timeout", "5", "--max-request-memory", "256MiB", model=model) as server:
            body = json.dumps({"instances": [[0.123456789] * 1000]}).encode()
            whole = run.request("POST", "/v1/models/net:predict", [("Content-Type", "application/json")], body)
            good(run.Connection(server.port), whole)
            before, clients = server.memory(), []
            for _ in range(100):
                connection = run.Connection(server.port)
                connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                connection.send(whole)
                clients.append(connection)
            time.sleep(2)
            most, held = server.memory(), server.count("brasa_request_bytes")
            begun = time.monotonic()
            connection = run.Connection(server.port)
            connection.send(run.request("GET", "/v2/health/live"))
            connection.answer()
            answered = (time.monotonic() - begun) * 1e3
            server.until("brasa_request_bytes", 0)
            left = server.memory()
        return (
            f"100 clients that read nothing of answers of 11 MB, with --max-request-memory 256MiB: memory {mib(before)} before, "
            f"{mib(most)} with them, of which {mib(held)} counted, {mib(left)} after their time; another was answered in "
            f"{answered:.1f} ms"
        )


def keras_model(path, layers):
    """Has Keras save a model of these layers."""
    import environment

    python = environment.python_with("serve-load", run.PACKAGES, run.CHECK)
    code = f"import keras; from keras import Input, layers as L; keras.Sequential([{layers}]).save({str(path)!r})"
    subprocess.run([python, "-c", code], check=True, env={**os.environ, "KERAS_BACKEND": "jax"})


def full(options):
    """Requests each of which takes more than half of what there is."""
    most = 3 << 30
    with tempfile.TemporaryDirectory() as folder:
        model = pathlib.Path(folder, "wide.keras")
        keras_model(model, "Input((None, None, 1), name='x'), L.UpSampling2D(16), L.GlobalMaxPooling2D()")

        def limit():
            resource.setrlimit(resource.RLIMIT_AS, (most, most))

        with Server(options.brasa, "--workers", "4", model=model, before=limit) as server:
            def ask(side):
                head = json.dumps({"inputs": [{"name": "x", "shape": [1, side, side, 1], "datatype": "UINT8",
                                               "parameters": {"binary_data_size": side * side}}]}).encode()
                headers = [("Inference-Header-Content-Length", len(head))]
                whole = run.request("POST", "/v2/models/net/infer", headers, head + bytes([7]) * (side * side))
                connection = run.Connection(server.port)
                connection.send(whole)
                status, _, body = connection.answer()
                connection.socket.close()
                return status

            # The largest that fits.
            side, step = 200, 400
            while step > 10:
                if ask(side + step) == 200:
                    side += step
                else:
                    step //= 2
            with concurrent.futures.ThreadPoolExecutor(8) as pool:
                statuses = list(pool.map(ask, [side * 3 // 4] * 16 + [side * 3] * 8))
            # The allocator returns freed memory to the system with a delay: one may be refused that would fit later.
            answered = statuses[:16].count(200)
            if answered < 8 or set(statuses[:16]) - {200, 413} or statuses[16:] != [413] * 8 or ask(100) != 200:
                raise SystemExit(f"the server answers {statuses}")
            size = 4 * (16 * (side * 3 // 4)) ** 2
        return (
            f"with an address space of {mib(most)}, of 16 requests that take {mib(size)} each, 8 at once, {answered} are computed "
            "and the others refused with 413; 8 that would take more than there is are all refused"
        )


def end(options):
    """SIGTERM under load."""
    answered, refused = 0, []
    for _ in range(options.rounds):
        with Server(options.brasa) as server:
            wholes, counts, lost, signalled = run.json_requests(run.images()), [0] * 16, [], threading.Event()

            def ask(index):
                while True:
                    try:
                        connection = run.Connection(server.port)
                    except OSError:
                        # Refused: it is no request yet.
                        return
                    is_late = signalled.is_set()
                    while True:
                        try:
                            connection.send(wholes[counts[index] % run.IMAGES])
                            status, head, _ = connection.answer()
                        except OSError as error:
                            # Of a connection that came after the signal the server may never have known.
                            (refused if is_late else lost).append(f"{error} after {counts[index]}")
                            return
                        if status != 200:
                            lost.append(f"{status}")
                        counts[index] += 1
                        if b"connection: close" in head:
                            break
                    if index % 2 == 0:
                        return
                    # The others connect again, until they are refused.

            threads = [threading.Thread(target=ask, args=[index]) for index in range(16)]
            [thread.start() for thread in threads]
            time.sleep(0.5)
            signalled.set()
            server.process.send_signal(signal.SIGTERM)
            code = server.process.wait(60)
            [thread.join() for thread in threads]
            if lost or code != 0:
                raise SystemExit(f"lost: {lost}; the server ended with {code}")
            answered += sum(counts)
    return (
        f"{options.rounds} times SIGTERM with 16 connections that ask: {answered:,} requests answered, none lost; {len(refused)} "
        "connections made after the signal were reset; each end with 0"
    )


def reload(options):
    """A file that is replaced again and again, by a good one and by half of one, under load."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "net.keras")
        whole = run.MODEL.read_bytes()
        path.write_bytes(whole)
        with Server(options.brasa, "--watch", "0", model=path) as server:
            stop, asked = threading.Event(), [0] * 4

            def ask(index):
                connection, wholes = run.Connection(server.port), run.json_requests(run.images())
                while not stop.is_set():
                    good(connection, wholes[asked[index] % run.IMAGES])
                    asked[index] += 1

            with concurrent.futures.ThreadPoolExecutor(4) as pool:
                asking = [pool.submit(ask, index) for index in range(4)]
                memory = {}
                try:
                    for number in range(1, options.reloads + 1):
                        new = path.with_suffix(".new")
                        new.write_bytes(whole[: len(whole) // 2] if number % 4 == 0 else whole)
                        new.replace(path)
                        server.process.send_signal(signal.SIGHUP)
                        name = f'brasa_reloads_total{{model="net",result="{"refused" if number % 4 == 0 else "switched"}"}}'
                        server.until(name, number // 4 if number % 4 == 0 else number - number // 4)
                        memory[number] = server.memory()
                finally:
                    stop.set()
                [one.result() for one in asking]
            tenth = max(1, options.reloads // 10)
        return (
            f"{options.reloads} new files, each fourth of them half a file, under load: {sum(asked):,} requests, all answered; memory "
            f"{mib(memory[tenth])} after {tenth}, {mib(memory[options.reloads])} after {options.reloads}"
        )


CHECKS = {"idle": idle, "gone": gone, "slow": slow, "full": full, "end": end, "reload": reload}


if __name__ == "__main__":
    main()
