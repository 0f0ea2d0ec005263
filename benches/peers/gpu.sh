#!/usr/bin/env bash
# Everything that a GPU can show, in one call: every layer there against the CPU, then networks against PyTorch (eager and
# compiled) and against the notebook's network written by hand in Burn.
#
#     benches/peers/gpu.sh [BACKEND]     # cuda (default), vulkan, metal or wgpu
#
# Takes about an hour, most of it compiling. The figures are in target/peers/gpu.json and, as tables, at the end; they are
# measured even if a layer differs, but the script then fails.
set -euo pipefail
cd "$(dirname "$0")/../.."

backend="${1:-cuda}"
features=wgpu
if [ "$backend" != wgpu ]; then features="wgpu,$backend"; fi
status=0
BRASA_TEST_GPU=all BRASA_TEST_GPU_BACKEND="$backend" cargo test --features "$features" --test layers wgpu -- --nocapture ||
  status=$?
mkdir -p target/peers
python3 benches/peers/run.py --backend "$backend" --networks cnn,vgg,lstm,resnet50 --json target/peers/gpu.json
exit "$status"
