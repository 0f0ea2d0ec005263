#!/usr/bin/env bash
# Lints the library with each feature by itself beside a backend (one that needs another has to name it in Cargo.toml),
# or with those given: scripts/features.sh none serve
set -euo pipefail
cd "$(dirname "$0")/.."

if [ $# = 0 ]; then
  set -- none csv images onnx progress parquet shards object-store recipes report serve tensorboard dataset download
fi
for feature in "$@"; do
  features=flex
  if [ "$feature" != none ]; then
    features="flex,$feature"
  fi
  printf '%s\n' "$features"
  # (Other features need that `return`.)
  cargo clippy --quiet --lib --no-default-features --features "$features" -- -D warnings -A clippy::needless_return
done
