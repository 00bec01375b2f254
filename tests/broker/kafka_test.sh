#!/bin/sh
# The broker of the tests is real: it keeps a record through SIGKILL, comes back on its port, and leaves nothing behind.
set -eu

kafka=tests/broker/kafka
dir=$(mktemp -d "${TMPDIR:-/tmp}/kafka_test.XXXXXX")
trap '$kafka kill "$dir"; rm -rf "$dir"' EXIT
trap 'exit 1' HUP INT TERM

fail()
{
    echo "FAILED: $*"
    exit 1
}

address=$($kafka start "$dir" auto.create.topics.enable=true)
echo "note: Apache Kafka $(sed -n 's/.*Kafka version: //p' "$dir/kafka.log" | sort -u)"

echo kept | kcat -q -P -b "$address" -t kept -p 0 -X acks=all
$kafka kill "$dir"
[ "$($kafka restart "$dir")" = "$address" ] || fail 'the broker came back elsewhere'
[ "$(kcat -q -C -b "$address" -t kept -o beginning -e)" = kept ] || fail 'a record that was acknowledged is lost'

pid=$(head -n 1 "$dir/pid")
$kafka stop "$dir"
[ ! -d "/proc/$pid" ] || [ "$(cut -d ' ' -f 3 "/proc/$pid/stat")" = Z ] || fail "process $pid still runs"
$kafka stop "$dir" || fail 'a second stop is an error'
