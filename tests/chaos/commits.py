# SPDX-License-Identifier: Apache-2.0
"""What a group has committed, with its metadata, asked in the bytes of the protocol: confluent-kafka 2.6 reads metadata beyond its end."""

import contextlib
import socket
import struct

OFFSET_FETCH = 9
ANSWER_S = 5


def text(value):
    return struct.pack(">h", len(value)) + value.encode()


def asked(group, topic, partitions):
    body = text(group) + struct.pack(">i", 1) + text(topic) + struct.pack(f">i{partitions}i", partitions, *range(partitions))
    request = struct.pack(">hhi", OFFSET_FETCH, 1, 1) + text("chaos") + body
    return struct.pack(">i", len(request)) + request


def take(stream, form):
    return struct.unpack(form, stream.read(struct.calcsize(form)))


def take_text(stream):
    (size,) = take(stream, ">h")
    return stream.read(max(size, 0)).decode()


def told(stream):
    """Of an answer: {partition: (offset, metadata)} of what was committed; empty also where that broker is not the one to ask."""
    take(stream, ">iii")  # size, correlation, one topic
    take_text(stream)
    found = {}
    for _ in range(*take(stream, ">i")):
        partition, offset = take(stream, ">iq")
        metadata = take_text(stream)
        (error,) = take(stream, ">h")
        if error == 0 and offset >= 0:
            found[partition] = offset, metadata
    return found


def of_group(brokers, group, topic, partitions):
    for address in brokers.split(","):
        host, port = address.split(":")
        with contextlib.suppress(OSError, struct.error):  # that one is down
            with socket.create_connection((host, int(port)), timeout=ANSWER_S) as connection:
                connection.sendall(asked(group, topic, partitions))
                found = told(connection.makefile("rb"))
            if found:
                return found
    return {}
