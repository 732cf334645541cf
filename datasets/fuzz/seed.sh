#!/bin/sh
# Fills corpus/TARGET with the fixtures of the tests.
set -eu
cd "$(dirname "$0")"
fixtures=../tests/fixtures
mkdir -p corpus/hdf5 corpus/mcap corpus/mcap_episodes corpus/rosbag corpus/rosbag2_sqlite corpus/parquet corpus/ros_message corpus/row_cache
find "$fixtures" -name '*.hdf5' -o -name '*.h5' | while read -r f; do cp "$f" "corpus/hdf5/$(echo "$f" | tr / _)"; done
find "$fixtures" -name '*.mcap' | while read -r f; do cp "$f" "corpus/mcap/$(basename "$f")"; done
cp "$fixtures/episodes.mcap" corpus/mcap_episodes/
find "$fixtures" -name '*.bag' | while read -r f; do cp "$f" "corpus/rosbag/$(basename "$f")"; done
find "$fixtures" -name '*.db3' | while read -r f; do cp "$f" "corpus/rosbag2_sqlite/$(basename "$f")"; done
find "$fixtures" -name '*.parquet' | while read -r f; do cp "$f" "corpus/parquet/$(echo "$f" | tr / _)"; done
printf 'float64[] position\nstring[2] name\nuint8 flag\000\000\001\000\000\001\000\000\000' > corpus/ros_message/one
