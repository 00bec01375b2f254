/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/serve.h"

#include "common/bus_kafka.h"
#include "common/clock.h"
#include "common/limits.h"
#include "common/log.h"
#include "common/names.h"
#include "common/topics.h"
#include "worker/deputy.h"
#include "worker/evaluator.h"
#include "worker/log_shipper.h"
#include "worker/pool.h"
#include "worker/worker.h"

#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define STEP_MS 1000
#define RETRY_FIRST_MS 100
#define RETRY_MOST_MS 5000
#define LOG_TIMEOUT_MS 2000 /* of the connection for log lines: an end must not wait for it longer */
#define LOG_FLUSH_MS 1000
#define LAST_WORDS_MS 10000 /* after a drain that no broker hears */
#define FLUSH_SLICE_MS 500 /* between two looks at the signals */

/* What signal handlers touch: there is one set of signals per process. */
static atomic_int signals_stop, signals_reload, signals_fd;
static _Atomic(struct bus *) signals_bus;

struct server {
    const struct serve_options *options;
    char id[LIMIT_IDENTIFIER_BYTES + 1], host[LIMIT_IDENTIFIER_BYTES + 1];
    struct pool *pool;
    struct log_shipper *shipper;
    struct evaluator *evaluator; /* NULL: no guard to watch over it */
    struct bus *bus;
    struct worker *worker;
    struct deputy *deputy; /* of the loop */
    int64_t retry_ms, begun_ms; /* monotonic: when the last incarnation began */
    bool stale; /* an old registry waits for its tasks to end */
    bool draining;
    int64_t stop_ms; /* monotonic: then it ends, whatever is left; 0: nobody has told it to */
};

/* ---------------------------------------------------------------- signals */

static void on_signal(int signal)
{
    if (signal == SIGHUP) {
        atomic_store(&signals_reload, 1);
    } else if (atomic_fetch_add(&signals_stop, 1) >= 1) {
        _exit(128 + signal);
    }
    uint64_t one = 1;
    ssize_t written = write(atomic_load(&signals_fd), &one, sizeof one);
    (void)written;
    struct bus *bus = atomic_load(&signals_bus);
    if (bus != NULL) {
        bus_wake(bus);
    }
}

static bool catch_signals(bool reload, struct error *error)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0) {
        return error_set(error, ERROR_TRANSIENT, "no event descriptor could be made");
    }
    atomic_store(&signals_fd, fd);
    atomic_store(&signals_stop, 0);
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGHUP, reload ? &action : &(struct sigaction){.sa_handler = SIG_IGN}, NULL);
    sigaction(SIGPIPE, &(struct sigaction){.sa_handler = SIG_IGN}, NULL);
    return true;
}

static void nap(int timeout_ms)
{
    struct pollfd waiting = {.fd = atomic_load(&signals_fd), .events = POLLIN};
    if (atomic_load(&signals_stop) > 0) {
        waiting.fd = -1; /* it stays readable: from now on this is only a pause */
    }
    poll(&waiting, 1, timeout_ms);
}

/* ---------------------------------------------------------------- the guard, as worker and pool see it */

static bool lease_begin(void *state, int64_t until_ms, int64_t grace_ms, struct error *error)
{
    struct guard *guard = state;
    struct pollfd death = {.fd = guard_fd(guard), .events = POLLIN};
    if (poll(&death, 1, 0) != 0 && !guard_restart(guard, error)) {
        return false;
    }
    return guard_lease_begin(guard, until_ms, grace_ms, error);
}

static bool lease_renew(void *state, int64_t until_ms)
{
    return guard_lease_renew(state, until_ms);
}

static void lease_end(void *state)
{
    guard_lease_end(state);
}

static bool guard_is_alive(void *state)
{
    struct pollfd death = {.fd = guard_fd(state), .events = POLLIN};
    return poll(&death, 1, 0) == 0;
}

static bool is_program(const struct serve_options *options, const struct backstep_step *step)
{
    return options->is_program != NULL && options->is_program(step);
}

/* A program has the guard's eye on it already; and a worker that is frozen while one runs need not be killed for it. */
static bool function_begin(void *state, const struct backstep_step *step)
{
    const struct server *server = state;
    return is_program(server->options, step) || guard_function_begin(server->options->guard);
}

static void function_end(void *state, const struct backstep_step *step)
{
    const struct server *server = state;
    if (!is_program(server->options, step)) {
        guard_function_end(server->options->guard);
    }
}

/* ---------------------------------------------------------------- clocks */

static int64_t monotonic_ms(void *clock)
{
    (void)clock;
    return clock_monotonic_ms();
}

static int64_t boottime_ms(void *clock)
{
    (void)clock;
    return clock_boottime_ms();
}

/* ---------------------------------------------------------------- the bus */

static void close_bus(struct server *server)
{
    worker_leave_bus(server->worker);
    atomic_store(&signals_bus, NULL);
    bus_close(server->bus);
    server->bus = NULL;
}

static struct bus_kafka_options bus_options(const struct server *server, int timeout_ms)
{
    const struct serve_options *options = server->options;
    return (struct bus_kafka_options){.brokers = options->brokers,
                                      .client_id = server->id,
                                      .properties = options->properties,
                                      .property_count = options->property_count,
                                      .timeout_ms = timeout_ms,
                                      .skips_ends = true};
}

static struct bus *open_log_bus(void *state, struct error *error)
{
    struct bus_kafka_options options = bus_options(state, LOG_TIMEOUT_MS);
    return bus_kafka_open(&options, error);
}

/* Told to end while no broker answers: at once, where there is nothing left to say. */
static bool gives_up(void *state)
{
    struct server *server = state;
    if (atomic_load(&signals_stop) > 0 && server->stop_ms == 0) {
        server->stop_ms = clock_monotonic_ms() + (worker_unsaid(server->worker) > 0 ? LAST_WORDS_MS : 0);
    }
    return server->stop_ms > 0 && clock_monotonic_ms() >= server->stop_ms;
}

static bool open_bus(struct server *server, struct error *error)
{
    struct bus_kafka_options options = bus_options(server, server->options->timeout_ms);
    options.gives_up = gives_up;
    options.gives_up_state = server;
    server->bus = bus_kafka_open(&options, error);
    atomic_store(&signals_bus, server->bus);
    if (server->bus != NULL) {
        log_event(LOG_DEBUG, "connected", "worker=%s embedded=%d", server->id, bus_embedded(server->bus));
    }
    return server->bus != NULL;
}

/* An incarnation on the bus there is, or on a new one. */
static bool begin(struct server *server, struct error *error)
{
    if (server->bus == NULL && !open_bus(server, error)) {
        return false;
    }
    if (worker_begin(server->worker, server->bus, error)) {
        server->begun_ms = clock_monotonic_ms();
        log_event(LOG_INFO, "serving", "worker=%s brokers=%s queue=%s handlers=%d slots=%u", server->id,
                  LOG_QUOTED(server->options->brokers), server->options->queue,
                  backstep_registry_count(server->options->registry), server->options->slots);
        return true;
    }
    close_bus(server);
    return false;
}

static void back_off(struct server *server)
{
    nap((int)server->retry_ms);
    server->retry_ms = server->retry_ms * 2 < RETRY_MOST_MS ? server->retry_ms * 2 : RETRY_MOST_MS;
}

/* A broker that takes what begins an incarnation, and refuses what is to be said in it, does so again at once. */
static void wait_if_it_was_short(struct server *server)
{
    if (clock_monotonic_ms() - server->begun_ms < RETRY_MOST_MS) {
        back_off(server);
    } else {
        server->retry_ms = RETRY_FIRST_MS;
    }
}

/* While the brokers take nothing, a new incarnation could not be known of either: its Hello would arrive late, behind those of others
 * that are over by then, and each of them would be given tasks. */
static void await_brokers(struct server *server)
{
    while (server->bus != NULL && bus_backlog(server->bus).records > 0 && !gives_up(server) && atomic_load(&signals_stop) == 0) {
        int64_t begun_ms = clock_monotonic_ms();
        if (!bus_flush(server->bus, FLUSH_SLICE_MS) && clock_monotonic_ms() - begun_ms < FLUSH_SLICE_MS / 2) {
            return; /* it has failed: the first poll says so */
        }
    }
}

/* "The single error path": for ever, with a line each time. false: it is to end. */
static bool begin_anew(struct server *server)
{
    struct error error = {0};
    await_brokers(server);
    while (!begin(server, &error)) {
        log_event(LOG_WARN, "no_broker", "worker=%s retry_ms=%d error=%s", server->id, (int)server->retry_ms,
                  LOG_QUOTED(error.message));
        back_off(server);
        if (atomic_load(&signals_stop) > 0) {
            worker_drain(server->worker);
        }
        if (gives_up(server)) {
            return false;
        }
    }
    return true;
}

/* ---------------------------------------------------------------- the loop */

static void obey_signals(struct server *server)
{
    const struct serve_options *options = server->options;
    if (atomic_load(&signals_stop) > 0 && !server->draining) {
        server->draining = true;
        log_event(LOG_INFO, "draining", "worker=%s load=%u", server->id, worker_load(server->worker));
        worker_drain(server->worker);
        server->stop_ms = clock_monotonic_ms() + options->drain_timeout_ms + options->cancel_grace_ms + LAST_WORDS_MS;
    }
    if (atomic_exchange(&signals_reload, 0) > 0 && options->reload != NULL) {
        const struct backstep_registry *registry = options->reload(options->state);
        if (registry != NULL) {
            worker_set_handlers(server->worker, registry);
            server->stale = true;
        }
    }
    if (server->stale && worker_load(server->worker) == 0 && options->release != NULL) {
        options->release(options->state);
        server->stale = false;
    }
}

/* false: it is to end. */
static bool go_on(struct server *server)
{
    struct error error = {0};
    obey_signals(server);
    if (gives_up(server)) {
        return false;
    }
    enum worker_state state = worker_step(server->worker, STEP_MS, &error);
    if (state == WORKER_FATAL) {
        log_event(LOG_WARN, "bus_failed", "worker=%s error=%s", server->id, LOG_QUOTED(error.message));
        close_bus(server);
        wait_if_it_was_short(server);
    }
    if (state == WORKER_FATAL || state == WORKER_NEW_INCARNATION) {
        return begin_anew(server);
    }
    return state != WORKER_DRAINED;
}

/* A turn of the loop; false: it was the last. */
static bool serve(void *state)
{
    struct server *server = state;
    bool goes_on = go_on(server);
    if (!goes_on && server->options->guard != NULL) {
        guard_lease_end(server->options->guard); /* whatever still runs has no more time than its grace */
    }
    return goes_on;
}

static void call_back(void *state)
{
    struct server *server = state;
    pool_wake(server->pool);
}

/* A short step runs on this thread: to wake another one for it, and to be woken when it has ended, would take longer than the step. Whether
 * it is short nobody knows before: if not, the deputy goes on with the loop. */
static bool lend_a_hand(struct server *server)
{
    uint32_t count = pool_kept(server->pool);
    if (count == 0) {
        return true;
    }
    if (bus_backlog(server->bus).records > 0) {
        bus_flush(server->bus, 0); /* what was said goes out before, or meanwhile */
    }
    sigset_t signals, before;
    pool_signals(&signals);
    pthread_sigmask(SIG_BLOCK, &signals, &before);
    pool_keep(server->pool, false);
    deputy_leave(server->deputy);
    pool_work(server->pool, count);
    bool goes_on = deputy_return(server->deputy);
    pool_keep(server->pool, true);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return goes_on;
}

static void loop(struct server *server)
{
    pool_keep(server->pool, true);
    while (serve(server) && lend_a_hand(server)) {
    }
}

static void name_it(struct server *server)
{
    if (gethostname(server->host, sizeof server->host - 1) != 0) {
        snprintf(server->host, sizeof server->host, "host");
    }
    if (server->options->id != NULL) {
        snprintf(server->id, sizeof server->id, "%s", server->options->id);
        return;
    }
    snprintf(server->id, sizeof server->id, "%.80s-%ld", server->host, (long)getpid());
    if (!identifier_is_valid(span_of(server->id))) {
        snprintf(server->id, sizeof server->id, "worker-%ld", (long)getpid());
    }
}

static struct worker *make_worker(struct server *server, const struct worker_guard *guard)
{
    const struct serve_options *options = server->options;
    struct worker_options worker = {.id = server->id,
                                    .queue = options->queue,
                                    .prefix = options->prefix,
                                    .version = backstep_version(),
                                    .host = server->host,
                                    .process_id = (uint32_t)getpid(),
                                    .slots = options->slots,
                                    .lease_ms = options->lease_ms,
                                    .drain_timeout_ms = options->drain_timeout_ms,
                                    .cancel_grace_ms = options->cancel_grace_ms,
                                    .max_tasks = options->max_tasks,
                                    .task_partitions = TOPICS_TASK_PARTITIONS,
                                    .timeout_ms = options->timeout_ms,
                                    .handlers = options->registry,
                                    .runner = pool_runner(server->pool),
                                    .guard = options->guard != NULL ? guard : NULL,
                                    .monotonic_ms = monotonic_ms,
                                    .boottime_ms = boottime_ms,
                                    .random = random_bytes};
    return worker_new(&worker);
}

static bool make_pool(struct server *server, const struct pool_guard *guard, struct error *error)
{
    struct log_shipper_options options = {.prefix = server->options->prefix,
                                          .worker = server->id,
                                          .timeout_ms = LOG_TIMEOUT_MS,
                                          .open = open_log_bus,
                                          .state = server};
    server->pool = pool_new(server->options->slots, server->options->guard != NULL ? guard : NULL, error);
    server->deputy = server->pool != NULL ? deputy_new(serve, call_back, server, error) : NULL;
    server->shipper = server->deputy != NULL ? log_shipper_new(&options, error) : NULL;
    if (server->shipper == NULL) {
        deputy_free(server->deputy);
        pool_free(server->pool);
        return false;
    }
    struct log_sink sink = log_shipper_sink(server->shipper);
    pool_set_log(server->pool, &sink);
    server->evaluator = server->options->guard != NULL ? evaluator_new(server->options->guard) : NULL;
    pool_set_evaluator(server->pool, server->evaluator);
    return true;
}

int serve_run(const struct serve_options *options, struct error *error)
{
    struct server server = {.options = options, .retry_ms = RETRY_FIRST_MS};
    struct pool_guard pool_guard = {.begin = function_begin, .end = function_end, .state = &server};
    struct worker_guard worker_guard = {
        .begin = lease_begin, .renew = lease_renew, .end = lease_end, .is_alive = guard_is_alive, .state = options->guard};
    name_it(&server);
    if (!catch_signals(options->reload != NULL, error)) {
        return 1;
    }
    if (!make_pool(&server, &pool_guard, error)) {
        return 1;
    }
    server.worker = make_worker(&server, &worker_guard);
    int code = 0;
    if (begin(&server, error)) {
        loop(&server);
    } else if (atomic_load(&signals_stop) == 0) {
        code = error->kind == ERROR_INVALID ? SERVE_EXIT_USAGE : SERVE_EXIT_UNREACHABLE;
    }
    deputy_free(server.deputy);
    pool_free(server.pool);
    evaluator_free(server.evaluator);
    log_shipper_free(server.shipper, LOG_FLUSH_MS);
    atomic_store(&signals_bus, NULL);
    worker_free(server.worker);
    bus_close(server.bus);
    close(atomic_load(&signals_fd));
    return code;
}
