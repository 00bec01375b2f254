/* SPDX-License-Identifier: Apache-2.0 */
/* Records as C structs. messages.c is the only file that knows protobuf-c; docs/PROTOCOL.md says who may send what, when. */
#ifndef MESSAGES_H
#define MESSAGES_H

#include "common/error.h"
#include "common/log.h"
#include "common/saga/saga.h"
#include "common/span.h"
#include "common/text.h"

#include <stdint.h>

#define INCARNATION_BYTES 16

struct incarnation {
    unsigned char bytes[INCARNATION_BYTES];
};

enum message_kind {
    MESSAGE_NONE,
    /* progress topic */
    MESSAGE_START,
    MESSAGE_CANCEL, /* from here to RESOLVE: a Control on the wire */
    MESSAGE_PAUSE,
    MESSAGE_RESUME,
    MESSAGE_RETRY,
    MESSAGE_ROLL_BACK,
    MESSAGE_RESOLVE,
    MESSAGE_STARTED,
    MESSAGE_PROGRESSED,
    MESSAGE_DONE,
    MESSAGE_EXPANDED,
    MESSAGE_REFUSED,
    MESSAGE_HOLDING,
    MESSAGE_OWNER_CLAIM,
    MESSAGE_LOST,
    MESSAGE_WITHDRAWN,
    MESSAGE_TIMER_FIRED,
    MESSAGE_ANSWERED,
    MESSAGE_RUN_PROGRESSED,
    MESSAGE_RUN_FINISHED,
    MESSAGE_SNAPSHOT,
    MESSAGE_FINISHED_IDS,
    /* task topics */
    MESSAGE_TASK,
    MESSAGE_CANCEL_TASK,
    MESSAGE_WELCOME,
    /* workers topic */
    MESSAGE_HELLO,
    MESSAGE_HEARTBEAT,
    MESSAGE_BYE,
    MESSAGE_MARK,
    /* logs topic */
    MESSAGE_LOG_LINES,
};

enum refused_reason { REFUSED_UNKNOWN, REFUSED_BUSY };

/* more_behind: as its task said. */
struct held_ticket {
    struct span run_id;
    struct ticket ticket;
    bool more_behind;
};

struct waiting_step {
    uint32_t step, instance;
    struct span handler, queue;
    int64_t since_ms;
};

struct step_result {
    struct span step; /* name */
    bool success, skipped;
    struct span data, rollback_data, error;
    bool scope; /* of a PLAN_SCOPE step: its data are the params of the steps in it */
    bool pending; /* of a step that a task sent ahead waits for */
};

struct task {
    struct span run_id;
    uint32_t progress_partition; /* where its events go; the record's, of which the reader tells it, not part of its own bytes */
    struct ticket ticket;
    struct span pipeline, step, handler;
    uint32_t attempt;
    bool confirm, more_attempts;
    struct span input, params;
    const struct step_result *results;
    size_t result_count;
    const struct span *sets;
    size_t set_count;
    const struct step_result *result; /* rollback: what is to be undone; else NULL */
    /* What the worker evaluates before it executes; see struct plan_step. Empty where there is nothing to. */
    struct span when, assert, message, each;
    bool templated;
    enum plan_kind kind;
    struct span element; /* of this instance, JSON; empty for instance 0 */
    uint32_t elements; /* how many instances there are */
    struct span scope; /* name of the PLAN_SCOPE step it is part of; empty: none */
    const struct span *wrap;
    size_t wrap_count;
    int64_t timeout_ms; /* of this attempt, from its beginning; 0: none */
    struct ticket after; /* sent ahead: to begin once that has ended well; number 0: none */
    bool more_behind; /* another is sent ahead behind this one */
};

struct presence {
    struct span worker;
    struct incarnation incarnation;
    struct span queue;
    uint32_t partition;
    const struct span *handlers;
    size_t handler_count;
    uint32_t slots, window, lease_ms, load;
    uint64_t sequence;
    struct span version, host;
    uint32_t process_id;
    bool draining, takes_ahead;
    int64_t time_ms; /* of the record; set by the reader, not part of the bytes */
};

enum log_source { LOG_SOURCE_HANDLER, LOG_SOURCE_STDERR, LOG_SOURCE_STDOUT };

/* One line that a step has logged. Text is UTF-8 of at most LIMIT_PROGRAM_LOG_LINE_BYTES; data a JSON object, or empty. */
struct log_line {
    int64_t time_ms; /* Unix time, by the worker's clock */
    enum log_level level; /* never LOG_NONE */
    enum log_source source;
    struct span event, text, data;
};

/* What an attempt has logged since its last record, and how much of it is lost. */
struct log_lines {
    struct span step; /* name */
    uint32_t attempt;
    const struct log_line *lines;
    size_t count;
    uint64_t dropped_lines, dropped_bytes;
};

/* One record. Which fields count is given by `kind`. All spans and arrays are borrowed: from the caller when encoding,
 * from the message's storage when decoded (valid until message_free()). */
struct message {
    enum message_kind kind;
    /* START, Controls, STARTED PROGRESSED DONE EXPANDED REFUSED LOST WITHDRAWN TIMER_FIRED ANSWERED RUN_FINISHED: what the fold eats.
     * CANCEL_TASK: run_id, ticket. ANSWERED: request_id, reason. `time_ms`, `offset` and `run_id` come from the record, not from its bytes. */
    struct saga_event event;
    int64_t epoch; /* coordinators' records, TASK CANCEL_TASK WELCOME, HOLDING */
    uint32_t progress_partitions; /* START OWNER_CLAIM */
    uint32_t progress_partition; /* TASK CANCEL_TASK WELCOME */
    struct span coordinator; /* OWNER_CLAIM WELCOME MARK */
    struct span worker; /* HOLDING BYE MARK */
    struct incarnation incarnation; /* HOLDING BYE MARK; addressee of TASK CANCEL_TASK WELCOME */
    enum verdict verdict; /* ANSWERED */
    enum refused_reason refused; /* REFUSED */
    enum cancel_reason cancel_reason; /* CANCEL_TASK */
    unsigned char nonce[16]; /* MARK */
    struct presence presence; /* HELLO HEARTBEAT */
    struct task task; /* TASK */
    const struct held_ticket *held; /* HOLDING */
    size_t held_count;
    /* RUN_PROGRESSED, RUN_FINISHED */
    enum run_status status;
    uint32_t progress_ppm, rollback_ppm, steps_executed, steps_total;
    int64_t start_offset; /* ANSWERED, too: 0 where there is no run, or it is not said */
    int64_t started_ms, finished_ms, waiting_for_workers;
    struct span pipeline, error;
    const struct waiting_step *waiting; /* SNAPSHOT, too */
    size_t waiting_count;

    int64_t state_offset; /* SNAPSHOT FINISHED_IDS: what stands below it is told; `epoch` says who wrote it */
    int64_t first_offset; /* SNAPSHOT: of the first record that the state is made of; a request may stand before the Start */
    const struct saga *image; /* SNAPSHOT: saga_image_problem() has found nothing; its run_id is event.run_id */
    const uint64_t *hashes; /* FINISHED_IDS: of the run ids, see message_hash() */
    size_t hash_count;
    int64_t previous; /* FINISHED_IDS: offset of the one before it; -1: none */

    struct span plan_bytes; /* START SNAPSHOT, decoded: the plan as it stands on the wire; empty: it stands there in pieces */
    bool plan_known; /* START SNAPSHOT: the plan is one of those that were given to message_decode_known() */

    struct log_lines log; /* LOG_LINES, with event.run_id, event.ticket and event.worker */

    void *storage; /* of a decoded message; NULL else */
};

/* Of a run id, FNV-1a of 64 bits: what is left of a run that ended. */
uint64_t message_hash(struct span run_id);

/* Append the bytes of `message` to `bytes`. false when the record limit (LIMIT_RECORD_BYTES) or memory does not allow it. */
bool message_encode(const struct message *message, struct text *bytes, struct error *error);

enum message_topic { TOPIC_PROGRESS, TOPIC_TASKS, TOPIC_WORKERS, TOPIC_LOGS };

/* Decode a record of a topic of that sort. `key` becomes event.run_id on the topics of progress and logs. false: garbage, with the reason; nothing to
 * free. Never trusts a count, enum or size: unknown enum values, ids of a wrong size, indexes without their plan are garbage. */
bool message_decode(struct message *message, enum message_topic topic, struct span key, struct span bytes, struct error *error);
/* The same for a record of the progress topic. A plan that `plans` know is not decoded again, but borrowed from there. */
struct message_plans;
bool message_decode_known(struct message *message, struct message_plans *plans, struct span key, struct span bytes, struct error *error);
void message_free(struct message *message); /* all zero and twice are fine */

/* Value of the record header `type`: "Start", "Done", "RunProgressed" ... */
const char *message_type(enum message_kind kind);
/* May only the partition's owner write it? Then its epoch must be the one of the last claim. */
bool message_is_owners(enum message_kind kind);

#endif
