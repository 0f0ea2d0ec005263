"""One peer, in a process that executes requests.

usage: peer.py PEER NETWORK SAMPLES.NPZ THREADS MODEL.KERAS
                                                      measure; requests are lines of JSON on standard input
       peer.py --samples NETWORK SAMPLES.NPZ          write the input data of the networks
       peer.py --model NETWORK MODEL.KERAS            write the network, compiled, as a Keras file
       peer.py --versions                             print the installed versions

Requests: {"prepare": "train" | "predict", "batch_size": N, "seconds": S} makes a new model, takes a first step (answer:
{"first": true}) and determines the number of steps for S seconds (answer: {"ready": true}); {"measure": true} takes
them and answers {way: samples per second, …}; {"memory": true} answers {"peak_rss_bytes": N}.
"""

import json
import os
import resource
import sys
import time

import numpy as np

import networks


def say(**answer):
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


class Torch:
    """PyTorch: eager or compiled, with channels first or last in memory."""

    def __init__(self, peer, network, x, y, threads):
        import torch

        torch.set_num_threads(threads)
        self.torch, self.network, self.device = torch, network, os.environ.get("PEER_DEVICE", "cpu")
        self.compiled, self.channels_last = "compile" in peer, "channels-last" in peer
        if network not in ["lstm", "transformer"] and x.ndim > 2:
            x = np.ascontiguousarray(np.moveaxis(x, -1, 1))
        self.x, self.y = torch.from_numpy(x), torch.from_numpy(y).long()
        if self.channels_last:
            self.x = self.x.contiguous(memory_format=torch.channels_last)
        if self.device != "cpu":
            self.x, self.y = self.x.pin_memory(), self.y.pin_memory()

    def prepare(self, task, batch_size):
        torch = self.torch
        if self.compiled:
            torch._dynamo.reset()
        model = networks.torch_model(self.network).to(self.device)
        if self.channels_last:
            model = model.to(memory_format=torch.channels_last)
        model.train(task == "train")
        forward = torch.compile(model, dynamic=False) if self.compiled else model
        batches = len(self.x) // batch_size
        state = {"order": torch.randperm(len(self.x)), "batch": 0}
        optimizer = torch.optim.Adam(model.parameters(), 1e-3, fused=True)

        def next_batch():
            start = state["batch"] * batch_size
            state["batch"] = (state["batch"] + 1) % batches
            return slice(start, start + batch_size)

        def take(x):
            x = x.to(self.device, non_blocking=True)
            return x.contiguous(memory_format=torch.channels_last) if self.channels_last else x

        def train():
            chosen = state["order"][next_batch()]
            loss = torch.nn.functional.cross_entropy(forward(take(self.x[chosen])), self.y[chosen].to(self.device))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            return loss

        def predict():
            with torch.inference_mode():
                return torch.softmax(forward(take(self.x[next_batch()])), 1).cpu().numpy()

        def steps(count):
            step = train if task == "train" else predict
            for _ in range(count):
                result = step()
            return result.item() if task == "train" else result

        return {"loop": steps}


class Keras:
    """Keras on TensorFlow or JAX: its own loops, and a loop of calls on batches."""

    def __init__(self, peer, network, x, y, threads):
        os.environ["KERAS_BACKEND"] = self.backend = {"keras-tf": "tensorflow", "keras-jax": "jax"}[peer]
        if self.backend == "tensorflow":
            import tensorflow

            tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
            tensorflow.config.threading.set_inter_op_parallelism_threads(threads)
        import keras

        self.keras, self.network, self.x, self.y = keras, network, x, y

    def prepare(self, task, batch_size):
        keras, x, y = self.keras, self.x, self.y
        keras.backend.clear_session()
        model = networks.keras_model(self.network)
        in_all = len(x) // batch_size
        state = {"batch": 0}

        def next_batch():
            start = state["batch"] * batch_size
            state["batch"] = (state["batch"] + 1) % in_all
            return slice(start, start + batch_size)

        def passes(work, count):
            """Whole passes over the samples and a part of one."""
            whole, rest = divmod(count, in_all)
            if whole:
                work(in_all * batch_size, whole)
            if rest:
                work(rest * batch_size, 1)

        if task == "train":
            model.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])

            def fit(count):
                passes(lambda n, epochs: model.fit(x[:n], y[:n], batch_size, epochs, verbose=0), count)

            def train_on_batch(count):
                for _ in range(count):
                    chosen = next_batch()
                    model.train_on_batch(x[chosen], y[chosen])

            return {"fit": fit, "train_on_batch": train_on_batch}

        def predict(count):
            if batch_size == 1:
                for _ in range(count):
                    model.predict(x[next_batch()], verbose=0)
                return
            passes(lambda n, times: [model.predict(x[:n], batch_size, verbose=0) for _ in range(times)], count)

        if self.backend == "tensorflow":
            import tensorflow

            compiled = tensorflow.function(lambda batch: model(batch, training=False))

            def call(count):
                for _ in range(count):
                    compiled(tensorflow.constant(x[next_batch()])).numpy()

        else:
            import jax

            # Copies: `predict` takes over and frees its arguments.
            parts = model.trainable_variables, model.non_trainable_variables
            variables = [[jax.numpy.array(variable.value) for variable in part] for part in parts]
            compiled = jax.jit(lambda t, n, batch: model.stateless_call(t, n, batch, training=False)[0])

            def call(count):
                for _ in range(count):
                    np.asarray(compiled(*variables, x[next_batch()]))

        return {"predict": predict, "call": call}


class Runtime:
    """ONNX Runtime, OpenVINO or LiteRT, which predict with the weights of a Keras file."""

    def __init__(self, peer, network, x, y, threads, file):
        os.environ["KERAS_BACKEND"] = "tensorflow"
        import keras

        self.peer, self.x, self.threads = peer, x, threads
        self.model, self.file = keras.saving.load_model(file, compile=False), file

    def prepare(self, task, batch_size):
        assert task == "predict", "runtimes only predict"
        x = np.ascontiguousarray(self.x[: len(self.x) // batch_size * batch_size])
        batches = [x[start : start + batch_size] for start in range(0, len(x), batch_size)]
        expected = self.model.predict(batches[0], verbose=0)
        ways = {}
        for way, run in getattr(self, self.peer)(batches[0].shape):
            found = run(batches[0])
            assert np.allclose(found, expected, 1e-2, 1e-4), f"{way}: differs by {np.abs(found - expected).max()}"
            ways[way] = self.steps(run, batches)
        return ways

    def steps(self, run, batches):
        state = {"batch": 0}

        def steps(count):
            for _ in range(count):
                run(batches[state["batch"]])
                state["batch"] = (state["batch"] + 1) % len(batches)

        return steps

    def onnx_files(self, shape):
        """The ONNX file that Brasa has written beside the model, and that of tf2onnx for this batch size."""
        brasa = self.file.removesuffix(".keras") + ".onnx"
        yield "brasa", brasa
        import tensorflow
        import tf2onnx

        of = (tensorflow.TensorSpec(shape, tensorflow.float32),)
        function = tensorflow.function(lambda batch: self.model(batch, training=False), input_signature=of)
        path = self.file.removesuffix(".keras") + f".tf2onnx.{self.peer}.{shape[0]}.onnx"
        try:
            graph = tf2onnx.convert.from_function(function, input_signature=of, opset=17, output_path=path)[0].graph
            if len(graph.input) == 1:
                yield "tf2onnx", path
            else:  # It makes inputs of some constants (EfficientNet's normalization).
                print("tf2onnx: more inputs than the model has", file=sys.stderr)
        except Exception as error:
            print(f"tf2onnx: {error}", file=sys.stderr)

    def onnxruntime(self, shape):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self.threads, 1
        for way, path in self.onnx_files(shape):
            session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            name = session.get_inputs()[0].name
            yield way, lambda batch, session=session, name=name: session.run(None, {name: batch})[0]

    def openvino(self, shape):
        import openvino

        core = openvino.Core()
        for way, path in self.onnx_files(shape):
            model = core.read_model(path)
            model.reshape(list(shape))
            for hint in ["LATENCY", "THROUGHPUT"]:
                settings = {"INFERENCE_NUM_THREADS": self.threads, "INFERENCE_PRECISION_HINT": "f32"}
                compiled = core.compile_model(model, "CPU", {"PERFORMANCE_HINT": hint, **settings})
                yield f"{way}-{hint.lower()}", lambda batch, compiled=compiled: compiled([batch])[0]

    def litert(self, shape):
        import tensorflow
        from ai_edge_litert.interpreter import Interpreter

        folder = self.file.removesuffix(".keras") + ".saved_model"
        self.model.export(folder, verbose=False)
        flat = tensorflow.lite.TFLiteConverter.from_saved_model(folder).convert()
        interpreter = Interpreter(model_content=flat, num_threads=self.threads)
        entry, result = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
        interpreter.resize_tensor_input(entry, shape)
        interpreter.allocate_tensors()

        def run(batch):
            interpreter.set_tensor(entry, batch)
            interpreter.invoke()
            return interpreter.get_tensor(result)

        yield "xnnpack", run


def timed(work, count):
    begin = time.perf_counter()
    work(count)
    return max(time.perf_counter() - begin, 1e-9)


def warm_up(work, seconds):
    """The number of steps for about this time, determined by taking some."""
    work(1)
    count = 1
    while (took := timed(work, count)) < seconds / 4:
        count *= 2
    return max(1, round(count * seconds / took))


def serve(peer, network, path, threads, file):
    with np.load(path) as arrays:
        x, y = arrays["x"], arrays["y"]
    if peer in ["onnxruntime", "openvino", "litert"]:
        peer = Runtime(peer, network, x, y, threads, file)
    else:
        peer = (Keras if peer.startswith("keras") else Torch)(peer, network, x, y, threads)
    ways, counts, batch_size = {}, {}, 1
    for line in sys.stdin:
        request = json.loads(line)
        if "prepare" in request:
            batch_size = request["batch_size"]
            ways, counts = peer.prepare(request["prepare"], batch_size), {}
            next(iter(ways.values()))(1)
            say(first=True)
            counts = {way: warm_up(work, request["seconds"]) for way, work in ways.items()}
            say(ready=True)
        elif "measure" in request:
            # A short warm-up: the processor's caches hold another program's data.
            for work in ways.values():
                work(1)
            say(**{way: counts[way] * batch_size / timed(work, counts[way]) for way, work in ways.items()})
        else:
            say(peak_rss_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def versions():
    from importlib.metadata import PackageNotFoundError, version

    def installed(name):
        try:
            return version(name)
        except PackageNotFoundError:
            return "none"

    packages = ["torch", "keras", "tensorflow-cpu", "jax", "onnxruntime", "openvino", "ai-edge-litert"]
    say(python=sys.version.split()[0], **{name: installed(name) for name in packages})


if sys.argv[1] == "--samples":
    x, y = networks.samples(sys.argv[2])
    np.savez(sys.argv[3], x=x, y=y)
    # For the peers in Rust.
    x.tofile(sys.argv[3].removesuffix(".npz") + ".f32")
    y.tofile(sys.argv[3].removesuffix(".npz") + ".i32")
elif sys.argv[1] == "--model":
    import keras

    model = networks.keras_model(sys.argv[2])
    model.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.save(sys.argv[3])
elif sys.argv[1] == "--versions":
    versions()
else:
    serve(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5])
