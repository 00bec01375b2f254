/* SPDX-License-Identifier: Apache-2.0 */
/* The topics of a prefix: their names, their settings, and the one function that sees to it that they are there. */
#ifndef TOPICS_H
#define TOPICS_H

#include "common/bus.h"
#include "common/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum topics_which { TOPICS_PROGRESS, TOPICS_TASKS, TOPICS_WORKERS, TOPICS_LOGS, TOPICS_DEAD_LETTER };
#define TOPICS_COUNT 5

#define TOPICS_NAME_BYTES 256 /* with its NUL; Kafka allows 249 */
#define TOPICS_PROGRESS_PARTITIONS 1 /* by default: what one coordinator needs; more of them mean smaller batches */
#define TOPICS_TASK_PARTITIONS 8
#define TOPICS_LOG_PARTITIONS 4
#define TOPICS_EXTRA_MAX 32 /* settings a person may give */

/* All zero: the defaults. */
struct topics_options {
    int32_t progress_partitions; /* for a topic that has to be made */
    int32_t task_partitions;
    bool progress_exact; /* refuse a progress topic that has another number */
    int32_t replication; /* 0 or -1: as the broker does by default */
    const char *const *settings; /* "name=value" for every topic, in place of ours where that is allowed; may be NULL */
    size_t setting_count;
};

/* "<prefix>.progress", "<prefix>.tasks.<queue>" (`queue` counts there only), ... Returns `name`. */
const char *topics_name(char name[TOPICS_NAME_BYTES], enum topics_which which, const char *prefix, const char *queue);

/* Look; where `create`, make what is not there; verify; refuse. `options` NULL: the defaults; `partitions` (may be NULL) becomes what the
 * topic has. Errors: INVALID it is not there, or not as it must be: the message says how to mend that; TRANSIENT no answer in time. */
bool topics_ensure(struct bus *bus, const char *prefix, enum topics_which which, const char *queue,
                   const struct topics_options *options, bool create, int32_t *partitions, int timeout_ms, struct error *error);

#endif
