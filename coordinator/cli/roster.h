/* SPDX-License-Identifier: Apache-2.0 */
/* Who is on the workers topic: hellos, heartbeats and byes folded. Pure. */
#ifndef ROSTER_H
#define ROSTER_H

#include "common/messages.h"
#include "common/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct roster_worker {
    char *id, *queue, *version, *host;
    char **handlers;
    size_t handler_count;
    struct incarnation incarnation;
    uint32_t partition, slots, window, load, lease_ms, process_id;
    bool draining, gone; /* gone: it said Bye */
    int64_t seen_ms; /* timestamp of its last heartbeat */
};

struct roster {
    struct roster_worker *workers;
    size_t count, room;
};

/* All zero is an empty roster; owes roster_free(). */
void roster_free(struct roster *roster);
void roster_apply(struct roster *roster, const struct message *message, int64_t time_ms);
/* In the order of their ids; forget who said Bye, and incarnations that a later one of the same id has replaced. */
void roster_tidy(struct roster *roster, int64_t now_ms);
/* "ok", "draining", or "silent": nothing has been heard of it for its lease and a quarter */
const char *roster_state(const struct roster_worker *worker, int64_t now_ms);

void roster_worker_json(const struct roster_worker *worker, int64_t now_ms, struct text *out);
void roster_worker_text(const struct roster_worker *worker, int64_t now_ms, struct text *out);
void roster_heading(struct text *out);

#endif
