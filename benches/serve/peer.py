"""The servers that Brasa is compared with, for run.py: FastAPI on uvicorn, with a network in one of several libraries.

    python3 peer.py PEER MODEL PORT WORKERS THREADS READY
    python3 peer.py --onnx MODEL FILE
    python3 peer.py --versions
"""

import json
import os
import pathlib
import sys


def keras(model, compiled):
    """The network by Keras on the backend of `KERAS_BACKEND`: by `predict`, or compiled for a call."""
    import keras
    import numpy as np

    threads = int(os.environ["BRASA_PEER_THREADS"])
    if keras.backend.backend() == "tensorflow":
        import tensorflow

        tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
        tensorflow.config.threading.set_inter_op_parallelism_threads(threads)
    model = keras.models.load_model(model, compile=False)
    if not compiled:
        return lambda batch: model.predict(batch, verbose=0)
    if keras.backend.backend() == "tensorflow":
        call = tensorflow.function(lambda batch: model(batch, training=False))
        return lambda batch: call(tensorflow.constant(batch)).numpy()
    import jax

    parts = model.trainable_variables, model.non_trainable_variables
    variables = [[jax.numpy.array(variable.value) for variable in part] for part in parts]
    call = jax.jit(lambda t, n, batch: model.stateless_call(t, n, batch, training=False)[0])
    return lambda batch: np.asarray(call(*variables, batch))


def onnxruntime(model):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(os.environ["BRASA_PEER_THREADS"])
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    [given] = session.get_inputs()
    return lambda batch: session.run(None, {given.name: batch})[0]


def openvino(model):
    import openvino

    core = openvino.Core()
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": os.environ["BRASA_PEER_THREADS"]}
    # Where a processor has bfloat16, it would compute in that: faster, and with other numbers.
    settings["INFERENCE_PRECISION_HINT"] = "f32"
    compiled = core.compile_model(model, "CPU", settings)
    return lambda batch: compiled(batch)[0]


NETWORKS = {
    "keras-tf": lambda model: keras(model, True),
    "keras-tf-predict": lambda model: keras(model, False),
    "keras-jax": lambda model: keras(model, True),
    "onnxruntime": onnxruntime,
    "openvino": openvino,
}


def app():
    """The application of one process: TensorFlow Serving's `:predict` for one model, and whether the server lives."""
    import fastapi
    import numpy as np
    import pydantic

    network = NETWORKS[os.environ["BRASA_PEER"]](os.environ["BRASA_PEER_MODEL"])
    # Whatever is made or compiled at the first call is made before the first request.
    network(np.zeros((1, 28, 28, 1), np.float32))
    own = fastapi.FastAPI()

    class Rows(pydantic.BaseModel):
        instances: list

    # On the event loop: a thread of a pool would take longer to reach than the network takes to compute.
    @own.post("/v1/models/net:predict")
    async def predict(rows: Rows):
        return {"predictions": network(np.asarray(rows.instances, np.float32)).tolist()}

    @own.get("/v2/health/live")
    async def live():
        return {"live": True}

    (pathlib.Path(os.environ["BRASA_PEER_READY"]) / str(os.getpid())).touch()
    return own


def serve(peer, model, port, workers, threads, ready):
    """Serves with so many processes, each of which leaves a file in the folder `ready` once it can answer."""
    import uvicorn

    os.environ.update(BRASA_PEER=peer, BRASA_PEER_MODEL=model, BRASA_PEER_THREADS=threads, BRASA_PEER_READY=ready)
    if peer.startswith("keras"):
        os.environ["KERAS_BACKEND"] = "jax" if peer == "keras-jax" else "tensorflow"
    folder = str(pathlib.Path(__file__).resolve().parent)
    settings = {"log_level": "warning", "access_log": False, "app_dir": folder, "factory": True}
    uvicorn.run("peer:app", port=int(port), workers=int(workers), loop="uvloop", http="httptools", **settings)


def versions():
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": sys.version.split()[0]}
    for name in ["fastapi", "uvicorn", "keras", "tensorflow-cpu", "jax", "onnxruntime", "openvino"]:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            pass
    print(json.dumps(found))


def onnx(model, path):
    """Writes the network as ONNX."""
    import keras
    import numpy as np

    model = keras.models.load_model(model, compile=False)
    # Only a model that was called is exported.
    model(np.zeros((1, 28, 28, 1), np.float32))
    model.export(path, format="onnx", verbose=False)


if __name__ == "__main__":
    if sys.argv[1] == "--versions":
        versions()
    elif sys.argv[1] == "--onnx":
        onnx(*sys.argv[2:])
    else:
        serve(*sys.argv[1:])
