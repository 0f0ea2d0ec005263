#!/usr/bin/env python3
"""`brasa train` and `brasa bench` over several hosts, which are network namespaces of this one: see README.md here."""

import argparse
import contextlib
import json
import os
import pathlib
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(ROOT / "tests" / "mpi"))

from support import Job, numbers, save_npy, weights  # noqa: E402

NET = "10.77.0"
SWITCH = "brasa-switch"
# The recipes that are measured. The second has many weights for little arithmetic.
NETWORKS = {"cnn": "cnn.toml", "mlp": "mlp.toml"}

AGENT = """#!/bin/sh
# What mpirun calls in place of ssh: the host's name, then a command for its shell.
while [ "${1#-}" != "$1" ]; do shift; done
host=$1
shift
exec ip netns exec "$host" unshare --uts sh -c 'hostname "$0"; exec sh -c "$*"' "$host" "$@"
"""

MLP = """
[[layers]]
class_name = "Flatten"
input_shape = [28, 28, 1]
[[layers]]
class_name = "Dense"
units = 512
activation = "relu"
[[layers]]
class_name = "Dense"
units = 256
activation = "relu"
[[layers]]
class_name = "Dense"
units = 10
activation = "softmax"
[data]
dataset = "mnist"
[compile]
optimizer = "adam"
loss = "sparse_categorical_crossentropy"
"""

CUT = """
[data]
dataset = "npy"
x = "x.npy"
y = "y.npy"
[[layers]]
class_name = "Dense"
units = 64
activation = "relu"
input_shape = [12]
[[layers]]
class_name = "Dense"
units = 3
activation = "softmax"
[compile]
optimizer = "adam"
loss = "sparse_categorical_crossentropy"
[fit]
epochs = 100000
batch_size = 16
checkpoint_freq = 20
seed = 4
"""


def run(*line, check=True):
    """A command of the system."""
    return subprocess.run(list(map(str, line)), check=check, capture_output=True, text=True)


class Hosts:
    """Namespaces that a switch connects, each with a link of the given speed."""

    def __init__(self, count, rate, delay, folder):
        self.names = [f"brasa{index}" for index in range(count)]
        self.rate, self.delay, self.shaping = rate, delay, None
        self.agent = pathlib.Path(folder) / "agent"
        self.agent.write_text(AGENT)
        self.agent.chmod(0o755)

    def __enter__(self):
        self.__exit__()
        try:
            run("ip", "netns", "add", SWITCH)
            run("ip", "-n", SWITCH, "link", "add", "bridge", "type", "bridge")
            run("ip", "-n", SWITCH, "link", "set", "bridge", "up")
            hosts = "".join(f"{NET}.{index + 1} {name}\n" for index, name in enumerate(self.names))
            for index, name in enumerate(self.names):
                run("ip", "netns", "add", name)
                # `ip netns exec` shows these in place of the files in /etc.
                folder = pathlib.Path("/etc/netns") / name
                folder.mkdir(parents=True, exist_ok=True)
                (folder / "hosts").write_text(f"127.0.0.1 localhost\n{hosts}")
                run("ip", "link", "add", "eth0", "netns", name, "type", "veth", "peer", "name", name, "netns", SWITCH)
                run("ip", "-n", SWITCH, "link", "set", name, "master", "bridge", "up")
                run("ip", "-n", name, "address", "add", f"{NET}.{index + 1}/24", "dev", "eth0")
                run("ip", "-n", name, "link", "set", "lo", "up")
                # Else mpirun and its daemons wait a quarter of an hour for a host that does not answer.
                run("ip", "netns", "exec", name, "sysctl", "-qw", "net.ipv4.tcp_retries2=5")
                run("ip", "-n", name, "link", "set", "eth0", "up")
                self.shape(name, "eth0", True)
                self.shape(SWITCH, name, False)
        except subprocess.CalledProcessError as error:
            self.__exit__()
            sys.exit(f"no namespaces here ({' '.join(error.cmd)}: {error.stderr.strip()}); this needs root on Linux")
        return self

    def shape(self, namespace, device, delays):
        """Limits what a device sends; the delay is on the host's side alone."""
        netem = ["netem", "rate", self.rate] + (["delay", self.delay] if delays else [])
        tried = [("netem", netem), ("tbf", ["tbf", "rate", self.rate, "burst", "256kb", "latency", "50ms"])]
        for name, discipline in tried:
            done = run("tc", "-n", namespace, "qdisc", "add", "dev", device, "root", *discipline, check=False)
            if done.returncode == 0:
                self.shaping = name
                return
        self.shaping = None

    def __exit__(self, *_):
        for name in [*self.names, SWITCH]:
            for process in run("ip", "netns", "pids", name, check=False).stdout.split():
                with contextlib.suppress(OSError):
                    os.kill(int(process), signal.SIGKILL)
            run("ip", "netns", "delete", name, check=False)
            shutil.rmtree(pathlib.Path("/etc/netns") / name, ignore_errors=True)
        with contextlib.suppress(OSError):
            pathlib.Path("/etc/netns").rmdir()

    def link(self, name, state):
        """Connects a host to the switch, or cuts it off."""
        run("ip", "-n", SWITCH, "link", "set", name, state)

    def start(self, ranks, arguments, folder, algorithm="default"):
        """Starts a process on each of the first hosts."""
        names = self.names[:ranks]
        line = ["ip", "netns", "exec", names[0], "unshare", "--uts", "sh", "-c", 'hostname "$0"; exec "$@"', names[0]]
        # No processors are bound, as the hosts share those of this machine; the daemons give up a lost link at once.
        line += ["mpirun", "--bind-to", "none", "--oversubscribe", "--host", ",".join(names), "-n", str(ranks)]
        settings = {
            "plm_rsh_agent": str(self.agent),
            "pml": "ob1",
            "btl": "tcp,self",
            "btl_tcp_if_include": f"{NET}.0/24",
            "oob_tcp_if_include": f"{NET}.0/24",
            "oob_tcp_keepalive_time": "5",
            "oob_tcp_keepalive_intvl": "1",
            "oob_tcp_keepalive_probes": "3",
        }
        for key, value in settings.items():
            line += ["--mca", key, value]
        return Job([*line, *chosen(algorithm), *map(str, arguments)], folder)


# One byte there and back over TCP, the median of a hundred times, in milliseconds.
ECHO = """
import socket
with socket.create_server(("", 7777)) as server:
    print(flush=True)
    connection = server.accept()[0]
    while byte := connection.recv(1):
        connection.send(byte)
"""
ASK = """
import socket, statistics, sys, time
with socket.create_connection((sys.argv[1], 7777)) as connection:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    times = []
    for _ in range(100):
        begin = time.perf_counter()
        connection.send(b"1")
        connection.recv(1)
        times.append(time.perf_counter() - begin)
print(1000 * statistics.median(times))
"""


def latency(hosts):
    """Milliseconds from the first host to the second and back."""
    if len(hosts.names) < 2:
        return None
    on = lambda name, *line: ["ip", "netns", "exec", hosts.names[name], sys.executable, "-c", *line]
    with subprocess.Popen(on(1, ECHO), stdout=subprocess.PIPE) as server:
        server.stdout.readline()
        answer = run(*on(0, ASK, f"{NET}.2"))
        server.wait(10)
    return float(answer.stdout)


def chosen(algorithm):
    """The option of mpirun for how numbers are summed over the ranks."""
    return [] if algorithm == "default" else ["--mca", "coll_libnbc_iallreduce_algorithm", algorithm]


def measure(options, folder, start, link, algorithms):
    """`brasa bench --distributed` for each network, number of ranks and algorithm."""
    found = []
    for network in options.networks:
        alone = None
        # One rank has nothing to exchange.
        for ranks, algorithm in [(r, a) for r in options.ranks for a in (algorithms if r > 1 else algorithms[:1])]:
            line = [options.brasa, "bench", folder / NETWORKS[network], "--distributed", "--json", "--threads", "1"]
            line += ["--batch-size", ",".join(map(str, options.batch_sizes)), "--seconds", options.seconds]
            line += ["--repetitions", options.repetitions, "--backend", "flex"]
            if alone:
                line += ["--baseline", alone]
            code, out, err = start(ranks, list(map(str, line)), folder, algorithm).wait(1200)
            if code != 0:
                sys.exit(f"{network}, {ranks} ranks, {algorithm}: {code}\n{err}")
            if ranks == 1:
                alone = folder / f"{network}.json"
                alone.write_text(out)
            for one in json.loads(out):
                found.append({"network": network, "link": link, "algorithm": algorithm, **one})
                show(found[-1])
    return found


def show(one):
    efficiency = "-" if one["efficiency"] is None else f"{100 * one['efficiency']:.1f} %"
    print(
        f"| {one['link']} | {one['algorithm']} | {one['network']} | {one['ranks']} | {one['batch_size']} | {one['samples_per_second']:.0f} | "
        f"{one['milliseconds_per_step']:.2f} | {100 * one['exchanging']:.0f} % | {one['lag_milliseconds']:.2f} | "
        f"{efficiency} |",
        flush=True,
    )


HEADER = """| link | algorithm | network | ranks | batch | samples/s | ms/step | exchanging | lag, ms | efficiency |
|---|---|---|---:|---:|---:|---:|---:|---:|---:|"""


def cut(hosts, options, folder):
    """Cuts a host off in the middle of a run: all end with an error, and the run goes on when the link is there."""
    ranks = min(3, len(hosts.names))
    save_npy(folder / "x.npy", (600, 12), numbers(600 * 12, 1))
    save_npy(folder / "y.npy", (600,), [int(7 * one) % 3 for one in numbers(600, 2)])
    (folder / "cut.toml").write_text(CUT)
    limit = 5
    line = [options.brasa, "train", "cut.toml", "--out", "run", "--quiet", "--threads", 1, "--distributed"]
    job = hosts.start(ranks, [*line, "--distributed-timeout", limit], folder)
    checkpoint = folder / "run" / "checkpoint" / "last.ckpt"
    end = time.monotonic() + 60
    while not checkpoint.exists():
        assert job.process.poll() is None, job.wait(1)
        assert time.monotonic() < end, "no checkpoint"
        time.sleep(0.05)
    time.sleep(1)
    begin = time.monotonic()
    hosts.link(hosts.names[ranks - 1], "down")
    code, _, err = job.wait(120)
    took = time.monotonic() - begin
    hosts.link(hosts.names[ranks - 1], "up")
    # As long as the switch and the hosts take to find each other again.
    time.sleep(2)
    assert code not in (None, 0), f"exit code {code}: {err}"
    assert f"the other ranks have not answered within {limit} s" in err or "lost connection" in err.lower(), err
    # No process is left behind on the host that was cut off.
    end = time.monotonic() + 60
    while left := [name for name in hosts.names if run("ip", "netns", "pids", name).stdout.strip()]:
        assert time.monotonic() < end, f"processes on {left}"
        time.sleep(0.1)
    gone = time.monotonic() - begin
    epochs = sum(1 for _ in open(folder / "run" / "history.csv")) if (folder / "run" / "history.csv").exists() else 1
    shutil.copytree(folder / "run", folder / "again")
    for out in ("run", "again"):
        line = [options.brasa, "train", "--out", out, "--resume", "--accept-changes", "--epochs", epochs + 1, "--quiet"]
        code, _, err = hosts.start(ranks, [*line, "--threads", 1, "--distributed"], folder).wait(120)
        assert code == 0, f"{out} does not go on: {code}: {err}"
    assert weights(folder / "run" / "model.keras") == weights(folder / "again" / "model.keras")
    print(f"link of one of {ranks} hosts cut: ended with an error after {took:.1f} s, resumed", flush=True)
    return {"ranks": ranks, "limit": limit, "seconds": took, "seconds_until_all_ended": gone, "resumed": True}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("brasa", type=pathlib.Path, help="the program with the feature mpi, in release mode")
    parser.add_argument("--ranks", default="1,2,3,4", type=lambda text: [int(one) for one in text.split(",")])
    parser.add_argument("--batch-sizes", default="64,256,1024", type=lambda text: [int(one) for one in text.split(",")])
    parser.add_argument("--networks", default="cnn,mlp", type=lambda text: text.split(","))
    parser.add_argument("--algorithms", default="default,rabenseifner", type=lambda text: text.split(","))
    parser.add_argument("--rate", default="1gbit")
    parser.add_argument("--delay", default="1ms")
    parser.add_argument("--seconds", default=1.0, type=float)
    parser.add_argument("--repetitions", default=3, type=int)
    parser.add_argument("--only", choices=["measure", "cut"])
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    options.brasa = options.brasa.resolve()
    if shutil.which("mpirun") is None:
        sys.exit("there is no mpirun (Debian: openmpi-bin)")
    with tempfile.TemporaryDirectory() as work:
        folder = pathlib.Path(work)
        (folder / "mlp.toml").write_text(MLP)
        shutil.copy(ROOT / "configs" / "mnist_cnn.toml", folder / "cnn.toml")
        report = {"processor": processor(), "processors": os.cpu_count(), "system": platform.release(), "results": []}
        with Hosts(max(options.ranks), options.rate, options.delay, folder) as hosts:
            has_delay = hosts.shaping == "netem"
            report["link"] = {
                "rate": options.rate,
                "delay": options.delay if has_delay else None,
                "shaped_by": hosts.shaping,
                "milliseconds_there_and_back": latency(hosts),
            }
            name = options.rate + (f", {options.delay}" if has_delay else "")
            if not has_delay:
                print(f"note: this kernel has no netem: links of {options.rate} without a delay ({hosts.shaping})")
            if options.only != "cut":
                print(HEADER)
                report["results"] += measure(options, folder, hosts.start, name, options.algorithms)
                begin = ["mpirun", "--bind-to", "none", "--oversubscribe", "-n"]
                here = lambda ranks, line, folder, way: Job([*begin, str(ranks), *chosen(way), *line], folder)
                report["results"] += measure(options, folder, here, "one machine", ["default"])
            if options.only != "measure":
                report["cut"] = cut(hosts, options, folder)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")


def processor():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


if __name__ == "__main__":
    main()
