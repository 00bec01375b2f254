/* SPDX-License-Identifier: Apache-2.0 */
/* The options of the stock programs (the table is in defaults.c), and all their defaults. */
#ifndef DEFAULTS_H
#define DEFAULTS_H

#include "common/options.h"

enum option_set {
    OPTIONS_COMMON = 1 << 0, /* --config --log-level --quiet --help */
    OPTIONS_OUTPUT = 1 << 1, /* --output */
    OPTIONS_CLUSTER = 1 << 2, /* --brokers --prefix -X --timeout */
    OPTIONS_JOB = 1 << 3, /* -p --params --id */
    OPTIONS_STEPS = 1 << 4, /* --steps, beside the file by default */
    OPTIONS_SLOTS = 1 << 5, /* --concurrency */
    OPTIONS_START = 1 << 6, /* --wait */
    OPTIONS_LIST = 1 << 7, /* --status --limit --all */
    OPTIONS_EVENTS = 1 << 8, /* --from-beginning --all */
    OPTIONS_DEV = 1 << 9, /* --address-file; --steps, none by default */
    OPTIONS_TOPICS = 1 << 10, /* --progress-partitions --task-partitions --replication --topic-config */
    OPTIONS_SERVE = 1 << 11, /* --own --session-timeout --checkpoint-bytes --retention --begin-at-first-record --progress-partitions */
    OPTIONS_CONTROL = 1 << 12, /* --reason --wait */
    OPTIONS_CHECK = 1 << 13, /* --steps, none by default */
    OPTIONS_WORKER = 1 << 14, /* --queue --id --lease --drain-timeout --max-tasks --cancel-grace; not --steps */
    OPTIONS_PROGRAMS = 1 << 15, /* --steps, required: backstep-worker */
    OPTIONS_RESOLVE = 1 << 16, /* --done --undone --instance --data */
    OPTIONS_SHOW_LOGS = 1 << 21, /* --logs */
    OPTIONS_LOGS = 1 << 20, /* --step --level --follow */
};

extern const struct option_spec default_options[];

#define DEFAULT_BROKERS "127.0.0.1:9092"
#define DEFAULT_PREFIX "backstep"
#define DEFAULT_QUEUE "default"
#define DEFAULT_TIMEOUT "10s"
#define DEFAULT_CONCURRENCY "4"
#define DEFAULT_LIST_LIMIT "50"
#define DEFAULT_REPLICATION "-1" /* the broker's */
#define DEFAULT_RETENTION "168h"
#define DEFAULT_LEASE "30s"
#define DEFAULT_SESSION_TIMEOUT "10s"
#define DEFAULT_DRAIN_TIMEOUT "30s"
#define DEFAULT_CANCEL_GRACE "10s"

#endif
