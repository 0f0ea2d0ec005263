#!/usr/bin/env bash
# Other processors: everything compiles for 64-bit Arm, the library for WebAssembly, and the kernels' tests pass on Arm,
# under an emulator.
#
# Needs rustup, a C compiler for Arm (two dependencies are C) and qemu; on Debian:
#     apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user
set -euo pipefail
cd "$(dirname "$0")/.."

arm=aarch64-unknown-linux-gnu
wasm=wasm32-unknown-unknown
rustup target add "$arm" "$wasm"

printf '== %s\n' "$arm"
cargo check --locked --target "$arm"
printf '== %s, the library alone\n' "$wasm"
cargo check --locked --target "$wasm" --lib --no-default-features --features flex
printf '== the tests of the kernels on %s\n' "$arm"
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -L /usr/aarch64-linux-gnu"
cargo test --locked --target "$arm" -p brasa-kernels --lib
