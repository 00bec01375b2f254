/* SPDX-License-Identifier: Apache-2.0 */
#include "coordinator/cli/embedded.h"

#include "common/bus_kafka.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/topics.h"
#include "coordinator/cli/client.h"
#include "coordinator/cli/faults.h"
#include "coordinator/cli/reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

enum { CHILD_COORDINATOR, CHILD_WORKER, CHILD_COUNT };

#define STOP_GRACE_MS 3000
#define PROGRESS_PARTITIONS 4 /* the mock cluster keeps 5 MB of each */
#define ORPHANS_MS 5000 /* a killed worker's guard ends what ran within its grace */

struct embedded {
    struct embedded_broker *broker;
    struct child *children[CHILD_COUNT];
    int grace_ms;
    bool is_down;
    int round_trip_ms; /* as the broker was told */
};

struct arguments {
    const char *items[24];
    int count;
};

static void add_option(struct arguments *arguments, const char *name, const char *value)
{
    if (value != NULL) {
        arguments->items[arguments->count++] = name;
        arguments->items[arguments->count++] = value;
    }
}

static bool create_topics(struct embedded *embedded, const char *prefix, struct error *error)
{
    static const struct {
        enum topics_which which;
        int partitions;
    } topics[] = {{TOPICS_PROGRESS, PROGRESS_PARTITIONS},
                  {TOPICS_WORKERS, 1},
                  {TOPICS_LOGS, TOPICS_LOG_PARTITIONS},
                  {TOPICS_DEAD_LETTER, 1},
                  {TOPICS_TASKS, 4}};
    for (size_t i = 0; i < sizeof topics / sizeof *topics; i++) {
        char name[TOPICS_NAME_BYTES];
        topics_name(name, topics[i].which, prefix, "default");
        if (!embedded_broker_create_topic(embedded->broker, name, topics[i].partitions, error)) {
            return false;
        }
    }
    return true;
}

static struct child *start(const struct embedded_options *options, const char *program, const char *label,
                           struct arguments *arguments, struct error *error)
{
    add_option(arguments, "--log-level", options->log_level != NULL ? options->log_level : "warn");
    struct child_options child = {
        .program = program,
        .label = label,
        .arguments = arguments->items,
        .show_errors = options->log_level != NULL,
    };
    return child_start(&child, error);
}

static bool start_coordinator(struct embedded *embedded, const struct embedded_options *options, struct error *error)
{
    struct arguments arguments = {{"serve"}, 1};
    add_option(&arguments, "--brokers", embedded_address(embedded));
    add_option(&arguments, "--prefix", options->prefix);
    embedded->children[CHILD_COORDINATOR] = start(options, "backstep", "the coordinator", &arguments, error);
    return embedded->children[CHILD_COORDINATOR] != NULL;
}

static bool start_worker(struct embedded *embedded, const struct embedded_options *options, struct error *error)
{
    if (options->steps_directory == NULL) {
        return true;
    }
    char concurrency[16];
    snprintf(concurrency, sizeof concurrency, "%d", options->concurrency);
    struct arguments arguments = {0};
    add_option(&arguments, "--brokers", embedded_address(embedded));
    add_option(&arguments, "--prefix", options->prefix);
    if (options->steps_directory[0] != '\0') {
        add_option(&arguments, "--steps", options->steps_directory);
    }
    add_option(&arguments, "--concurrency", options->concurrency > 0 ? concurrency : NULL);
    add_option(&arguments, "--id", options->worker_id);
    embedded->children[CHILD_WORKER] = start(options, "backstep-worker", "the worker", &arguments, error);
    return embedded->children[CHILD_WORKER] != NULL;
}

struct embedded *embedded_start(const struct embedded_options *options, struct error *error)
{
    struct embedded *embedded = calloc(1, sizeof *embedded);
    if (embedded == NULL) {
        abort();
    }
    embedded->grace_ms = STOP_GRACE_MS;
    unsetenv("BACKSTEP_KAFKA_CONFIG"); /* our own broker knows neither certificates nor users */
    prctl(PR_SET_CHILD_SUBREAPER, 1); /* who loses a parent below us becomes our child: see await_orphans() */
    embedded->broker = embedded_broker_start(error);
    if (embedded->broker == NULL || !create_topics(embedded, options->prefix, error) ||
        !start_coordinator(embedded, options, error) || !start_worker(embedded, options, error)) {
        embedded_stop(embedded);
        return NULL;
    }
    return embedded;
}

static void await_orphans(void)
{
    struct timespec pause = {.tv_nsec = 10 * 1000000L};
    int64_t until_ms = clock_monotonic_ms() + ORPHANS_MS;
    for (;;) {
        pid_t pid = waitpid(-1, NULL, WNOHANG);
        if (pid < 0 || (pid == 0 && clock_monotonic_ms() > until_ms)) {
            return;
        }
        if (pid == 0) {
            nanosleep(&pause, NULL);
        }
    }
}

void embedded_hurry(struct embedded *embedded)
{
    embedded->grace_ms = 0;
}

void embedded_stop(struct embedded *embedded)
{
    if (embedded == NULL) {
        return;
    }
    /* The worker first would be kinder to the log, but nobody reads it after this: both at once. */
    children_stop(embedded->children, CHILD_COUNT, embedded->grace_ms);
    await_orphans();
    if (embedded->broker != NULL) {
        embedded_broker_stop(embedded->broker);
    }
    free(embedded);
}

const char *embedded_address(const struct embedded *embedded)
{
    return embedded_broker_address(embedded->broker);
}

void embedded_suffer(struct embedded *embedded, const struct faults_state *state)
{
    if (state->down != embedded->is_down) {
        embedded_broker_set_down(embedded->broker, state->down);
        log_event(LOG_WARN, "fault", "broker=%s", state->down ? "down" : "up");
    }
    if (state->round_trip_ms != embedded->round_trip_ms) {
        embedded_broker_set_round_trip_ms(embedded->broker, state->round_trip_ms);
        log_event(LOG_WARN, "fault", "round_trip_ms=%d", state->round_trip_ms);
    }
    for (size_t i = 0; i < state->failure_count; i++) {
        const struct embedded_failure *failure = state->failures[i];
        embedded_broker_fail(embedded->broker, failure);
        log_event(LOG_WARN, "fault", "request=%d error=%d delay_ms=%d count=%d", failure->request, failure->error_code,
                  failure->delay_ms, failure->count);
    }
    embedded->is_down = state->down;
    embedded->round_trip_ms = state->round_trip_ms;
}

bool embedded_is_broken(struct embedded *embedded, struct error *error)
{
    for (int i = 0; i < CHILD_COUNT; i++) {
        if (embedded->children[i] != NULL && child_has_ended(embedded->children[i], error)) {
            return true;
        }
    }
    return false;
}

bool embedded_await_owner(struct embedded *embedded, struct client *client, struct reader *reader, struct error *error)
{
    int64_t until_ms = clock_monotonic_ms() + client->options.timeout_ms;
    while (!reader_is_owned(reader)) {
        struct bus_event event;
        struct reader_record record;
        bus_poll(client->bus, 20, &event);
        if (!client_take(client, reader, NULL, &event, &record, error) && error->kind != ERROR_NONE) {
            return false;
        }
        if (embedded_is_broken(embedded, error)) {
            return false;
        }
        if (clock_monotonic_ms() > until_ms) {
            return error_set(error, ERROR_TRANSIENT, "the coordinator was not ready within %g s",
                             client->options.timeout_ms / 1000.0);
        }
    }
    return true;
}
