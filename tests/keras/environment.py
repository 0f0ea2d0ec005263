"""Virtual environments with packages from PyPI for the scripts in this folder, and builds of Brasa's programs.

An environment stays in the user's cache, so that only the first run installs it.
"""

import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]


def cache():
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(base) / "brasa"


def python_with(name, packages, check):
    """The Python of the environment of this name. Created or repaired unless the code `check` runs in it."""
    folder = cache() / name
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    environment = {**os.environ, "KERAS_BACKEND": "jax"}

    def works(*arguments):
        run = {"cwd": ROOT, "env": environment, "capture_output": True}
        return python.exists() and not subprocess.run([python, *arguments], **run).returncode

    if not works("-c", check):
        if not works("-m", "pip", "--version"):
            made = subprocess.run([sys.executable, "-m", "venv", "--clear", folder])
            if made.returncode:
                sys.exit(f"no virtual environment in {folder}: this needs Python's `venv` (Debian: python3-venv)")
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *packages], check=True)
        subprocess.run([python, "-c", check], cwd=ROOT, env=environment, check=True)
    return python


VERSION = "3.15.1"


def uses(*modules):
    """Code that runs if Keras and these modules are installed."""
    return f"import {', '.join(['keras', 'h5py', *modules])}; assert keras.__version__ == '{VERSION}'"


def works(python, code, backend):
    variables = {**os.environ, "KERAS_BACKEND": backend}
    return not subprocess.run([python, "-c", code], cwd=ROOT, env=variables, capture_output=True).returncode


def keras_on(backend, *packages):
    """A Python with Keras on this backend, and these packages: the current one, if it has them."""
    code = uses(backend, *packages)
    if works(sys.executable, code, backend):
        return sys.executable
    if backend == "jax" and not packages:
        return keras(VERSION)
    wanted = [f"keras=={VERSION}", "tensorflow-cpu", "jax", "h5py", "numpy", *packages]
    return python_with(f"keras-{VERSION}-more", wanted, uses("tensorflow", "jax", *packages))


def keras(version):
    """The Python of an environment with this version of Keras, on JAX."""
    check = f"import keras, jax, h5py; assert keras.__version__ == '{version}', keras.__version__"
    # Keras 3.3 imports `packaging` without declaring it.
    return python_with(f"keras-{version}", [f"keras=={version}", "jax", "h5py", "numpy", "packaging"], check)


def built(kind, name, *flags):
    """Builds a program of the crate (`--bin` or `--example`) with the Cargo in `CARGO`; returns its path."""
    cargo = [os.environ.get("CARGO", "cargo"), "build", "--quiet", "--message-format=json", kind, name, *flags]
    done = subprocess.run(cargo, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    messages = map(json.loads, done.stdout.splitlines())
    return next(m["executable"] for m in messages if m.get("executable") and m["target"]["name"] == name)
