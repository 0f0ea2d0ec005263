#!/usr/bin/env bash
# Lints the library with each feature by itself beside a backend: one that needs another has to name it in Cargo.toml.
set -euo pipefail
cd "$(dirname "$0")/.."

for feature in "" csv images onnx progress parquet recipes report serve tensorboard dataset download; do
  printf 'flex%s\n' "${feature:+, $feature}"
  # (Other features need that `return`.)
  cargo clippy --quiet --lib --no-default-features --features "flex${feature:+,$feature}" -- \
    -D warnings -A clippy::needless_return
done
