/* SPDX-License-Identifier: Apache-2.0 */
/* backstep run FILE: the whole of it, in one command. */
#include "common/limits.h"
#include "coordinator/cli/command.h"
#include "coordinator/cli/embedded.h"
#include "coordinator/cli/follow.h"
#include "coordinator/cli/launch.h"
#include "coordinator/cli/signals.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WORKER_ARGUMENTS_MAX 10
#define WORKER_GRACE_MS 3000

/* Start it on `cluster` and follow it to its end. */
static int start_and_follow(const struct call *call, struct launch *launch, const struct client_options *cluster,
                            struct follow *follow)
{
    struct error error = {0};
    struct client client;
    int code;
    follow->call = call;
    follow->client = &client;
    follow->cancels = true;
    if (!client_open(&client, cluster, &error)) {
        code = complain_of(&error);
    } else {
        follow_begin(follow);
        code = launch_start(launch, follow, true);
        if (code == EXIT_DONE) {
            code = follow_run(follow);
        }
        follow_end(follow);
    }
    client_close(&client);
    return code;
}

/* No cluster: broker, coordinator and a worker of our own. The worker serves one queue, so every step is put there. */
static int run_embedded(const struct call *call, struct launch *launch, const char *steps)
{
    struct error error = {0};
    struct embedded_options options = {
        .prefix = call->client.prefix,
        .steps_directory = steps,
        .concurrency = (int)option_number(call->options, "concurrency"),
        .log_level = option_given(call->options, "log-level") ? option_text(call->options, "log-level") : NULL,
    };
    pipeline_set_queue(launch->pipeline, DEFAULT_QUEUE);
    struct embedded *embedded = embedded_start(&options, &error);
    if (embedded == NULL) {
        return complain_of(&error);
    }
    struct client_options cluster = call->client;
    cluster.brokers = embedded_address(embedded);
    cluster.property_count = 0; /* they are for a cluster: our own broker knows neither certificates nor users */
    struct follow follow = {.embedded = embedded};
    int code = start_and_follow(call, launch, &cluster, &follow);
    embedded_stop(embedded);
    return code;
}

/* Through the environment: some are secrets, and everybody sees a command line. */
static bool pass_on_properties(const struct call *call, struct error *error)
{
    struct text lines;
    text_init(&lines, LIMIT_PROPERTIES_BYTES);
    for (size_t i = 0; i < call->client.property_count; i++) {
        const char *property = call->client.properties[i];
        if (strchr(property, '\n') != NULL) {
            text_fini(&lines);
            return error_set(error, ERROR_INVALID,
                             "property %.*s: a line break in it cannot be passed on to the worker of this run",
                             (int)strcspn(property, "="), property);
        }
        text_format(&lines, "%s\n", property);
    }
    bool ok = !lines.overflow || error_set(error, ERROR_INVALID, "more properties than a worker of this run can be given");
    ok = ok &&
         (setenv("BACKSTEP_PROPERTY", text_string(&lines), 1) == 0 || error_set(error, ERROR_TRANSIENT, "%s", strerror(errno)));
    text_fini(&lines);
    return ok;
}

static struct child *start_worker(const struct call *call, const char *queue, const char *steps, struct error *error)
{
    char concurrency[24];
    snprintf(concurrency, sizeof concurrency, "%ld", (long)option_number(call->options, "concurrency"));
    const char *arguments[WORKER_ARGUMENTS_MAX + 1] = {
        "--brokers", call->client.brokers, "--prefix", call->client.prefix, "--queue", queue, "--concurrency", concurrency,
    };
    size_t count = 8;
    if (steps[0] != '\0') {
        arguments[count++] = "--steps";
        arguments[count++] = steps;
    }
    if (!pass_on_properties(call, error)) {
        return NULL;
    }
    struct child_options options = {
        .program = "backstep-worker",
        .label = "the worker of this run",
        .arguments = arguments,
        .show_errors = option_given(call->options, "log-level"),
    };
    return child_start(&options, error);
}

/* Nobody comes to that queue any more. A run that may be taken up again keeps it. */
static void delete_queue(const struct call *call, const char *queue, int code)
{
    struct error error = {0};
    struct client client;
    char topic[TOPICS_NAME_BYTES];
    if (code != EXIT_DONE && code != EXIT_ROLLED_BACK && code != EXIT_CANCELLED) {
        return;
    }
    topics_name(topic, TOPICS_TASKS, call->client.prefix, queue);
    if (!client_open(&client, &call->client, &error) || !bus_delete_topic(client.bus, topic, call->client.timeout_ms, &error)) {
        complain("%s; it is not needed any more", error.message);
    }
    client_close(&client);
}

/* A cluster, and programs of ours: this process also serves them, for this run only, on a queue of its own. */
static int run_serving(const struct call *call, struct launch *launch, const char *steps)
{
    struct error error = {0};
    char queue[LIMIT_IDENTIFIER_BYTES + 1];
    snprintf(queue, sizeof queue, "run-%.*s", LIMIT_IDENTIFIER_BYTES - 4, launch->run_id);
    pipeline_set_queue(launch->pipeline, queue);
    struct child *worker = start_worker(call, queue, steps, &error);
    if (worker == NULL) {
        return complain_of(&error);
    }
    struct follow follow = {.worker = worker};
    int code = start_and_follow(call, launch, &call->client, &follow);
    child_stop(worker, WORKER_GRACE_MS);
    delete_queue(call, queue, code);
    return code;
}

static int run_launch(const struct call *call, struct launch *launch)
{
    char steps[PATH_MAX];
    bool serves = !call->brokers_given || option_given(call->options, "steps");
    launch_steps_directory(call, steps, sizeof steps);
    if (serves && access(steps, F_OK) != 0 && !option_given(call->options, "steps") && pipeline_needs_no_program(launch->pipeline)) {
        steps[0] = '\0'; /* the worker serves what it brings */
    } else if (serves && !pipeline_is_served_by(launch->pipeline, steps, false)) {
        return EXIT_USAGE;
    }
    if (!call->brokers_given) {
        return run_embedded(call, launch, steps);
    }
    if (serves) {
        return run_serving(call, launch, steps);
    }
    struct follow follow = {0};
    return start_and_follow(call, launch, &call->client, &follow);
}

int cmd_run(struct call *call)
{
    struct launch launch;
    signals_install();
    call->client.create_topics = true;
    int code = launch_load(&launch, call) ? run_launch(call, &launch) : EXIT_USAGE;
    launch_free(&launch);
    return code;
}
