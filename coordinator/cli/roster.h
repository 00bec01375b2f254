/* SPDX-License-Identifier: Apache-2.0 */
/* Who is on the workers topic: hellos, heartbeats and byes folded. Pure, but for roster_read(). */
#ifndef ROSTER_H
#define ROSTER_H

#include "common/messages.h"
#include "common/text.h"
#include "coordinator/cli/client.h"

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

/* Who serves a queue, beside the handler that is asked for. */
struct roster_seen {
    uint32_t alive; /* workers of the queue that are there */
    int64_t last_ms; /* the last sign of one that served the handler, or else of any of the queue; 0: none is known */
};
struct roster_seen roster_seen_of(const struct roster *roster, struct span queue, struct span handler, int64_t now_ms);

/* Read who is and was there, as far as `.workers` still says: from two of the longest lease ago. */
bool roster_read(struct roster *roster, struct client *client, struct error *error);

void roster_worker_json(const struct roster_worker *worker, int64_t now_ms, struct text *out);
void roster_worker_text(const struct roster_worker *worker, int64_t now_ms, struct text *out);
void roster_heading(struct text *out);

#endif
