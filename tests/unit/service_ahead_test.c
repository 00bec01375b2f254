/* SPDX-License-Identifier: Apache-2.0 */
/* What an owner sends ahead, and what becomes of it when its run stops, its worker is over, or another owner comes: on a memory
 * bus, with workers played by hand. */
#include "common/bus_memory.h"
#include "common/limits.h"
#include "common/messages.h"
#include "coordinator/service/service.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PROGRESS "p.progress"
#define WORKERS "p.workers"
#define TASKS "p.tasks.default"
#define RUN "run-1"
#define COUNT(array) (sizeof(array) / sizeof *(array))
#define S(literal) {literal, sizeof(literal) - 1}
#define BUSY 201 /* more than BUSY_RECORDS in jobs.c */

static const uint32_t needs[] = {0, 1, 2, 3, 4, 5, 6, 7, 8}, none[1];

#define STEP(what, ...) {.name = S(what), .handler = S("h"), .queue = S("default"), .retry = PLAN_RETRY_DEFAULT, __VA_ARGS__}
#define BEHIND(index) .needs = &needs[index], .needs_count = 1 /* needs the step of that index */

static const struct plan_step steps[] = {STEP("a", .needs = none), STEP("b", BEHIND(0)), STEP("c", BEHIND(1)), STEP("d", BEHIND(2)),
                                         STEP("e", BEHIND(3)),     STEP("f", BEHIND(4)), STEP("g", BEHIND(5)), STEP("h", BEHIND(6)),
                                         STEP("i", BEHIND(7)),     STEP("j", BEHIND(8))};
static const struct plan_step beside_steps[] = {STEP("a", .needs = none), STEP("b", BEHIND(0)), STEP("x", .needs = none)};
static const struct plan_step other_steps[] = {STEP("a", .needs = none), STEP("b", BEHIND(0)),
                                               {.name = S("c"), .handler = S("other"), .queue = S("default"),
                                                .retry = PLAN_RETRY_DEFAULT, BEHIND(1)}};
static const struct plan three = {.name = S("p"), .steps = steps, .step_count = 3},
                         ten = {.name = S("p"), .steps = steps, .step_count = 10},
                         beside = {.name = S("p"), .steps = beside_steps, .step_count = 3},
                         other = {.name = S("p"), .steps = other_steps, .step_count = 3};

struct place {
    struct memory_cluster *cluster;
    struct bus *bus;
    struct service *service;
    uint32_t ahead_from;
    int64_t epoch; /* of the last Welcome */
    int64_t tasks_read, log_read; /* what next_task() and said() have passed */
    unsigned char requests;
};

static int64_t now_ms(void *clock)
{
    return memory_cluster_time(clock);
}

static void no_chance(void *bytes, size_t size)
{
    static unsigned char last;
    memset(bytes, ++last, size);
}

static void step(struct place *place)
{
    struct error error = {0};
    for (int turns = 0; turns < 4; turns++) { /* what it says comes back to it */
        assert_int_equal(service_step(place->service, 0, &error), SERVICE_WORKING);
    }
}

static void pass(struct place *place, int64_t ms)
{
    memory_cluster_set_time(place->cluster, memory_cluster_time(place->cluster) + ms);
    step(place);
}

static void open_service(struct place *place)
{
    struct error error = {0};
    place->bus = bus_memory_open(place->cluster);
    const struct service_options options = {.prefix = "p", .name = "c", .own_last = -1, .progress_partitions = 1, .timeout_ms = 100,
                                            .ahead_from = place->ahead_from, .monotonic_ms = now_ms, .clock = place->cluster,
                                            .random = no_chance};
    place->service = service_new(place->bus, &options, &error);
    assert_non_null(place->service);
    for (int turns = 0; !service_is_ready(place->service); turns++) {
        assert_true(turns < 100);
        pass(place, 1);
    }
}

static void close_service(struct place *place)
{
    service_free(place->service);
    bus_close(place->bus);
}

static struct place new_place(uint32_t ahead_from)
{
    struct place place = {.cluster = memory_cluster_new(1), .ahead_from = ahead_from};
    memory_cluster_create_topic(place.cluster, PROGRESS, 1);
    memory_cluster_create_topic(place.cluster, TASKS, 1);
    open_service(&place);
    return place;
}

static void end(struct place *place)
{
    close_service(place);
    memory_cluster_free(place->cluster);
}

static void append_to(struct place *place, const char *topic, struct span key, const struct message *message)
{
    struct error error;
    struct text bytes;
    text_init(&bytes, LIMIT_RECORD_BYTES);
    assert_true(message_encode(message, &bytes, &error));
    memory_cluster_append(place->cluster, topic, 0, key, text_span(&bytes));
    text_fini(&bytes);
}

static void append(struct place *place, const struct message *message)
{
    append_to(place, PROGRESS, span_of(RUN), message);
}

/* ---- a worker, played by hand */

/* MESSAGE_NONE: there is none. The caller owes message_free(). */
static struct message next_task(struct place *place)
{
    struct memory_record record;
    struct error error;
    struct message message = {0};
    if (place->tasks_read < memory_cluster_end(place->cluster, TASKS, 0)) {
        assert_true(memory_cluster_record(place->cluster, TASKS, 0, place->tasks_read++, &record));
        assert_true(message_decode(&message, TOPIC_TASKS, record.key, record.value, &error));
    }
    return message;
}

static const struct span handlers[] = {S("h")};

static struct presence worker_of(unsigned char id)
{
    return (struct presence){.worker = S("w"), .incarnation = {{id}}, .queue = S("default"), .handlers = handlers, .handler_count = 1,
                             .slots = 1, .window = 8, .lease_ms = 600000, .sequence = 1, .takes_ahead = true};
}

static void expect_welcome(struct place *place)
{
    struct message message = next_task(place);
    assert_int_equal(message.kind, MESSAGE_WELCOME);
    place->epoch = message.epoch;
    message_free(&message);
}

static void answer(struct place *place, unsigned char id, const struct held_ticket *held, size_t count)
{
    struct message message = {.kind = MESSAGE_HOLDING, .epoch = place->epoch, .incarnation = {{id}}, .held = held, .held_count = count};
    message.worker = span_of("w");
    append(place, &message);
    step(place);
}

static void come(struct place *place, const struct presence *presence)
{
    append_to(place, WORKERS, presence->worker, &(struct message){.kind = MESSAGE_HELLO, .presence = *presence});
    step(place);
    expect_welcome(place);
    answer(place, presence->incarnation.bytes[0], NULL, 0);
}

static void join(struct place *place, unsigned char id)
{
    struct presence presence = worker_of(id);
    come(place, &presence);
}

static void leave(struct place *place, unsigned char id)
{
    struct message message = {.kind = MESSAGE_BYE, .presence = worker_of(id)};
    message.incarnation = message.presence.incarnation;
    message.worker = message.presence.worker;
    append_to(place, WORKERS, message.presence.worker, &message);
    step(place);
}

static struct message done_of(uint32_t index, uint32_t number, enum outcome outcome)
{
    return (struct message){.kind = MESSAGE_DONE,
                            .event = {.run_id = span_of(RUN), .worker = span_of("w"), .outcome = outcome,
                                      .ticket = {.step = index, .number = number}}};
}

static void ends(struct place *place, uint32_t index, uint32_t number, enum outcome outcome)
{
    struct message message = done_of(index, number, outcome);
    append(place, &message);
    step(place);
}

/* ---- and a client */

static void request(struct place *place, enum message_kind kind)
{
    struct message message = {.kind = kind, .event.run_id = span_of(RUN)};
    message.event.request_id[0] = ++place->requests;
    append(place, &message);
}

static void ask(struct place *place, enum message_kind kind)
{
    request(place, kind);
    step(place);
}

static void start_with(struct place *place, const struct plan *plan, struct span params)
{
    struct message message = {.kind = MESSAGE_START, .progress_partitions = 1,
                              .event = {.run_id = span_of(RUN), .plan = plan, .params = params,
                                        .fold_version = plan_fold_version_ahead(plan)}};
    message.event.request_id[0] = ++place->requests;
    append(place, &message);
    step(place);
}

static void start(struct place *place, const struct plan *plan)
{
    start_with(place, plan, span_of("{}"));
}

/* ---- what the owner has said */

/* That task; `after`: of the step before it. `pending`: so many of the results before it are not known yet. */
static void expect_task(struct place *place, uint32_t index, uint32_t number, uint32_t after, bool more_behind, size_t pending)
{
    struct message message = next_task(place);
    assert_int_equal(message.kind, MESSAGE_TASK);
    const struct task *task = &message.task;
    assert_int_equal(task->ticket.step, index);
    assert_int_equal(task->ticket.number, number);
    assert_int_equal(task->after.number, after);
    assert_true(after == 0 || task->after.step == index - 1);
    assert_int_equal(task->more_behind, more_behind);
    size_t found = 0;
    for (size_t i = 0; i < task->result_count; i++) {
        found += task->results[i].pending;
        assert_int_equal(task->results[i].pending, i + pending >= task->result_count); /* the newest ones */
    }
    assert_int_equal(found, pending);
    message_free(&message);
}

static void expect_three(struct place *place, uint32_t number)
{
    expect_task(place, 0, number, 0, true, 0);
    expect_task(place, 1, number, number, true, 1);
    expect_task(place, 2, number, number, false, 2);
}

static void expect_undo(struct place *place, uint32_t index)
{
    struct message message = next_task(place);
    assert_int_equal(message.kind, MESSAGE_TASK);
    assert_int_equal(message.task.ticket.direction, DIRECTION_ROLLBACK);
    assert_int_equal(message.task.ticket.step, index);
    assert_false(message.task.more_behind);
    message_free(&message);
}

static void expect_cancel(struct place *place, uint32_t index, enum cancel_reason reason)
{
    struct message message = next_task(place);
    assert_int_equal(message.kind, MESSAGE_CANCEL_TASK);
    assert_int_equal(message.event.ticket.step, index);
    assert_int_equal(message.cancel_reason, reason);
    message_free(&message);
}

static void expect_nothing_sent(struct place *place)
{
    struct message message = next_task(place);
    assert_int_equal(message.kind, MESSAGE_NONE);
}

static bool is_end(enum message_kind kind)
{
    return kind == MESSAGE_LOST || kind == MESSAGE_WITHDRAWN || kind == MESSAGE_RUN_FINISHED;
}

/* The next end that the owner has put to the log; MESSAGE_NONE: there is none. */
static struct message said(struct place *place)
{
    struct memory_record record;
    struct error error;
    struct message message = {0};
    while (place->log_read < memory_cluster_end(place->cluster, PROGRESS, 0)) {
        assert_true(memory_cluster_record(place->cluster, PROGRESS, 0, place->log_read++, &record));
        assert_true(message_decode(&message, TOPIC_PROGRESS, record.key, record.value, &error));
        if (is_end(message.kind)) {
            return message;
        }
        message_free(&message);
        message = (struct message){0};
    }
    return message;
}

static void expect_said(struct place *place, enum message_kind kind, uint32_t index, uint32_t number)
{
    struct message message = said(place);
    assert_string_equal(message_type(message.kind), message_type(kind));
    assert_int_equal(message.event.ticket.step, index);
    assert_int_equal(message.event.ticket.number, number);
    message_free(&message);
}

static void expect_finished(struct place *place, enum run_status status)
{
    pass(place, 100); /* it may wait for others */
    struct message message = said(place);
    assert_int_equal(message.kind, MESSAGE_RUN_FINISHED);
    assert_int_equal(message.event.status, status);
    message_free(&message);
}

static void expect_nothing_said(struct place *place)
{
    struct message message = said(place);
    assert_int_equal(message.kind, MESSAGE_NONE);
}

/* A worker is there, and has the three tasks of a run. */
static struct place place_of_three(void)
{
    struct place place = new_place(SERVICE_AHEAD_ALWAYS);
    join(&place, 1);
    start(&place, &three);
    expect_three(&place, 1);
    expect_nothing_sent(&place);
    return place;
}

/* ---- what goes ahead */

static void the_tasks_of_a_line_go_out_together_and_each_once(void **state)
{
    (void)state;
    struct place place = place_of_three();
    for (uint32_t i = 0; i < 3; i++) {
        ends(&place, i, 1, OUTCOME_OK);
        expect_nothing_sent(&place);
    }
    expect_finished(&place, RUN_SUCCEEDED);
    expect_nothing_said(&place);
    end(&place);
}

static void seven_go_behind_one_and_the_next_when_those_are_done(void **state)
{
    (void)state;
    struct place place = new_place(SERVICE_AHEAD_AUTO);
    join(&place, 1);
    start(&place, &ten);
    for (uint32_t i = 0; i < 8; i++) {
        expect_task(&place, i, 1, i > 0, i < 7, i);
    }
    expect_nothing_sent(&place);
    for (uint32_t i = 0; i < 7; i++) {
        ends(&place, i, 1, OUTCOME_OK);
        expect_nothing_sent(&place);
    }
    ends(&place, 7, 1, OUTCOME_OK);
    expect_task(&place, 8, 1, 0, true, 0);
    expect_task(&place, 9, 1, 1, false, 1);
    expect_nothing_sent(&place);
    end(&place);
}

static void behind_a_failure_they_go_out_anew(void **state)
{
    (void)state;
    struct place place = place_of_three();
    ends(&place, 0, 1, OUTCOME_CANCELLED_NOT_STARTED);
    expect_three(&place, 2);
    ends(&place, 1, 2, OUTCOME_CANCELLED_NOT_STARTED); /* what went ahead has come back, and goes out when it is its turn */
    expect_nothing_sent(&place);
    ends(&place, 0, 2, OUTCOME_OK);
    expect_task(&place, 1, 3, 0, true, 0);
    expect_task(&place, 2, 3, 3, false, 1);
    expect_nothing_sent(&place);
    expect_nothing_said(&place);
    end(&place);
}

static void a_run_for_which_it_was_in_vain_is_sent_no_more(void **state)
{
    (void)state;
    struct place place = new_place(SERVICE_AHEAD_AUTO);
    join(&place, 1);
    start(&place, &three);
    expect_three(&place, 1);
    ends(&place, 0, 1, OUTCOME_CANCELLED_NOT_STARTED);
    expect_task(&place, 0, 2, 0, false, 0);
    ends(&place, 0, 2, OUTCOME_OK);
    expect_task(&place, 1, 2, 0, false, 0);
    expect_nothing_sent(&place);
    end(&place);
}

static void behind_a_skip_nothing_was_in_vain(void **state)
{
    (void)state;
    struct place place = new_place(SERVICE_AHEAD_AUTO);
    join(&place, 1);
    start(&place, &ten);
    for (uint32_t i = 0; i < 8; i++) {
        expect_task(&place, i, 1, i > 0, i < 7, i);
    }
    for (uint32_t i = 0; i < 8; i++) {
        expect_nothing_sent(&place);
        ends(&place, i, 1, i == 3 ? OUTCOME_SKIPPED : OUTCOME_OK);
    }
    expect_task(&place, 8, 1, 0, true, 0);
    expect_task(&place, 9, 1, 1, false, 1);
    end(&place);
}

/* Else it would use its worker's credit twice. */
static void what_went_ahead_and_came_back_is_a_ticket_as_any_other(void **state)
{
    (void)state;
    struct place place = new_place(SERVICE_AHEAD_ALWAYS);
    struct presence presence = worker_of(1);
    presence.window = 1;
    come(&place, &presence);
    start(&place, &ten);
    for (uint32_t i = 0; i < 8; i++) {
        expect_task(&place, i, 1, i > 0, i < 7, i);
    }
    struct message back = done_of(1, 1, OUTCOME_CANCELLED_NOT_STARTED), first = done_of(0, 1, OUTCOME_OK);
    append(&place, &back); /* one look brings both */
    append(&place, &first);
    step(&place);
    for (uint32_t i = 1; i < 9; i++) {
        expect_task(&place, i, 2, i > 1 ? 2 : 0, i < 8, i - 1);
    }
    for (uint32_t i = 1; i < 9; i++) {
        expect_nothing_sent(&place);
        ends(&place, i, 2, OUTCOME_OK);
    }
    expect_task(&place, 9, 1, 0, false, 0);
    end(&place);
}

/* Only the first task of `plan` goes out: nothing is ahead. */
static void expect_alone(struct place *place, const struct plan *plan)
{
    start(place, plan);
    expect_task(place, 0, 1, 0, false, 0);
    expect_nothing_sent(place);
    end(place);
}

static void nothing_goes_ahead_where_it_is_switched_off(void **state)
{
    (void)state;
    struct place place = new_place(0);
    join(&place, 1);
    expect_alone(&place, &three);
}

static void nor_to_whom_it_gains_nothing(void **state)
{
    (void)state;
    struct place place = new_place(SERVICE_AHEAD_AUTO + 1);
    join(&place, 1);
    expect_alone(&place, &three);
}

static void nor_to_who_takes_none(void **state)
{
    (void)state;
    struct place place = new_place(SERVICE_AHEAD_AUTO);
    struct presence presence = worker_of(1);
    presence.takes_ahead = false;
    come(&place, &presence);
    expect_alone(&place, &three);
}

static void the_row_ends_at_what_the_worker_does_not_serve(void **state)
{
    (void)state;
    struct place place = new_place(SERVICE_AHEAD_AUTO);
    join(&place, 1);
    start(&place, &other);
    expect_task(&place, 0, 1, 0, true, 0);
    expect_task(&place, 1, 1, 1, false, 1);
    expect_nothing_sent(&place);
    end(&place);
}

static void nothing_goes_ahead_while_another_step_is_under_way(void **state)
{
    (void)state;
    struct place place = new_place(SERVICE_AHEAD_AUTO);
    join(&place, 1);
    start(&place, &beside);
    for (int i = 0; i < 2; i++) { /* the two that are ready, in whatever order */
        struct message message = next_task(&place);
        assert_int_equal(message.kind, MESSAGE_TASK);
        assert_int_not_equal(message.task.ticket.step, 1);
        assert_false(message.task.more_behind);
        message_free(&message);
    }
    expect_nothing_sent(&place);
    end(&place);
}

static void nor_of_a_run_that_is_half_full(void **state)
{
    (void)state;
    struct place place = new_place(SERVICE_AHEAD_AUTO);
    join(&place, 1);
    char *params = malloc(LIMIT_CONTEXT_BYTES);
    memset(params, ' ', LIMIT_CONTEXT_BYTES);
    memcpy(params, "{}", 2);
    start_with(&place, &three, (struct span){params, LIMIT_CONTEXT_BYTES / 2 + 1});
    free(params);
    expect_task(&place, 0, 1, 0, false, 0);
    expect_nothing_sent(&place);
    end(&place);
}

/* The next look brings many requests about a run that does not exist. */
static void keep_busy(struct place *place)
{
    for (int i = 0; i < BUSY; i++) {
        struct message message = {.kind = MESSAGE_CANCEL, .event.run_id = S("nobody")};
        message.event.request_id[0] = (unsigned char)(1 + i);
        append_to(place, PROGRESS, span_of("nobody"), &message);
    }
}

static void nor_where_there_is_much_to_do(void **state)
{
    (void)state;
    struct place place = new_place(SERVICE_AHEAD_AUTO);
    join(&place, 1);
    keep_busy(&place);
    expect_alone(&place, &three);
}

static void who_refuses_what_went_ahead_is_sent_none_of_it_again(void **state)
{
    (void)state;
    struct place place = place_of_three();
    struct message refused = {.kind = MESSAGE_REFUSED, .refused = REFUSED_UNKNOWN,
                              .event = {.run_id = S(RUN), .worker = S("w"), .ticket = {.step = 1, .number = 1}}};
    append(&place, &refused);
    step(&place);
    ends(&place, 0, 1, OUTCOME_OK);
    expect_nothing_sent(&place); /* nobody else is there */
    join(&place, 2);
    expect_task(&place, 1, 2, 0, true, 0);
    expect_task(&place, 2, 2, 2, false, 1);
    expect_nothing_sent(&place);
    end(&place);
}

/* ---- a run that does not go on */

static void a_pause_holds_back_what_went_ahead(void **state)
{
    (void)state;
    struct place place = place_of_three();
    ask(&place, MESSAGE_PAUSE);
    for (uint32_t i = 1; i < 3; i++) {
        expect_cancel(&place, i, CANCEL_AHEAD);
    }
    expect_nothing_sent(&place); /* what was sent itself may end */
    ends(&place, 1, 1, OUTCOME_CANCELLED_NOT_STARTED);
    ends(&place, 0, 1, OUTCOME_OK);
    expect_nothing_sent(&place);
    expect_said(&place, MESSAGE_WITHDRAWN, 1, 2); /* the fold cannot know that it was not sent */
    ask(&place, MESSAGE_RESUME);
    expect_task(&place, 1, 3, 0, true, 0);
    expect_task(&place, 2, 3, 3, false, 1);
    expect_nothing_sent(&place);
    end(&place);
}

static void what_had_begun_of_a_paused_run_goes_on(void **state)
{
    (void)state;
    struct place place = place_of_three();
    ask(&place, MESSAGE_PAUSE);
    expect_cancel(&place, 1, CANCEL_AHEAD);
    expect_cancel(&place, 2, CANCEL_AHEAD);
    ends(&place, 0, 1, OUTCOME_OK); /* the second had begun when the word came */
    ends(&place, 1, 1, OUTCOME_OK);
    expect_nothing_said(&place);
    expect_nothing_sent(&place);
    ask(&place, MESSAGE_RESUME);
    expect_nothing_sent(&place); /* the third is where it was sent */
    ends(&place, 2, 1, OUTCOME_OK);
    expect_finished(&place, RUN_SUCCEEDED);
    end(&place);
}

static void a_cancel_holds_back_what_went_ahead_and_waits_for_what_has_begun(void **state)
{
    (void)state;
    struct place place = place_of_three();
    ask(&place, MESSAGE_CANCEL);
    expect_cancel(&place, 0, CANCEL_REQUESTED);
    expect_cancel(&place, 1, CANCEL_AHEAD);
    expect_cancel(&place, 2, CANCEL_AHEAD);
    ends(&place, 0, 1, OUTCOME_OK);
    expect_cancel(&place, 1, CANCEL_REQUESTED);
    expect_nothing_sent(&place); /* no rollback yet */
    ends(&place, 1, 1, OUTCOME_CANCELLED_NOT_STARTED);
    expect_undo(&place, 0);
    expect_nothing_sent(&place);
    expect_nothing_said(&place);
    end(&place);
}

static void what_ended_with_the_one_before_it_is_not_held_back(void **state)
{
    (void)state;
    struct place place = place_of_three();
    ends(&place, 0, 1, OUTCOME_FAILED);
    expect_undo(&place, 0);
    expect_nothing_sent(&place);
    expect_nothing_said(&place);
    end(&place);
}

static void what_was_not_sent_ahead_is_taken_back_at_once(void **state)
{
    (void)state;
    struct place place = new_place(0);
    join(&place, 1);
    start(&place, &three);
    expect_task(&place, 0, 1, 0, false, 0);
    ask(&place, MESSAGE_CANCEL);
    expect_cancel(&place, 0, CANCEL_REQUESTED);
    ends(&place, 0, 1, OUTCOME_OK);
    expect_said(&place, MESSAGE_WITHDRAWN, 1, 1);
    expect_undo(&place, 0);
    end(&place);
}

/* ---- a worker that is over */

static void of_a_worker_that_is_over_only_what_was_open_is_lost(void **state)
{
    (void)state;
    struct place place = place_of_three();
    leave(&place, 1);
    expect_said(&place, MESSAGE_LOST, 0, 1);
    expect_nothing_said(&place);
    join(&place, 2);
    expect_three(&place, 2);
    end(&place);
}

static void what_opens_after_its_worker_was_over_is_lost_then(void **state)
{
    (void)state;
    struct place place = place_of_three();
    memory_cluster_set_faults(place.cluster, &(struct memory_faults){.send_delay_ms = 1000000}); /* the Lost is on its way */
    leave(&place, 1);
    memory_cluster_set_faults(place.cluster, &(struct memory_faults){0});
    expect_nothing_said(&place);
    ends(&place, 0, 1, OUTCOME_OK); /* and this stands before it */
    pass(&place, 1000001);
    expect_said(&place, MESSAGE_LOST, 0, 1); /* it comes too late to mean anything */
    expect_said(&place, MESSAGE_LOST, 1, 1);
    expect_nothing_said(&place);
    join(&place, 2);
    expect_task(&place, 1, 2, 0, true, 0);
    expect_task(&place, 2, 2, 2, false, 1);
    expect_nothing_sent(&place);
    end(&place);
}

/* ---- another owner */

static const struct held_ticket first_alone = {S(RUN), {0, 0, DIRECTION_EXECUTE, 1}, false},
                                first_of_more = {S(RUN), {0, 0, DIRECTION_EXECUTE, 1}, true};
static const struct held_ticket all_three[] = {{S(RUN), {0, 0, DIRECTION_EXECUTE, 1}, true},
                                               {S(RUN), {1, 0, DIRECTION_EXECUTE, 1}, true},
                                               {S(RUN), {2, 0, DIRECTION_EXECUTE, 1}, false}};

/* The run goes on under another owner, and he knows nothing of what the one before him has sent. */
static struct place taken_over(void)
{
    struct place place = place_of_three();
    close_service(&place);
    open_service(&place);
    expect_welcome(&place);
    expect_nothing_sent(&place);
    return place;
}

static void what_a_holding_names_is_not_sent_again(void **state)
{
    (void)state;
    struct place place = taken_over();
    answer(&place, 1, all_three, 3);
    for (uint32_t i = 0; i < 3; i++) {
        ends(&place, i, 1, OUTCOME_OK);
    }
    expect_nothing_sent(&place);
    expect_finished(&place, RUN_SUCCEEDED);
    end(&place);
}

static void what_a_holding_names_is_held_back_too(void **state)
{
    (void)state;
    struct place place = taken_over();
    answer(&place, 1, all_three, 3);
    ask(&place, MESSAGE_PAUSE);
    expect_cancel(&place, 1, CANCEL_AHEAD);
    expect_cancel(&place, 2, CANCEL_AHEAD);
    expect_nothing_sent(&place);
    end(&place);
}

static void what_was_to_come_behind_it_and_is_not_named_is_withdrawn_first(void **state)
{
    (void)state;
    struct place place = taken_over();
    answer(&place, 1, &first_of_more, 1);
    ends(&place, 0, 1, OUTCOME_OK);
    expect_said(&place, MESSAGE_WITHDRAWN, 1, 1); /* the owner before may have sent it */
    expect_task(&place, 1, 2, 0, true, 0);
    expect_task(&place, 2, 2, 2, false, 1);
    expect_nothing_sent(&place);
    end(&place);
}

static void what_was_to_come_behind_an_earlier_ticket_is_nothing_to_the_next(void **state)
{
    (void)state;
    struct place place = taken_over();
    answer(&place, 1, &first_of_more, 1);
    keep_busy(&place);
    ends(&place, 0, 1, OUTCOME_CANCELLED_NOT_STARTED);
    expect_task(&place, 0, 2, 0, false, 0);
    ends(&place, 0, 2, OUTCOME_OK);
    expect_nothing_said(&place);
    expect_task(&place, 1, 2, 0, true, 0);
    end(&place);
}

static void so_is_what_is_behind_the_last_that_is_named(void **state)
{
    (void)state;
    struct place place = taken_over();
    answer(&place, 1, all_three, 2);
    ends(&place, 0, 1, OUTCOME_OK);
    expect_nothing_sent(&place);
    expect_nothing_said(&place);
    ends(&place, 1, 1, OUTCOME_OK);
    expect_said(&place, MESSAGE_WITHDRAWN, 2, 1);
    expect_task(&place, 2, 2, 0, false, 0);
    end(&place);
}

static void where_nothing_was_to_come_it_is_simply_sent(void **state)
{
    (void)state;
    struct place place = taken_over();
    answer(&place, 1, &first_alone, 1);
    ends(&place, 0, 1, OUTCOME_OK);
    expect_nothing_said(&place);
    expect_task(&place, 1, 1, 0, true, 0);
    expect_task(&place, 2, 1, 1, false, 1);
    end(&place);
}

static void what_opens_before_the_answer_waits_for_it(void **state)
{
    (void)state;
    struct place place = taken_over();
    ends(&place, 0, 1, OUTCOME_OK);
    expect_nothing_sent(&place);
    expect_nothing_said(&place);
    answer(&place, 1, all_three + 1, 2);
    ends(&place, 1, 1, OUTCOME_OK);
    ends(&place, 2, 1, OUTCOME_OK);
    expect_nothing_sent(&place);
    expect_finished(&place, RUN_SUCCEEDED);
    end(&place);
}

static void several_that_open_before_the_answer_wait_for_it(void **state)
{
    (void)state;
    struct place place = taken_over();
    struct message first = done_of(0, 1, OUTCOME_OK), second = done_of(1, 1, OUTCOME_OK);
    append(&place, &first); /* one look brings both */
    append(&place, &second);
    step(&place);
    expect_nothing_sent(&place);
    expect_nothing_said(&place);
    answer(&place, 1, all_three + 2, 1);
    ends(&place, 2, 1, OUTCOME_OK);
    expect_nothing_sent(&place);
    expect_finished(&place, RUN_SUCCEEDED);
    end(&place);
}

static void what_opens_in_the_same_look_as_the_answer_is_adopted(void **state)
{
    (void)state;
    struct place place = taken_over();
    struct message first = done_of(0, 1, OUTCOME_OK);
    append(&place, &first);
    answer(&place, 1, all_three + 1, 2);
    expect_nothing_said(&place);
    ends(&place, 1, 1, OUTCOME_OK);
    ends(&place, 2, 1, OUTCOME_OK);
    expect_nothing_sent(&place);
    expect_finished(&place, RUN_SUCCEEDED);
    end(&place);
}

static void what_nobody_holds_is_lost(void **state)
{
    (void)state;
    struct place place = taken_over();
    ends(&place, 0, 1, OUTCOME_OK);
    answer(&place, 1, NULL, 0);
    expect_said(&place, MESSAGE_LOST, 1, 1);
    expect_nothing_said(&place);
    expect_task(&place, 1, 2, 0, true, 0);
    expect_task(&place, 2, 2, 2, false, 1);
    expect_nothing_sent(&place);
    end(&place);
}

static void a_ticket_that_is_none_is_not_adopted(void **state)
{
    (void)state;
    struct place place = taken_over();
    static const struct held_ticket held[] = {{S(RUN), {0, 0, DIRECTION_EXECUTE, 1}, false}, {S(RUN), {1, 0, DIRECTION_EXECUTE, 2}, false}};
    answer(&place, 1, held, COUNT(held));
    ends(&place, 0, 1, OUTCOME_OK);
    expect_task(&place, 1, 1, 0, true, 0);
    end(&place);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_tasks_of_a_line_go_out_together_and_each_once),
        cmocka_unit_test(seven_go_behind_one_and_the_next_when_those_are_done),
        cmocka_unit_test(behind_a_failure_they_go_out_anew),
        cmocka_unit_test(a_run_for_which_it_was_in_vain_is_sent_no_more),
        cmocka_unit_test(behind_a_skip_nothing_was_in_vain),
        cmocka_unit_test(what_went_ahead_and_came_back_is_a_ticket_as_any_other),
        cmocka_unit_test(nothing_goes_ahead_where_it_is_switched_off),
        cmocka_unit_test(nor_to_whom_it_gains_nothing),
        cmocka_unit_test(nor_to_who_takes_none),
        cmocka_unit_test(the_row_ends_at_what_the_worker_does_not_serve),
        cmocka_unit_test(nothing_goes_ahead_while_another_step_is_under_way),
        cmocka_unit_test(nor_of_a_run_that_is_half_full),
        cmocka_unit_test(nor_where_there_is_much_to_do),
        cmocka_unit_test(who_refuses_what_went_ahead_is_sent_none_of_it_again),
        cmocka_unit_test(a_pause_holds_back_what_went_ahead),
        cmocka_unit_test(what_had_begun_of_a_paused_run_goes_on),
        cmocka_unit_test(a_cancel_holds_back_what_went_ahead_and_waits_for_what_has_begun),
        cmocka_unit_test(what_ended_with_the_one_before_it_is_not_held_back),
        cmocka_unit_test(what_was_not_sent_ahead_is_taken_back_at_once),
        cmocka_unit_test(of_a_worker_that_is_over_only_what_was_open_is_lost),
        cmocka_unit_test(what_opens_after_its_worker_was_over_is_lost_then),
        cmocka_unit_test(what_a_holding_names_is_not_sent_again),
        cmocka_unit_test(what_a_holding_names_is_held_back_too),
        cmocka_unit_test(what_was_to_come_behind_it_and_is_not_named_is_withdrawn_first),
        cmocka_unit_test(what_was_to_come_behind_an_earlier_ticket_is_nothing_to_the_next),
        cmocka_unit_test(so_is_what_is_behind_the_last_that_is_named),
        cmocka_unit_test(where_nothing_was_to_come_it_is_simply_sent),
        cmocka_unit_test(what_opens_before_the_answer_waits_for_it),
        cmocka_unit_test(several_that_open_before_the_answer_wait_for_it),
        cmocka_unit_test(what_opens_in_the_same_look_as_the_answer_is_adopted),
        cmocka_unit_test(what_nobody_holds_is_lost),
        cmocka_unit_test(a_ticket_that_is_none_is_not_adopted),
    };
    return cmocka_run_group_tests_name("ahead", tests, NULL, NULL);
}
