"""Random graphs of layers in Keras and in Brasa.

    python3 tests/keras/graphs.py [--brasa target/debug/brasa] [--start N] [--count M] [--backend jax|tensorflow]

Seed N always makes the same model: one to three inputs, layers on them, merges, shared layers, nested models,
attention, initial states from another sequence, one or two outputs with their own loss, weight and metrics, sample
weights. Brasa loads Keras's file, predicts, evaluates, trains an epoch and saves the model, and Keras loads that file;
predictions, scores, the history and all weights after training are compared. Exits with 1 if any model differs, with
its summary.

The Python that runs this is used if it has Keras 3.15.1 and the backend; otherwise a virtual environment is created.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import environment

TOLERANCE = 2e-4
ROWS = 12
BATCH = 5
# The exit code of a process that has finished all its graphs without a difference.
FINISHED = 100


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--brasa", type=pathlib.Path, help="the program; without it, it is built")
    parser.add_argument("--backend", default="jax", choices=["jax", "tensorflow"])
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--count", type=int, default=50)
    arguments = parser.parse_args()
    python = environment.keras_on(arguments.backend)
    brasa = (arguments.brasa or pathlib.Path(environment.built("--bin", "brasa"))).resolve()
    variables = {
        **os.environ,
        "KERAS_BACKEND": arguments.backend,
        "CUDA_VISIBLE_DEVICES": "",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "BRASA_CASE": "1",
    }
    wrong, end = 0, arguments.start + arguments.count
    for start in range(arguments.start, end, 100):
        # A process keeps everything it has compiled, hence a new one from time to time.
        part = [str(start), str(min(end, start + 100))]
        done = subprocess.run([python, __file__, brasa, *part], env=variables, stderr=subprocess.PIPE, text=True)
        if done.returncode < FINISHED:
            sys.exit(f"the process died: {done.stderr[-2000:]}")
        wrong += done.returncode - FINISHED
    print(f"{arguments.count} graphs, {wrong} differ")
    return wrong > 0


def cases(brasa, start, end):
    import numpy as np

    wrong = 0
    for seed in range(start, end):
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            graph = Graph(np.random.default_rng(seed))
            try:
                problems = compare(brasa, graph)
            except Refused as refused:
                problems = [str(refused)]
            os.chdir("/")
        if problems:
            wrong += 1
            print(f"seed {seed}: {'; '.join(problems)}")
            graph.model.summary(print_fn=print, expand_nested=True)
        sys.stdout.flush()
    return wrong


class Refused(Exception):
    pass


class Graph:
    """A random model with data for it."""

    def __init__(self, random):
        import keras

        keras.utils.clear_session()
        keras.utils.set_random_seed(1)
        self.random = random
        names = ["a", "b", "c"][: random.integers(1, 4)]
        self.inputs = [keras.Input(self.pick([(4,), (3,), (3, 4), (5, 3), (6, 6, 2)]), name=name) for name in names]
        pool = list(self.inputs)
        for _ in range(random.integers(2, 7)):
            pool.append(self.step(pool))
        self.outputs = [self.head(pool, f"out{index}") for index in range(random.integers(1, 3))]
        unused = [i for i in self.inputs if not self.reaches(i)]
        if unused:
            # Every input is used.
            flat = [self.flat(tensor) for tensor in unused] + [self.flat(self.outputs[0])]
            self.outputs[0] = keras.layers.Dense(2, name="last")(keras.layers.Concatenate()(flat))
        self.model = keras.Model(self.inputs, self.outputs)
        for weight in self.model.weights:
            kind = weight.path.split("/")[-1]
            low, high = (0.5, 1.5) if kind in ("moving_variance", "gamma") else (-0.5, 0.5)
            weight.assign(random.uniform(low, high, weight.shape))
        self.compile()

    def pick(self, choices):
        return choices[self.random.integers(len(choices))]

    def reaches(self, tensor):
        seen, left = set(), list(self.outputs)
        while left:
            node = left.pop()
            if id(node) == id(tensor):
                return True
            if id(node) not in seen:
                seen.add(id(node))
                left += node._keras_history.operation._inbound_nodes[node._keras_history.node_index].input_tensors
        return False

    def step(self, pool):
        """A tensor computed from the existing ones."""
        import keras

        tensor = self.pick(pool)
        alike = [other for other in pool if other.shape == tensor.shape and other is not tensor]
        kind = self.random.integers(13)
        if kind < 3 and alike:
            merge = self.pick(["Add", "Multiply", "Average", "Maximum", "Minimum", "Subtract", "Concatenate"])
            return getattr(keras.layers, merge)()([tensor, self.pick(alike)])
        if kind == 3 and alike:
            # One layer on two tensors.
            shared = keras.layers.Dense(3, activation="tanh")
            return keras.layers.Add()([shared(tensor), shared(self.pick(alike))])
        if kind == 4:
            inner = keras.Input(tensor.shape[1:])
            branch = keras.layers.Dense(tensor.shape[-1])(inner)
            both = keras.layers.Add()([inner, keras.layers.BatchNormalization()(branch)])
            model = keras.Model(inner, both)
            if alike and self.random.random() < 0.5:
                return keras.layers.Average()([model(tensor), model(self.pick(alike))])
            return model(tensor)
        if kind == 5:
            return keras.Sequential([keras.layers.Dense(4, activation="relu"), keras.layers.Dense(3)])(tensor)
        sequences = [other for other in pool if len(other.shape) == 3]
        if kind in (6, 7) and sequences:
            return self.states(self.pick(sequences), self.pick(sequences))
        if kind == 8 and sequences:
            return self.attention(self.pick(sequences), self.pick(sequences))
        return self.layer(tensor)

    def states(self, first, second):
        """The final states of one sequence as the initial ones of another."""
        import keras

        layers = keras.layers
        units, sequences = int(self.random.integers(2, 4)), bool(self.random.integers(2))
        kind = self.pick(["SimpleRNN", "LSTM", "GRU", "Bidirectional", "RNN"])
        if kind == "Bidirectional":
            merged = self.pick(["concat", "sum", None])
            make = lambda **more: layers.Bidirectional(layers.LSTM(units, **more), merge_mode=merged)
        elif kind == "RNN":
            make = lambda **more: layers.RNN([layers.LSTMCell(units), layers.GRUCell(3)], **more)
        else:
            make = lambda **more: getattr(layers, kind)(units, go_backwards=bool(self.random.integers(2)), **more)
        outputs = make(return_state=True)(first)
        count = 2 if kind == "Bidirectional" and merged is None else 1
        last = make(return_sequences=sequences)(second, initial_state=list(outputs[count:]))
        ends = [*outputs[:count], *(last if isinstance(last, (list, tuple)) else [last])]
        return layers.Concatenate()([self.flat(end) for end in ends])

    def attention(self, query, value):
        """Attention of one sequence to another."""
        import keras

        layers = keras.layers
        features = int(self.random.integers(2, 4))
        same = [layers.Dense(features)(sequence) for sequence in (query, value)]
        causal = {"use_causal_mask": bool(self.random.integers(2))}
        return self.pick([
            lambda: layers.MultiHeadAttention(2, features)(query, value, **causal),
            lambda: layers.GroupQueryAttention(features, 4, 2)(query, layers.Dense(query.shape[-1])(value)),
            lambda: layers.Attention(use_scale=True)(same, **causal),
            lambda: layers.AdditiveAttention()(same),
        ])()

    def layer(self, tensor):
        import keras

        layers = keras.layers
        units = int(self.random.integers(2, 5))
        choices = [
            lambda: layers.Dense(units, activation=self.pick(["relu", "tanh", None, "gelu"])),
            lambda: layers.Activation(self.pick(["sigmoid", "elu", "softmax"])),
            lambda: layers.BatchNormalization(momentum=0.5),
            lambda: layers.LayerNormalization(),
            lambda: layers.Dropout(0.0),
        ]
        if len(tensor.shape) == 3:
            choices += [
                lambda: layers.LSTM(units, return_sequences=bool(self.random.integers(2))),
                lambda: layers.GRU(units),
                lambda: layers.RNN(layers.SimpleRNNCell(units), return_sequences=bool(self.random.integers(2))),
                lambda: layers.Conv1D(units, 2, padding="same"),
                lambda: layers.GlobalAveragePooling1D(),
            ]
        if len(tensor.shape) == 4:
            choices += [
                lambda: layers.Conv2D(units, 3, padding="same", activation="relu"),
                lambda: layers.DepthwiseConv2D(3, padding="same"),
                lambda: layers.MaxPooling2D(3, strides=1, padding="same"),
                lambda: layers.GlobalMaxPooling2D(),
            ]
        return self.pick(choices)()(tensor)

    def flat(self, tensor):
        import keras

        return tensor if len(tensor.shape) == 2 else keras.layers.Flatten()(tensor)

    def head(self, pool, name):
        import keras

        some = [self.flat(self.pick(pool)) for _ in range(self.random.integers(1, 3))]
        both = some[0] if len(some) == 1 else keras.layers.Concatenate()(some)
        activation = self.pick(["sigmoid", "softmax", None])
        return keras.layers.Dense(2, activation=activation, name=name)(both)

    def compile(self):
        import keras
        import numpy as np

        random, names = self.random, self.model.output_names
        draw = lambda shape: random.normal(0, 1, (ROWS, *shape[1:])).astype("float32")
        self.x = {tensor.name: draw(tensor.shape) for tensor in self.inputs}
        self.y, losses, metrics, self.weights = [], [], [], []
        for output in self.outputs:
            loss = self.pick(["mse", "mae", "huber"])
            self.y.append(draw(output.shape))
            losses.append(loss)
            metrics.append([self.pick(["mae", "mse", "cosine_similarity"])])
            weights = random.uniform(0, 2, ROWS).astype("float32")
            self.weights.append(weights)
        factors = [float(np.round(random.uniform(0.1, 2), 2)) for _ in names]
        # An epsilon larger than the noise of a gradient that is 0, as of a bias before a normalization.
        optimizer = self.pick([
            lambda: keras.optimizers.SGD(0.05, momentum=0.5),
            lambda: keras.optimizers.Adam(0.01, epsilon=1e-3),
            lambda: keras.optimizers.RMSprop(0.01, epsilon=1e-3),
        ])()
        if len(names) == 1:
            self.model.compile(optimizer, losses[0], metrics=metrics[0])
        elif random.random() < 0.5:
            self.model.compile(optimizer, losses, loss_weights=factors, metrics=metrics)
        else:
            named = lambda values: dict(zip(names, values))
            self.model.compile(optimizer, named(losses), loss_weights=named(factors), weighted_metrics=named(metrics))


def compare(brasa, graph):
    """The differences; uses the current folder, which is empty."""
    import keras
    import numpy as np

    model, problems = graph.model, []
    single = len(graph.outputs) == 1
    x = [graph.x[tensor.name] for tensor in graph.inputs]
    model.save("m.keras")
    np.savez("x.npz", **graph.x)
    y = {f"y/{name}": value for name, value in zip(model.output_names, graph.y)}
    weights = {f"sample_weight/{name}": value for name, value in zip(model.output_names, graph.weights)}
    np.savez("d.npz", **{f"x/{name}": value for name, value in graph.x.items()}, **y, **weights)
    predicted = lambda model: [np.asarray(value) for value in as_list(model.predict(x, verbose=0))]
    expected = predicted(model)

    run(brasa, "predict", "m.keras", "--input", "x.npz", "--output", "y.npz")
    own = np.load("y.npz")
    for name, value in zip(model.output_names, expected):
        near(problems, f"prediction {name}", own[name], value)
    run(brasa, "convert", "m.keras", "b.keras")
    for name, own, value in zip(model.output_names, predicted(keras.saving.load_model("b.keras")), expected):
        near(problems, f"prediction {name} of the file that Brasa wrote", own, value)

    y, weights = (graph.y[0], graph.weights[0]) if single else (graph.y, graph.weights)
    scores = model.evaluate(x, y, sample_weight=weights, batch_size=BATCH, verbose=0, return_dict=True)
    own = json.loads(run(brasa, "evaluate", "m.keras", "--data", "d.npz", "--batch-size", str(BATCH), "--json"))
    scored(problems, "evaluate", {"loss": own["loss"], **own["metrics"]}, scores)

    options = ["--epochs", "1", "--batch-size", str(BATCH), "--no-shuffle", "--out", "run", "-q", "--json"]
    history = json.loads(run(brasa, "train", "--model", "m.keras", "--data", "d.npz", *options))["history"]
    keras_history = model.fit(x, y, sample_weight=weights, batch_size=BATCH, shuffle=False, verbose=0).history
    single_epoch = lambda history: {name: values[0] for name, values in history.items()}
    scored(problems, "an epoch", single_epoch(history), single_epoch(keras_history))
    trained = keras.saving.load_model("run/model.keras")
    for own, weight in zip(trained.weights, model.weights):
        near(problems, f"weight {weight.path} after an epoch", np.asarray(own), np.asarray(weight))
    return problems


def as_list(value):
    return value if isinstance(value, list) else [value]


def scored(problems, what, own, expected):
    if set(own) != set(expected):
        problems.append(f"{what}: {sorted(own)} where Keras has {sorted(expected)}")
        return
    for name, value in expected.items():
        near(problems, f"{what}: {name}", own[name], value)


def near(problems, what, own, expected):
    import numpy as np

    own, expected = np.asarray(own, dtype="float64"), np.asarray(expected, dtype="float64")
    if own.shape != expected.shape:
        problems.append(f"{what}: shape {own.shape} where Keras has {expected.shape}")
    elif not np.all(np.abs(own - expected) <= TOLERANCE * np.maximum(1, np.abs(expected))):
        problems.append(f"{what}: off by {np.max(np.abs(own - expected)):.2g}")


def run(brasa, *arguments):
    done = subprocess.run([brasa, *arguments], capture_output=True, text=True)
    if done.returncode:
        raise Refused(f"brasa {' '.join(arguments)}: {done.stderr.strip()[-300:]}")
    return done.stdout


if __name__ == "__main__":
    if os.environ.get("BRASA_CASE"):
        sys.exit(FINISHED + cases(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
    sys.exit(main())
