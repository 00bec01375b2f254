/* SPDX-License-Identifier: Apache-2.0 */
/* Whole logs, and snapshots: what nobody wrote in good faith must fold to a state that stands. */
#include "common/runs.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

#define HEADER_BYTES 4

/* Whatever the state, what is due can be asked for, and comes to an end. */
static void ask_what_is_due(struct runs *runs)
{
    for (struct run *run = runs_next(runs, NULL); run != NULL; run = runs_next(runs, run)) {
        struct saga_effect effect;
        size_t count = 0;
        if (run->saga.steps == NULL) {
            continue;
        }
        for (struct saga_cursor cursor = {0}; saga_next_effect(&run->saga, &cursor, &effect);) {
            fuzz_check(++count < 1000000, "what is due has no end");
        }
        fuzz_check(run->saga.progress_ppm <= 1000000, "more than all is done");
    }
}

static void fold_one(struct runs *runs, struct span key, struct span bytes, int64_t offset, int64_t time_ms)
{
    struct message message = {0};
    struct error error = {0};
    struct run *run;
    runs_count_bytes(runs, bytes.size);
    if (message_decode_known(&message, runs_plans(runs), key, bytes, &error)) {
        runs_apply(runs, &message, offset, time_ms, &run);
        message_free(&message);
    }
}

void fuzz_fold(struct span bytes)
{
    struct runs *runs = runs_new(2);
    int64_t time_ms = 1000, offset = 0;
    while (bytes.size >= HEADER_BYTES) {
        const unsigned char *header = (const unsigned char *)bytes.bytes;
        size_t key_size = header[0], size = (size_t)header[1] << 8 | header[2];
        time_ms += (int64_t)header[3] * 100;
        bytes = (struct span){bytes.bytes + HEADER_BYTES, bytes.size - HEADER_BYTES};
        key_size = key_size < bytes.size ? key_size : bytes.size;
        struct span key = {bytes.bytes, key_size};
        bytes = (struct span){bytes.bytes + key_size, bytes.size - key_size};
        size = size < bytes.size ? size : bytes.size;
        fold_one(runs, key, (struct span){bytes.bytes, size}, offset++, time_ms);
        bytes = (struct span){bytes.bytes + size, bytes.size - size};
    }
    ask_what_is_due(runs);
    runs_free(runs);
}

void fuzz_snapshot(struct span bytes)
{
    static const struct span run_id = {"run-1", 5};
    fuzz_round_trip(TOPIC_PROGRESS, run_id, bytes);
    struct message message = {0};
    struct error error = {0};
    if (!message_decode(&message, TOPIC_PROGRESS, run_id, bytes, &error)) {
        return;
    }
    if (message.kind == MESSAGE_SNAPSHOT) {
        struct runs *runs = runs_new(2);
        struct run *run;
        struct runs_checkpoint checkpoint = {.offset = message.state_offset, .epoch = message.epoch, .ids = -1};
        runs_begin_at(runs, &checkpoint);
        if (message.state_offset < INT64_MAX) {
            runs_apply(runs, &message, message.state_offset, 1000, &run);
        }
        ask_what_is_due(runs);
        runs_free(runs);
    }
    message_free(&message);
}
