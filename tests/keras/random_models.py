"""Random Sequential models with valid arguments, and data for them, compared by `fuzz.py`.

`Models(seed).model()` is a `Model`, always the same for a seed: layers, compile configuration, data and training
options. Only shapes are computed here, with Keras. `repr` of every part is Python code that constructs it.
"""

import dataclasses
import math
import random

import numpy as np

MOST_VALUES = 600
ACTIVATIONS = """relu relu6 elu selu gelu silu swish tanh sigmoid softplus softsign exponential hard_sigmoid hard_silu
    hard_swish hard_tanh hard_shrink soft_shrink tanh_shrink squareplus linear mish celu log_sigmoid log_softmax
    leaky_relu softmax sparsemax sparse_plus sparse_sigmoid""".split()
# Layers that draw in training and pass images on otherwise; what they are given is written to files and read back.
RANDOM = """RandomFlip RandomRotation RandomZoom RandomTranslation RandomContrast RandomBrightness RandomHue
    RandomSaturation RandomGrayscale RandomSharpness RandomErasing RandomInvert RandomPosterization Solarization""".split()
SMOOTH = "relu tanh sigmoid elu softplus silu linear".split()


@dataclasses.dataclass
class Make:
    """A Keras object to be constructed: `keras.MODULE.NAME(**arguments)`."""

    module: str
    name: str
    arguments: dict

    def make(self):
        import keras

        place = keras
        for name in (*self.module.split("."), self.name):
            place = getattr(place, name)
        return place(**made(self.arguments))

    def __repr__(self):
        arguments = ", ".join(f"{key}={value!r}" for key, value in self.arguments.items())
        return f"keras.{self.module}.{self.name}({arguments})"

    def parts(self):
        """This object and those in its arguments, at any depth."""
        yield self
        for value in self.arguments.values():
            for part in value if isinstance(value, list) else [value]:
                if isinstance(part, Make):
                    yield from part.parts()


def made(value):
    """A value with the objects in it constructed."""
    if isinstance(value, Make):
        return value.make()
    if isinstance(value, dict):
        return {key: made(entry) for key, entry in value.items()}
    return [made(entry) for entry in value] if isinstance(value, list) else value


@dataclasses.dataclass
class Model:
    seed: int
    # One sample of the input: its shape, and `normal`, `steps` (some are `mask_value`), `integers` below `below`, or
    # `pixels` up to `most`.
    shape: tuple
    data: dict
    layers: list
    # The family of losses, which determines the targets.
    target: str
    compiled: dict
    samples: int
    batch_size: int
    sample_weight: bool

    def make(self):
        import keras

        dtype = "int32" if self.data["kind"] == "integers" else "float32"
        layers = [keras.Input(self.shape, dtype=dtype), *made(self.layers)]
        return keras.Sequential(layers)

    def compile(self, model):
        model.compile(**made(self.compiled))

    def __repr__(self):
        dtype = ', dtype="int32"' if self.data["kind"] == "integers" else ""
        layers = "".join(f"\n    {layer!r}," for layer in self.layers)
        compiled = ", ".join(f"{key}={value!r}" for key, value in self.compiled.items())
        weighted = ", with sample weights" if self.sample_weight else ""
        return (
            f"m = keras.Sequential([\n    keras.Input({self.shape!r}{dtype}),{layers}\n])\nm.compile({compiled})\n"
            f"# x: {self.data}; {self.samples} samples in batches of {self.batch_size}{weighted}"
        )

    def classes(self):
        return {part.name for layer in self.layers for part in layer.parts() if part.module == "layers"}

    def draws(self):
        """Whether training draws random numbers, which differ in Brasa."""
        rates = ("rate", "stddev", "dropout", "recurrent_dropout")
        parts = [part for layer in self.layers for part in layer.parts()]
        return any(part.name in RANDOM or any(part.arguments.get(rate) for rate in rates) for part in parts)

    def numbers(self):
        return np.random.default_rng(self.seed)

    def x(self):
        numbers, size = self.numbers(), (self.samples, *self.shape)
        if self.data["kind"] == "integers":
            x = numbers.integers(0, self.data["below"], size).astype("int32")
            if self.data.get("padded"):
                # Like padded texts: zeros at the end, at any level; occasionally a zero within.
                for row in x.reshape(-1, size[-1]):
                    row[:] = np.where(row == 0, 1 + numbers.integers(0, self.data["below"] - 1), row)
                    row[numbers.integers(1, len(row) + 1) :] = 0
                    row[numbers.random(len(row)) < 0.05] = 0
            return x
        if self.data["kind"] == "pixels":
            # Of a narrow range, so that there is something to stretch; some images are the same all over.
            low, high = np.sort(numbers.uniform(0, self.data["most"], (2, size[0], 1, 1, size[-1])), axis=0)
            x = low + (high - low) * numbers.uniform(size=size)
            x[numbers.random(size[0]) < 0.1] = self.data["most"] / 2
            return (np.floor(x) if self.data["most"] == 255 else x).astype("float32")
        x = numbers.normal(size=size).astype("float32") * np.float32(self.data.get("scale", 1))
        if self.data["kind"] == "steps":
            for sample in x:
                sample[numbers.integers(1, len(sample) + 1) :] = self.data["mask_value"]
                sample[numbers.random(len(sample)) < 0.1] = self.data["mask_value"]
        return x

    def y(self, shape):
        """Targets for outputs of this shape, including the batch size."""
        numbers, classes = self.numbers(), shape[-1]
        if self.target == "positive":
            return numbers.gamma(2.0, 1.0, shape).astype("float32")
        if self.target == "binary":
            return numbers.integers(0, 2, shape).astype("float32")
        if self.target == "signs":
            return (2 * numbers.integers(0, 2, shape) - 1).astype("float32")
        if self.target == "one-hot":
            return np.eye(classes, dtype="float32")[numbers.integers(0, classes, shape[:-1])]
        if self.target == "shares":
            return numbers.dirichlet(np.ones(classes), shape[:-1]).astype("float32")
        if self.target == "classes":
            return numbers.integers(0, classes, shape[:-1]).astype("int32")
        if self.target == "labels":
            # For CTC: class 0 is the blank, and pads shorter labels.
            y = numbers.integers(1, classes, (shape[0], max(1, shape[1] // 2))).astype("int32")
            for row in y:
                row[numbers.integers(1, len(row) + 1) :] = 0
            return y
        y = numbers.normal(size=shape)
        return (y + np.sign(y) * 0.2).astype("float32")

    def masked(self):
        """Whether there is a mask of steps; layers can lose it."""
        parts = [part for layer in self.layers for part in layer.parts()]
        return any(part.name == "Masking" or part.arguments.get("mask_zero") for part in parts)

    def weights(self, shape):
        """Weights for outputs of this shape: one for each loss."""
        size = shape[:1] if self.target == "labels" else shape[:-1]
        return self.numbers().uniform(0.1, 2.0, size).astype("float32")


class Models:
    """The random choices of one model."""

    def __init__(self, seed):
        self.seed = seed
        self.random = random.Random(seed)

    # --- choices --------------------------------------------------------------------------------------------------

    def one(self, *choices):
        return self.random.choice(choices)

    def chance(self, share):
        return self.random.random() < share

    def some(self, share, **choices):
        """Each argument with this probability; a choice is a tuple of values, or a function that returns one."""
        drawn = {}
        for name, values in choices.items():
            if self.chance(share):
                drawn[name] = values() if callable(values) else self.one(*values)
        return drawn

    def fraction(self, low, high):
        return round(self.random.uniform(low, high), 3)

    # --- arguments of layers ------------------------------------------------------------------------------------------

    def activation(self):
        return self.one(*ACTIVATIONS) if self.chance(0.5) else self.one(*SMOOTH)

    def initializer(self, matrix):
        seed = self.some(0.3, seed=(1, 7))
        plain = [
            ("Zeros", {}),
            ("Ones", {}),
            ("Constant", {"value": 0.25}),
            ("RandomNormal", self.some(0.5, mean=(0.1,), stddev=(0.2,)) | seed),
            ("RandomUniform", self.some(0.5, minval=(-0.3,), maxval=(0.2,)) | seed),
            ("TruncatedNormal", self.some(0.5, stddev=(0.3,)) | seed),
        ]
        for name in ("Glorot", "He", "Lecun"):
            plain += [(f"{name}Normal", dict(seed)), (f"{name}Uniform", dict(seed))]
        scaling = self.some(
            0.5,
            scale=(0.5, 2.0),
            mode=("fan_in", "fan_out", "fan_avg"),
            distribution=("uniform", "truncated_normal", "untruncated_normal"),
        )
        plain.append(("VarianceScaling", scaling | seed))
        if matrix:
            plain += [("Orthogonal", self.some(0.5, gain=(0.5, 2.0)) | seed)]
        return Make("initializers", *self.one(*plain))

    def regularizer(self, matrix=False):
        choices = [
            "l1",
            "l2",
            Make("regularizers", "L1", {"l1": 0.02}),
            Make("regularizers", "L2", {"l2": 0.05}),
            Make("regularizers", "L1L2", self.some(0.7, l1=(0.01, 0.03), l2=(0.02, 0.1))),
        ]
        if matrix:
            choices.append(
                Make("regularizers", "OrthogonalRegularizer", self.some(0.5, factor=(0.1,), mode=("columns",)))
            )
        return self.one(*choices)

    def constraint(self, matrix):
        axes = {"axis": 1} if matrix and self.chance(0.3) else {}
        ranges = self.some(0.5, min_value=(0.2,), max_value=(0.7, 1.5), rate=(0.5,))
        return self.one(
            "non_neg",
            Make("constraints", "NonNeg", {}),
            Make("constraints", "MaxNorm", self.some(0.7, max_value=(0.5, 1.0)) | axes),
            Make("constraints", "UnitNorm", dict(axes)),
            Make("constraints", "MinMaxNorm", ranges | axes),
        )

    def weight_arguments(self, **weights):
        """Initializer, regularizer and constraint of each weight, depending on whether it is a matrix (or larger)."""
        arguments = {}
        for name, matrix in weights.items():
            arguments |= self.some(
                0.08,
                **{
                    f"{name}_initializer": lambda: self.initializer(matrix),
                    f"{name}_regularizer": lambda: self.regularizer(),
                    f"{name}_constraint": lambda: self.constraint(matrix),
                },
            )
        return arguments

    def of_every_layer(self, activity=True):
        arguments = self.some(0.05, trainable=(False,))
        return arguments | (self.some(0.06, activity_regularizer=lambda: self.regularizer()) if activity else {})

    def kernel_layer(self, *weights):
        arguments = self.some(0.6, activation=self.activation) | self.some(0.15, use_bias=(False,))
        matrices = {name: True for name in weights}
        return arguments | self.weight_arguments(**matrices, bias=False) | self.of_every_layer()

    # --- layers: each function takes the shape of a sample and returns a layer, or None if none fits
    # -------------------

    def dense(self, shape):
        arguments = {"units": self.one(1, 2, 3, 4)} | self.kernel_layer("kernel")
        if self.chance(0.05):
            arguments["kernel_regularizer"] = self.regularizer(matrix=True)
        return Make("layers", "Dense", arguments)

    def einsum_dense(self, shape):
        equations = {
            1: [("ab,bc->ac", (3,)), ("ab,bcd->acd", (2, 3)), ("...x,xy->...y", (2,))],
            2: [("abc,cd->abd", (None, 2)), ("abc,bd->acd", (shape[-1], 2)), ("abc,cde->abde", (None, 2, 3))],
            3: [("abcd,de->abce", (None, None, 2)), ("abcd,cde->abe", (None, 3))],
        }
        if len(shape) not in equations:
            return None
        equation, output = self.one(*equations[len(shape)])
        output = tuple(size or shape[at] for at, size in enumerate(output))
        arguments = {"equation": equation, "output_shape": output}
        if "..." in equation:
            arguments |= self.some(0.5, bias_axes=("y",))
        else:
            arguments |= self.some(0.6, bias_axes=(equation[-1],))
        arguments |= self.some(0.5, activation=self.activation)
        return Make("layers", "EinsumDense", arguments | self.weight_arguments(kernel=True))

    def activation_layer(self, shape):
        axis = self.one(-1, -1, *range(1, len(shape) + 1))
        shared = sorted(self.random.sample(range(1, len(shape) + 1), self.random.randint(1, len(shape))))
        name, arguments = self.one(
            ("Activation", {"activation": self.activation()}),
            ("ReLU", self.some(0.5, max_value=(1.0, 6.0), negative_slope=(0.1,), threshold=(0.3,))),
            ("LeakyReLU", self.some(0.5, negative_slope=(0.1, 0.5))),
            ("PReLU", self.some(0.5, shared_axes=(shared,)) | self.weight_arguments(alpha=False)),
            ("ELU", self.some(0.5, alpha=(0.5, 2.0))),
            ("Softmax", {"axis": axis}),
        )
        return Make("layers", name, arguments | self.of_every_layer())

    def regularization(self, shape):
        rate = 0.0 if self.chance(0.7) else self.one(0.3, 0.5)
        seed = self.some(0.3, seed=(3,))
        choices = [
            ("Dropout", {"rate": rate} | seed),
            ("GaussianNoise", {"stddev": rate} | seed),
            ("GaussianDropout", {"rate": rate} | seed),
            ("AlphaDropout", {"rate": rate} | seed),
            ("ActivityRegularization", self.some(0.7, l1=(0.01,), l2=(0.02,))),
            ("Identity", {}),
        ]
        if len(shape) in (2, 3, 4):
            choices.append((f"SpatialDropout{len(shape) - 1}D", {"rate": rate} | seed))
        name, arguments = self.one(*choices)
        return Make("layers", name, arguments)

    def normalization(self, shape):
        axes = range(1, len(shape) + 1)
        axis = self.one(-1, *axes)
        several = sorted(self.random.sample(axes, self.random.randint(1, len(shape))))
        affine = self.some(0.2, center=(False,), scale=(False,)) | self.some(0.3, epsilon=(1e-3, 1e-2, 1e-5))
        affine |= self.weight_arguments(gamma=False, beta=False) | self.some(0.05, trainable=(False,))
        size = shape[axis - 1 if axis > 0 else axis]
        groups = self.one(-1, *(count for count in range(1, size + 1) if size % count == 0))
        moving = self.some(0.1, moving_mean_initializer=("ones",), moving_variance_initializer=("zeros",))
        name, arguments = self.one(
            (
                "BatchNormalization",
                self.some(0.4, axis=(axis,)) | self.some(0.6, momentum=(0.5, 0.9)) | affine | moving,
            ),
            ("BatchNormalization", self.some(0.5, momentum=(0.5, 0.9))),
            ("LayerNormalization", self.some(0.6, axis=(axis, several)) | affine),
            ("GroupNormalization", {"groups": groups, "axis": axis} | affine),
            ("RMSNormalization", self.some(0.4, axis=(axis,)) | self.some(0.3, epsilon=(1e-3,))),
            ("UnitNormalization", self.some(0.5, axis=(axis, several))),
        )
        return Make("layers", name, arguments | self.some(0.05, activity_regularizer=self.regularizer))

    def reshaping(self, shape):
        size, rank = math.prod(shape), len(shape)
        targets = [(size,), (-1,), (1, size), (size, 1)]
        targets += [(count, size // count) for count in range(2, size) if size % count == 0]
        targets += [(-1, count) for count in range(2, size) if size % count == 0]
        targets += [(2, size // 4, 2)] if size % 4 == 0 else []
        dims = list(range(1, rank + 1))
        self.random.shuffle(dims)
        choices = [
            ("Flatten", {}),
            ("Reshape", {"target_shape": self.one(*targets)}),
            ("Permute", {"dims": tuple(dims)}),
        ]
        if rank == 1:
            choices.append(("RepeatVector", {"n": self.one(1, 2, 3, 4)}))
        if rank in (2, 3, 4):
            space = rank - 1
            pair = lambda: (self.one(0, 1), self.one(0, 1, 2))
            pairs = pair() if space == 1 else self.one(1, tuple(pair() for _ in range(space)))
            form = {} if space == 1 else self.some(0.2, data_format=("channels_first",))
            choices.append((f"Cropping{space}D", {"cropping": pairs} | form))
            choices.append(
                (f"ZeroPadding{space}D", {"padding": pairs} | self.some(0.2, data_format=("channels_first",)))
            )
            sizes = self.one(1, 2) if space == 1 else self.one(2, tuple(self.one(1, 2, 3) for _ in range(space)))
            smooth = self.some(0.5, interpolation=("bilinear", "nearest", "bicubic")) if space == 2 else {}
            choices.append((f"UpSampling{space}D", {"size": sizes} | form | smooth))
        name, arguments = self.one(*choices)
        return Make("layers", name, arguments)

    def preprocessing(self, shape):
        choices = [("Rescaling", {"scale": self.one(0.5, 2.0)} | self.some(0.5, offset=(0.3,)))]
        if len(shape) == 3:
            sizes = {"height": self.one(2, 3, 5), "width": self.one(2, 4, 6)}
            ways = ({"crop_to_aspect_ratio": True}, {"pad_to_aspect_ratio": True, "fill_value": 0.5}, {}, {})
            resizing = self.some(0.7, interpolation=("nearest", "bilinear", "bicubic", "lanczos3", "area", "lanczos5"))
            resizing |= (
                self.some(0.2, antialias=(True,)) | self.some(0.1, data_format=("channels_first",)) | self.one(*ways)
            )
            choices += [("Resizing", sizes | resizing)] * 2
            choices += [("CenterCrop", sizes | self.some(0.1, data_format=("channels_first",)))]
        means = [self.fraction(-1, 1) for _ in range(shape[-1])]
        spreads = [self.fraction(0.5, 2) for _ in range(shape[-1])]
        known = {"mean": means, "variance": spreads} | self.some(0.3, axis=(-1,), invert=(True,))
        choices.append(("Normalization", self.one(known, {"axis": None, "mean": 0.5, "variance": 2.0})))
        name, arguments = self.one(*choices)
        return Make("layers", name, arguments)

    def windows(self, space, limit=3):
        """A size for every axis, or one for each."""
        return (
            self.random.randint(1, limit)
            if self.chance(0.5)
            else tuple(self.random.randint(1, limit) for _ in range(space))
        )

    def convolution(self, shape):
        space = len(shape) - 1
        if space not in (1, 2, 3):
            return None
        kinds = ["Conv{}D", "Conv{}D", "Conv{}DTranspose"] + ["DepthwiseConv{}D", "SeparableConv{}D"] * (space < 3)
        kind = self.one(*kinds)
        first = self.chance(0.1)
        channels = shape[0] if first else shape[-1]
        arguments = {"kernel_size": self.windows(space)} | ({"data_format": "channels_first"} if first else {})
        arguments |= self.some(0.5, padding=("same", "valid"))
        stepped = {"strides": self.windows(space, 2)} if self.chance(0.6) else {"dilation_rate": self.windows(space, 2)}
        arguments |= stepped if self.chance(0.5) else {}
        if kind == "Conv{}D":
            groups = (
                self.one(*(count for count in range(1, channels + 1) if channels % count == 0))
                if self.chance(0.2)
                else 1
            )
            arguments |= {"filters": groups * self.one(1, 2, 3)} | ({"groups": groups} if groups > 1 else {})
            if space == 1 and self.chance(0.2):
                arguments["padding"] = "causal"
        elif kind == "Conv{}DTranspose":
            arguments["filters"] = self.one(1, 2, 3)
            arguments |= self.some(0.2, output_padding=(0, 1)) if "strides" in stepped else {}
        elif kind == "SeparableConv{}D":
            arguments |= {"filters": self.one(1, 2, 3)} | self.some(0.3, depth_multiplier=(2, 3))
        else:
            arguments |= self.some(0.5, depth_multiplier=(2, 3))
        if kind in ("DepthwiseConv{}D", "SeparableConv{}D") and not isinstance(arguments.get("strides", 1), int):
            arguments["strides"] = arguments["strides"][0]
        weights = {"DepthwiseConv{}D": ["depthwise"], "SeparableConv{}D": ["depthwise", "pointwise"]}.get(
            kind, ["kernel"]
        )
        return Make("layers", kind.format(space), arguments | self.kernel_layer(*weights))

    def pooling(self, shape):
        space = len(shape) - 1
        if space not in (1, 2, 3):
            return None
        form = self.some(0.15, data_format=("channels_first",))
        window = {"pool_size": self.windows(space)} | self.some(0.4, strides=lambda: self.windows(space))
        window |= self.some(0.5, padding=("same", "valid"))
        kind = self.one("Max", "Average")
        name, arguments = self.one(
            (f"{kind}Pooling{space}D", window | form),
            (f"{kind}Pooling{space}D", window | form),
            (f"Global{kind}Pooling{space}D", self.some(0.3, keepdims=(True,)) | form),
            (f"Adaptive{kind}Pooling{space}D", {"output_size": self.windows(space)} | form),
        )
        return Make("layers", name, arguments)

    def recurrent(self, shape, sequences=None, wrapped=False):
        if len(shape) != 2:
            return None
        kind = self.one("SimpleRNN", "LSTM", "GRU")
        arguments = {"units": self.one(1, 2, 3)} | self.some(0.25, activation=self.activation, use_bias=(False,))
        arguments |= self.some(0.25, recurrent_activation=self.activation) if kind != "SimpleRNN" else {}
        arguments |= {
            "LSTM": self.some(0.2, unit_forget_bias=(False,)),
            "GRU": self.some(0.4, reset_after=(False,)),
        }.get(kind, {})
        if self.chance(0.5) if sequences is None else sequences:
            arguments["return_sequences"] = True
        arguments |= self.some(0.2, go_backwards=(True,), unroll=(True,))
        arguments |= self.weight_arguments(kernel=True, recurrent=True, bias=False)
        arguments |= self.some(0.05, dropout=(0.2,), recurrent_dropout=(0.2,))
        return Make("layers", kind, arguments | ({} if wrapped else self.of_every_layer()))

    def cells(self, shape):
        if len(shape) != 2:
            return None
        cells = []
        for _ in range(self.random.randint(1, 3)):
            cell = self.recurrent(shape, wrapped=True)
            for of_the_layer in ("return_sequences", "go_backwards", "unroll", "activity_regularizer"):
                cell.arguments.pop(of_the_layer, None)
            cells.append(Make("layers", f"{cell.name}Cell", cell.arguments))
        cell = cells[0] if len(cells) == 1 else Make("layers", "StackedRNNCells", {"cells": cells})
        way = self.some(0.4, return_sequences=(True,), go_backwards=(True,), zero_output_for_mask=(True,))
        return Make("layers", "RNN", {"cell": cell} | way)

    def conv_lstm(self, shape):
        space = len(shape) - 2
        if space not in (1, 2, 3):
            return None
        arguments = {"filters": self.one(1, 2), "kernel_size": self.windows(space)}
        arguments |= self.some(0.3, padding=("same",), recurrent_activation=self.activation, use_bias=(False,))
        arguments |= self.some(0.3, return_sequences=(True,), go_backwards=(True,), strides=(2,))
        arguments |= self.weight_arguments(kernel=True, recurrent=True, bias=False)
        return Make("layers", f"ConvLSTM{space}D", arguments | self.of_every_layer())

    def bidirectional(self, shape):
        inner = self.recurrent(shape, wrapped=True)
        if not inner:
            return None
        inner.arguments.pop("go_backwards", None)
        arguments = {"layer": inner} | self.some(0.7, merge_mode=("concat", "sum", "mul", "ave"))
        if self.chance(0.2):
            other = self.recurrent(shape, sequences="return_sequences" in inner.arguments, wrapped=True)
            other.arguments |= {"units": inner.arguments["units"], "go_backwards": True}
            arguments["backward_layer"] = other
        return Make("layers", "Bidirectional", arguments | self.some(0.05, trainable=(False,)))

    def time_distributed(self, shape):
        if len(shape) < 2:
            return None
        inner = self.layer(shape[1:], depth=1)
        return inner and Make("layers", "TimeDistributed", {"layer": inner} | self.some(0.05, trainable=(False,)))

    def spectral(self, shape):
        inner = self.dense(shape) if self.chance(0.5) else self.convolution(shape)
        if not inner or inner.name.startswith("Separable"):
            return None
        return Make("layers", "SpectralNormalization", {"layer": inner} | self.some(0.4, power_iterations=(2, 3)))

    def nested(self, shape):
        inner = []
        for _ in range(self.random.randint(1, 3)):
            layer = self.layer(shape, depth=1)
            if layer:
                inner.append(layer)
                shape = output_shape(layer, shape)
        return Make("models", "Sequential", {"layers": inner} | self.some(0.1, trainable=(False,))) if inner else None

    def masking(self, shape):
        return Make("layers", "Masking", self.some(0.3, mask_value=(0.0, -1.0))) if len(shape) > 1 else None

    # --- layers that stand at the head of an input ----------------------------------------------------------------

    def looked_up(self):
        """Whole numbers looked up in a vocabulary or hashed, and what they become: numbers for the next layers."""
        mode = self.one("int", "int", "one_hot", "multi_hot", "count")
        width = self.one(3, 4, 6)
        if self.chance(0.6):
            vocabulary = self.random.sample(range(-2, 12), width)
            arguments = {"vocabulary": vocabulary} | self.some(0.4, num_oov_indices=(0, 1, 2))
            if arguments.get("num_oov_indices") != 0:
                arguments |= self.some(0.3, mask_token=lambda: self.one(0, vocabulary[0]))
            else:
                # Others are refused.
                arguments["vocabulary"] = list(range(9))
            layer = Make("layers", "IntegerLookup", arguments)
            width = len(arguments["vocabulary"]) + arguments.get("num_oov_indices", 1) + 1
        else:
            arguments = {"num_bins": width} | self.some(0.4, salt=(133, [133, 137])) | self.some(0.2, mask_value=(0,))
            layer = Make("layers", "Hashing", arguments)
        if mode != "int":
            arguments["output_mode"] = mode
            return [layer]
        return [layer, Make("layers", "Embedding", {"input_dim": width, "output_dim": self.one(1, 2, 3)})]

    def image(self, shape, most):
        """A layer that changes images, always or in training."""
        values = {"value_range": (0, most)}
        pair = lambda low, high: self.one(self.fraction(0.05, high), (self.fraction(low, 0), self.fraction(0.05, high)))
        moved = self.some(0.4, fill_mode=("constant", "nearest", "wrap", "reflect"), interpolation=("nearest",))
        moved |= self.some(0.2, fill_value=(0.5,)) | self.some(0.3, seed=(3,))
        spread = {"factor": self.one(0.3, (0.1, 0.6))} | values
        choices = [
            ("RandomFlip", self.some(0.6, mode=("horizontal", "vertical", "horizontal_and_vertical"))),
            ("RandomRotation", {"factor": pair(-0.3, 0.3)} | moved),
            ("RandomZoom", {"height_factor": pair(-0.3, 0.3)} | self.some(0.5, width_factor=(0.2,)) | moved),
            ("RandomTranslation", {"height_factor": pair(-0.3, 0.3), "width_factor": pair(-0.2, 0.2)} | moved),
            ("RandomContrast", dict(spread)),
            ("RandomBrightness", {"factor": pair(-0.4, 0.4)} | values),
            ("RandomSharpness", dict(spread)),
            ("RandomErasing", {"factor": self.one(0.5, 1.0)} | values | self.some(0.5, scale=((0.1, 0.3),))),
            ("RandomInvert", {"factor": self.one(0.5, 1.0)} | values),
            ("RandomPosterization", {"factor": self.one(3, 8)} | values),
            ("Solarization", {"addition_factor": 0.3, "threshold_factor": self.one(0.2, (0.1, 0.5))} | values),
        ]
        if shape[-1] == 3:
            choices += [("RandomHue", dict(spread)), ("RandomSaturation", dict(spread))]
            choices += [("RandomGrayscale", {"factor": self.one(0.3, 1.0)})]
        name, arguments = self.one(*choices, *[("AutoContrast", dict(values))] * 6)
        return Make("layers", name, arguments)

    def layer(self, shape, depth=0):
        """A layer that can follow outputs of this shape."""
        kinds = [self.dense] * 3 + [self.activation_layer, self.regularization, self.einsum_dense, self.preprocessing]
        kinds += [self.normalization] * 3 + [self.reshaping] * 2 + [self.convolution] * 4 + [self.pooling] * 3
        kinds += [self.recurrent] * 3 + [self.cells, self.conv_lstm] + [self.bidirectional] + [self.masking]
        if depth < 2:
            kinds += [self.time_distributed] * 2 + [self.spectral, self.nested]
        for _ in range(30):
            layer = self.one(*kinds)(shape)
            if layer and output_shape(layer, shape):
                return layer
        return None

    # --- the start, the end, and the compile configuration
    # ---------------------------------------------------------------

    def front(self):
        """The shape and the kind of the input, and the first layers."""
        sizes = lambda count, low=2, high=6: tuple(self.random.randint(low, high) for _ in range(count))
        kind = self.one(*["plain"] * 5, *["steps"] * 2, *["text"] * 3, "discretization", "encoding", "lookup", "images")
        if kind == "steps":
            shape, mask_value = sizes(self.one(2, 2, 2, 3), 2, 5), self.one(0.0, 0.0, -1.0)
            layer = Make("layers", "Masking", {"mask_value": mask_value} if mask_value else {})
            return shape, {"kind": "steps", "mask_value": mask_value}, [layer]
        if kind == "text":
            shape, below, zero = sizes(self.one(1, 1, 1, 2), 2, 6), self.one(4, 7), self.chance(0.8)
            arguments = {"input_dim": below, "output_dim": self.one(1, 2, 3, 4)} | ({"mask_zero": True} if zero else {})
            arguments |= self.weight_arguments(embeddings=True) | self.of_every_layer()
            return shape, {"kind": "integers", "below": below, "padded": zero}, [Make("layers", "Embedding", arguments)]
        if kind == "discretization":
            shape, mode = sizes(self.one(1, 1, 2), 2, 4), self.one("int", "one_hot", "multi_hot", "count")
            arguments = {"bin_boundaries": [-0.5, 0.1, 0.8][: self.one(1, 2, 3)]} | (
                {} if mode == "int" else {"output_mode": mode}
            )
            layers = [Make("layers", "Discretization", arguments)]
            if mode == "int":
                layers.append(
                    Make("layers", "Embedding", {"input_dim": 4, "output_dim": 2} | self.some(0.3, mask_zero=(True,)))
                )
            return shape, {"kind": "normal"}, layers
        if kind == "lookup":
            return sizes(1, 1, 4), {"kind": "integers", "below": 9}, self.looked_up()
        if kind == "images":
            shape, most = (*sizes(2, 3, 6), self.one(1, 3)), self.one(1, 255)
            layers = [self.image(shape, most) for _ in range(self.one(1, 1, 2))]
            return shape, {"kind": "pixels", "most": most}, layers + self.one([], [Make("layers", "Rescaling", {"scale": 1 / most})])
        if kind == "encoding":
            below = self.one(3, 5)
            arguments = {"num_tokens": below} | self.some(0.7, output_mode=("one_hot", "multi_hot", "count"))
            return sizes(1, 1, 4), {"kind": "integers", "below": below}, [Make("layers", "CategoryEncoding", arguments)]
        shape = self.one(*[sizes(1)] * 2, *[sizes(2)] * 4, *[sizes(3)] * 4, sizes(4, 2, 4))
        return shape, {"kind": "normal"} | self.some(0.1, scale=(0.1, 5.0)), []

    def ending(self, shape):
        """The family of losses, its loss, and the last layers."""
        target = self.one(
            *["numbers"] * 3,
            "positive",
            *["binary"] * 2,
            "signs",
            *["one-hot"] * 2,
            "shares",
            *["classes"] * 2,
            "labels",
            "circle",
        )
        if target == "labels" and len(shape) != 2 or target == "circle" and len(shape) != 1:
            target = "numbers"
        logits = self.chance(0.3)
        activations = {
            "positive": "softplus",
            "binary": "sigmoid",
            "one-hot": "softmax",
            "shares": "softmax",
            "classes": "softmax",
        }
        activation = activations.get(target, "linear")
        loss = self.loss(target, logits)
        if isinstance(loss, Make) and loss.arguments.get("from_logits"):
            activation = "linear"
        units = (
            self.one(2, 3, 4)
            if activation == "softmax" or target in ("one-hot", "shares", "classes", "labels")
            else self.one(1, 1, 2, 3)
        )
        last = [
            Make("layers", "Dense", {"units": units} | ({} if activation == "linear" else {"activation": activation}))
        ]
        if activation != "linear" and self.chance(0.2):
            last = [Make("layers", "Dense", {"units": units}), Make("layers", "Activation", {"activation": activation})]
        if target == "circle":
            last = [Make("layers", "Dense", {"units": 3}), Make("layers", "UnitNormalization", {})]
            target = "classes"
        if target == "numbers" and shape[-1] < 5 and self.chance(0.4):
            last = []
        return target, loss, last

    def loss(self, target, logits):
        from_logits = {"from_logits": True} if logits else {}
        smoothing = self.some(0.3, label_smoothing=(0.1,))
        choices = {
            "numbers": [
                ("MeanSquaredError", {}),
                ("MeanSquaredError", {}),
                ("MeanAbsoluteError", {}),
                ("MeanAbsolutePercentageError", {}),
                ("Huber", {}),
                ("LogCosh", {}),
                ("CosineSimilarity", {}),
            ],
            "positive": [("Poisson", {}), ("MeanSquaredLogarithmicError", {}), ("MeanAbsolutePercentageError", {})],
            "binary": [
                ("BinaryCrossentropy", from_logits | smoothing),
                ("BinaryCrossentropy", from_logits),
                (
                    "BinaryFocalCrossentropy",
                    from_logits | smoothing | self.some(0.5, apply_class_balancing=(True,), alpha=(0.4,), gamma=(1.0,)),
                ),
                ("Dice", {}),
                ("Tversky", self.some(0.5, alpha=(0.3,), beta=(0.8,))),
                ("Hinge", {}),
                ("SquaredHinge", {}),
            ],
            "signs": [("Hinge", {}), ("SquaredHinge", {})],
            "one-hot": [
                ("CategoricalCrossentropy", from_logits | smoothing),
                ("CategoricalCrossentropy", from_logits),
                ("CategoricalFocalCrossentropy", from_logits | smoothing | self.some(0.5, alpha=(0.4,), gamma=(1.0,))),
                ("CategoricalHinge", {}),
                ("MeanSquaredError", {}),
            ],
            "shares": [("KLDivergence", {}), ("CategoricalCrossentropy", from_logits), ("Poisson", {})],
            "classes": [
                ("SparseCategoricalCrossentropy", from_logits),
                ("SparseCategoricalCrossentropy", from_logits | self.some(0.5, ignore_class=(0, 1))),
                ("CategoricalGeneralizedCrossEntropy", self.some(0.5, q=(0.3, 0.8))),
            ],
            "labels": [("CTC", {})],
            "circle": [
                ("Circle", self.some(0.5, gamma=(8.0,), margin=(0.2,)) | self.some(0.2, remove_diagonal=(False,)))
            ],
        }
        name, arguments = self.one(*choices[target])
        arguments = dict(arguments) | self.some(
            0.2, reduction=("sum", "mean", "mean_with_sample_weight", "sum_over_batch_size")
        )
        if not arguments and name not in ("CTC", "Circle", "CategoricalGeneralizedCrossEntropy") and self.chance(0.3):
            return snake(name)
        return Make("losses", name, arguments)

    def metrics(self, target, rank, logits):
        """Matching metrics; `rank` is that of a sample's output, `logits` says whether it consists of logits."""
        from_logits = {"from_logits": True} if logits else {}
        thresholds = self.some(0.6, thresholds=(0.4, [0.3, 0.6, 0.9]))
        some_k = self.some(0.5, k=(1, 2))
        binary = [
            ("BinaryAccuracy", self.some(0.5, threshold=(0.3,))),
            ("BinaryCrossentropy", from_logits | self.some(0.3, label_smoothing=(0.2,))),
            (
                "AUC",
                from_logits
                | self.some(
                    0.4, num_thresholds=(5, 20), curve=("ROC", "PR"), summation_method=("minoring", "majoring")
                ),
            ),
            ("AUC", {"thresholds": [0.2, 0.5, 0.7]}),
            ("Precision", thresholds),
            ("Recall", thresholds),
            *((name, thresholds) for name in ("TruePositives", "TrueNegatives", "FalsePositives", "FalseNegatives")),
            ("SensitivityAtSpecificity", {"specificity": self.one(0.3, 0.7)} | self.some(0.5, num_thresholds=(10,))),
            ("SpecificityAtSensitivity", {"sensitivity": self.one(0.3, 0.7)}),
            ("PrecisionAtRecall", {"recall": self.one(0.3, 0.7)}),
            ("RecallAtPrecision", {"precision": self.one(0.3, 0.7)}),
            ("BinaryIoU", self.some(0.5, target_class_ids=([0], [1], [0, 1]), threshold=(0.3,))),
        ]
        scores = [
            ("F1Score", self.some(0.6, average=("micro", "macro", "weighted"), threshold=(0.4,))),
            ("FBetaScore", self.some(0.6, average=("micro", "macro", "weighted"), threshold=(0.4,), beta=(2.0,))),
        ]
        classes = {"num_classes": 4}
        ids = {"target_class_ids": self.one([0], [0, 1])}
        numbers = [
            *(
                (name, {})
                for name in ("MeanSquaredError", "RootMeanSquaredError", "MeanAbsoluteError", "CosineSimilarity")
            ),
            *((name, {}) for name in ("MeanAbsolutePercentageError", "MeanSquaredLogarithmicError", "LogCoshError")),
            ("PearsonCorrelation", {}),
            ("ConcordanceCorrelation", {}),
        ]
        if rank == 1:
            numbers.append(
                ("R2Score", self.some(0.6, class_aggregation=("uniform_average", "variance_weighted_average", None)))
            )
        choices = {
            "numbers": numbers,
            "positive": numbers + [("Poisson", {})],
            "binary": binary + (scores if rank == 1 else []) + [("Hinge", {}), ("SquaredHinge", {})],
            "signs": [("Hinge", {}), ("SquaredHinge", {}), ("MeanSquaredError", {})],
            "one-hot": [
                ("CategoricalAccuracy", {}),
                ("TopKCategoricalAccuracy", some_k),
                ("CategoricalCrossentropy", from_logits | self.some(0.3, label_smoothing=(0.2,))),
                ("CategoricalHinge", {}),
                ("KLDivergence", {}),
                ("OneHotMeanIoU", classes),
                ("OneHotIoU", classes | ids),
                ("AUC", from_logits | (self.some(0.5, multi_label=(True,)) if rank == 1 else {})),
                ("Precision", self.some(0.5, class_id=(0, 1), top_k=(1, 2))),
                ("Recall", self.some(0.5, class_id=(0, 1), top_k=(1, 2))),
            ]
            + (scores if rank == 1 else []),
            "shares": [
                ("KLDivergence", {}),
                ("Poisson", {}),
                ("CategoricalCrossentropy", dict(from_logits)),
                ("MeanSquaredError", {}),
            ],
            "classes": [
                ("SparseCategoricalAccuracy", {}),
                ("SparseTopKCategoricalAccuracy", some_k),
                ("SparseCategoricalCrossentropy", from_logits | self.some(0.3, ignore_class=(0,))),
                ("MeanIoU", classes | {"sparse_y_pred": False} | self.some(0.3, ignore_class=(0,))),
                ("IoU", classes | ids | {"sparse_y_pred": False}),
            ],
            "labels": [("__none__", {})],
        }[target]
        drawn = [self.one(*choices) for _ in range(self.random.randint(0, 3))]
        drawn = {name: Make("metrics", name, dict(arguments)) for name, arguments in drawn if name != "__none__"}
        metrics = list(drawn.values())
        if target in ("one-hot", "binary", "classes") and self.chance(0.4):
            metrics.append(self.one("accuracy", "acc"))
        return metrics

    def schedule(self):
        start = self.one(0.1, 0.02)
        name, arguments = self.one(
            (
                "CosineDecay",
                {"decay_steps": 3}
                | self.some(0.5, alpha=(0.1,))
                | self.one({}, {"warmup_target": 0.2, "warmup_steps": 2}),
            ),
            (
                "CosineDecayRestarts",
                {"first_decay_steps": 2} | self.some(0.5, t_mul=(1.5,), m_mul=(0.8,), alpha=(0.1,)),
            ),
            ("ExponentialDecay", {"decay_steps": 2, "decay_rate": 0.5} | self.some(0.5, staircase=(True,))),
            ("InverseTimeDecay", {"decay_steps": 2, "decay_rate": 0.5} | self.some(0.5, staircase=(True,))),
            (
                "PolynomialDecay",
                {"decay_steps": 2} | self.some(0.5, power=(2.0,), cycle=(True,), end_learning_rate=(0.01,)),
            ),
            ("PiecewiseConstantDecay", {"boundaries": [1, 2], "values": [0.1, 0.05, 0.01]}),
        )
        arguments = arguments if "values" in arguments else {"initial_learning_rate": start} | arguments
        return Make("optimizers.schedules", name, arguments)

    def optimizer(self):
        betas = self.some(0.2, beta_1=(0.8,), beta_2=(0.95,))
        name, arguments = self.one(
            *[("SGD", self.some(0.4, momentum=(0.5, 0.9), nesterov=(True,)))] * 3,
            ("RMSprop", self.some(0.4, rho=(0.8,), momentum=(0.5,), centered=(True,), epsilon=(1e-3,))),
            ("Adam", betas | self.some(0.3, amsgrad=(True,), epsilon=(1e-3,))),
            ("AdamW", betas | self.some(0.3, amsgrad=(True,), weight_decay=(0.1,))),
            ("Adadelta", self.some(0.4, rho=(0.8,))),
            ("Adagrad", self.some(0.4, initial_accumulator_value=(0.5,))),
            ("Adamax", dict(betas)),
            ("Adafactor", self.some(0.3, beta_2_decay=(-0.5,), relative_step=(False,), clip_threshold=(0.5,))),
            ("Nadam", dict(betas)),
            (
                "Ftrl",
                self.some(
                    0.4,
                    learning_rate_power=(-0.7,),
                    l1_regularization_strength=(0.01,),
                    l2_regularization_strength=(0.02,),
                    l2_shrinkage_regularization_strength=(0.01,),
                    beta=(0.1,),
                ),
            ),
            ("Lion", dict(betas)),
            ("Lamb", dict(betas)),
            ("Muon", self.some(0.3, momentum=(0.8,), nesterov=(False,), ns_steps=(3,), adam_lr_ratio=(0.5,))),
        )
        if name == "SGD" and not arguments and self.chance(0.3):
            return self.one("sgd", "adam", "rmsprop")
        rate = self.schedule() if self.chance(0.25) else self.one(0.1, 0.01, 0.003)
        arguments = {"learning_rate": rate} | arguments | self.some(0.1, weight_decay=(0.05,))
        arguments |= self.one({}, {}, {}, {}, {"clipnorm": 0.3}, {"clipvalue": 0.1}, {"global_clipnorm": 0.4})
        if self.chance(0.1):
            arguments |= {"use_ema": True} | self.some(0.7, ema_momentum=(0.5,), ema_overwrite_frequency=(1, 2))
        arguments |= self.some(0.07, gradient_accumulation_steps=(2,)) | self.some(0.05, loss_scale_factor=(4.0,))
        return Make("optimizers", name, arguments)

    def model(self):
        shape, data, layers = self.front()
        start = shape
        for layer in layers:
            shape = output_shape(layer, shape)
        for _ in range(self.one(1, 1, 2, 2, 3, 4)):
            layer = self.layer(shape)
            if layer:
                layers.append(layer)
                shape = output_shape(layer, shape)
        target, loss, last = self.ending(shape)
        for layer in last:
            layers.append(layer)
            shape = output_shape(layer, shape)
        logits = isinstance(loss, Make) and "from_logits" in loss.arguments
        # The output of a `UnitNormalization` is not probabilities, which backends treat differently.
        probabilities = getattr(loss, "name", "") != "Circle"
        compiled = {"optimizer": self.optimizer(), "loss": loss}
        for name, share in (("metrics", 0.7), ("weighted_metrics", 0.2)):
            metrics = self.metrics(target, len(shape), logits) if self.chance(share) and probabilities else []
            compiled |= {name: metrics} if metrics else {}
        batch_size = self.one(2, 3, 4)
        samples = batch_size * self.one(1, 2, 2, 3) + (self.one(1, batch_size - 1) if self.chance(0.3) else 0)
        weighted = self.chance(0.15)
        return Model(self.seed, start, data, layers, target, compiled, samples, batch_size, weighted)


def output_shape(layer, shape):
    """The shape of a sample after this layer, or None if the layer rejects it, or enlarges it too much."""
    try:
        output = layer.make().compute_output_shape((None, *shape))
    except Exception:
        return None
    output = tuple(output[1:])
    fits = all(isinstance(size, int) and size > 0 for size in output) and 0 < math.prod(output) <= MOST_VALUES
    return output if fits and output else None


def snake(name):
    return "".join("_" * (at > 0 and letter.isupper()) + letter.lower() for at, letter in enumerate(name))
