"""Records the decisions of Keras's callbacks on random sequences of metrics.

    python tests/keras/callbacks.py > tests/fixtures/callbacks/decisions.json

Needs Keras 3.15 with any backend. `tests/training/callbacks.rs` replays the sequences and compares every decision.
"""

import json
import math
import os
import random
import sys
import warnings

os.environ.setdefault("KERAS_BACKEND", "jax")
warnings.simplefilter("ignore")

import keras
import numpy as np

CASES = 50
MONITORS = ["val_loss", "loss", "val_mae", "accuracy", "val_accuracy"]


def model(rate):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    model.compile(keras.optimizers.SGD(rate), "mse", metrics=["mae", "accuracy"])
    model.train_on_batch(np.ones((1, 1), "float32"), np.ones((1, 1), "float32"))
    return model


def sequence(rng):
    """Logs of some epochs: values with few digits, so that some are equal; occasionally one is missing or NaN."""
    level, logs = rng.uniform(0.2, 2.0), []
    for _ in range(rng.randint(4, 25)):
        level += rng.uniform(-0.15, 0.12)
        epoch = {name: round(level + rng.uniform(-0.05, 0.05), rng.choice([1, 2, 4])) for name in MONITORS}
        if rng.random() < 0.04:
            epoch[rng.choice(MONITORS)] = math.nan
        if rng.random() < 0.04:
            del epoch[rng.choice(MONITORS)]
        logs.append(epoch)
    return logs


def number(value):
    """A number as text, which every reader parses to the same bits (and JSON lacks some numbers)."""
    return None if value is None else repr(float(value))


def written(logs):
    return [{name: number(value) for name, value in epoch.items()} for epoch in logs]


def common(rng):
    monitor = rng.choice(MONITORS)
    return {"monitor": monitor, "mode": rng.choice(["auto", "auto", "min", "max"])}


def early_stopping(rng):
    options = common(rng) | {
        "min_delta": rng.choice([0, 0, 0.01, 0.1, -0.05]),
        "patience": rng.choice([0, 1, 2, 3, 5]),
        "baseline": rng.choice([None, None, 0.5, 1.0, 1.5]),
        "restore_best_weights": rng.random() < 0.6,
        "start_from_epoch": rng.choice([0, 0, 2, 4]),
    }
    logs = sequence(rng)
    net, callback = model(0.1), keras.callbacks.EarlyStopping(**options)
    callback.set_model(net)
    net.stop_training = False
    callback.on_train_begin()
    seen = []
    for epoch, values in enumerate(logs):
        net.set_weights([np.full((1, 1), epoch + 1, "float32")])
        callback.on_epoch_end(epoch, dict(values))
        seen.append({"wait": callback.wait, "best": number(callback.best), "stop": net.stop_training})
        if net.stop_training:
            break
    callback.on_train_end()
    end = {"best_epoch": callback.best_epoch, "weight": float(net.get_weights()[0][0, 0])}
    return {"options": options, "logs": written(logs), "seen": seen, "end": end}


def reduce_lr(rng):
    options = common(rng) | {
        "factor": rng.choice([0.1, 0.3, 0.5, 0.9]),
        "patience": rng.choice([0, 1, 2, 3]),
        "min_delta": rng.choice([0, 1e-4, 0.05]),
        "cooldown": rng.choice([0, 0, 1, 3]),
        "min_lr": rng.choice([0.0, 0.0, 1e-3, 0.02]),
    }
    rate, logs = rng.choice([0.1, 0.01, 1.0]), sequence(rng)
    net, callback = model(rate), keras.callbacks.ReduceLROnPlateau(**options)
    callback.set_model(net)
    callback.on_train_begin()
    seen = []
    for epoch, values in enumerate(logs):
        told = dict(values)
        callback.on_epoch_end(epoch, told)
        seen.append(
            {
                "learning_rate": number(net.optimizer.learning_rate),
                "logged": number(told["learning_rate"]),
                "wait": callback.wait,
                "cooldown": callback.cooldown_counter,
                "best": number(callback.best),
            }
        )
    return {"options": options, "learning_rate": rate, "logs": written(logs), "seen": seen}


def model_checkpoint(rng):
    batches = rng.choice([None, None, 1, 2, 3, 7])
    options = common(rng) | {
        "save_best_only": rng.random() < 0.7,
        "save_weights_only": rng.random() < 0.4,
        "save_freq": batches or "epoch",
        "initial_value_threshold": rng.choice([None, None, 0.4, 0.9, 1.5]),
    }
    ending = ".weights.h5" if options["save_weights_only"] else ".keras"
    # With the mode unknown before the first epoch ends, Keras fails on batches; placeholders of logs require the logs
    # to exist.
    if batches:
        options["mode"] = rng.choice(["min", "max"])
    template = rng.choice(["m{epoch:02d}", "best", "e{epoch}-{loss:.3f}", "{epoch:03d}_{val_mae:.2e}"])
    if batches and options["save_best_only"]:
        template = "m{epoch:02d}-{batch:03d}"
    options["filepath"] = template + ending
    logs = sequence(rng)
    for epoch in logs:
        for name in ("loss", "val_mae"):
            epoch.setdefault(name, 0.5)
    steps, saved = rng.randint(2, 5), []
    net, callback = model(0.1), keras.callbacks.ModelCheckpoint(**options)
    net.save = net.save_weights = lambda path, overwrite=True: saved.append(path)
    callback.set_model(net)
    if batches:
        callback._set_monitor_op()
    callback.on_train_begin()
    seen = []
    for epoch, values in enumerate(logs):
        callback.on_epoch_begin(epoch)
        for batch in range(steps):
            callback.on_train_batch_end(batch, dict(values))
        callback.on_epoch_end(epoch, dict(values))
        seen.append({"saved": saved[:], "best": number(callback.best)})
        saved.clear()
    return {"options": options, "logs": written(logs), "steps": steps, "seen": seen}


def main():
    kinds = {"EarlyStopping": early_stopping, "ReduceLROnPlateau": reduce_lr, "ModelCheckpoint": model_checkpoint}
    rng = random.Random(20260)
    cases = {name: [record(rng) for _ in range(CASES)] for name, record in kinds.items()}
    json.dump({"keras": keras.__version__, **cases}, sys.stdout, allow_nan=False)
    print()


main()
