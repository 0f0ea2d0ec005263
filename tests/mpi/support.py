"""Arrays in files, and processes under mpirun: what the scripts about several processes share."""

import array
import ast
import os
import pathlib
import signal
import struct
import subprocess
import time
import zipfile


def numbers(count, seed=0):
    """Numbers from 0 to below 1 that look random, the same each time."""
    state, found = seed * 2654435761 + 12345, array.array("f")
    for _ in range(count):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        found.append((state >> 40) / 2**24)
    return found


def save_npy(path, shape, values):
    """Writes float32 numbers as an array."""
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {tuple(shape)}, }}"
    header = header.ljust((len(header) + 11 + 63) // 64 * 64 - 11) + "\n"
    data = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode()
    pathlib.Path(path).write_bytes(data + array.array("f", values).tobytes())


def load_npy(path):
    """The shape and the float32 numbers of an array."""
    data = pathlib.Path(path).read_bytes()
    (length,) = struct.unpack("<H", data[8:10])
    header = ast.literal_eval(data[10 : 10 + length].decode())
    assert header["descr"] == "<f4" and not header["fortran_order"], header
    found = array.array("f")
    found.frombytes(data[10 + length :])
    return header["shape"], found


def weights(model):
    """The bytes of the weights in a `.keras` file, without its date."""
    with zipfile.ZipFile(model) as archive:
        return archive.read("model.weights.h5")


def environment():
    """For mpirun: without the variables of the shell that change what Brasa does."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(("BRASA_", "OMPI_", "RUST_LOG"))}
    env.update({"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"})
    # Containers forbid processes to read each other's memory, and Open MPI warns of that.
    env["OMPI_MCA_btl_vader_single_copy_mechanism"] = "none"
    return env


def command(ranks, program, arguments):
    """`ranks` processes of a program under mpirun; `program` can be a list of one for each rank."""
    begin = ["mpirun", "--oversubscribe", "--bind-to", "none", "--quiet"]
    if isinstance(program, list):
        parts = []
        for own in program:
            parts += [":"] * bool(parts) + ["-n", "1", *own, *arguments]
        return begin + parts
    return begin + ["-n", str(ranks), program, *arguments]


class Job:
    """A started mpirun."""

    def __init__(self, line, folder):
        self.process = subprocess.Popen(
            line,
            cwd=folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def ranks(self, wanted, seconds=30):
        """The processes of the ranks, by rank, as soon as all are there."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.process.poll() is None:
            found = {}
            for folder in pathlib.Path("/proc").iterdir():
                if not folder.name.isdigit():
                    continue
                try:
                    variables = (folder / "environ").read_bytes().split(b"\0")
                    session = int((folder / "stat").read_text().rpartition(")")[2].split()[1 + 2])
                except (OSError, ValueError, IndexError):
                    continue
                own = [value for value in variables if value.startswith(b"OMPI_COMM_WORLD_RANK=")]
                if own and session == self.process.pid:
                    found[int(own[0].split(b"=")[1])] = int(folder.name)
            if len(found) == wanted:
                return found
            time.sleep(0.02)
        return {}

    def wait(self, seconds):
        """Exit code, standard output and standard error; None for one that does not end in time, which is ended."""
        try:
            out, err = self.process.communicate(timeout=seconds)
            return self.process.returncode, out, err
        except subprocess.TimeoutExpired:
            self.end()
        try:
            return None, *self.process.communicate(timeout=10)
        except subprocess.TimeoutExpired as error:
            # A process elsewhere still holds them open.
            return None, str(error.stdout), str(error.stderr)

    def end(self):
        """Ends mpirun and all that it has started."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
