/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/simulation/world.h"

#include "common/limits.h"
#include "common/log.h"
#include "common/topics.h"
#include "coordinator/service/service_internal.h"
#include "tests/simulation/tally.h"
#include "tests/unit/saga_shown.h"
#include "worker/worker.h"

#include <assert.h>
#include <inttypes.h>

#define PROGRESS_PARTITIONS 2
#define CHECKPOINT_BYTES 40 /* a few records: each run is told in snapshots on its way, and named soon after its end */
#define TASK_PARTITIONS 3
#define FOREVER_MS (60 * 60 * 1000)
#define RUNS_END_WITHIN_MS (30 * 60 * 1000) /* of virtual time; a run takes seconds */
#define INSTANT_TURNS_MAX 20000
#define COORDINATOR_BACK_MS 700
#define WORKER_BACK_MS 300
#define CLIENT_BACK_MS 200
#define PERSON_MS 5000
#define LINGER_MS 6000
#define GARBAGE_MAX 64 /* records of a world that nobody can read */
#define TASKS_TOPIC "sim.tasks.default"

enum process_kind { COORDINATOR, WORKER, CLIENT };

/* Between a process and its bus: how long it means to wait, and whether it did anything. */
struct watched_bus {
    struct bus bus; /* first */
    struct bus *inner;
    int64_t wake_ms;
    uint64_t events, sends;
};

struct guard_state {
    bool armed, renewable;
    int64_t until_ms, grace_ms;
};

struct request {
    unsigned char id[REQUEST_ID_BYTES];
    bool sent;
};

struct process {
    enum process_kind kind;
    char name[32];
    bool alive;
    bool gone; /* for good */
    int64_t back_ms; /* not alive: when it is started again */
    int64_t froze_ms;
    int64_t thaw_ms; /* frozen until then; 0: it is not */
    struct watched_bus bus;
    struct service *service;
    struct worker *worker;
    bool begun; /* the worker's incarnation */
    int64_t retry_ms;
    struct script_runner runner;
    struct guard_state guard;
    struct worker_guard guard_calls;
    struct request starts[WORLD_RUNS_MAX], cancels[WORLD_RUNS_MAX];
    struct request controls[WORLD_CONTROLS_MAX];
    bool said_twice[WORLD_CONTROLS_MAX];
    int64_t care_ms[WORLD_RUNS_MAX];
    uint32_t cares[WORLD_RUNS_MAX];
};

struct garbage {
    const char *topic;
    int32_t partition;
    int64_t offset;
};

struct world {
    struct world_options options;
    struct memory_cluster *cluster;
    struct oracle *oracle;
    struct backstep_registry *registry;
    struct process processes[1 + WORLD_COORDINATORS_MAX + WORLD_WORKERS_MAX + 1]; /* the last: who comes for a worker that drains */
    uint32_t process_count, coordinator_count, worker_count;
    uint64_t instants;
    bool drained;
    struct garbage garbage[GARBAGE_MAX];
    size_t garbage_count;
    uint64_t events; /* of buses that are closed */
};

/* The code under test asks for time and chance without saying who it is. */
static struct world *the_world;
static uint64_t chance_state;

static int64_t now(void)
{
    return memory_cluster_time(the_world->cluster);
}

static int64_t clock_of(void *clock)
{
    (void)clock;
    return now();
}

static void random_of(void *bytes, size_t size)
{
    unsigned char *at = bytes;
    for (size_t i = 0; i < size; i++) {
        chance_state ^= chance_state << 13;
        chance_state ^= chance_state >> 7;
        chance_state ^= chance_state << 17;
        at[i] = (unsigned char)(chance_state >> 32);
    }
}

struct memory_cluster *world_cluster(struct world *world)
{
    return world->cluster;
}

struct oracle *world_oracle(struct world *world)
{
    return world->oracle;
}

int64_t world_now_ms(const struct world *world)
{
    return memory_cluster_time(world->cluster);
}

static void tell(const struct world *world, const struct process *process, const char *what)
{
    if (world->options.trace) {
        fprintf(stderr, "%7" PRId64 "  %s %s\n", world_now_ms(world), process->name, what);
    }
}

/* ---- the watched bus */

static struct bus *inner(const struct bus *bus)
{
    return ((const struct watched_bus *)bus)->inner;
}

static bool watched_ensure_topic(struct bus *bus, const struct bus_topic *topic, bool create, int32_t *partitions, int timeout_ms,
                                 struct error *error)
{
    return bus_ensure_topic(inner(bus), topic, create, partitions, timeout_ms, error);
}

static bool watched_partition_count(struct bus *bus, const char *topic, int32_t *count, int timeout_ms, struct error *error)
{
    return bus_partition_count(inner(bus), topic, count, timeout_ms, error);
}

static bool watched_bounds(struct bus *bus, const char *topic, int32_t partition, int64_t *first, int64_t *next, int timeout_ms,
                           struct error *error)
{
    return bus_bounds(inner(bus), topic, partition, first, next, timeout_ms, error);
}

static bool watched_offset_at(struct bus *bus, const char *topic, int32_t partition, int64_t time_ms, int64_t *offset,
                              int timeout_ms, struct error *error)
{
    return bus_offset_at(inner(bus), topic, partition, time_ms, offset, timeout_ms, error);
}

static bool watched_committed(struct bus *bus, const char *group, const char *topic, int32_t partition, int64_t *offset,
                              char metadata[BUS_METADATA_BYTES], int timeout_ms, struct error *error)
{
    return bus_committed(inner(bus), group, topic, partition, offset, metadata, timeout_ms, error);
}

static void watched_commit(struct bus *bus, const char *group, const char *topic, int32_t partition, int64_t offset, const char *metadata)
{
    bus_commit(inner(bus), group, topic, partition, offset, metadata);
    oracle_committed(the_world->oracle, partition, offset, metadata);
}

static void watched_delete_before(struct bus *bus, const char *topic, int32_t partition, int64_t offset)
{
    bus_delete_before(inner(bus), topic, partition, offset);
}

static bool watched_join(struct bus *bus, const char *group, const char *topic, int session_ms, struct error *error)
{
    return bus_join(inner(bus), group, topic, session_ms, error);
}

static void watched_leave(struct bus *bus, int timeout_ms)
{
    bus_leave(inner(bus), timeout_ms);
}

static bool watched_members(struct bus *bus, const char *group, int *count, int timeout_ms, struct error *error)
{
    return bus_members(inner(bus), group, count, timeout_ms, error);
}

static bool watched_consume(struct bus *bus, const char *topic, int32_t partition, int64_t offset, struct error *error)
{
    return bus_consume(inner(bus), topic, partition, offset, error);
}

static void watched_stop(struct bus *bus, const char *topic, int32_t partition)
{
    bus_stop(inner(bus), topic, partition);
}

static bool watched_send(struct bus *bus, const struct bus_send *send, struct error *error)
{
    ((struct watched_bus *)bus)->sends++;
    if (span_equal(send->headers[0].value, (struct span)S("OwnerClaim"))) {
        oracle_claims(the_world->oracle, send->partition);
    }
    return bus_send(inner(bus), send, error);
}

static void watched_poll(struct bus *bus, int timeout_ms, struct bus_event *event)
{
    struct watched_bus *watched = (struct watched_bus *)bus;
    watched->wake_ms = timeout_ms > 0 ? now() + timeout_ms : watched->wake_ms;
    bus_poll(watched->inner, timeout_ms, event);
    watched->events += event->kind != BUS_NOTHING;
}

static bool watched_flush(struct bus *bus, int timeout_ms)
{
    return bus_flush(inner(bus), timeout_ms);
}

static bool watched_explain(struct bus *bus, char reason[BUS_REASON_BYTES])
{
    return bus_explain(inner(bus), reason);
}

static struct bus_backlog watched_backlog(const struct bus *bus)
{
    return bus_backlog(inner(bus));
}

static void watched_wake(struct bus *bus)
{
    bus_wake(inner(bus));
}

static bool watched_embedded(const struct bus *bus)
{
    return bus_embedded(inner(bus));
}

static const struct bus_operations watched_operations = {.ensure_topic = watched_ensure_topic,
                                                         .partition_count = watched_partition_count,
                                                         .bounds = watched_bounds,
                                                         .offset_at = watched_offset_at,
                                                         .committed = watched_committed,
                                                         .commit = watched_commit,
                                                         .delete_before = watched_delete_before,
                                                         .join = watched_join,
                                                         .leave = watched_leave,
                                                         .members = watched_members,
                                                         .consume = watched_consume,
                                                         .stop = watched_stop,
                                                         .send = watched_send,
                                                         .poll = watched_poll,
                                                         .flush = watched_flush,
                                                         .backlog = watched_backlog,
                                                         .explain = watched_explain,
                                                         .wake = watched_wake,
                                                         .embedded = watched_embedded};

static struct bus *open_bus(struct world *world, struct process *process)
{
    process->bus = (struct watched_bus){.bus = {&watched_operations}, .inner = bus_memory_open(world->cluster), .wake_ms = now()};
    return &process->bus.bus;
}

static void close_bus(struct process *process)
{
    the_world->events += process->bus.events + process->bus.sends;
    bus_close(process->bus.inner);
    process->bus.inner = NULL;
}

/* ---- coordinators */

static void start_coordinator(struct world *world, struct process *process)
{
    struct error error = {0};
    const struct service_options options = {.prefix = ORACLE_PREFIX,
                                            .name = process->name,
                                            .session_ms = world->options.group ? WORLD_SESSION_MS : 0,
                                            .own_last = -1,
                                            .progress_partitions = PROGRESS_PARTITIONS,
                                            .checkpoint_bytes = CHECKPOINT_BYTES,
                                            .ahead_from = world->options.ahead_from,
                                            .timeout_ms = 1000,
                                            .monotonic_ms = clock_of,
                                            .random = random_of};
    process->service = service_new(open_bus(world, process), &options, &error);
    process->alive = true;
    if (process->service == NULL && error.kind != ERROR_FATAL) {
        oracle_fail("%s cannot start: %s", process->name, error.message);
    }
}

static void end_coordinator(struct process *process, bool for_good)
{
    service_free(process->service);
    process->service = NULL;
    close_bus(process);
    process->alive = false;
    process->gone = for_good;
    process->back_ms = now() + COORDINATOR_BACK_MS;
}

/* It has done the send by which it dies: what it would do about that, nobody will see. */
static bool has_crashed(const struct world *world, const struct process *process)
{
    return !world->options.only_the_bus && process->bus.inner != NULL &&
           memory_cluster_crashed(world->cluster) == process->bus.inner;
}

static void step_coordinator(struct world *world, struct process *process)
{
    struct error error = {0};
    enum service_state state = process->service != NULL ? service_step(process->service, FOREVER_MS, &error) : SERVICE_FATAL;
    if (has_crashed(world, process)) {
        return;
    }
    switch (state) {
    case SERVICE_WORKING: return;
    case SERVICE_SUPERSEDED:
        tell(world, process, "gives way");
        end_coordinator(process, true);
        return;
    case SERVICE_FATAL:
        tell(world, process, "begins anew");
        bus_leave(process->bus.inner, 0);
        end_coordinator(process, false);
        return;
    case SERVICE_FAILED: oracle_fail("%s: %s", process->name, error.message);
    }
}

/* ---- workers, and what guards them */

static bool guard_begin(void *state, int64_t until_ms, int64_t grace_ms, struct error *error)
{
    struct process *process = state;
    (void)error;
    process->guard = (struct guard_state){.armed = true, .renewable = true, .until_ms = until_ms, .grace_ms = grace_ms};
    process->runner.stopped = false;
    return true;
}

static bool guard_renew(void *state, int64_t until_ms)
{
    struct process *process = state;
    if (!process->guard.renewable || now() >= process->guard.until_ms) {
        return false;
    }
    process->guard.until_ms = until_ms;
    return true;
}

/* The worker says that its incarnation is over: the same stroke as at the end of the lease. */
static void guard_end(void *state)
{
    struct process *process = state;
    process->guard.renewable = false;
    process->guard.until_ms = now() < process->guard.until_ms ? now() : process->guard.until_ms;
    script_runner_kill_programs(&process->runner);
}

static bool guard_is_alive(void *state)
{
    (void)state;
    return true;
}

static void begin_worker(struct world *world, struct process *process)
{
    struct error error = {0};
    struct bus *bus = process->bus.inner != NULL ? &process->bus.bus : open_bus(world, process);
    process->begun = worker_begin(process->worker, bus, &error);
    process->retry_ms = process->begun ? INT64_MAX : now() + 100;
    if (!process->begun) {
        worker_leave_bus(process->worker);
        close_bus(process);
    }
}

static void start_worker(struct world *world, struct process *process)
{
    script_runner_init(&process->runner);
    process->runner.oracle = world->oracle;
    process->runner.worker = process->name;
    process->runner.steps = world->options.steps;
    process->runner.slots = world->options.slots;
    process->runner.now_ms = now;
    process->guard_calls = (struct worker_guard){
        .begin = guard_begin, .renew = guard_renew, .end = guard_end, .is_alive = guard_is_alive, .state = process};
    const struct worker_options options = {.id = process->name,
                                           .queue = "default",
                                           .prefix = ORACLE_PREFIX,
                                           .version = "0",
                                           .host = "sim",
                                           .slots = world->options.slots,
                                           .lease_ms = WORLD_LEASE_MS,
                                           .drain_timeout_ms = 5000,
                                           .cancel_grace_ms = 1000,
                                           .task_partitions = TASK_PARTITIONS,
                                           .timeout_ms = 1000,
                                           .handlers = world->registry,
                                           .runner = &process->runner.runner,
                                           .guard = &process->guard_calls,
                                           .monotonic_ms = clock_of,
                                           .boottime_ms = clock_of,
                                           .random = random_of};
    process->worker = worker_new(&options);
    process->alive = true;
    begin_worker(world, process);
}

static void end_worker(struct process *process, bool for_good)
{
    script_runner_kill(&process->runner);
    worker_free(process->worker);
    process->worker = NULL;
    process->guard.armed = false;
    if (process->bus.inner != NULL) {
        close_bus(process);
    }
    process->alive = false;
    process->gone = for_good;
    process->back_ms = now() + WORKER_BACK_MS;
}

static void step_worker(struct world *world, struct process *process)
{
    struct error error = {0};
    if (!process->begun) {
        if (now() >= process->retry_ms) {
            begin_worker(world, process);
        }
        return;
    }
    enum worker_state state = worker_step(process->worker, FOREVER_MS, &error);
    if (has_crashed(world, process)) {
        return;
    }
    switch (state) {
    case WORKER_WORKING: return;
    case WORKER_NEW_INCARNATION:
        tell(world, process, "begins a new incarnation");
        begin_worker(world, process);
        process->bus.events++;
        return;
    case WORKER_FATAL:
        tell(world, process, "begins anew");
        worker_leave_bus(process->worker);
        close_bus(process);
        begin_worker(world, process);
        return;
    case WORKER_DRAINED:
        tell(world, process, "has drained");
        end_worker(process, true);
        return;
    }
}

/* ---- the client: knows what the oracle has read, and only writes */

/* Every second request is one that was sent before, under the same id, where `again`. */
static bool send_request(struct process *process, struct request *request, const struct world_run *run, struct message *message,
                         bool again)
{
    struct text bytes;
    struct error error = {0};
    if (!again) {
        random_of(request->id, sizeof request->id);
    }
    memcpy(message->event.request_id, request->id, sizeof request->id);
    message->event.run_id = span_of(run->id);
    text_init(&bytes, LIMIT_RECORD_BYTES);
    if (!message_encode(message, &bytes, &error)) {
        oracle_fail("a request cannot be encoded: %s", error.message);
    }
    struct bus_send send = {.topic = ORACLE_PROGRESS,
                            .partition = bus_partition_of(span_of(run->id), PROGRESS_PARTITIONS),
                            .key = span_of(run->id),
                            .value = text_span(&bytes),
                            .headers = {{"type", span_of(message_type(message->kind))}},
                            .header_count = 1,
                            .cookie = 1};
    request->sent = bus_send(&process->bus.bus, &send, &error);
    text_fini(&bytes);
    return request->sent;
}

static void send_start(struct process *process, struct request *request, const struct world_run *run)
{
    struct message message = {
        .kind = MESSAGE_START,
        .progress_partitions = PROGRESS_PARTITIONS,
        .event = {.kind = EVENT_START, .plan = run->plan, .params = S("{}"), .fold_version = SAGA_FOLD_VERSION}};
    send_request(process, request, run, &message, false);
}

static void send_cancel(struct process *process, struct request *request, const struct world_run *run)
{
    struct message message = {.kind = MESSAGE_CANCEL, .event = {.kind = EVENT_CANCEL}};
    send_request(process, request, run, &message, false);
}

static enum saga_event_kind event_of(enum message_kind kind)
{
    return (enum saga_event_kind)((int)EVENT_CANCEL + (int)kind - (int)MESSAGE_CANCEL);
}

static void send_controls(struct world *world, struct process *process)
{
    for (size_t i = 0; i < WORLD_CONTROLS_MAX && world->options.controls[i].kind != MESSAGE_NONE; i++) {
        const struct world_control *control = &world->options.controls[i];
        struct request *request = &process->controls[i];
        struct message message = {.kind = control->kind,
                                  .event = {.kind = event_of(control->kind),
                                            .reason = S("as a person wants"),
                                            .done = control->done,
                                            .step_name = span_of(control->step != NULL ? control->step : ""),
                                            .ticket = {.instance = control->instance}}};
        if (now() >= control->at_ms && !request->sent) {
            send_request(process, request, &world->options.runs[control->run], &message, false);
        } else if (request->sent && control->twice && !process->said_twice[i] && now() >= control->at_ms + 50) {
            process->said_twice[i] = true;
            send_request(process, request, &world->options.runs[control->run], &message, true);
            tally_add(TALLY_REQUESTS_REPEATED, 1);
        }
    }
}

#define CARE_EVERY_MS 2500
#define CARES_MAX 6 /* then it is undone */

static const struct saga_step *find_failed(const struct saga *saga)
{
    const struct saga_step *step = NULL;
    while ((step = saga_next_step(saga, step)) != NULL && (step->status != STEP_FAILED || step->fan != NULL)) {
    }
    return step;
}

/* Somebody looks at a paused run, and says what becomes of it. */
static void care(struct world *world, struct process *process, size_t index)
{
    const struct world_run *run = &world->options.runs[index];
    const struct saga *saga = oracle_saga(world->oracle, run->id);
    uint64_t chance;
    if (saga == NULL || saga->status != RUN_PAUSED || now() < process->care_ms[index]) {
        return;
    }
    random_of(&chance, sizeof chance);
    process->care_ms[index] = now() + CARE_EVERY_MS;
    enum message_kind kind = !saga->held      ? MESSAGE_RESUME
                             : chance % 8 < 4 ? MESSAGE_RETRY
                             : chance % 8 < 6 ? MESSAGE_RESOLVE
                                              : MESSAGE_ROLL_BACK;
    kind = process->cares[index]++ >= CARES_MAX ? MESSAGE_ROLL_BACK : kind;
    struct message message = {.kind = kind, .event = {.kind = event_of(kind), .done = chance / 8 % 4 != 0}};
    const struct saga_step *failed = find_failed(saga);
    if (kind == MESSAGE_RESOLVE && failed != NULL) {
        message.event.step_name = saga->plan->steps[failed->index].name;
        message.event.ticket.instance = failed->instance;
    } else if (kind == MESSAGE_RESOLVE) {
        message.kind = MESSAGE_RESUME;
        message.event.kind = EVENT_RESUME;
    }
    struct request request;
    send_request(process, &request, run, &message, false);
}

static void end_client(struct process *process)
{
    close_bus(process);
    process->alive = false;
    process->back_ms = now() + CLIENT_BACK_MS;
    memset(process->starts, 0, sizeof process->starts); /* it remembers nothing */
    memset(process->cancels, 0, sizeof process->cancels);
    memset(process->controls, 0, sizeof process->controls);
    memset(process->said_twice, 0, sizeof process->said_twice);
}

static void step_client(struct world *world, struct process *process)
{
    struct bus_event event;
    bus_poll(&process->bus.bus, FOREVER_MS, &event);
    if (event.kind == BUS_FATAL) {
        tell(world, process, "gives up");
        end_client(process);
        return;
    }
    for (size_t i = 0; i < WORLD_RUNS_MAX && world->options.runs[i].id != NULL; i++) {
        const struct world_run *run = &world->options.runs[i];
        if (!process->starts[i].sent && now() >= run->start_ms) {
            send_start(process, &process->starts[i], run);
        }
        if (run->cancel_ms > 0 && process->starts[i].sent && !process->cancels[i].sent && now() >= run->cancel_ms) {
            send_cancel(process, &process->cancels[i], run);
        }
        if (world->options.cares) {
            care(world, process, i);
        }
    }
    send_controls(world, process);
}

static int64_t client_next_ms(const struct world *world, const struct process *process)
{
    int64_t next_ms = INT64_MAX;
    for (size_t i = 0; i < WORLD_RUNS_MAX && world->options.runs[i].id != NULL; i++) {
        const struct world_run *run = &world->options.runs[i];
        int64_t due_ms = !process->starts[i].sent                          ? run->start_ms
                         : run->cancel_ms > 0 && !process->cancels[i].sent ? run->cancel_ms
                                                                           : INT64_MAX;
        const struct saga *saga = world->options.cares ? oracle_saga(world->oracle, run->id) : NULL;
        if (saga != NULL && saga->status == RUN_PAUSED) {
            int64_t care_ms = process->care_ms[i] > now() ? process->care_ms[i] : now() + 1;
            due_ms = care_ms < due_ms ? care_ms : due_ms;
        }
        next_ms = due_ms < next_ms ? due_ms : next_ms;
    }
    for (size_t i = 0; i < WORLD_CONTROLS_MAX && world->options.controls[i].kind != MESSAGE_NONE; i++) {
        const struct world_control *control = &world->options.controls[i];
        int64_t due_ms = !process->controls[i].sent                  ? control->at_ms
                         : control->twice && !process->said_twice[i] ? control->at_ms + 50
                                                                     : INT64_MAX;
        next_ms = due_ms < next_ms ? due_ms : next_ms;
    }
    return next_ms;
}

/* ---- processes */

static void start_process(struct world *world, struct process *process)
{
    tell(world, process, "starts");
    switch (process->kind) {
    case COORDINATOR: start_coordinator(world, process); break;
    case WORKER: start_worker(world, process); break;
    case CLIENT:
        open_bus(world, process);
        process->alive = true;
        break;
    }
}

static void kill_process(struct world *world, struct process *process)
{
    tell(world, process, "is killed");
    process->thaw_ms = 0;
    switch (process->kind) {
    case COORDINATOR: end_coordinator(process, false); break;
    case WORKER: end_worker(process, false); break;
    case CLIENT: end_client(process); break;
    }
}

static struct process *add_process(struct world *world, enum process_kind kind, const char *name, uint32_t number)
{
    struct process *process = &world->processes[world->process_count++];
    *process = (struct process){.kind = kind, .back_ms = now()};
    snprintf(process->name, sizeof process->name, "%s%u", name, number);
    return process;
}

/* What happens to a process without its doing: a crash, the end of its lease, a thaw, a new start. */
static bool tend(struct world *world, struct process *process)
{
    if (process->thaw_ms != 0 && now() >= process->thaw_ms) {
        tell(world, process, "thaws");
        if (process->kind == COORDINATOR && oracle_rolled_back_since(world->oracle, process->froze_ms)) {
            tally_add(TALLY_WOKEN_AFTER_ROLLBACK, 1);
        }
        process->thaw_ms = 0;
        if (process->bus.inner != NULL) {
            memory_bus_set_frozen(process->bus.inner, false);
        }
        return true;
    }
    if (process->alive && has_crashed(world, process)) {
        kill_process(world, process);
        return true;
    }
    if (!process->alive && !process->gone && now() >= process->back_ms) {
        start_process(world, process);
        return true;
    }
    if (process->alive && process->kind == WORKER && process->guard.armed && now() >= process->guard.until_ms &&
        !world->options.unguarded) {
        bool functions = script_runner_kill_programs(&process->runner);
        process->guard.renewable = false;
        if (functions && now() >= process->guard.until_ms + process->guard.grace_ms) {
            kill_process(world, process);
            return true;
        }
    }
    return false;
}

static bool step(struct world *world, struct process *process)
{
    bool acted = tend(world, process);
    if (process->kind == WORKER && process->alive) {
        script_runner_tick(&process->runner, process->thaw_ms != 0);
    }
    if (!process->alive || process->thaw_ms != 0) {
        return acted;
    }
    uint64_t before = process->bus.events + process->bus.sends;
    switch (process->kind) {
    case COORDINATOR: step_coordinator(world, process); break;
    case WORKER: step_worker(world, process); break;
    case CLIENT: step_client(world, process); break;
    }
    return acted || has_crashed(world, process) || process->bus.events + process->bus.sends != before;
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t process_next_ms(const struct world *world, const struct process *process)
{
    if (!process->alive) {
        return process->gone ? INT64_MAX : process->back_ms;
    }
    int64_t next_ms = process->thaw_ms != 0 ? process->thaw_ms : process->bus.wake_ms;
    if (process->kind == WORKER) {
        next_ms = process->thaw_ms != 0 || process->begun ? next_ms : process->retry_ms;
        next_ms = earlier(next_ms, script_runner_next_ms(&process->runner));
        int64_t until_ms = process->guard.until_ms;
        next_ms = process->guard.armed && until_ms > now() ? earlier(next_ms, until_ms) : next_ms;
        until_ms += process->guard.grace_ms;
        next_ms = process->guard.armed && until_ms > now() ? earlier(next_ms, until_ms) : next_ms;
    }
    if (process->kind == CLIENT) {
        next_ms = client_next_ms(world, process);
    }
    return next_ms;
}

/* ---- comparing coordinators with the oracle */

static void expect_same_fold(struct world *world, struct owned *owned)
{
    struct runs *runs = oracle_runs(world->oracle, owned->partition);
    if (owned->epoch < 0 || owned->epoch != runs_epoch(runs)) {
        return;
    }
    for (struct run *run = runs_next(owned->runs, NULL); run != NULL; run = runs_next(owned->runs, run)) {
        struct run *other = runs_find(runs, run->saga.run_id);
        bool is_forgotten = run->saga.status == RUN_NONE; /* it ended long ago; who asks for it will be told, in some milliseconds */
        if (other == NULL || run->saga.retired || is_forgotten) {
            continue;
        }
        char *ours = fixture_dump(&run->saga), *theirs = fixture_dump(&other->saga);
        if (strcmp(ours, theirs) != 0) {
            oracle_fail("the coordinator's state is not that of the log:\n%s%s", ours, theirs);
        }
        free(ours);
        free(theirs);
    }
}

static bool has_delays(const struct world *world)
{
    return world->options.faults.read_delay_ms > 0 || world->options.faults.send_delay_ms > 0;
}

/* Two are awake and have read their claims, and neither has read yet that the other has claimed since. */
static bool two_own(const struct world *world)
{
    for (int32_t p = 0; p < PROGRESS_PARTITIONS; p++) {
        uint32_t owners = 0;
        for (uint32_t i = 0; i < world->process_count; i++) {
            const struct process *process = &world->processes[i];
            owners += process->alive && process->thaw_ms == 0 && process->service != NULL && process->service->owned[p].epoch >= 0;
        }
        if (owners > 1) {
            return true;
        }
    }
    return false;
}

static void compare_folds(struct world *world)
{
    for (uint32_t i = 0; i < world->process_count; i++) {
        struct process *process = &world->processes[i];
        if (process->alive && process->thaw_ms == 0 && process->service != NULL && !has_delays(world)) {
            for (struct owned *owned = owned_next(process->service, NULL); owned != NULL; owned = owned_next(process->service, owned)) {
                expect_same_fold(world, owned);
            }
        }
    }
}

/* ---- time */

static void settle(struct world *world)
{
    bool active = true;
    for (int turns = 0; active; turns++) {
        if (turns > INSTANT_TURNS_MAX) {
            oracle_fail("something goes round and round at %" PRId64, world_now_ms(world));
        }
        active = false;
        for (uint32_t i = 0; i < world->process_count; i++) {
            active = step(world, &world->processes[i]) || active;
            oracle_read(world->oracle);
        }
    }
    tally_add(TALLY_TWO_OWNERS, two_own(world));
    if (++world->instants % 16 == 0) {
        compare_folds(world);
    }
}

static int64_t next_ms(struct world *world)
{
    int64_t next = memory_cluster_next_ms(world->cluster);
    for (uint32_t i = 0; i < world->process_count; i++) {
        next = earlier(next, process_next_ms(world, &world->processes[i]));
    }
    return next > now() ? next : now() + 1;
}

static const struct process *the_client(const struct world *world)
{
    return &world->processes[0];
}

static bool run_is_done(struct world *world, size_t index)
{
    const struct process *client = the_client(world);
    const struct saga *saga = oracle_saga(world->oracle, world->options.runs[index].id);
    bool answered = client->starts[index].sent && oracle_verdict(world->oracle, client->starts[index].id) != VERDICT_NONE;
    if (world->options.runs[index].cancel_ms > 0) {
        answered =
            answered && client->cancels[index].sent && oracle_verdict(world->oracle, client->cancels[index].id) != VERDICT_NONE;
    }
    for (size_t i = 0; i < WORLD_CONTROLS_MAX && world->options.controls[i].kind != MESSAGE_NONE; i++) {
        if (world->options.controls[i].run == index) {
            answered =
                answered && client->controls[i].sent && oracle_verdict(world->oracle, client->controls[i].id) != VERDICT_NONE;
        }
    }
    return answered && saga != NULL && saga_is_settled(saga);
}

static bool all_done(struct world *world)
{
    for (size_t i = 0; i < WORLD_RUNS_MAX && world->options.runs[i].id != NULL; i++) {
        if (!run_is_done(world, i)) {
            return false;
        }
    }
    return true;
}

static void say_what_hangs(struct world *world)
{
    for (size_t i = 0; i < WORLD_RUNS_MAX && world->options.runs[i].id != NULL; i++) {
        const struct saga *saga = oracle_saga(world->oracle, world->options.runs[i].id);
        char *shown = saga != NULL ? fixture_show(saga) : NULL;
        fprintf(stderr, "%s: %s\n", world->options.runs[i].id, shown != NULL ? shown : "not started");
        free(shown);
    }
}

static void drain_when_due(struct world *world)
{
    if (world->options.drain_ms == 0 || world->drained || now() < world->options.drain_ms) {
        return;
    }
    for (uint32_t i = 0; i < world->process_count; i++) {
        struct process *process = &world->processes[i];
        if (process->kind == WORKER && process->alive && process->begun) {
            tell(world, process, "is asked to leave");
            worker_drain(process->worker);
            process->bus.wake_ms = now();
            world->drained = true;
            add_process(world, WORKER, "w", world->worker_count++);
            return;
        }
    }
}

/* The claim of one who died with it on its way may come last: then all have given way, and a person starts one again. */
static void start_one_where_none_is_left(struct world *world)
{
    struct process *last = NULL;
    for (uint32_t i = 0; i < world->process_count; i++) {
        struct process *process = &world->processes[i];
        if (process->kind == COORDINATOR && !process->gone) {
            return;
        }
        last = process->kind == COORDINATOR ? process : last;
    }
    last->gone = false;
    last->back_ms = now() + PERSON_MS;
}

static void go_on(struct world *world, int64_t until_ms)
{
    int64_t next = earlier(next_ms(world), until_ms);
    if (world->options.drain_ms > now()) {
        next = earlier(next, world->options.drain_ms);
    }
    memory_cluster_set_time(world->cluster, next);
    drain_when_due(world);
}

bool world_advance_to(struct world *world, int64_t until_ms)
{
    the_world = world;
    settle(world);
    start_one_where_none_is_left(world);
    if (all_done(world)) {
        return false;
    }
    if (now() > RUNS_END_WITHIN_MS) {
        say_what_hangs(world);
        oracle_fail("the runs have not ended after %d s", RUNS_END_WITHIN_MS / 1000);
    }
    go_on(world, until_ms);
    return true;
}

bool world_advance(struct world *world)
{
    return world_advance_to(world, INT64_MAX - 1);
}

void world_advance_until(struct world *world, int64_t until_ms)
{
    while (now() < until_ms && world_advance_to(world, until_ms)) {
    }
}

/* ---- making one */

static enum backstep_outcome never_called(struct backstep_context *context, struct backstep_result *result)
{
    (void)context;
    return backstep_skip(result);
}

static struct backstep_registry *make_registry(void)
{
    static const char *const names[] = {"init", "validate", "upload", "cleanup", "dataset", "train", "upload_model", "work"};
    static struct backstep_step steps[COUNT(names)];
    struct backstep_registry *registry = backstep_registry_new();
    for (size_t i = 0; i < COUNT(names); i++) {
        steps[i].name = names[i];
        steps[i].execute = never_called;
        backstep_register(registry, &steps[i]);
    }
    return registry;
}

struct world *world_new(const struct world_options *options)
{
    static const char *const queues[] = {"default", NULL};
    struct world *world = calloc(1, sizeof *world);
    the_world = world;
    chance_state = options->seed * 2654435761u + 88172645463325252u;
    log_set_level(options->trace ? LOG_INFO : LOG_NONE);
    world->options = *options;
    world->cluster = memory_cluster_new(options->seed + 1);
    memory_cluster_set_faults(world->cluster, &options->faults);
    memory_cluster_create_topic(world->cluster, ORACLE_PROGRESS, PROGRESS_PARTITIONS);
    memory_cluster_create_topic(world->cluster, ORACLE_WORKERS, 1);
    memory_cluster_create_topic(world->cluster, ORACLE_LETTERS, 1);
    memory_cluster_create_topic(world->cluster, TASKS_TOPIC, TASK_PARTITIONS);
    world->oracle = oracle_new(&(struct oracle_options){.cluster = world->cluster,
                                                        .progress_partitions = PROGRESS_PARTITIONS,
                                                        .task_partitions = TASK_PARTITIONS,
                                                        .queues = queues,
                                                        .trace = options->trace});
    world->registry = make_registry();
    add_process(world, CLIENT, "client", 0);
    add_process(world, COORDINATOR, "c", world->coordinator_count++);
    if (options->group) {
        add_process(world, COORDINATOR, "c", world->coordinator_count++);
    }
    while (world->worker_count < options->workers) {
        add_process(world, WORKER, "w", world->worker_count++);
    }
    return world;
}

static void count_faults(const struct world *world)
{
    struct memory_counts counts = memory_cluster_counts(world->cluster);
    tally_add(TALLY_DELAYED, counts.delayed);
    tally_add(TALLY_LOST, counts.failed);
    tally_add(TALLY_FAILED_IN_A_BATCH, counts.failed_in_a_batch);
    tally_add(TALLY_ORPHANS, counts.orphans);
}

void world_free(struct world *world)
{
    the_world = world;
    count_faults(world);
    for (uint32_t i = 0; i < world->process_count; i++) {
        if (world->processes[i].alive) {
            kill_process(world, &world->processes[i]);
        }
    }
    oracle_free(world->oracle);
    memory_cluster_free(world->cluster);
    backstep_registry_free(world->registry);
    free(world);
}

/* ---- faults */

static struct process *nth(struct world *world, enum process_kind kind, uint32_t index)
{
    for (uint32_t i = 0; i < world->process_count; i++) {
        if (world->processes[i].kind == kind && index-- == 0) {
            return &world->processes[i];
        }
    }
    return NULL;
}

void world_kill_worker(struct world *world, uint32_t index)
{
    struct process *process = nth(world, WORKER, index);
    if (process != NULL && process->alive) {
        kill_process(world, process);
    }
}

static struct process *owner(struct world *world)
{
    struct process *last = NULL;
    for (uint32_t i = 0; i < world->process_count; i++) {
        struct process *process = &world->processes[i];
        last = process->kind == COORDINATOR && process->alive && process->thaw_ms == 0 ? process : last;
    }
    return last;
}

void world_kill_coordinator(struct world *world)
{
    struct process *process = owner(world);
    if (process != NULL) {
        kill_process(world, process);
    }
}

static void freeze(struct world *world, struct process *process, int64_t for_ms)
{
    if (process != NULL && process->alive && process->thaw_ms == 0) {
        tell(world, process, "freezes");
        process->froze_ms = now();
        if (process->kind == WORKER && script_runner_runs_a_program(&process->runner)) {
            tally_add(TALLY_FROZEN_WITH_A_CHILD, 1);
        }
        process->thaw_ms = now() + for_ms;
        if (process->bus.inner != NULL) {
            memory_bus_set_frozen(process->bus.inner, true);
        }
    }
}

void world_freeze_worker(struct world *world, uint32_t index, int64_t for_ms)
{
    freeze(world, nth(world, WORKER, index), for_ms);
}

void world_freeze_coordinator(struct world *world, int64_t for_ms)
{
    freeze(world, owner(world), for_ms);
}

void world_stop_coordinator(struct world *world)
{
    struct process *process = owner(world);
    if (process != NULL) {
        tell(world, process, "is stopped");
        bus_flush(process->bus.inner, 0);
        bus_leave(process->bus.inner, 0);
        end_coordinator(process, false);
    }
}

void world_move(struct world *world, uint64_t random)
{
    if (world->options.group) {
        for (uint64_t moves = 1 + random % 4; moves > 0; moves--) {
            random /= 4;
            memory_cluster_move(world->cluster, (int32_t)(random % PROGRESS_PARTITIONS), random / PROGRESS_PARTITIONS);
            tally_add(TALLY_PARTITIONS_MOVED, 1);
        }
        return;
    }
    for (uint32_t i = 0; i < world->process_count; i++) {
        struct process *process = &world->processes[i];
        if (process->kind == COORDINATOR && process->gone) {
            process->gone = false;
            process->back_ms = now();
            return;
        }
    }
    world_add_coordinator(world);
}

void world_add_worker(struct world *world)
{
    if (world->worker_count < WORLD_WORKERS_MAX) {
        add_process(world, WORKER, "w", world->worker_count++);
    }
}

uint64_t world_events(const struct world *world)
{
    uint64_t events = world->events;
    for (uint32_t i = 0; i < world->process_count; i++) {
        events += world->processes[i].bus.inner != NULL ? world->processes[i].bus.events + world->processes[i].bus.sends : 0;
    }
    return events;
}

void world_add_coordinator(struct world *world)
{
    if (world->coordinator_count < WORLD_COORDINATORS_MAX) {
        add_process(world, COORDINATOR, "c", world->coordinator_count++);
    }
}

void world_duplicate(struct world *world, uint64_t random)
{
    const char *topic = random % 4 == 0 ? ORACLE_WORKERS : ORACLE_PROGRESS;
    int32_t partition = random % 4 == 0 ? 0 : (int32_t)(random / 4 % PROGRESS_PARTITIONS);
    int64_t end = memory_cluster_end(world->cluster, topic, partition);
    struct memory_record record;
    int64_t back = (int64_t)(random / 64 % 100);
    if (back >= end || !memory_cluster_record(world->cluster, topic, partition, end - 1 - back, &record) ||
        span_equal(record.type, (struct span)S("OwnerClaim")) || span_equal(record.type, (struct span)S("RunProgressed")) ||
        record.type.size == 0) {
        return;
    }
    memory_cluster_append(world->cluster, topic, partition, record.key, record.value);
}

void world_garbage(struct world *world, uint64_t random)
{
    static const char *const topics[] = {ORACLE_PROGRESS, ORACLE_WORKERS, TASKS_TOPIC};
    static const char truncated[] = {0x0a, 0x55, 0x0a, 0x10};
    const char *topic = topics[random % 3];
    int32_t count = topic == topics[0] ? PROGRESS_PARTITIONS : 1;
    struct span value = random / 4 % 2 == 0 ? (struct span)S("\xff\xfe garbage") : (struct span){truncated, sizeof truncated};
    struct garbage garbage = {.topic = topic, .partition = (int32_t)(random / 8 % (uint64_t)count)};
    garbage.offset = memory_cluster_end(world->cluster, topic, garbage.partition);
    memory_cluster_append(world->cluster, topic, garbage.partition, (struct span)S("who"), value);
    if (topic != topics[2]) { /* which partitions of tasks a worker reads, its name decides */
        assert(world->garbage_count < GARBAGE_MAX);
        world->garbage[world->garbage_count++] = garbage;
    }
}

/* ---- the end */

static void expect_run(struct world *world, const struct world_run *run, bool faults)
{
    const struct saga *saga = oracle_saga(world->oracle, run->id);
    enum run_status status = (enum run_status)saga->status;
    oracle_expect_end(world->oracle, run->id);
    if (run->may_end_bits != 0) {
        if ((run->may_end_bits >> status & 1) == 0) {
            oracle_fail("%s has ended as %s: %.*s", run->id, run_status_name(status), SPAN_ARGS(saga_trouble(saga)->error));
        }
        return;
    }
    if (status != run->ends && !(faults && run->may_end != RUN_NONE && status == run->may_end)) {
        oracle_fail("%s has ended as %s, not as %s: %.*s", run->id, run_status_name(status), run_status_name(run->ends),
                    SPAN_ARGS(saga_trouble(saga)->error));
    }
    if (status == run->ends && run->error != NULL && !span_equal(saga_trouble(saga)->error, span_of(run->error))) {
        oracle_fail("%s: '%.*s', not '%s'", run->id, SPAN_ARGS(saga_trouble(saga)->error), run->error);
    }
    for (uint32_t i = 0; i < saga->plan->step_count && !faults; i++) {
        uint32_t executions = oracle_executions(world->oracle, run->id, i);
        if (executions != saga->steps[i]->attempts && saga->steps[i]->direction == DIRECTION_EXECUTE &&
            executions > 1 + saga->steps[i]->attempts) {
            oracle_fail("step %u of %s was executed %u times without a fault", i, run->id, executions);
        }
    }
}

static bool says(const struct memory_record *record, const char *name, const char *value)
{
    for (size_t i = 0; i < record->header_count; i++) {
        if (strcmp(record->headers[i].name, name) == 0) {
            return span_equal(record->headers[i].value, span_of(value));
        }
    }
    return false;
}

static bool is_copied(const struct world *world, const struct garbage *garbage)
{
    char partition[16], offset[24];
    snprintf(partition, sizeof partition, "%d", (int)garbage->partition);
    snprintf(offset, sizeof offset, "%lld", (long long)garbage->offset);
    struct memory_record record;
    for (int64_t i = 0; i < memory_cluster_end(world->cluster, ORACLE_LETTERS, 0); i++) {
        memory_cluster_record(world->cluster, ORACLE_LETTERS, 0, i, &record);
        if (says(&record, "__dlq.errors.topic", garbage->topic) && says(&record, "__dlq.errors.partition", partition) &&
            says(&record, "__dlq.errors.offset", offset)) {
            return true;
        }
    }
    return false;
}

/* A copy that was sent and did not arrive is not sent again, if what its owner said after it did arrive: that is told in its log only. */
static void expect_letters(const struct world *world)
{
    uint64_t missing = 0;
    for (size_t i = 0; i < world->garbage_count; i++) {
        missing += !is_copied(world, &world->garbage[i]);
    }
    if (missing > memory_cluster_lost(world->cluster, ORACLE_LETTERS)) {
        oracle_fail("of %zu records that nobody can read %llu are not among the dead letters", world->garbage_count,
                    (unsigned long long)missing);
    }
}

static struct oracle_checkpoints all_checkpoints;

struct oracle_checkpoints world_all_checkpoints(void)
{
    return all_checkpoints;
}

void world_expect_end(struct world *world, bool faults)
{
    /* What is still under way must change nothing. */
    for (int64_t until_ms = now() + LINGER_MS; now() < until_ms;) {
        go_on(world, until_ms);
        settle(world);
    }
    compare_folds(world);
    oracle_expect_checkpoints(world->oracle);
    struct oracle_checkpoints seen = oracle_checkpoints(world->oracle);
    all_checkpoints.snapshots += seen.snapshots;
    all_checkpoints.ids += seen.ids;
    all_checkpoints.commits += seen.commits;
    for (size_t i = 0; i < WORLD_RUNS_MAX && world->options.runs[i].id != NULL; i++) {
        expect_run(world, &world->options.runs[i], faults);
    }
    expect_letters(world);
}
