#!/bin/sh
# Compiles the extension beside its sources, for the images; setup.py compiles the same files with the same `flags`.
set -eu
cd "$(dirname "$0")"
exec "${CC:-gcc}" -shared -fPIC $(cat flags) $(python3-config --includes) ./*.c -o _native.so
