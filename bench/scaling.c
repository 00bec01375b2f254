/* SPDX-License-Identifier: Apache-2.0 */
/* What many coordinators and many workers mean for each other: the dispatch tables that coordinators use, in virtual time, and the sizes of the
 * records as they are encoded. Nothing in it depends on the machine. The tables of docs/SCALING.md, and as the last line one JSON object.
 *
 * Each coordinator has its own tables and knows of the others' tasks only what a worker refuses. There is always half as much work again as there
 * are slots. WORKERS stand for all of them: what one worker meets depends on the coordinators that send to it and on the work there is for it. */
#include "common/limits.h"
#include "common/messages.h"
#include "coordinator/dispatch/dispatch.h"
#include "worker/duty.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ALL_WORKERS 10000
#define PARTITIONS 256
#define LEASE_MS 30000
#define SLOTS 4
#define WORKERS 64
#define TASKS (WORKERS * SLOTS * 3 / 2)
#define HOP_US 1000
#define ENDED_TASKS 10000 /* of one scenario, after a tenth of it */
#define STEPS_A_SECOND 20000 /* that one coordinator carries: docs/PERFORMANCE.md, 50 µs of the processor a step */
#define RECORDS_A_SECOND 100000 /* that one coordinator writes or reads in a handshake, in about */

static const uint32_t coordinator_counts[] = {1, 10, 100};
static const uint32_t step_times_ms[] = {1, 10, 100, 1000};
static const uint32_t task_partitions[] = {8, 64, 256, 1024};
#define COUNT(array) (sizeof(array) / sizeof *(array))

/* ---- the simulation */

enum happening { ARRIVES, ENDS, TOLD_DONE, TOLD_REFUSED, HEARTBEAT };

struct given_task {
    struct dispatch_item item; /* first */
    uint32_t coordinator, partition;
    int64_t offered_us;
};

struct event {
    int64_t at_us;
    uint64_t order; /* of equals, the one that was planned first */
    enum happening happening;
    uint32_t worker, coordinator;
    struct given_task *task;
};

struct model_worker {
    struct incarnation incarnation;
    struct given_task *queue[LIMIT_WINDOW];
    uint32_t queued, running, first;
};

struct model {
    uint32_t coordinators, step_us, window;
    struct dispatch **dispatches;
    struct model_worker *workers;
    struct given_task *tasks;
    struct event *heap;
    size_t heap_size, heap_room;
    uint64_t order, random;
    int64_t now_us, from_us, waited_us, busy_us;
    uint64_t ended, refused, sent;
};

static void *allocate(size_t size)
{
    void *memory = calloc(1, size);
    if (memory == NULL) {
        abort();
    }
    return memory;
}

static uint32_t below(struct model *model, uint32_t most)
{
    model->random = model->random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((model->random >> 33) % most);
}

static bool is_sooner(const struct event *a, const struct event *b)
{
    return a->at_us != b->at_us ? a->at_us < b->at_us : a->order < b->order;
}

static void plan_event(struct model *model, struct event event)
{
    if (model->heap_size == model->heap_room) {
        model->heap_room = model->heap_room > 0 ? model->heap_room * 2 : 1024;
        model->heap = realloc(model->heap, model->heap_room * sizeof *model->heap);
        if (model->heap == NULL) {
            abort();
        }
    }
    event.order = model->order++;
    size_t at = model->heap_size++;
    for (; at > 0 && is_sooner(&event, &model->heap[(at - 1) / 2]); at = (at - 1) / 2) {
        model->heap[at] = model->heap[(at - 1) / 2];
    }
    model->heap[at] = event;
}

static struct event take_event(struct model *model)
{
    struct event first = model->heap[0], last = model->heap[--model->heap_size];
    size_t at = 0;
    for (size_t child; (child = 2 * at + 1) < model->heap_size; at = child) {
        if (child + 1 < model->heap_size && is_sooner(&model->heap[child + 1], &model->heap[child])) {
            child++;
        }
        if (!is_sooner(&model->heap[child], &last)) {
            break;
        }
        model->heap[at] = model->heap[child];
    }
    model->heap[at] = last;
    return first;
}

static struct presence presence_of(const struct model *model, uint32_t worker)
{
    static const struct span handlers[] = {{"work", 4}};
    return (struct presence){.worker = span_of("worker"),
                             .incarnation = model->workers[worker].incarnation,
                             .queue = span_of("default"),
                             .handlers = handlers,
                             .handler_count = 1,
                             .slots = SLOTS,
                             .window = model->window,
                             .lease_ms = LEASE_MS};
}

static uint32_t owned_of(uint32_t coordinators, uint32_t coordinator)
{
    return PARTITIONS / coordinators + (coordinator < PARTITIONS % coordinators);
}

static uint32_t first_of(uint32_t coordinators, uint32_t coordinator)
{
    uint32_t rest = PARTITIONS % coordinators;
    return PARTITIONS / coordinators * coordinator + (coordinator < rest ? coordinator : rest);
}

static void hear(struct model *model, uint32_t coordinator, uint32_t worker, bool hello)
{
    const struct presence presence = presence_of(model, worker);
    bool is_new;
    struct dispatch *dispatch = model->dispatches[coordinator];
    struct dispatch_worker *known = dispatch_hear(dispatch, &presence, hello, model->now_us / 1000, &is_new);
    for (uint32_t i = 0; is_new && i < owned_of(model->coordinators, coordinator); i++) {
        dispatch_set_holding(dispatch, known, first_of(model->coordinators, coordinator) + i);
    }
}

static uint32_t worker_number(const struct dispatch_worker *worker)
{
    uint32_t number;
    memcpy(&number, dispatch_presence(worker)->incarnation.bytes, sizeof number);
    return number;
}

static void place_all(struct model *model, uint32_t coordinator)
{
    struct dispatch_item *item;
    while ((item = dispatch_next_placed(model->dispatches[coordinator])) != NULL) {
        model->sent++;
        plan_event(model, (struct event){.at_us = model->now_us + HOP_US,
                                         .happening = ARRIVES,
                                         .worker = worker_number(item->worker),
                                         .coordinator = coordinator,
                                         .task = (struct given_task *)item});
    }
}

static void offer(struct model *model, struct given_task *task)
{
    dispatch_offer(model->dispatches[task->coordinator], &task->item, task->partition, span_of("default"), span_of("work"));
    place_all(model, task->coordinator);
}

/* A new task of a run of somebody's. */
static void begin(struct model *model, struct given_task *task)
{
    task->coordinator = below(model, model->coordinators);
    task->item = (struct dispatch_item){.owner = task};
    task->partition =
        first_of(model->coordinators, task->coordinator) + below(model, owned_of(model->coordinators, task->coordinator));
    task->offered_us = model->now_us;
    offer(model, task);
}

static void run_next(struct model *model, uint32_t number)
{
    struct model_worker *worker = &model->workers[number];
    while (worker->running < SLOTS && worker->queued > 0) {
        struct given_task *task = worker->queue[worker->first];
        worker->first = (worker->first + 1) % LIMIT_WINDOW;
        worker->queued--;
        worker->running++;
        model->waited_us += model->now_us - task->offered_us;
        int64_t taken_us = model->step_us / 2 + below(model, model->step_us);
        model->busy_us += taken_us;
        plan_event(model, (struct event){.at_us = model->now_us + taken_us, .happening = ENDS, .worker = number, .task = task});
    }
}

static void arrive(struct model *model, const struct event *event)
{
    struct model_worker *worker = &model->workers[event->worker];
    if (worker->queued + worker->running >= model->window) {
        plan_event(model,
                   (struct event){
                       .at_us = model->now_us + HOP_US, .happening = TOLD_REFUSED, .worker = event->worker, .task = event->task});
        return;
    }
    worker->queue[(worker->first + worker->queued++) % LIMIT_WINDOW] = event->task;
    run_next(model, event->worker);
}

static void refuse(struct model *model, struct given_task *task)
{
    struct dispatch *dispatch = model->dispatches[task->coordinator];
    struct dispatch_worker *worker = task->item.worker;
    model->refused++;
    dispatch_end(dispatch, &task->item);
    dispatch_refused(dispatch, worker, REFUSED_BUSY, span_of("default"), span_of("work"));
    offer(model, task);
}

static void finish(struct model *model, struct given_task *task)
{
    uint32_t coordinator = task->coordinator;
    dispatch_end(model->dispatches[coordinator], &task->item);
    model->ended++;
    begin(model, task);
    place_all(model, coordinator);
}

static void beat(struct model *model, uint32_t worker)
{
    for (uint32_t i = 0; i < model->coordinators; i++) {
        hear(model, i, worker, false);
        place_all(model, i);
    }
    plan_event(model, (struct event){.at_us = model->now_us + LEASE_MS / 4 * 1000, .happening = HEARTBEAT, .worker = worker});
}

static void happen(struct model *model, const struct event *event)
{
    model->now_us = event->at_us;
    switch (event->happening) {
    case ARRIVES: arrive(model, event); break;
    case ENDS:
        model->workers[event->worker].running--;
        run_next(model, event->worker);
        plan_event(model, (struct event){.at_us = model->now_us + HOP_US, .happening = TOLD_DONE, .task = event->task});
        break;
    case TOLD_DONE: finish(model, event->task); break;
    case TOLD_REFUSED: refuse(model, event->task); break;
    case HEARTBEAT: beat(model, event->worker); break;
    }
}

static void set_up(struct model *model, uint32_t coordinators, uint32_t step_ms)
{
    *model = (struct model){.coordinators = coordinators, .step_us = step_ms * 1000, .random = 1};
    model->window = duty_window(SLOTS, model->step_us);
    model->dispatches = allocate(coordinators * sizeof(struct dispatch *));
    model->workers = allocate(WORKERS * sizeof *model->workers);
    model->tasks = allocate(TASKS * sizeof *model->tasks);
    for (uint32_t i = 0; i < coordinators; i++) {
        model->dispatches[i] = dispatch_new(owned_of(coordinators, i), PARTITIONS);
    }
    for (uint32_t i = 0; i < WORKERS; i++) {
        memcpy(model->workers[i].incarnation.bytes, &i, sizeof i);
        for (uint32_t j = 0; j < coordinators; j++) {
            hear(model, j, i, true);
        }
        plan_event(model, (struct event){.at_us = (int64_t)LEASE_MS / 4 * 1000 * i / WORKERS, .happening = HEARTBEAT, .worker = i});
    }
    for (uint32_t i = 0; i < TASKS; i++) {
        begin(model, &model->tasks[i]);
    }
}

static void tear_down(struct model *model)
{
    for (uint32_t i = 0; i < model->coordinators; i++) {
        dispatch_free(model->dispatches[i]);
    }
    free(model->dispatches);
    free(model->workers);
    free(model->tasks);
    free(model->heap);
}

struct result {
    uint32_t window;
    uint64_t busy_permille, refused_a_hundred, waited_us;
};

static struct result play(uint32_t coordinators, uint32_t step_ms)
{
    struct model model;
    set_up(&model, coordinators, step_ms);
    while (model.ended < ENDED_TASKS) {
        if (model.from_us == 0 && model.ended >= ENDED_TASKS / 10) {
            model.from_us = model.now_us;
            model.busy_us = model.waited_us = 0;
            model.refused = 0;
        }
        struct event event = take_event(&model);
        happen(&model, &event);
    }
    uint64_t counted = ENDED_TASKS - ENDED_TASKS / 10;
    uint64_t slots_us = (uint64_t)(model.now_us - model.from_us) * WORKERS * SLOTS;
    struct result outcome = {.window = model.window,
                             .busy_permille = (uint64_t)model.busy_us * 1000 / slots_us,
                             .refused_a_hundred = model.refused * 100 / counted,
                             .waited_us = (uint64_t)model.waited_us / counted};
    outcome.busy_permille = outcome.busy_permille > 1000 ? 1000 : outcome.busy_permille;
    tear_down(&model);
    return outcome;
}

/* ---- traffic */

static uint64_t size_of(const struct message *message)
{
    struct text bytes;
    struct error error;
    text_init(&bytes, LIMIT_RECORD_BYTES);
    if (!message_encode(message, &bytes, &error)) {
        fprintf(stderr, "bench_scaling: %s\n", error.message);
        exit(1);
    }
    uint64_t size = bytes.size;
    text_fini(&bytes);
    return size;
}

static uint64_t heartbeat_bytes(void)
{
    static const struct span handlers[] = {{"download", 8}, {"resize", 6}, {"upload", 6}, {"notify", 6}};
    struct message message = {.kind = MESSAGE_HEARTBEAT,
                              .presence = {.worker = span_of("media-7c9d8f6b5-x2x9k"),
                                           .queue = span_of("default"),
                                           .partition = 100,
                                           .handlers = handlers,
                                           .handler_count = COUNT(handlers),
                                           .slots = SLOTS,
                                           .window = 64,
                                           .lease_ms = LEASE_MS,
                                           .sequence = 1000,
                                           .version = span_of("1.0.0"),
                                           .host = span_of("node-17"),
                                           .process_id = 1}};
    return size_of(&message);
}

static uint64_t welcome_bytes(void)
{
    struct message message = {
        .kind = MESSAGE_WELCOME, .epoch = 1000000, .progress_partition = 100, .coordinator = span_of("node-3-1/0123456789abcdef")};
    return size_of(&message);
}

static uint64_t task_bytes(void)
{
    struct message message = {.kind = MESSAGE_TASK,
                              .epoch = 1000000,
                              .progress_partition = 100,
                              .task = {.run_id = span_of("pictures-1k7qj4m9x2"),
                                       .ticket = {.step = 1, .number = 1},
                                       .pipeline = span_of("pictures"),
                                       .step = span_of("resize"),
                                       .handler = span_of("resize"),
                                       .attempt = 1,
                                       .input = span_of("{\"width\":800}"),
                                       .params = span_of("{\"source\":\"s3://bucket/key\"}")}};
    message.event.run_id = message.task.run_id;
    return size_of(&message);
}

struct traffic {
    uint64_t steps_a_second, heartbeats_a_second, heartbeat_read_bytes; /* all coordinators together, a second */
    uint64_t handshakes, handshake_s, takeover, takeover_ms; /* records; of all partitions, and of one coordinator's */
};

static struct traffic traffic_of(uint32_t coordinators)
{
    uint64_t partitions = owned_of(coordinators, 0), beats = ALL_WORKERS * UINT64_C(4000) / LEASE_MS;
    struct traffic traffic = {.steps_a_second = (uint64_t)coordinators * STEPS_A_SECOND,
                              .heartbeats_a_second = beats,
                              .heartbeat_read_bytes = beats * heartbeat_bytes() * coordinators,
                              .handshakes = UINT64_C(2) * ALL_WORKERS * PARTITIONS,
                              .takeover = UINT64_C(2) * ALL_WORKERS * partitions};
    traffic.handshake_s = traffic.takeover / RECORDS_A_SECOND; /* each does its own, at once */
    traffic.takeover_ms = traffic.takeover * 1000 / ((uint64_t)RECORDS_A_SECOND * (coordinators > 1 ? coordinators - 1 : 1));
    return traffic;
}

/* ---- told */

/* Of each number of coordinators, each time a step takes. */
static struct result results[COUNT(coordinator_counts)][COUNT(step_times_ms)];

static void print_json(void)
{
    printf("{\"workers\": %d, \"partitions\": %d, \"lease_ms\": %d, \"slots\": %d, \"heartbeat_bytes\": %" PRIu64
           ", \"welcome_bytes\": %" PRIu64 ", \"task_bytes\": %" PRIu64 ", \"traffic\": [",
           ALL_WORKERS, PARTITIONS, LEASE_MS, SLOTS, heartbeat_bytes(), welcome_bytes(), task_bytes());
    for (size_t i = 0; i < COUNT(coordinator_counts); i++) {
        struct traffic traffic = traffic_of(coordinator_counts[i]);
        printf("%s{\"coordinators\": %u, \"steps_a_second\": %" PRIu64 ", \"heartbeats_a_second\": %" PRIu64
               ", \"heartbeat_read_bytes\": %" PRIu64 ", \"handshake_records\": %" PRIu64 ", \"handshake_s\": %" PRIu64
               ", \"takeover_records\": %" PRIu64 ", \"takeover_ms\": %" PRIu64 "}",
               i > 0 ? ", " : "", coordinator_counts[i], traffic.steps_a_second, traffic.heartbeats_a_second,
               traffic.heartbeat_read_bytes, traffic.handshakes, traffic.handshake_s, traffic.takeover, traffic.takeover_ms);
    }
    printf("], \"dispatch\": [");
    for (size_t i = 0; i < COUNT(coordinator_counts) * COUNT(step_times_ms); i++) {
        uint32_t coordinators = coordinator_counts[i / COUNT(step_times_ms)], step_ms = step_times_ms[i % COUNT(step_times_ms)];
        struct result outcome = results[i / COUNT(step_times_ms)][i % COUNT(step_times_ms)];
        printf("%s{\"coordinators\": %u, \"step_ms\": %u, \"window\": %u, \"busy_permille\": %" PRIu64
               ", \"refused_a_hundred\": %" PRIu64 ", \"waited_us\": %" PRIu64 "}",
               i > 0 ? ", " : "", coordinators, step_ms, outcome.window, outcome.busy_permille, outcome.refused_a_hundred,
               outcome.waited_us);
    }
    printf("]}\n");
}

static void print_traffic_table(void)
{
    printf("| coordinators | steps/s they carry | heartbeats/s | read of them, MB/s | all start: handshake records | s | one dies: "
           "handshake records | ms |\n"
           "| --- | --- | --- | --- | --- | --- | --- | --- |\n");
    for (size_t i = 0; i < COUNT(coordinator_counts); i++) {
        struct traffic traffic = traffic_of(coordinator_counts[i]);
        printf("| %u | %" PRIu64 " | %" PRIu64 " | %" PRIu64 ".%" PRIu64 " | %" PRIu64 " | %" PRIu64 " | %" PRIu64 " | %" PRIu64
               " |\n",
               coordinator_counts[i], traffic.steps_a_second, traffic.heartbeats_a_second, traffic.heartbeat_read_bytes / 1000000,
               traffic.heartbeat_read_bytes / 100000 % 10, traffic.handshakes, traffic.handshake_s, traffic.takeover,
               traffic.takeover_ms);
    }
}

static void print_dispatch_table(void)
{
    printf("| coordinators | a step takes | window of a worker | a coordinator's share | slots at work | refused of 100 sent | "
           "from ready to begun |\n"
           "| --- | --- | --- | --- | --- | --- | --- |\n");
    for (size_t i = 0; i < COUNT(coordinator_counts) * COUNT(step_times_ms); i++) {
        uint32_t coordinators = coordinator_counts[i / COUNT(step_times_ms)], step_ms = step_times_ms[i % COUNT(step_times_ms)];
        struct result outcome = results[i / COUNT(step_times_ms)][i % COUNT(step_times_ms)];
        uint32_t share = outcome.window * owned_of(coordinators, 0) / PARTITIONS;
        printf("| %u | %u ms | %u | %u | %" PRIu64 " %% | %" PRIu64 " | %" PRIu64 ".%" PRIu64 " ms |\n", coordinators, step_ms,
               outcome.window, share > 0 ? share : 1, outcome.busy_permille / 10, outcome.refused_a_hundred,
               outcome.waited_us / 1000, outcome.waited_us / 100 % 10);
    }
}

static void print_sharing_table(void)
{
    printf("| task partitions | workers that share one | MB/s out of the brokers, a thousand tasks/s | records a worker reads in a "
           "handshake |\n"
           "| --- | --- | --- | --- |\n");
    for (size_t i = 0; i < COUNT(task_partitions); i++) {
        uint64_t sharing = (ALL_WORKERS + task_partitions[i] - 1) / task_partitions[i];
        uint64_t bytes = 1000 * task_bytes() * sharing;
        printf("| %u | %" PRIu64 " | %" PRIu64 ".%" PRIu64 " | %" PRIu64 " |\n", task_partitions[i], sharing, bytes / 1000000,
               bytes / 100000 % 10, sharing * PARTITIONS);
    }
}

int main(void)
{
    for (size_t i = 0; i < COUNT(coordinator_counts); i++) {
        for (size_t j = 0; j < COUNT(step_times_ms); j++) {
            results[i][j] = play(coordinator_counts[i], step_times_ms[j]);
        }
    }
    print_traffic_table();
    printf("\n");
    print_sharing_table();
    printf("\n");
    print_dispatch_table();
    print_json();
    return 0;
}
