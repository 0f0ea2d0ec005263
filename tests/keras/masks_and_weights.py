"""Combinations of masks, sample weights and metrics of several values in Keras: `fixtures/masks_and_weights.json`.

    pip install keras==3.15.1 tensorflow
    KERAS_BACKEND=tensorflow python tests/keras/masks_and_weights.py

Each case is a compiled Sequential, its weights, data, and Keras's results: predictions, an evaluation, an epoch of
training with validation, and the weights afterwards. On TensorFlow, as training on JAX loses the masks of metrics. A
case with `backend` is one that only JAX computes: run the script again with KERAS_BACKEND=jax, which adds those.
"""

import json
import os
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import numpy as np
from keras import layers as L

FILE = Path(__file__).parent.parent / "fixtures" / "masks_and_weights.json"
BACKEND = os.environ["KERAS_BACKEND"]
CASES = {}


def case(name, model_layers, x, y, *, loss="mse", metrics=(), weighted=(), dtype="float32", fit=True, evaluate=True,
         sample_weight=None, class_weight=None, split=0.0, validation=None, optimizer=None, batch=4, freeze=None,
         backend=None, epochs=1):
    """Records a case; `validation` is (x, y) or (x, y, weights)."""
    if (backend or "tensorflow") != BACKEND:
        return
    rng = np.random.default_rng(len(CASES) + 7)
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input(x.shape[1:], dtype=dtype), *model_layers])
    if freeze:
        freeze(model)
    start = [rng.uniform(0.2, 1.0, w.shape) if "moving_variance" in v.path else rng.normal(0, 0.5, w.shape)
             for v, w in zip(model.weights, model.get_weights())]
    start = [np.asarray(w, "float32").round(3) for w in start]
    model.set_weights(start)
    model.compile(optimizer or keras.optimizers.SGD(0.1), loss, metrics=list(metrics), weighted_metrics=list(weighted),
                  run_eagerly=True)
    tell = lambda a: {"shape": list(np.shape(a)), "numbers": np.asarray(a, "float64").ravel().round(9).tolist()}
    numbers = lambda logs: {k: np.asarray(v, "float64").round(9).tolist() for k, v in logs.items()}
    told = {"model": json.loads(model.to_json()), "weights": [tell(w) for w in start], "x": tell(x), "y": tell(y), "batch": batch}
    told["trainable"] = len(model.trainable_weights)
    told["predict"] = tell(model.predict(x, batch_size=batch, verbose=0))
    if sample_weight is not None:
        told["sample_weight"] = tell(sample_weight)
    if evaluate:
        logs = model.evaluate(x, y, batch_size=batch, sample_weight=sample_weight, verbose=0, return_dict=True)
        told["evaluate"] = numbers(logs)
    if fit:
        told["split"], told["epochs"] = split, epochs
        if class_weight:
            told["class_weight"] = {str(k): v for k, v in class_weight.items()}
        if validation:
            told["validation"] = [tell(part) for part in validation]
        history = model.fit(x, y, batch_size=batch, epochs=epochs, shuffle=False, verbose=0, sample_weight=sample_weight,
                            class_weight=class_weight, validation_split=split, validation_data=validation).history
        told["history"] = numbers(history)
        told["after"] = [tell(w) for w in model.get_weights()]
    CASES[name] = told
    print(name, flush=True)


def main():
    rng = np.random.default_rng(0)
    normal = lambda *shape: rng.normal(size=shape).round(2).astype("float32")
    words = rng.integers(1, 6, (6, 4))
    words[0, 1:] = words[1, 2:] = words[2, 3:] = words[4, 2:] = 0
    tags = rng.integers(0, 3, (6, 4))
    steps = normal(6, 4, 2)
    steps[0, 2:] = steps[3, 1:] = steps[4, 3:] = 0
    per_step = rng.uniform(0, 2, (6, 4)).round(2).astype("float32")
    per_sample = rng.uniform(0, 2, 6).round(2).astype("float32")
    embed = lambda: L.Embedding(6, 3, mask_zero=True)
    means = ["mae", "mse", "mape", "msle", "cosine_similarity", "kl_divergence", "poisson", "hinge",
             "squared_hinge", "binary_crossentropy", "binary_accuracy"]
    others = lambda: [keras.metrics.LogCoshError(), keras.metrics.RootMeanSquaredError(), keras.metrics.Precision(), keras.metrics.AUC(name="auc")]

    # Metrics and masks, with and without weights.
    sparse = dict(loss="sparse_categorical_crossentropy", dtype="int32")
    tagger = lambda: [embed(), L.Dense(3, activation="softmax")]
    top = lambda: ["accuracy", "sparse_categorical_crossentropy", keras.metrics.SparseTopKCategoricalAccuracy(2, name="top")]
    case("tagger", tagger(), words, tags, metrics=top(), weighted=["sparse_categorical_accuracy"], **sparse)
    case("tagger_weighted_steps", tagger(), words, tags, metrics=["accuracy"], weighted=top(), sample_weight=per_step, **sparse)
    case("tagger_validated", tagger(), words, tags, metrics=["accuracy"], weighted=["sparse_categorical_accuracy"],
         validation=(words[::-1], tags[::-1], per_step[::-1]), **sparse)
    case("tagger_one_hot", tagger(), words, np.eye(3)[tags].astype("float32"), loss="categorical_crossentropy",
         dtype="int32", metrics=["accuracy", "categorical_crossentropy", "categorical_hinge", keras.metrics.TopKCategoricalAccuracy(2, name="top")])
    ones = (normal(6, 4, 1) > 0).astype("float32")
    case("masked_means", [L.Masking(), L.Dense(1, activation="sigmoid")], steps, ones, loss="binary_crossentropy",
         metrics=means + others())
    case("masked_means_weighted", [L.Masking(), L.Dense(1, activation="sigmoid")], steps, ones, loss="binary_crossentropy",
         metrics=means + others(), weighted=["mae", "binary_accuracy", keras.metrics.Recall(name="r")],
         sample_weight=per_step, split=0.34)
    case("masked_wide", [L.Masking(), L.Dense(2)], steps, normal(6, 4, 2), metrics=["mae", "binary_accuracy", "mse"],
         weighted=["mae"], sample_weight=per_step)
    case("masked_samples", [L.Masking(), L.Dense(2)], np.concatenate([normal(4, 3), np.zeros((2, 3))]).astype("float32"), normal(6, 2), metrics=["mae"],
         weighted=["mse"], sample_weight=per_sample)
    for reduction in ("sum", "mean", "mean_with_sample_weight"):
        case(f"masked_{reduction}", [L.Masking(), L.Dense(1)], steps, normal(6, 4, 1), metrics=["mae"],
             loss=keras.losses.MeanSquaredError(reduction=reduction), sample_weight=per_step)
    case("masked_dice", [L.Masking(), L.Dense(2, activation="sigmoid")], steps, (normal(6, 4, 2) > 0).astype("float32"), loss="dice", metrics=["mae"])
    ignored = np.where(tags == 2, -1, tags)
    case("masked_ignore_class", tagger(), words, ignored, dtype="int32",
         loss=keras.losses.SparseCategoricalCrossentropy(ignore_class=-1))

    # Weights without masks.
    flat = normal(6, 3)
    case("weighted_samples", [L.Dense(1)], flat, normal(6, 1), metrics=["mae"], weighted=["mae", "mse"],
         sample_weight=per_sample, split=0.34)
    case("weighted_validation", [L.Dense(1)], flat, normal(6, 1), weighted=["mae"], sample_weight=per_sample,
         validation=(flat[:3], normal(3, 1), np.array([1.0, 0.0, 3.0], "float32")))
    case("weighted_steps", [L.LSTM(2, return_sequences=True), L.Dense(1)], normal(6, 4, 2), normal(6, 4, 1), metrics=["mae"],
         weighted=["mae", keras.metrics.RootMeanSquaredError(name="rmse")], sample_weight=per_step)
    pixels = rng.uniform(0, 2, (6, 3, 3)).round(2).astype("float32")
    case("weighted_pixels", [L.Conv2D(1, 2, padding="same", activation="sigmoid")], normal(6, 3, 3, 2),
         (normal(6, 3, 3, 1) > 0).astype("float32"), loss="binary_crossentropy", metrics=["binary_accuracy"],
         weighted=["binary_accuracy", keras.metrics.Precision(name="p")], sample_weight=pixels)
    labels = rng.integers(0, 3, 6)
    case("class_weight", [L.Dense(3, activation="softmax")], flat, labels, loss="sparse_categorical_crossentropy",
         metrics=["accuracy"], weighted=["sparse_categorical_accuracy"], class_weight={0: 1.0, 1: 5.0})
    case("class_weight_one_hot", [L.Dense(3, activation="softmax")], flat, np.eye(3)[labels].astype("float32"),
         loss="categorical_crossentropy", class_weight={0: 0.5, 2: 5.0}, split=0.34)

    # TimeDistributed.
    pages = rng.integers(1, 6, (4, 3, 5))
    pages[:, :, 3:] = pages[:, 2] = 0
    pages[0, 0, 2:] = 0
    many = dict(dtype="int32", fit=False, evaluate=False)
    td = L.TimeDistributed
    y3 = normal(4, 3, 2)
    for name, layer in [("lstm", L.LSTM(2)), ("gru", L.GRU(2)), ("bidirectional", L.Bidirectional(L.LSTM(2))),
                        ("sequential", keras.Sequential([L.Dense(2), L.SimpleRNN(2)])), ("average", L.GlobalAveragePooling1D())]:
        case(f"td_{name}_mask", [embed(), td(layer)], pages, y3, **many)
    case("td_sequences_mask", [embed(), td(L.LSTM(2, return_sequences=True)), L.Dense(1)], pages, normal(4, 3, 5, 1),
         metrics=["mae"], dtype="int32")
    case("td_td_mask", [embed(), td(td(L.Dense(2)))], pages, normal(4, 3, 5, 2), metrics=["mae"], dtype="int32")
    case("td_embedding_inside", [td(keras.Sequential([L.Embedding(6, 3, mask_zero=True), L.LSTM(2)])), L.LSTM(2)], pages, normal(4, 2), dtype="int32")
    case("td_lstm_lstm_mask", [embed(), td(L.LSTM(2)), L.LSTM(3)], pages, normal(4, 3), dtype="int32", backend="jax")
    case("td_lstm_bidirectional_mask", [embed(), td(L.GRU(2)), L.Bidirectional(L.GRU(2)), L.Dense(1)], pages, normal(4, 1), dtype="int32", backend="jax")
    bn = lambda: L.BatchNormalization(momentum=0.5)
    case("td_bn", [td(bn())], normal(6, 3, 2), normal(6, 3, 2), batch=3)
    case("td_bn_mask", [L.Masking(), td(bn())], steps, normal(6, 4, 2), metrics=["mae"])
    case("td_bn_pages_mask", [embed(), td(bn())], pages, normal(4, 3, 5, 3), metrics=["mae"], dtype="int32")
    case("td_bn_nested", [td(keras.Sequential([L.Conv2D(2, 2), bn(), L.ReLU()])), L.Flatten(), L.Dense(1)], normal(4, 3, 4, 4, 1), normal(4, 1), batch=2)
    case("td_bn_frozen", [td(L.BatchNormalization(momentum=0.5, trainable=False)), L.Dense(2)], normal(6, 3, 2), normal(6, 3, 2))
    case("td_sn", [td(L.SpectralNormalization(L.Dense(2)))], normal(6, 3, 2), normal(6, 3, 2))
    case("td_activity", [td(L.Dense(2, activity_regularizer="l2"))], normal(6, 3, 2), normal(6, 3, 2))
    case("td_activity_layer", [td(L.ActivityRegularization(l1=0.1)), L.Dense(2)], normal(6, 3, 2), normal(6, 3, 2))
    case("td_activity_nested", [td(keras.Sequential([L.Dense(2, activity_regularizer="l2"), L.ActivityRegularization(l2=0.1)]))], normal(6, 3, 2), normal(6, 3, 2))
    case("td_activity_bidirectional", [td(L.Bidirectional(L.LSTM(2, activity_regularizer="l2")))], normal(6, 3, 4, 2), normal(6, 3, 4), fit=True)

    # SpectralNormalization.
    sn = L.SpectralNormalization
    case("sn_mask", [L.Masking(), sn(L.Dense(3)), L.LSTM(2)], steps, normal(6, 2))
    case("sn_mask_out", [L.Masking(), sn(L.Dense(1))], steps, normal(6, 4, 1), metrics=["mae"])
    case("sn_conv_mask", [L.Masking(), sn(L.Conv1D(2, 1)), L.LSTM(2)], steps, normal(6, 2), metrics=["mae"])
    # For integer inputs Keras converts the embeddings to integers.
    case("sn_embedding_mask", [sn(L.Embedding(6, 3, mask_zero=True)), L.LSTM(2)], words, normal(6, 2))
    case("sn_l2", [sn(L.Dense(3, kernel_regularizer="l2", bias_regularizer="l1"), power_iterations=2)], flat, normal(6, 3))
    case("sn_l1", [sn(L.Dense(3, kernel_regularizer="l1"))], flat, normal(6, 3), batch=2)
    case("lambda_mask", [L.Masking(), L.Flatten(), L.Dense(2)], steps, normal(6, 2))

    # Frozen from the start, and afterwards.
    def all_frozen(model):
        model.layers[0].trainable = False

    for name, make, x in [
        ("td", lambda **k: td(L.Dense(2), **k), steps),
        ("bidirectional", lambda **k: L.Bidirectional(L.LSTM(1), **k), steps),
        ("sn", lambda **k: sn(L.Dense(2), **k), flat),
        ("sequential", lambda **k: keras.Sequential([L.Dense(2), L.BatchNormalization(momentum=0.5)], **k), flat),
        ("td_sequential", lambda **k: td(keras.Sequential([L.Dense(2), bn()], **k)), steps),
        ("dense", lambda **k: L.Dense(2, **k), flat),
        ("bn", lambda **k: L.BatchNormalization(momentum=0.5, **k), flat),
    ]:
        y = normal(6, 4, 2) if name.startswith("td") else normal(6, 2)
        case(f"frozen_begin_{name}", [make(trainable=False), L.Dense(2)], x, y)
        case(f"frozen_after_{name}", [make(), L.Dense(2)], x, y, freeze=all_frozen)

    # Metrics of several values.
    m = keras.metrics
    multi = (normal(6, 3) > 0).astype("float32")
    thresholds = lambda: [m.Precision([0.2, 0.5, 0.8], name="p"), m.Recall([0.3, 0.7], name="r"), m.Recall([0.4], name="one")]
    counts = lambda: [m.TruePositives([0.2, 0.6], name="tp"), m.FalseNegatives([0.2, 0.6], name="fn"),
                          m.TrueNegatives([0.2, 0.6], name="tn"), m.FalsePositives([0.2, 0.6], name="fp")]
    case("lists", [L.Dense(3, activation="sigmoid")], flat, multi, loss="binary_crossentropy",
         metrics=thresholds() + [m.F1Score(name="f1"), m.FBetaScore(beta=2.0, threshold=0.4, name="fb"), m.F1Score(average="macro", name="macro")],
         weighted=[m.Precision([0.2, 0.8], name="wp"), m.F1Score(name="wf")], sample_weight=per_sample, split=0.34, epochs=2)
    # Without validation, which on TensorFlow overwrites the counts of training.
    case("lists_of_counts", [L.Dense(3, activation="sigmoid")], flat, multi, loss="binary_crossentropy", metrics=counts())
    case("lists_r2", [L.Dense(2)], flat, normal(6, 2), metrics=[m.R2Score(class_aggregation=None, name="r2"), m.R2Score(class_aggregation=None, num_regressors=2, name="adjusted")], batch=6)
    case("lists_of_one", [L.Dense(1, activation="sigmoid")], flat, multi[:, :1], loss="binary_crossentropy", metrics=[m.F1Score(threshold=0.5, name="f1")])

    # Others.
    case("iou_of_probabilities", [L.Dense(1, activation="sigmoid")], flat, np.array([[0.0], [1], [0.9], [0.2], [1], [0]], "float32"), loss="binary_crossentropy",
         metrics=[m.MeanIoU(2, name="mean"), m.IoU(2, [0], name="iou"), m.BinaryIoU(name="binary")])
    case("rms_axis", [L.RMSNormalization(axis=1)], normal(6, 4, 4), normal(6, 4, 4))
    case("rms_axes", [L.RMSNormalization(axis=[1, 2])], normal(6, 3, 4), normal(6, 3, 4))
    case("discretization_counts", [L.Discretization([-0.5, 0.5], output_mode="count"), L.Flatten(), L.Dense(1)], normal(6, 3, 2), normal(6, 1))
    case("discretization_multi_hot", [L.Discretization([-0.5, 0.5], output_mode="multi_hot")], normal(6, 3, 2), normal(6, 2, 3), fit=False, evaluate=False)
    case("focal_alphas", [L.Dense(3, activation="softmax")], flat, np.eye(3)[labels].astype("float32"),
         loss=keras.losses.CategoricalFocalCrossentropy(alpha=[0.1, 0.5, 0.4]))
    ctc = np.array([[1, 2, 0, 2], [1, 0, 0, 3], [1, 1, 0, 1], [2, 0, 3, 0], [0, 0, 2, 1], [3, 0, 0, 0]], "int32")
    # TensorFlow's gradient is that of another loss.
    case("ctc_zeros", [L.Dense(4)], normal(6, 9, 2), ctc, loss="ctc", backend="jax")

    if BACKEND != "tensorflow":
        CASES.update({k: v for k, v in json.loads(FILE.read_text()).items() if k not in CASES})
    # NaN is null.
    line = lambda k, v: f"{json.dumps(k)}: {json.dumps(v, separators=(',', ':')).replace('NaN', 'null')}"
    FILE.write_text("{\n" + ",\n".join(line(k, v) for k, v in sorted(CASES.items())) + "\n}\n")
    print(len(CASES), "cases,", FILE.stat().st_size, "bytes")


main()
