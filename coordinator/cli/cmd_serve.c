/* SPDX-License-Identifier: Apache-2.0 */
/* backstep serve: the coordinator. Everything it knows is in the log, so whatever goes wrong it drops all and begins anew. */
#include "common/bus_kafka.h"
#include "common/clock.h"
#include "common/limits.h"
#include "common/log.h"
#include "common/names.h"
#include "coordinator/cli/command.h"
#include "coordinator/cli/signals.h"
#include "coordinator/service/service.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define STEP_WAIT_MS 500
#define FLUSH_MS 500  /* what was sent is out before another has the partitions, where the broker keeps up */
#define LEAVE_MS 2000
#define BACKOFF_FIRST_MS 100
#define BACKOFF_MOST_MS 5000

struct daemon {
    struct call *call;
    struct service_options service;
    char name[128];
    int backoff_ms;
    bool has_worked; /* from then on an outage is waited out */
};

static int64_t now_ms(void *clock)
{
    (void)clock;
    return clock_monotonic_ms();
}

static void name_coordinator(char *name, size_t size)
{
    char host[80] = "host";
    gethostname(host, sizeof host - 1);
    snprintf(name, size, "%s-%ld", host, (long)getpid());
}

static bool is_stopped(void)
{
    return signals_interrupts() > 0;
}

static bool gives_up(void *state)
{
    (void)state;
    return is_stopped();
}

static void back_off(struct daemon *daemon)
{
    int64_t until_ms = clock_monotonic_ms() + daemon->backoff_ms;
    for (int64_t left_ms = daemon->backoff_ms; left_ms > 0 && !is_stopped(); left_ms = until_ms - clock_monotonic_ms()) {
        signals_wait((int)left_ms);
    }
    daemon->backoff_ms = daemon->backoff_ms * 2 < BACKOFF_MOST_MS ? daemon->backoff_ms * 2 : BACKOFF_MOST_MS;
}

static enum service_state work(struct daemon *daemon, struct service *service, struct error *error)
{
    bool ready = false;
    enum service_state state = SERVICE_WORKING;
    while (state == SERVICE_WORKING && !is_stopped()) {
        state = service_step(service, STEP_WAIT_MS, error);
        daemon->has_worked = daemon->has_worked || service_has_joined(service);
        if (!ready && service_is_ready(service)) {
            ready = true;
            daemon->has_worked = true;
            daemon->backoff_ms = BACKOFF_FIRST_MS;
            log_event(LOG_INFO, "ready", "coordinator=%s", LOG_QUOTED(daemon->name));
        }
    }
    return state;
}

/* One life: from opening the bus to what ended it. Returns true when the daemon is to begin anew, else *code is its end. */
static bool live(struct daemon *daemon, int *code)
{
    struct error error = {0};
    struct bus_kafka_options options = {
        .brokers = daemon->call->client.brokers,
        .client_id = daemon->name,
        .properties = daemon->call->client.properties,
        .property_count = daemon->call->client.property_count,
        .timeout_ms = daemon->call->client.timeout_ms,
        .gives_up = gives_up,
        .patient = true,
    };
    enum service_state state = SERVICE_FATAL;
    struct bus *bus = bus_kafka_open(&options, &error);
    signals_set_bus(bus);
    daemon->service.has_log = daemon->has_worked;
    struct service *service = bus != NULL ? service_new(bus, &daemon->service, &error) : NULL;
    if (service != NULL) {
        state = work(daemon, service, &error);
        if (state == SERVICE_WORKING) {
            service_say_words(service);
        }
    }
    if (bus != NULL) {
        bus_flush(bus, state == SERVICE_WORKING ? FLUSH_MS : 0);
        bus_leave(bus, LEAVE_MS);
    }
    service_free(service);
    signals_set_bus(NULL);
    bus_close(bus);
    if (is_stopped()) {
        *code = EXIT_DONE;
        return false;
    }
    if (state == SERVICE_SUPERSEDED || state == SERVICE_FAILED) {
        complain("%s", error.message);
        *code = EXIT_UNREACHABLE;
        return false;
    }
    if (error.kind == ERROR_REJECTED) {
        complain("%s", error.message);
        *code = EXIT_LOG_GONE;
        return false;
    }
    if (error.kind == ERROR_INVALID || !daemon->has_worked) {
        *code = complain_of(&error);
        return false;
    }
    log_event(LOG_WARN, "begin_anew", "error=%s wait_ms=%d", LOG_QUOTED(error.message), daemon->backoff_ms);
    return true;
}

/* "0-3", "2", or "all" */
static bool read_own(const struct call *call, struct service_options *service)
{
    const char *own = option_text(call->options, "own");
    int first, last, end = 0;
    if (own == NULL) {
        service->session_ms = (int)option_duration_ms(call->options, "session-timeout");
        return true;
    }
    if (strcmp(own, "all") == 0) {
        return true;
    }
    if (sscanf(own, "%d-%d%n", &first, &last, &end) != 2 || own[end] != '\0') {
        end = 0;
        last = sscanf(own, "%d%n", &first, &end) == 1 ? first : -1;
    }
    if (end == 0 || own[end] != '\0' || first < 0 || last < first) {
        complain("--own: '%s' is no range of partitions; write 0-3, 2 or all", own);
        return false;
    }
    service->own_first = first;
    service->own_last = last;
    return true;
}

static uint32_t read_ahead(const struct call *call)
{
    const char *ahead = option_text(call->options, "ahead");
    return strcmp(ahead, "never") == 0 ? 0 : strcmp(ahead, "always") == 0 ? SERVICE_AHEAD_ALWAYS : SERVICE_AHEAD_AUTO;
}

/* 0: for good. */
static bool read_retention(const struct call *call, struct service_options *service)
{
    service->retention_ms = option_duration_ms(call->options, "retention");
    if (service->retention_ms > 0 && service->retention_ms < LIMIT_RETENTION_MIN_MS) {
        complain("--retention: '%s' is neither 0s, which keeps all, nor at least %dh: ids of runs that have ended are kept for a day",
                 option_text(call->options, "retention"), (int)(LIMIT_RETENTION_MIN_MS / 3600000));
        return false;
    }
    return true;
}

int cmd_serve(struct call *call)
{
    struct daemon daemon = {.call = call, .backoff_ms = BACKOFF_FIRST_MS};
    name_coordinator(daemon.name, sizeof daemon.name);
    daemon.service = (struct service_options){
        .prefix = call->client.prefix,
        .name = daemon.name,
        .own_first = 0,
        .own_last = -1,
        .progress_partitions = (int32_t)option_number(call->options, "progress-partitions"),
        .begin_at_first = option_flag(call->options, "begin-at-first-record"),
        .checkpoint_bytes = option_number(call->options, "checkpoint-bytes"),
        .ahead_from = read_ahead(call),
        .timeout_ms = call->client.timeout_ms,
        .monotonic_ms = now_ms,
        .random = random_bytes,
    };
    if (!read_own(call, &daemon.service) || !read_retention(call, &daemon.service)) {
        return EXIT_USAGE;
    }
    signals_install();
    int code = EXIT_DONE;
    while (live(&daemon, &code)) {
        back_off(&daemon);
        if (is_stopped()) {
            return EXIT_DONE;
        }
    }
    if (code == EXIT_DONE) {
        log_event(LOG_INFO, "stopped", "coordinator=%s", LOG_QUOTED(daemon.name));
    }
    return code;
}
