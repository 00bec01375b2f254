/* SPDX-License-Identifier: Apache-2.0 */
/* Reads what the steps of one run log, as it comes. For `logs`, and for who follows a run and wants to see them. */
#ifndef LOG_TAIL_H
#define LOG_TAIL_H

#include "common/topics.h"
#include "coordinator/cli/client.h"
#include "coordinator/cli/log_line.h"

/* A worker hands its lines over within a tenth of a second: they may come after the end of the run, by less than this. */
#define LOG_TAIL_LAST_MS 1000
/* The very first one connects and makes the topic before. */
#define LOG_TAIL_FIRST_MS 5000
/* Of the brokers that lead the two topics. */
#define LOG_TAIL_CLOCKS_MS (60 * 1000)

struct log_tail {
    /* set by the caller, and borrowed */
    struct client *client;
    const char *run_id, *step; /* step NULL: all */
    struct log_style style;
    bool json;
    /* its own */
    char topic[TOPICS_NAME_BYTES]; /* once it has begun */
    int32_t partition;
    int64_t next; /* offset of the next record to come */
};

/* Is the topic there? A worker makes it for the first line. false with error->kind NONE: it is not; TRANSIENT. */
bool log_tail_is_there(const struct log_tail *tail, struct error *error);
/* Begin with what was written at `since_ms`, by the log's clock, or later. INVALID: there is no such topic; TRANSIENT. */
bool log_tail_begin(struct log_tail *tail, int64_t since_ms, struct error *error);
/* Append the lines of a record of the topic. false: the event is not of that topic. */
bool log_tail_take(struct log_tail *tail, const struct bus_event *event, struct text *out);
/* Where the topic's partition ends now. */
bool log_tail_bound(const struct log_tail *tail, int64_t *end, struct error *error);

/* Are there colours on standard output? */
bool log_tail_wants_colour(void);

#endif
