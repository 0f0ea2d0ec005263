#!/usr/bin/env bash
# Processes under mpirun: builds the program with the feature `mpi` and runs tests/mpi/ranks.py, with the arguments given
# here (--only killed, --kills 100). Needs an MPI and libclang (Debian: libopenmpi-dev openmpi-bin libclang-dev).
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v mpirun >/dev/null; then
  echo "SKIPPED: there is no mpirun (Debian: libopenmpi-dev openmpi-bin libclang-dev)"
  exit 0
fi
cargo build --quiet --features mpi
python3 tests/mpi/ranks.py "${CARGO_TARGET_DIR:-target}/debug/brasa" "$@"
python3 benches/distributed/model.py --check
