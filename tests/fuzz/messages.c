/* SPDX-License-Identifier: Apache-2.0 */
/* The decoders of what comes over the wire. */
#include "common/limits.h"
#include "common/text.h"
#include "tests/fuzz/fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void fuzz_check(bool holds, const char *text)
{
    if (!holds) {
        fprintf(stderr, "fuzz: %s\n", text);
        abort();
    }
}

/* false: garbage. Else `again` holds what its encoding is. */
static bool recode(enum message_topic topic, struct span key, struct span bytes, struct text *again)
{
    struct message message = {0};
    struct error error = {0};
    if (!message_decode(&message, topic, key, bytes, &error)) {
        fuzz_check(error.message[0] != '\0', "a record was refused without a reason");
        return false;
    }
    fuzz_check(message_type(message.kind)[0] != '\0', "a message without a type");
    bool ok = message_encode(&message, again, &error);
    message_free(&message);
    return ok;
}

void fuzz_round_trip(enum message_topic topic, struct span key, struct span bytes)
{
    struct text once, twice;
    text_init(&once, LIMIT_RECORD_BYTES);
    text_init(&twice, LIMIT_RECORD_BYTES);
    if (recode(topic, key, bytes, &once)) {
        fuzz_check(recode(topic, key, text_span(&once), &twice), "what we encoded is garbage to us");
        fuzz_check(span_equal(text_span(&once), text_span(&twice)), "encoded again it is something else");
    }
    text_fini(&once);
    text_fini(&twice);
}

static const struct span run = {"run-1", 5};

void fuzz_event(struct span bytes)
{
    fuzz_round_trip(TOPIC_PROGRESS, run, bytes);
}

void fuzz_task(struct span bytes)
{
    fuzz_round_trip(TOPIC_TASKS, (struct span){"worker-1", 8}, bytes);
}

void fuzz_workers(struct span bytes)
{
    fuzz_round_trip(TOPIC_WORKERS, (struct span){"worker-1", 8}, bytes);
}

void fuzz_logs(struct span bytes)
{
    fuzz_round_trip(TOPIC_LOGS, run, bytes);
}
