/* SPDX-License-Identifier: Apache-2.0 */
/* What is fuzzed: each target takes any bytes and must come back, without a finding of a sanitizer and with all its asserts holding.
 *
 * libFuzzer drives one target a program (entry.c); fuzz_corpora_test.c runs all of them over tests/fuzz/corpus/<target>/, under any compiler. */
#ifndef FUZZ_H
#define FUZZ_H

#include "common/messages.h"
#include "common/span.h"

#include <stddef.h>
#include <stdint.h>

/* A row: its name, and what it is given. */
#define FUZZ_TARGETS(ROW)                                                                                                          \
    ROW(event, "a record of the progress topic")                                                                                   \
    ROW(task, "a record of a task topic")                                                                                          \
    ROW(workers, "a record of the topic of workers")                                                                               \
    ROW(logs, "a record of the topic of logs")                                                                                     \
    ROW(fold, "a log of progress records: a byte of key size, two of size, one of time, key, bytes")                               \
    ROW(snapshot, "a snapshot, of which a fold begins")                                                                            \
    ROW(pipeline, "a pipeline file")                                                                                               \
    ROW(output, "what a step program writes: a byte of stream and size, bytes")                                                    \
    ROW(expression, "text with ${ jq } in it")                                                                                     \
    ROW(jq, "a jq expression, a line break, its input")                                                                            \
    ROW(options, "a command line, one argument a line; after an empty line the environment")

#define FUZZ_DECLARE(name, given) void fuzz_##name(struct span bytes);
FUZZ_TARGETS(FUZZ_DECLARE)

/* What was decoded must be encoded and decoded again to the same. */
void fuzz_round_trip(enum message_topic topic, struct span key, struct span bytes);

/* Our own asserts, which stay in every build. */
void fuzz_check(bool holds, const char *text);

#endif
