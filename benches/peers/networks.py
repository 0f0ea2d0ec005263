"""The networks in Keras and in PyTorch, six of which are recipes in this folder, and their input data."""

import gzip
import pathlib

import numpy as np

FOLDER = pathlib.Path(__file__).resolve().parent
CLASSES = 10

# The shape and the number of samples.
INPUTS = {
    "cnn": ((28, 28, 1), 4096),
    "mlp": ((784,), 4096),
    "vgg": ((32, 32, 3), 2048),
    "separable": ((32, 32, 3), 2048),
    "lstm": ((100, 32), 2048),
    "conv1d": ((200, 16), 2048),
    "transformer": ((64, 256), 512),
    "resnet50": ((224, 224, 3), 64),
    "mobilenetv2": ((224, 224, 3), 64),
    "efficientnetb0": ((224, 224, 3), 64),
    "densenet121": ((224, 224, 3), 64),
}
# Graphs, which Brasa reads from Keras files.
APPLICATIONS = {
    "resnet50": "ResNet50",
    "mobilenetv2": "MobileNetV2",
    "efficientnetb0": "EfficientNetB0",
    "densenet121": "DenseNet121",
}
GRAPHS = ["transformer", *APPLICATIONS]
HEADS, BLOCKS = 8, 4


def samples(network):
    """Inputs as float32 and labels as int32: MNIST's digits, or noise around one pattern per class."""
    shape, count = INPUTS[network]
    if network == "cnn":
        mnist = FOLDER.parent.parent / "data" / "mnist"
        images = np.frombuffer(gzip.open(mnist / "train-images-idx3-ubyte.gz").read(), np.uint8, offset=16)
        labels = np.frombuffer(gzip.open(mnist / "train-labels-idx1-ubyte.gz").read(), np.uint8, offset=8)
        x = images.reshape(-1, *shape)[:count].astype(np.float32) / 255
        return x, labels[:count].astype(np.int32)
    random = np.random.default_rng(1)
    y = random.integers(0, CLASSES, count).astype(np.int32)
    patterns = random.standard_normal((CLASSES, *shape), np.float32)
    return 0.2 * patterns[y] + random.standard_normal((count, *shape), np.float32), y


def keras_model(network):
    import keras
    from keras import layers

    def normalized(layer):
        return [layer, layers.BatchNormalization(), layers.ReLU()]

    shape, _ = INPUTS[network]
    if network in APPLICATIONS:
        return getattr(keras.applications, APPLICATIONS[network])(weights=None, input_shape=shape, classes=CLASSES)
    if network == "transformer":
        x = inputs = keras.Input(shape)
        width = shape[-1]
        for _ in range(BLOCKS):
            attended = layers.MultiHeadAttention(HEADS, width // HEADS)(x, x)
            x = layers.LayerNormalization(epsilon=1e-5)(layers.Add()([x, attended]))
            changed = layers.Dense(width)(layers.Dense(4 * width, activation="relu")(x))
            x = layers.LayerNormalization(epsilon=1e-5)(layers.Add()([x, changed]))
        x = layers.GlobalAveragePooling1D()(x)
        return keras.Model(inputs, layers.Dense(CLASSES, activation="softmax")(x))
    if network == "cnn":
        body = [
            layers.Conv2D(32, 5, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(64, 5, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
        ]
    elif network == "mlp":
        body = [layers.Dense(512, activation="relu"), layers.Dense(512, activation="relu")]
    elif network == "vgg":
        body = []
        for filters in (32, 64, 128):
            for _ in range(2):
                body += normalized(layers.Conv2D(filters, 3, padding="same", use_bias=False))
            body.append(layers.MaxPooling2D(2))
        body.append(layers.GlobalAveragePooling2D())
    elif network == "separable":
        body = normalized(layers.Conv2D(32, 3, padding="same", use_bias=False))
        for filters in (64, 128, 256):
            body += normalized(layers.SeparableConv2D(filters, 3, strides=2, padding="same", use_bias=False))
        body.append(layers.GlobalAveragePooling2D())
    elif network == "lstm":
        body = [layers.LSTM(128)]
    else:
        body = [
            layers.Conv1D(64, 5, activation="relu"),
            layers.MaxPooling1D(2),
            layers.Conv1D(128, 5, activation="relu"),
            layers.GlobalMaxPooling1D(),
        ]
    return keras.Sequential([keras.Input(shape), *body, layers.Dense(CLASSES, activation="softmax")])


def torch_model(network):
    """Returns logits; inputs are channels first where there are channels, (batch, steps, values) for the LSTM."""
    import torch
    from torch import nn

    def normalized(layers, filters):
        return [*layers, nn.BatchNorm2d(filters, eps=1e-3, momentum=0.01), nn.ReLU()]

    class LastStep(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = nn.LSTM(32, 128, batch_first=True)

        def forward(self, x):
            return self.lstm(x)[0][:, -1]

    class Mean(nn.Module):
        def forward(self, x):
            return x.mean((2, 3))

    class MeanStep(nn.Module):
        def forward(self, x):
            return x.mean(1)

    class Greatest(nn.Module):
        def forward(self, x):
            return torch.amax(x, 2)

    if network in APPLICATIONS:
        import torchvision

        names = {"mobilenetv2": "mobilenet_v2", "efficientnetb0": "efficientnet_b0"}
        return getattr(torchvision.models, names.get(network, network))(weights=None, num_classes=CLASSES)
    if network == "transformer":
        width = INPUTS[network][0][-1]
        blocks = [nn.TransformerEncoderLayer(width, HEADS, 4 * width, 0.0, batch_first=True) for _ in range(BLOCKS)]
        return nn.Sequential(*blocks, MeanStep(), nn.Linear(width, CLASSES))
    if network == "cnn":
        body = [nn.Conv2d(1, 32, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 5), nn.ReLU(), nn.MaxPool2d(2)]
        body += [nn.Flatten(), nn.Linear(1024, CLASSES)]
    elif network == "mlp":
        body = [nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, CLASSES)]
    elif network == "vgg":
        body, channels = [], 3
        for filters in (32, 64, 128):
            for _ in range(2):
                body += normalized([nn.Conv2d(channels, filters, 3, padding=1, bias=False)], filters)
                channels = filters
            body.append(nn.MaxPool2d(2))
        body += [Mean(), nn.Linear(128, CLASSES)]
    elif network == "separable":
        body, channels = normalized([nn.Conv2d(3, 32, 3, padding=1, bias=False)], 32), 32
        for filters in (64, 128, 256):
            depthwise = nn.Conv2d(channels, channels, 3, stride=2, padding=1, groups=channels, bias=False)
            body += normalized([depthwise, nn.Conv2d(channels, filters, 1, bias=False)], filters)
            channels = filters
        body += [Mean(), nn.Linear(256, CLASSES)]
    elif network == "lstm":
        body = [LastStep(), nn.Linear(128, CLASSES)]
    else:
        body = [nn.Conv1d(16, 64, 5), nn.ReLU(), nn.MaxPool1d(2), nn.Conv1d(64, 128, 5), nn.ReLU(), Greatest()]
        body += [nn.Linear(128, CLASSES)]
    return nn.Sequential(*body)
