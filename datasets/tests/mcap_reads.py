"""MCAP files that surefoot wrote, read by the libraries that Foxglove's tools and ROS users read them with.

Usage: mcap_reads.py FILE.mcap ... (needs mcap, mcap-ros2-support and rosbags)

Fails at the first thing that a reader of the format would stumble over: checksums, indexes, statistics, schemas, payloads.
"""

import collections
import pathlib
import sys

from mcap.reader import NonSeekingReader, make_reader
from mcap_ros2.decoder import DecoderFactory
from rosbags.highlevel import AnyReader


def numbers(message, path=""):
    """Every number of a decoded message with its path, as both libraries name it."""
    if isinstance(message, (bool, int, float, str)):
        yield path, message
    elif isinstance(message, (bytes, bytearray, memoryview)):
        for i, x in enumerate(bytes(message)):
            yield f"{path}[{i}]", x
    elif hasattr(message, "tolist"):
        for i, x in enumerate(message.tolist()):
            yield f"{path}[{i}]", x
    elif isinstance(message, (list, tuple)):
        for i, x in enumerate(message):
            yield from numbers(x, f"{path}[{i}]")
    else:
        slots = getattr(message, "__slots__", None) or vars(message)
        for name in slots:
            # Constants are upper-case: rosbags has them beside the fields.
            if not name.startswith("_") and not name.isupper():
                yield from numbers(getattr(message, name), f"{path}.{name}")


def same(a, b):
    a, b = dict(numbers(a)), dict(numbers(b))
    return a.keys() == b.keys() and all(x == b[k] or (x != x and b[k] != b[k]) for k, x in a.items())


def check(path):
    with open(path, "rb") as file:
        reader = make_reader(file, validate_crcs=True, decoder_factories=[DecoderFactory()])
        assert reader.get_header().profile == "ros2", reader.get_header()
        summary = reader.get_summary()
        statistics = summary.statistics
        counts = collections.Counter()
        first_of = {}
        decoded = []
        for schema, channel, message, ros in reader.iter_decoded_messages(log_time_order=True):
            assert (schema.encoding, channel.message_encoding) == ("ros2msg", "cdr")
            counts[channel.id] += 1
            first_of.setdefault(channel.topic, message.log_time)
            assert statistics.message_start_time <= message.log_time <= statistics.message_end_time
            decoded.append((channel.topic, message.log_time, ros))
        assert counts == statistics.channel_message_counts, (counts, statistics)
        assert sum(counts.values()) == statistics.message_count
        assert statistics.chunk_count == len(summary.chunk_indexes)
        assert statistics.metadata_count == len(summary.metadata_indexes) == len(list(reader.iter_metadata()))
        names = [m.name for m in reader.iter_metadata()]
        assert names == ["surefoot.view"] or (names[-1] == "surefoot.end" and "surefoot.dataset" in names), names
        # By the index alone: one topic, and one stretch of time.
        for channel in summary.channels.values():
            found = sum(1 for _ in reader.iter_messages(topics=[channel.topic]))
            assert found == counts[channel.id], channel
        middle = (statistics.message_start_time + statistics.message_end_time) // 2
        later = sum(1 for _ in reader.iter_messages(starting_at=middle))
        assert later == sum(1 for _, t, _ in decoded if t >= middle), later

    # Front to back, as from a pipe.
    with open(path, "rb") as file:
        reader = NonSeekingReader(file, validate_crcs=True)
        assert sum(1 for _ in reader.iter_messages()) == statistics.message_count

    # rosbags: another implementation of container, schemas and CDR.
    with AnyReader([pathlib.Path(path)]) as bag:
        by_topic = collections.defaultdict(list)
        for connection, stamp, raw in bag.messages():
            by_topic[connection.topic].append((stamp, bag.deserialize(raw, connection.msgtype)))
        ours = collections.defaultdict(list)
        for topic, stamp, ros in decoded:
            ours[topic].append((stamp, ros))
        assert by_topic.keys() == ours.keys(), (by_topic.keys(), ours.keys())
        for topic, messages in ours.items():
            assert len(by_topic[topic]) == len(messages), topic
            for (t, x), (u, y) in zip(messages, by_topic[topic]):
                assert t == u and same(x, y), (topic, x, y)

    topics = ", ".join(sorted(first_of))
    print(f"{path}: {statistics.message_count} messages, {statistics.chunk_count} chunks, {topics}")


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    for path in sys.argv[1:]:
        check(path)


if __name__ == "__main__":
    main()
