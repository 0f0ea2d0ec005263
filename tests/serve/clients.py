"""Asks `brasa serve` as real clients do: Triton's, a validator of OpenAPI, Prometheus's parser, and schemathesis.

    python3 tests/serve/clients.py BRASA [SECONDS]

Makes a virtual environment under the user's cache, once, from PyPI. SECONDS (default 60) is how long schemathesis draws
requests from the OpenAPI document.
"""

import base64
import io
import json
import os
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile

PACKAGES = ["tritonclient[http]", "openapi-spec-validator", "prometheus_client", "schemathesis", "numpy"]
HERE = os.path.dirname(os.path.abspath(__file__))
FIXTURES = os.path.join(HERE, "..", "fixtures")


def environment():
    """Begins again within the environment that has the packages."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = os.path.join(cache, "brasa", "serve-clients")
    python = os.path.join(folder, "bin", "python")
    mark = os.path.join(folder, "complete")
    if sys.prefix == folder:
        return
    if not os.path.exists(mark):
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PACKAGES], check=True)
        open(mark, "w").close()
    os.execv(python, [python, os.path.abspath(__file__), *sys.argv[1:]])


class Server:
    def __init__(self, brasa, *arguments):
        command = [brasa, "serve", "--listen", "127.0.0.1:0", "--no-access-log", *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.url = self.process.stdout.readline().split()[-1]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        assert self.process.wait(60) == 0

    def ask(self, path, body=None, headers=()):
        request = urllib.request.Request(self.url + path, data=body, headers=dict(headers))
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()


def fixture(name):
    """A model, and the inputs and outputs that Keras computed."""
    import numpy as np

    folder = os.path.join(FIXTURES, "models")
    return os.path.join(folder, name + ".keras"), np.load(os.path.join(folder, name + ".npz"))


def triton(server, name, arrays):
    """Tensors in JSON and in binary, both ways, against what Keras computed."""
    import numpy as np
    import tritonclient.http as http

    client = http.InferenceServerClient(server.url.removeprefix("http://"))
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready(name)
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    metadata = client.get_model_metadata(name)
    [given], [wanted] = metadata["inputs"], metadata["outputs"]
    x, y = arrays["x"].astype(np.float32), arrays["y"]
    for binary_in in (True, False):
        for binary_out in (True, False, None):
            tensor = http.InferInput(given["name"], list(x.shape), "FP32")
            tensor.set_data_from_numpy(x, binary_data=binary_in)
            outputs = None if binary_out is None else [http.InferRequestedOutput(wanted["name"], binary_data=binary_out)]
            result = client.infer(name, [tensor], outputs=outputs, request_id="7")
            assert result.get_response()["id"] == "7"
            np.testing.assert_allclose(result.as_numpy(wanted["name"]), y, rtol=1e-4, atol=1e-6)
    half = http.InferInput(given["name"], list(x.shape), "FP16")
    half.set_data_from_numpy(x.astype(np.float16))
    np.testing.assert_allclose(client.infer(name, [half]).as_numpy(wanted["name"]), y, rtol=0.1, atol=0.02)
    wrong = http.InferInput(given["name"], [1, 7], "FP32")
    wrong.set_data_from_numpy(np.zeros((1, 7), np.float32))
    try:
        client.infer(name, [wrong])
        raise AssertionError("a wrong shape is served")
    except http.InferenceServerException as error:
        assert given["name"] in str(error) and "(1, 7)" in str(error), error


def texts(server, name):
    """Texts as BYTES."""
    import numpy as np
    import tritonclient.http as http

    client = http.InferenceServerClient(server.url.removeprefix("http://"))
    [given] = client.get_model_metadata(name)["inputs"]
    assert given["datatype"] == "BYTES"
    words = np.array([["a fine film"], ["übel"]], dtype=object)
    answers = []
    for binary in (True, False):
        tensor = http.InferInput(given["name"], [2, 1], "BYTES")
        tensor.set_data_from_numpy(words, binary_data=binary)
        result = client.infer(name, [tensor])
        answers.append(result.as_numpy(result.get_response()["outputs"][0]["name"]))
    np.testing.assert_array_equal(*answers)


def tensorflow(server, name, arrays):
    """TensorFlow Serving's requests as its documentation shows them."""
    import numpy as np

    x, y = arrays["x"].astype(np.float32), arrays["y"]
    status, body = server.ask(f"/v1/models/{name}")
    assert status == 200 and json.loads(body)["model_version_status"][0]["state"] == "AVAILABLE"
    status, body = server.ask(f"/v1/models/{name}/metadata")
    [given] = json.loads(body)["metadata"]["signature_def"]["signature_def"]["serving_default"]["inputs"]
    for request, key in [
        ({"instances": x.tolist()}, "predictions"),
        ({"instances": [{given: row} for row in x.tolist()]}, "predictions"),
        ({"signature_name": "serving_default", "inputs": x.tolist()}, "outputs"),
        ({"inputs": {given: x.tolist()}}, "outputs"),
    ]:
        status, body = server.ask(f"/v1/models/{name}:predict", json.dumps(request).encode())
        assert status == 200, body
        np.testing.assert_allclose(np.array(json.loads(body)[key]), y, rtol=1e-4, atol=1e-6)
    status, body = server.ask(f"/v1/models/{name}:predict", b'{"instances": [[1]]}')
    assert status == 400 and "error" in json.loads(body)


def prometheus(server):
    from prometheus_client.parser import text_string_to_metric_families

    _, body = server.ask("/metrics")
    families = {family.name: family for family in text_string_to_metric_families(body.decode())}
    assert families["brasa_requests"].type == "counter" and families["brasa_request_seconds"].type == "histogram"
    total = [
        sample.value
        for sample in families["brasa_request_seconds"].samples
        if sample.name.endswith("_count") and sample.labels["phase"] == "total"
    ]
    assert total[0] > 10


def openapi(server):
    from openapi_spec_validator import validate

    status, body = server.ask("/openapi.json")
    assert status == 200
    validate(json.loads(body))


def schemathesis(server, seconds):
    """Requests drawn from the document: no answer is a failure of the server, or one that the document does not have."""
    program = os.path.join(sys.prefix, "bin", "schemathesis")
    checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
    command = [program, "run", server.url + "/openapi.json", "--checks", checks, "--max-time", str(seconds)]
    help_text = subprocess.run([program, "run", "--help"], capture_output=True, text=True).stdout
    if "--max-time" not in help_text:
        command = command[:-2] + ["--max-examples", "40"]
    result = subprocess.run(command, timeout=seconds * 10 + 600)
    assert result.returncode == 0, f"schemathesis: {result.returncode}"


def main():
    brasa = sys.argv[1]
    seconds = int(sys.argv[2]) if len(sys.argv) > 2 else 60
    images, arrays = fixture("01_reference_cnn")
    rows, row_arrays = fixture("02_mlp_sgd")
    words = os.path.join(FIXTURES, "text", "text_classifier.keras")
    with Server(brasa, "--model", f"cnn={images}", "--model", f"mlp={rows}", "--model", f"text={words}") as server:
        for name, own in (("cnn", arrays), ("mlp", row_arrays)):
            triton(server, name, own)
            tensorflow(server, name, own)
            print(f"{name}: tritonclient and TensorFlow Serving's requests hold")
        texts(server, "text")
        prometheus(server)
        openapi(server)
        print("texts, metrics and the document hold")
        if seconds:
            schemathesis(server, seconds)
            print("schemathesis holds")
        assert server.ask("/v2/health/live")[0] == 200


environment()
main()
