# `just ci` is what .ci/run runs.

# The program and the examples as the tests have them: built with other packages' features they would be built again, with most of what they need.
surefoot := justfile_directory() / "target/debug/surefoot-under-test"
examples := justfile_directory() / "target/debug/examples"

# Everything that a change must pass
ci: fmt clippy test regress no_std libhdf5 h5py mcap export gymnasium

# Formatting
fmt:
    cargo fmt --all --check

# Lints
clippy:
    cargo clippy --workspace --all-targets -- -D warnings

# The README's test command
test:
    cargo test --workspace

# What the tests build, without running them
build:
    cargo test --workspace --no-run

# surefoot's own regression suite against its golden files: the same bits, the same bands, not worse
regress: build
    "{{surefoot}}" regress configs/suites/surefoot.toml --to target/regress --quiet

# The safety library without an operating system: for a microcontroller where its target can be had, for this machine where not
no_std:
    if rustup target add thumbv7em-none-eabihf; then target="--target thumbv7em-none-eabihf"; fi; \
    cargo check -p surefoot-safety --no-default-features --features libm ${target:-}

# The HDF5 tests again with the reference C library beside the pure-Rust reader (needs cmake: `pip install cmake`)
libhdf5:
    CMAKE="$(command -v cmake)" cargo test -p surefoot-datasets --features libhdf5

# Every kind of file that we write, read by h5py and by Minari (needs Python with h5py and minari)
h5py: build
    rm -rf target/h5py && mkdir -p target/h5py
    "{{surefoot}}" data record push --episodes 3 --seed 7 --to target/h5py/push.hdf5
    "{{examples}}/record_speed" target/h5py/recording 3 50
    python3 datasets/tests/h5py_reads.py target/h5py/push.hdf5 target/h5py/recording/ep_*.hdf5
    "{{examples}}/record_speed" target/h5py/long 250 1000
    "{{examples}}/convert" target/h5py/long target/h5py/long.hdf5
    "{{examples}}/convert" target/h5py/recording target/h5py/flat.hdf5 d4rl
    python3 datasets/tests/h5py_reads.py target/h5py/long.hdf5 target/h5py/flat.hdf5
    "{{examples}}/convert" target/h5py/recording target/h5py/push-v0 minari
    python3 datasets/tests/minari_reads.py target/h5py/push-v0
    "{{surefoot}}" collect configs/ad/dark_room.toml --to target/h5py/histories.hdf5 source.0.histories_per_task=1 --quiet
    python3 datasets/tests/h5py_reads.py target/h5py/histories.hdf5

# MCAP files that we write, read by mcap, mcap-ros2-support and rosbags (needs Python with them)
mcap: build
    rm -rf target/mcap && mkdir -p target/mcap
    "{{surefoot}}" data record push --episodes 3 --seed 7 --to target/mcap/push.hdf5
    "{{surefoot}}" data convert target/mcap/push.hdf5 --to target/mcap/push.mcap
    cd target/mcap && "{{surefoot}}" train ../../tests/it/tiny.toml --run-dir run --quiet
    "{{surefoot}}" rollout target/mcap/run --episodes 2 --record target/mcap/driven --strict --quiet
    "{{surefoot}}" view demonstrator:push --env push --episodes 2 --every 10 --width 64 --to target/mcap/push.html --mcap target/mcap/films.mcap
    python3 datasets/tests/mcap_reads.py target/mcap/push.mcap target/mcap/driven/ticks-0.mcap target/mcap/films.mcap

# An exported policy in onnxruntime, and its weights in numpy (needs Python with onnx, onnxruntime and safetensors)
export: build
    rm -rf target/export && mkdir -p target/export
    for learner in awac sac; do \
        sed "s/^.learner.awac.$/[learner.$learner]/" tests/it/tiny.toml > "target/export/$learner.toml" && \
        (cd target/export && "{{surefoot}}" train "$learner.toml" --run-dir "$learner" --quiet && \
        "{{surefoot}}" export "$learner" --to "$learner.onnx" --quiet) && \
        python3 policies/tests/export_reads.py "target/export/$learner/checkpoints/last/policy" "target/export/$learner.onnx" || exit 1; done

# The Python side of the lockstep link: its style and types, its tests, and our environments in Gymnasium's own checker (needs
# `pip install mujoco gymnasium-robotics -e 'bridges/python[test]'`)
gymnasium: build
    cd bridges/python && ruff format --check . && ruff check . && mypy
    SUREFOOT="{{surefoot}}" python3 -m pytest -q bridges/python/tests

# Licences, duplicate and yanked crates (needs cargo-deny)
deny:
    cargo deny check bans licenses sources

# The ROS 2 dialects against hiroz, a ROS 2 client library by other people: a workspace of its own, for it brings 370 crates
interop:
    cargo test --manifest-path bridges/interop/Cargo.toml
