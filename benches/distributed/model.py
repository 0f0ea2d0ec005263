#!/usr/bin/env python3
"""A model of what a step costs, fitted to measurements of netns.py: see README.md here.

    benches/distributed/model.py MEASURED.json [--write docs/scaling.md]
    benches/distributed/model.py --check

Prints the fit, how well it meets the measurements that it has not seen, and what it says of more ranks; --write puts
that between the marks of docs/scaling.md. --check fits measurements made up from known costs.
"""

import argparse
import json
import math
import pathlib
import statistics
import sys

# Arithmetic of a sample in training, in floating-point operations: thrice that of the forward pass.
CNN_OPERATIONS = 3 * 2 * (24 * 24 * 32 * 25 + 8 * 8 * 64 * 25 * 32 + 1024 * 10)
RESNET_OPERATIONS = 3 * 2 * 3.86e9
RESNET_BYTES = 4 * 25.6e6
# Another cluster: 25 Gbit/s, 20 µs.
FAST = {"bandwidth": 25e9 / 8, "latency": 20e-6, "algorithm": "rabenseifner"}
# Of the ranks of one machine in the hierarchical reduction: how many there are, and what their memory sums a second.
NEIGHBOURS = 8
MEMORY = 4e9
COUNTS = [2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]
ENOUGH = 0.8


def solve(matrix, right):
    """Solves a small system of equations by elimination; None if it has no unique solution."""
    size = len(right)
    rows = [[*row, value] for row, value in zip(matrix, right)]
    for column in range(size):
        pivot = max(range(column, size), key=lambda row: abs(rows[row][column]))
        if abs(rows[pivot][column]) < 1e-12:
            return None
        rows[column], rows[pivot] = rows[pivot], rows[column]
        for row in range(size):
            if row != column:
                factor = rows[row][column] / rows[column][column]
                rows[row] = [a - factor * b for a, b in zip(rows[row], rows[column])]
    return [rows[index][size] / rows[index][index] for index in range(size)]


def least_squares(rows, right):
    """The coefficients, none below 0, with the smallest sum of squares. Those that would be below are 0."""
    width, left = len(rows[0]), set(range(len(rows[0])))
    # Columns differ by orders of magnitude.
    scale = [max(abs(row[column]) for row in rows) or 1.0 for column in range(width)]
    while left:
        columns = sorted(left)
        matrix = [[sum(row[a] * row[b] / scale[a] / scale[b] for row in rows) for b in columns] for a in columns]
        found = solve(matrix, [sum(row[a] * value / scale[a] for row, value in zip(rows, right)) for a in columns])
        if found is None:
            left.discard(columns[-1])
            continue
        worst = min(range(len(columns)), key=lambda index: found[index])
        if found[worst] < 0:
            left.discard(columns[worst])
            continue
        result = [0.0] * width
        for column, value in zip(columns, found):
            result[column] = value / scale[column]
        return result
    return [0.0] * width


def summed(ranks, size, algorithm):
    """The bytes that a rank sends one after another when `size` of them are summed over the ranks, and the messages that
    follow each other, by the algorithm of Open MPI 4.1 (coll/libnbc)."""
    if ranks < 2:
        return 0.0, 0
    doublings = math.ceil(math.log2(ranks))
    if algorithm == "rabenseifner":
        power = 2 ** int(math.log2(ranks))
        ring = 2 * (power - 1) / power * size, 2 * int(math.log2(ranks))
        # Ranks beyond a power of two first join another, and receive its result.
        return ring if power == ranks else (ring[0] + 2 * size, ring[1] + 3)
    if algorithm == "ring" or (ranks >= 4 and size >= 65536):
        return 2 * (ranks - 1) / ranks * size, 2 * (ranks - 1)
    return 2 * doublings * size, 2 * doublings


def exchanged(ranks, size, exchanges, algorithm):
    """The same for a step: its gradients, and a few numbers before them."""
    sent, messages = summed(ranks, size, algorithm)
    return sent, messages + (exchanges - 1) * summed(ranks, 8, "default")[1]


def terms(one, networks, processors):
    """What the coefficients of a measurement are multiplied by: of each network its time by step and by sample, then
    that of a byte and of a message."""
    crowd = max(1.0, one["ranks"] * one["threads"] / processors)
    own = one["network"]
    row = []
    for network in networks:
        row += [crowd * (network == own), crowd * (network == own) * one["batch_size"] / one["ranks"]]
    return [*row, *exchanged(one["ranks"], one["bytes_per_step"], one["exchanges_per_step"], one["algorithm"])]


class Fit:
    """A model of the measurements over one link."""

    def __init__(self, measured, processors):
        self.networks = sorted({one["network"] for one in measured})
        self.processors = processors
        # Every third measurement of several ranks is kept back.
        several = [one for one in measured if one["ranks"] > 1]
        self.held = several[1::3]
        self.seen = [one for one in measured if all(one is not other for other in self.held)]
        rows, right = [], []
        for one in self.seen:
            seconds = one["milliseconds_per_step"] / 1000
            # By relative errors: a step of a second counts no more than one of a millisecond.
            rows.append([term / seconds for term in terms(one, self.networks, processors)])
            right.append(1.0)
        self.found = least_squares(rows, right)
        self.by_step = dict(zip(self.networks, self.found[0::2]))
        self.by_sample = dict(zip(self.networks, self.found[1::2]))
        by_byte, self.latency = self.found[-2:]
        self.bandwidth = 1 / by_byte if by_byte > 0 else math.inf
        self.bytes = {network: self.of(network, "bytes_per_step") for network in self.networks}
        self.exchanges = {network: self.of(network, "exchanges_per_step") for network in self.networks}

    def of(self, network, key):
        return next(one[key] for one in self.seen if one["network"] == network)

    def seconds(self, one):
        """What the model says of a measurement."""
        return sum(a * b for a, b in zip(self.found, terms(one, self.networks, self.processors)))

    def errors(self, measured):
        """By how much the model is off, as parts."""
        return [abs(self.seconds(one) / (one["milliseconds_per_step"] / 1000) - 1) for one in measured]


def step(cost, ranks, batch, link, size=None, hierarchy=1, overlap=False):
    """The seconds of a step of hosts of their own."""
    compute = cost["by_step"] + cost["by_sample"] * batch / ranks
    size = cost["bytes"] if size is None else size
    machines = max(1, math.ceil(ranks / hierarchy))
    sent, messages = exchanged(machines, size, cost["exchanges"], link["algorithm"])
    exchange = sent / link["bandwidth"] + messages * link["latency"]
    if hierarchy > 1 and ranks > 1:
        # Within a machine: summed to one rank, and the result back.
        exchange += 2 * min(hierarchy, ranks) * size / MEMORY
    if overlap:
        # At best all but the last layer's gradients travel during the backward pass, two thirds of the arithmetic.
        exchange = max(0.0, exchange - cost["by_sample"] * batch / ranks * 2 / 3)
    return compute + exchange


def efficiency(cost, ranks, batch_of_one, link, grows, **more):
    """Samples a second of a rank, as a part of those of one rank alone; the batch grows with the ranks or stays."""
    batch = batch_of_one * ranks if grows else batch_of_one
    alone = step(cost, 1, batch_of_one, link)
    together = step(cost, ranks, batch, link, **more)
    return (batch / together / ranks) / (batch_of_one / alone)


def last_enough(part):
    """The most ranks that still reach ENOUGH."""
    enough = [ranks for ranks in COUNTS if part(ranks) >= ENOUGH]
    return f"{enough[-1]:,}" if enough else "1"


def table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|" + "|".join(["---", *["---:"] * (len(header) - 1)]) + "|"]
    return "\n".join(lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows])


def percent(part):
    return f"{100 * part:.0f} %"


def costs(fit):
    """The networks of the tables: as measured, and by their arithmetic."""
    network = {
        "by_step": fit.by_step["cnn"],
        "by_sample": fit.by_sample["cnn"],
        "bytes": fit.bytes["cnn"],
        "exchanges": fit.exchanges["cnn"],
    }
    rate = CNN_OPERATIONS / network["by_sample"]
    large = {
        # The optimizer's work grows with the weights.
        "by_step": network["by_step"] * RESNET_BYTES / network["bytes"],
        "by_sample": RESNET_OPERATIONS / rate,
        "bytes": RESNET_BYTES,
        "exchanges": network["exchanges"],
    }
    return {"the notebook's network": (network, 128), "ResNet-50's size": (large, 32)}, rate


def remedies(cost, batch, link):
    """The rows of the table of what helps."""
    growing = lambda **more: lambda ranks: efficiency(cost, ranks, batch, link, True, **more)
    eight = lambda ranks: efficiency(cost, ranks, 8 * batch, link, True)
    fast = lambda ranks: efficiency(cost, ranks, batch, FAST, True)
    default = lambda ranks: efficiency(cost, ranks, batch, {**link, "algorithm": "default"}, True)
    ways = [
        ("Open MPI's default, a ring", default),
        ("`rabenseifner`", growing()),
        ("batches eight times as large", eight),
        ("gradients in bf16", growing(size=cost["bytes"] / 2)),
        (f"hierarchical, {NEIGHBOURS} ranks on a machine", growing(hierarchy=NEIGHBOURS)),
        ("exchange during the backward pass, at best", growing(overlap=True)),
        ("25 Gbit/s, 20 µs", fast),
    ]
    return [[name, *(percent(way(ranks)) for ranks in (8, 64, 1024)), last_enough(way)] for name, way in ways]


def measured_text(report):
    """The measurements as a table."""
    rows = []
    for one in report["results"]:
        part = "" if one["efficiency"] is None else percent(one["efficiency"])
        rows.append(
            [
                one["link"],
                one["algorithm"],
                one["network"],
                one["ranks"],
                f"{one['batch_size']:,}",
                f"{one['samples_per_second']:,.0f}",
                f"{one['milliseconds_per_step']:.2f}",
                percent(one["exchanging"]),
                f"{one['lag_milliseconds']:.2f}",
                part,
            ]
        )
    header = ["link", "algorithm", "network", "ranks", "batch", "samples/s", "ms/step", "exchanging", "lag, ms", "efficiency"]
    link = report["link"]
    delay = f"a delay of {link['delay']}" if link["delay"] else "no delay, as this kernel has no `netem`"
    text = f"{report['processor']}, {report['processors']} processors that all hosts share, one thread a rank. The link has "
    text += f"{link['rate']} and {delay} (`{link['shaped_by']}`)"
    there_and_back = link["milliseconds_there_and_back"]
    text += f"; a byte takes {there_and_back:.2f} ms there and back.\n\n" if there_and_back else ".\n\n"
    return text + table(header, rows)


def fit_text(fits):
    rows = []
    for link, fit in fits.items():
        held, seen = fit.errors(fit.held), fit.errors(fit.seen)
        bandwidth = "–" if math.isinf(fit.bandwidth) else f"{fit.bandwidth / 1e6:,.0f} MB/s"
        of = lambda errors: f"{percent(statistics.mean(errors))}, {percent(max(errors))}" if errors else "–"
        rows.append([link, bandwidth, f"{1e6 * fit.latency:,.0f} µs", len(fit.seen), of(seen), len(fit.held), of(held)])
    header = ["link", "bandwidth", "a message", "fitted to", "off by (mean, most)", "checked against", "off by (mean, most)"]
    text = table(header, rows) + "\n\n"
    rows = []
    for link, fit in fits.items():
        for network in fit.networks:
            by_step, by_sample = 1e3 * fit.by_step[network], 1e6 * fit.by_sample[network]
            rows.append([link, network, f"{by_step:.2f} ms", f"{by_sample:.0f} µs", f"{fit.bytes[network] / 1e6:.2f} MB"])
    return text + table(["link", "network", "a step", "a sample", "exchanged in a step"], rows)


def outlook_text(fit, link_name, delay):
    cases, rate = costs(fit)
    link = {"bandwidth": fit.bandwidth, "latency": max(fit.latency, delay), "algorithm": "rabenseifner"}
    parts = []
    for name, (cost, batch) in cases.items():
        rows = []
        for ranks in COUNTS:
            grown = step(cost, ranks, batch * ranks, link)
            row = [f"{ranks:,}", f"{1e3 * grown:,.1f}", f"{batch * ranks / grown:,.0f}"]
            row.append(percent(efficiency(cost, ranks, batch, link, True)))
            fixed = 8 * batch
            part = percent(efficiency(cost, ranks, fixed, link, False)) if ranks <= fixed else "–"
            rows.append([*row, part])
        header = ["ranks", "ms/step", "samples/s", "efficiency", f"efficiency, {8 * batch:,} samples in all"]
        parts.append(f"**{name[0].upper()}{name[1:]}**, {batch} samples a rank:\n\n" + table(header, rows))
        header = ["", "8 ranks", "64", "1,024", f"ranks with {percent(ENOUGH)} at least"]
        parts.append(f"What helps {name}, {batch} samples a rank:\n\n" + table(header, remedies(cost, batch, link)))
    text = f"Hosts with a processor each of the kind measured ({rate / 1e9:.1f} GFLOP/s in training), links like the one "
    text += f"measured ({link_name}: {link['bandwidth'] / 1e6:,.0f} MB/s, {1e6 * link['latency']:,.0f} µs a message"
    text += ", the latter assumed" if link["latency"] > fit.latency else ""
    return text + ").\n\n" + "\n\n".join(parts)


def put(text, mark, content):
    """Replaces what is between the marks."""
    begin, end = f"<!-- {mark} -->\n", f"\n<!-- end of {mark} -->"
    before, after = text.index(begin) + len(begin), text.index(end)
    return text[:before] + content + text[after:]


def check():
    """The fit finds the costs that measurements were made up from."""
    report = {"processor": "none", "processors": 2, "results": []}
    report["link"] = {"rate": "1gbit", "delay": "1ms", "shaped_by": "netem", "milliseconds_there_and_back": 2.0}
    costs_of = {"cnn": (2e-3, 90e-6, 2.1e5), "mlp": (4e-3, 30e-6, 2.2e6)}
    for network, (by_step, by_sample, size) in costs_of.items():
        for ranks, algorithm in [(1, "default"), *((n, a) for n in (2, 3, 4) for a in ("default", "rabenseifner"))]:
            for batch in (64, 256, 1024):
                sent, messages = exchanged(ranks, size, 2, algorithm)
                crowd = max(1, ranks / 2)
                seconds = crowd * (by_step + by_sample * batch / ranks) + sent / 1.2e8 + messages * 1e-3
                one = {"network": network, "link": "a", "algorithm": algorithm, "ranks": ranks, "threads": 1}
                one |= {"batch_size": batch, "bytes_per_step": size, "exchanges_per_step": 2, "efficiency": None}
                one |= {"milliseconds_per_step": 1000 * seconds, "samples_per_second": batch / seconds}
                report["results"].append(one | {"exchanging": 0.1, "lag_milliseconds": 0.0})
    fit = Fit(report["results"], 2)
    found = [fit.by_step["cnn"], fit.by_sample["cnn"], fit.by_step["mlp"], fit.by_sample["mlp"], fit.bandwidth, fit.latency]
    for got, wanted in zip(found, [2e-3, 90e-6, 4e-3, 30e-6, 1.2e8, 1e-3]):
        assert abs(got / wanted - 1) < 1e-6, f"{got}, not {wanted}"
    assert fit.held and max(fit.errors(fit.held)) < 1e-6
    assert fit_text({"a": fit}) and measured_text(report) and outlook_text(fit, "a", 0.0)
    # Nothing is below 0.
    assert least_squares([[1, 1], [1, 2], [1, 3]], [3, 2, 1])[1] == 0
    print("the fit finds the costs that measurements were made up from")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measured", type=pathlib.Path, nargs="?")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--write", type=pathlib.Path)
    parser.add_argument("--latency", type=float, default=1e-3, help="seconds of a message at least, in the outlook")
    options = parser.parse_args()
    if options.check:
        check()
        return 0
    if options.measured is None:
        parser.error("a file of measurements is wanted")
    report = json.loads(options.measured.read_text())
    links = list(dict.fromkeys(one["link"] for one in report["results"]))
    by_link = {link: [one for one in report["results"] if one["link"] == link] for link in links}
    fits = {link: Fit(measured, report["processors"]) for link, measured in by_link.items()}
    first = next(iter(fits.items()))
    parts = {
        "measured": measured_text(report),
        "fit": fit_text(fits),
        "outlook": outlook_text(first[1], first[0], options.latency),
    }
    if "cut" in report:
        cut = report["cut"]
        parts["cut"] = (
            f"With {cut['ranks']} hosts and `--distributed-timeout {cut['limit']}`, `mpirun` ended with an error "
            f"{cut['seconds']:.0f} s after the link was cut, and the last process, on the host that was cut off, after "
            f"{cut['seconds_until_all_ended']:.0f} s. With the link back, `--resume` went on from the checkpoint."
        )
    print("\n\n".join(parts.values()))
    if options.write:
        text = options.write.read_text()
        for mark, content in parts.items():
            text = put(text, mark, content)
        options.write.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
