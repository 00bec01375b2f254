/* SPDX-License-Identifier: Apache-2.0 */
#include "common/limits.h"
#include "common/messages.h"
#include "tests/unit/saga_shown.h"
#include "tests/unit/step_texts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>


static const struct span key = S("upload-1k7qj4m9x2");

static const uint32_t needs_first[] = {0};
static const uint32_t reads_both[] = {0, 1};
static const struct span wrappers[] = {S("logging"), S("timing")};
static const struct span elements[] = {S("1"), S("{\"a\":2}"), S("null")};
static const struct plan_step steps[] = {
    {.name = S("init"), .handler = S("init"), .queue = S("default"), .weight = 5, .retry = PLAN_RETRY_DEFAULT},
    {.name = S("Hochladen für alle"), .handler = S("upload"), .queue = S("fast"), .input = S("{\"max\":1}"), .weight = 95,
     .needs = needs_first, .needs_count = 1, .reads = reads_both, .reads_count = 2, .reads_given = true, .rollback_none = true,
     .retry = {3, 0, 2000, 1500, 9000, 0}, .timeout_ms = 600000, .heartbeat_timeout_ms = 1000},
    {.name = S("inner"), .handler = S(PLAN_HANDLER_SCOPE), .queue = S("default"), .kind = PLAN_SCOPE, .templated = true,
     .when = S(".params.deep"), .retry = PLAN_RETRY_DEFAULT},
    {.name = S("inner/each"), .handler = S("h"), .queue = S("default"), .scope = 3, .each = S(".params.files"), .max_parallel = 20,
     .wrap = wrappers, .wrap_count = 2, .start_timeout_ms = 5, .rollback_timeout_ms = 6, .rollback_retry = {3, 4, 5, 6000, 7, 1000},
     .retry = {3, 0, 2000, 1500, 9000, 1000}},
    {.name = S("check"), .handler = S(PLAN_HANDLER_VALIDATE), .queue = S("default"), .kind = PLAN_VALIDATE, .assert = S("true"),
     .message = S("no"), .retry = PLAN_RETRY_DEFAULT},
};
static const struct plan plan = {.name = S("upload"), .description = S("Copy"), .steps = steps,
                                 .step_count = sizeof steps / sizeof *steps, .timeout_ms = 7000, .pause_on_failure = true};

#define TICKET_OF_STEP {1, 2, DIRECTION_ROLLBACK, 7}
static const struct ticket ticket = TICKET_OF_STEP;
static const struct held_ticket held[] = {{S("a-1"), {0, 0, DIRECTION_EXECUTE, 1}, true}, {S("b-2"), {3, 1, DIRECTION_ROLLBACK, 9}, false}};
static const struct waiting_step waiting[] = {{1, 0, S("upload"), S("fast"), 1700000000000}};
static const struct step_result results[] = {{S("init"), true, false, S("{\"a\":1}"), S("[2]"), {0}, false, false},
                                             {S("check"), false, true, {0}, {0}, S("no"), true, true}};
static const struct span sets[] = {S("{\"x\":1}"), S("{\"y\":2}")};
static const struct span handlers[] = {S("init"), S("upload")};

static const struct log_line log_lines[] = {
    {1700000000123, LOG_WARN, LOG_SOURCE_STDERR, S(""), S("disk is nearly full"), S("")},
    {1700000000124, LOG_DEBUG, LOG_SOURCE_HANDLER, S("step_start"), S(""), S("{\"n\":1}")},
};

/* A run on its way: one step done, one with an open ticket, one fanned out. The lists are linked by link_image(). */
static struct span image_elements[] = {S("1"), S("{\"a\":2}")};
static struct saga_step image_instances[] = {
    {.index = 3, .instance = 1, .status = STEP_SUCCEEDED, .executed = true, .fraction_ppm = PPM_ONE, .ticket = 1, .work = WORK(.texts = STEP_TEXT(TEXT_SET, "{\"x\":1}"), .end_order = 2)},
    {.index = 3, .instance = 2, .status = STEP_RETRYING, .ticket = 2, .attempts = 1, .losses = 3, .silent_losses = 1,
     .active = true, .confirm = true, .fraction_ppm = 20, .work = WORK(.retry_ms = 777, .texts = STEP_TEXT(TEXT_ERROR, "disk is full"), .execute_attempts = 1)}};
static struct saga_fan image_fan = {.count = 2, .next = 2, .done = 1, .open = 1, .fraction_sum = PPM_ONE + 20, .elements = image_elements, .instances = image_instances};
static struct saga_text image_texts[] = {{&image_texts[1], "{}", 2, TEXT_DATA, 0},
                                         {&image_texts[2], "[1]", 3, TEXT_ROLLBACK_DATA, 0},
                                         {&image_texts[3], "{\"m\":1}", 7, TEXT_METRICS, 0},
                                         {NULL, "w1", 2, TEXT_WORKER, 0}};
static struct saga_step image_steps[] = {
    {.index = 0, .status = STEP_SUCCEEDED, .executed = true, .may_have_begun = true, .begun_before = true, .ticket = 1, .work = WORK(.texts = image_texts, .end_order = 1, .ended_ms = 9, .begun_ms = 4, .current = 3, .total = 4)},
    {.index = 1, .status = STEP_RUNNING, .open = true, .active = true, .started = true, .ticket = 3, .cancel = 1 + CANCEL_SIBLING_FAILED,
     .fired = TIMER_HEARTBEAT, .ready_ms = 10, .resolved = true, .nothing_to_undo = true, .work = WORK(.attempt_ms = 11, .report_ms = 12, .texts = STEP_TEXT(TEXT_ROLLBACK_ERROR, "e"), .rollback_begun_ms = 13, .rollback_ended_ms = 14)},
    {.index = 2, .status = STEP_SKIPPED, .direction = DIRECTION_ROLLBACK},
    {.index = 3, .status = STEP_RUNNING, .fan = &image_fan, .work = WORK(.current = 1, .total = 2)},
    {.index = 4}};
static struct saga_step *image_places[] = {&image_steps[0], &image_steps[1], &image_steps[2], &image_steps[3], &image_steps[4]};
static struct saga_request image_requests[] = {{&image_requests[1], {3, 3}, VERDICT_ACCEPTED, false, false, 0, NULL},
                                               {NULL, {4}, VERDICT_REFUSED, true, false, 18, "it is rolling back"}};
static struct saga_trouble image_trouble = {
    .cause_step = 3, .cause_instance = 2, .undo_total = 2, .pause_ms = 6, .paused_ms = 7, .error = S("Step 'x' failed: y")};
static struct saga image = {.status = RUN_RUNNING, .finish_recorded = true, .cancelling = true, .stopping = true, .begun = true, .has_scopes = true,
                            .fold_version = 2, .trouble = &image_trouble, .finish_count = 1, .ended_count = 2, .progress_ppm = 30,
                            .start_offset = 12, .started_ms = 3, .finished_ms = 5, .time_ms = 14,
                            .context_bytes = 40, .params = S("{\"source\":\"photos\"}"), .plan = &plan,
                            .run_id = S("upload-1k7qj4m9x2"), .steps = image_places, .requests = image_requests};

static void link_image(void)
{
    image.active = &image_instances[1];
    image.active_last = &image_steps[1];
    image_instances[1].active_next = &image_steps[1];
    image_steps[1].active_before = &image_instances[1];
    image.sets = image.sets_last = &image_instances[0];
}

static const uint64_t hashes[] = {1, UINT64_MAX};

#define EPOCH .epoch = 42
#define INCARNATION .incarnation = {{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}}
#define REQUEST .request_id = {9, 8, 7, 6, 5, 4, 3, 2, 1}

static const struct message messages[] = {
    {.kind = MESSAGE_START, .progress_partitions = 4,
     .event = {.kind = EVENT_START, REQUEST, .plan = &plan, .params = S("{\"source\":\"photos\"}"), .fold_version = 1}},
    {.kind = MESSAGE_CANCEL, .event = {.kind = EVENT_CANCEL, REQUEST, .reason = S("changed my mind")}},
    {.kind = MESSAGE_PAUSE, .event = {.kind = EVENT_PAUSE, REQUEST, .reason = S("lunch")}},
    {.kind = MESSAGE_RESUME, .event = {.kind = EVENT_RESUME, REQUEST}},
    {.kind = MESSAGE_RETRY, .event = {.kind = EVENT_RETRY, REQUEST}},
    {.kind = MESSAGE_ROLL_BACK, .event = {.kind = EVENT_ROLL_BACK, REQUEST}},
    {.kind = MESSAGE_RESOLVE,
     .event = {.kind = EVENT_RESOLVE, REQUEST, .reason = S("by hand"), .step_name = S("inner/each"), .ticket = {.instance = 3},
               .done = true, .data = S("[1]")}},
    {.kind = MESSAGE_EXPANDED,
     .event = {.kind = EVENT_EXPANDED, .ticket = TICKET_OF_STEP, .worker = S("w1"), .elements = elements, .element_count = 3}},
    {.kind = MESSAGE_STARTED, .event = {.kind = EVENT_STARTED, .ticket = TICKET_OF_STEP, .worker = S("w1")}},
    {.kind = MESSAGE_PROGRESSED,
     .event = {.kind = EVENT_PROGRESSED, .ticket = TICKET_OF_STEP, .current = 3, .total = 10, .metrics = S("{\"loss\":0.1}")}},
    {.kind = MESSAGE_DONE,
     .event = {.kind = EVENT_DONE, .ticket = TICKET_OF_STEP, .outcome = OUTCOME_FAILED, .permanent = true, .data = S("{}"),
               .rollback_data = S("[1]"), .set = S("{\"k\":1}"), .error = S("disk is full"), .worker = S("w1"), .metrics = S("{}")}},
    {.kind = MESSAGE_REFUSED, .refused = REFUSED_BUSY, .event = {.kind = EVENT_REFUSED, .ticket = TICKET_OF_STEP, .worker = S("w1")}},
    {.kind = MESSAGE_HOLDING, EPOCH, .worker = S("w1"), INCARNATION, .held = held, .held_count = 2},
    {.kind = MESSAGE_OWNER_CLAIM, .coordinator = S("host-17"), .progress_partitions = 4},
    {.kind = MESSAGE_LOST, EPOCH, .event = {.kind = EVENT_LOST, .ticket = TICKET_OF_STEP, .worker = S("w1"), .reason = S("silent for 13 s")}},
    {.kind = MESSAGE_WITHDRAWN, EPOCH, .event = {.kind = EVENT_WITHDRAWN, .ticket = TICKET_OF_STEP}},
    {.kind = MESSAGE_TIMER_FIRED, EPOCH, .event = {.kind = EVENT_TIMER_FIRED, .ticket = TICKET_OF_STEP, .timer = TIMER_HEARTBEAT}},
    {.kind = MESSAGE_ANSWERED, EPOCH, .verdict = VERDICT_REFUSED, .start_offset = 7,
     .event = {.kind = EVENT_ANSWERED, REQUEST, .reason = S("no steps")}},
    {.kind = MESSAGE_RUN_PROGRESSED, EPOCH, .status = RUN_ROLLING_BACK, .progress_ppm = 590000, .rollback_ppm = 20,
     .waiting = waiting, .waiting_count = 1, .waiting_for_workers = 3},
    {.kind = MESSAGE_RUN_FINISHED, EPOCH, .status = RUN_ROLLBACK_INCOMPLETE, .pipeline = S("upload"), .error = S("Step 'x' failed: y"),
     .start_offset = 12, .started_ms = 100, .finished_ms = 200, .steps_executed = 1, .steps_total = 2, .progress_ppm = 50000,
     .event = {.kind = EVENT_FINISHED}},
    {.kind = MESSAGE_SNAPSHOT, EPOCH, .state_offset = 41, .first_offset = 9, .image = &image,
     .waiting = waiting, .waiting_count = COUNT(waiting)},
    {.kind = MESSAGE_FINISHED_IDS, EPOCH, .state_offset = 43, .previous = -1, .hashes = hashes, .hash_count = 2},
    {.kind = MESSAGE_TASK, EPOCH, INCARNATION, .progress_partition = 3,
     .task = {.run_id = S("upload-1k7qj4m9x2"), .ticket = TICKET_OF_STEP, .pipeline = S("upload"), .step = S("Hochladen für alle"),
              .handler = S("upload"), .attempt = 2, .confirm = true, .more_attempts = true, .input = S("{\"max\":1}"), .params = S("{}"),
              .results = results, .result_count = 2, .sets = sets, .set_count = 2, .result = results,
              .when = S("true"), .templated = true, .kind = PLAN_VALIDATE, .assert = S("false"), .message = S("why"), .each = S(".params"),
              .element = S("[3]"), .elements = 7, .scope = S("inner"), .wrap = wrappers, .wrap_count = 2, .timeout_ms = 9,
              .after = {0, 3, DIRECTION_EXECUTE, 6}, .more_behind = true}},
    {.kind = MESSAGE_CANCEL_TASK, EPOCH, INCARNATION, .progress_partition = 3, .cancel_reason = CANCEL_AHEAD,
     .event = {.run_id = S("upload-1k7qj4m9x2"), .ticket = TICKET_OF_STEP}},
    {.kind = MESSAGE_WELCOME, EPOCH, INCARNATION, .progress_partition = 3, .coordinator = S("host-17")},
    {.kind = MESSAGE_HELLO,
     .presence = {.worker = S("w1"), INCARNATION, .queue = S("default"), .partition = 5, .handlers = handlers, .handler_count = 2,
                  .slots = 4, .window = 8, .lease_ms = 30000, .load = 1, .sequence = 1, .version = S("0.1.0"), .host = S("box"),
                  .process_id = 17, .draining = true, .takes_ahead = true}},
    {.kind = MESSAGE_HEARTBEAT,
     .presence = {.worker = S("w1"), INCARNATION, .queue = S("default"), .lease_ms = 30000, .sequence = 2}},
    {.kind = MESSAGE_BYE, .worker = S("w1"), INCARNATION},
    {.kind = MESSAGE_MARK, .coordinator = S("host-17"), .worker = S("w1"), INCARNATION, .nonce = {7, 7, 7}},
    {.kind = MESSAGE_LOG_LINES, .event = {.ticket = TICKET_OF_STEP, .worker = S("w1")},
     .log = {S("Hochladen für alle"), 2, log_lines, sizeof log_lines / sizeof *log_lines, 3, 4096}},
};

static enum message_topic topic_of(enum message_kind kind)
{
    return kind >= MESSAGE_LOG_LINES ? TOPIC_LOGS : kind >= MESSAGE_HELLO ? TOPIC_WORKERS : kind >= MESSAGE_TASK ? TOPIC_TASKS : TOPIC_PROGRESS;
}

static struct span encoded(const struct message *message, struct text *text)
{
    struct error error = {0};
    text_init(text, LIMIT_RECORD_BYTES);
    if (!message_encode(message, text, &error)) {
        fail_msg("%s: %s", message_type(message->kind), error.message);
    }
    return text_span(text);
}

#define SAME_SPAN(a, b) assert_true(span_equal(a, b))
#define SAME(a, b) assert_int_equal(a, b)

static void same_ticket(struct ticket a, struct ticket b)
{
    SAME(a.step, b.step);
    SAME(a.instance, b.instance);
    SAME(a.direction, b.direction);
    SAME(a.number, b.number);
}

static void same_step(const struct plan_step *a, const struct plan_step *b)
{
    SAME_SPAN(a->name, b->name);
    SAME_SPAN(a->handler, b->handler);
    SAME_SPAN(a->queue, b->queue);
    SAME_SPAN(a->input, b->input);
    SAME(a->weight, b->weight);
    SAME(a->needs_count, b->needs_count);
    SAME(a->reads_count, b->reads_count);
    for (uint32_t i = 0; i < a->needs_count; i++) {
        SAME(a->needs[i], b->needs[i]);
    }
    for (uint32_t i = 0; i < a->reads_count; i++) {
        SAME(a->reads[i], b->reads[i]);
    }
    SAME(a->reads_given, b->reads_given);
    SAME(a->kind, b->kind);
    SAME(a->scope, b->scope);
    SAME_SPAN(a->when, b->when);
    SAME(a->templated, b->templated);
    SAME_SPAN(a->assert, b->assert);
    SAME_SPAN(a->message, b->message);
    SAME_SPAN(a->each, b->each);
    SAME(a->max_parallel, b->max_parallel);
    SAME(a->wrap_count, b->wrap_count);
    SAME(a->start_timeout_ms, b->start_timeout_ms);
    SAME(a->rollback_timeout_ms, b->rollback_timeout_ms);
    SAME(a->retry.jitter_permille, b->retry.jitter_permille);
    SAME(a->rollback_retry.max_attempts, b->rollback_retry.max_attempts);
    SAME(a->rollback_retry.jitter_permille, b->rollback_retry.jitter_permille);
    SAME(a->rollback_none, b->rollback_none);
    SAME(a->retry.max_attempts, b->retry.max_attempts);
    SAME(a->retry.max_losses, b->retry.max_losses);
    SAME(a->retry.backoff_ms, b->retry.backoff_ms);
    SAME(a->retry.multiplier_permille, b->retry.multiplier_permille);
    SAME(a->retry.max_backoff_ms, b->retry.max_backoff_ms);
    SAME(a->timeout_ms, b->timeout_ms);
    SAME(a->heartbeat_timeout_ms, b->heartbeat_timeout_ms);
}

static void same_plan(const struct plan *a, const struct plan *b)
{
    SAME(a == NULL, b == NULL);
    if (a == NULL) {
        return;
    }
    SAME_SPAN(a->name, b->name);
    SAME_SPAN(a->description, b->description);
    SAME(a->timeout_ms, b->timeout_ms);
    SAME(a->pause_on_failure, b->pause_on_failure);
    SAME(a->step_count, b->step_count);
    for (uint32_t i = 0; i < a->step_count; i++) {
        same_step(&a->steps[i], &b->steps[i]);
    }
}

static void same_event(const struct saga_event *a, const struct saga_event *b)
{
    SAME(a->kind, b->kind);
    same_ticket(a->ticket, b->ticket);
    assert_memory_equal(a->request_id, b->request_id, REQUEST_ID_BYTES);
    same_plan(a->plan, b->plan);
    SAME_SPAN(a->params, b->params);
    SAME(a->fold_version, b->fold_version);
    SAME_SPAN(a->reason, b->reason);
    SAME(a->outcome, b->outcome);
    SAME(a->permanent, b->permanent);
    SAME_SPAN(a->data, b->data);
    SAME_SPAN(a->rollback_data, b->rollback_data);
    SAME_SPAN(a->set, b->set);
    SAME_SPAN(a->error, b->error);
    SAME_SPAN(a->metrics, b->metrics);
    SAME(a->current, b->current);
    SAME(a->total, b->total);
    SAME_SPAN(a->worker, b->worker);
    SAME(a->timer, b->timer);
    SAME_SPAN(a->step_name, b->step_name);
    SAME(a->done, b->done);
    SAME(a->element_count, b->element_count);
    for (size_t i = 0; i < a->element_count; i++) {
        SAME_SPAN(a->elements[i], b->elements[i]);
    }
}

static void same_result(const struct step_result *a, const struct step_result *b)
{
    SAME_SPAN(a->step, b->step);
    SAME(a->success, b->success);
    SAME(a->skipped, b->skipped);
    SAME(a->scope, b->scope);
    SAME(a->pending, b->pending);
    SAME_SPAN(a->data, b->data);
    SAME_SPAN(a->rollback_data, b->rollback_data);
    SAME_SPAN(a->error, b->error);
}

static void same_task(const struct task *a, const struct task *b)
{
    SAME_SPAN(a->run_id, b->run_id);
    same_ticket(a->ticket, b->ticket);
    SAME_SPAN(a->pipeline, b->pipeline);
    SAME_SPAN(a->step, b->step);
    SAME_SPAN(a->handler, b->handler);
    SAME(a->attempt, b->attempt);
    SAME(a->confirm, b->confirm);
    SAME(a->more_attempts, b->more_attempts);
    SAME_SPAN(a->input, b->input);
    SAME_SPAN(a->params, b->params);
    SAME(a->result_count, b->result_count);
    for (size_t i = 0; i < a->result_count; i++) {
        same_result(&a->results[i], &b->results[i]);
    }
    SAME(a->set_count, b->set_count);
    for (size_t i = 0; i < a->set_count; i++) {
        SAME_SPAN(a->sets[i], b->sets[i]);
    }
    SAME_SPAN(a->when, b->when);
    SAME(a->templated, b->templated);
    SAME(a->kind, b->kind);
    SAME_SPAN(a->assert, b->assert);
    SAME_SPAN(a->message, b->message);
    SAME_SPAN(a->each, b->each);
    SAME_SPAN(a->element, b->element);
    SAME(a->elements, b->elements);
    SAME_SPAN(a->scope, b->scope);
    SAME(a->wrap_count, b->wrap_count);
    for (size_t i = 0; i < a->wrap_count; i++) {
        SAME_SPAN(a->wrap[i], b->wrap[i]);
    }
    SAME(a->timeout_ms, b->timeout_ms);
    same_ticket(a->after, b->after);
    SAME(a->more_behind, b->more_behind);
    SAME(a->result == NULL, b->result == NULL);
    if (a->result != NULL) {
        same_result(a->result, b->result);
    }
}

static void same_presence(const struct presence *a, const struct presence *b)
{
    SAME_SPAN(a->worker, b->worker);
    assert_memory_equal(a->incarnation.bytes, b->incarnation.bytes, INCARNATION_BYTES);
    SAME_SPAN(a->queue, b->queue);
    SAME(a->partition, b->partition);
    SAME(a->handler_count, b->handler_count);
    for (size_t i = 0; i < a->handler_count; i++) {
        SAME_SPAN(a->handlers[i], b->handlers[i]);
    }
    SAME(a->slots, b->slots);
    SAME(a->window, b->window);
    SAME(a->lease_ms, b->lease_ms);
    SAME(a->load, b->load);
    SAME(a->sequence, b->sequence);
    SAME_SPAN(a->version, b->version);
    SAME_SPAN(a->host, b->host);
    SAME(a->process_id, b->process_id);
    SAME(a->draining, b->draining);
    SAME(a->takes_ahead, b->takes_ahead);
}

static void same_lists(const struct message *a, const struct message *b)
{
    SAME(a->held_count, b->held_count);
    for (size_t i = 0; i < a->held_count; i++) {
        SAME_SPAN(a->held[i].run_id, b->held[i].run_id);
        same_ticket(a->held[i].ticket, b->held[i].ticket);
        SAME(a->held[i].more_behind, b->held[i].more_behind);
    }
    SAME(a->waiting_count, b->waiting_count);
    for (size_t i = 0; i < a->waiting_count; i++) {
        SAME(a->waiting[i].step, b->waiting[i].step);
        SAME(a->waiting[i].instance, b->waiting[i].instance);
        SAME_SPAN(a->waiting[i].handler, b->waiting[i].handler);
        SAME_SPAN(a->waiting[i].queue, b->waiting[i].queue);
        SAME(a->waiting[i].since_ms, b->waiting[i].since_ms);
    }
}

static void same_log(const struct log_lines *a, const struct log_lines *b)
{
    SAME_SPAN(a->step, b->step);
    SAME(a->attempt, b->attempt);
    SAME(a->count, b->count);
    SAME(a->dropped_lines, b->dropped_lines);
    SAME(a->dropped_bytes, b->dropped_bytes);
    for (size_t i = 0; i < a->count; i++) {
        SAME(a->lines[i].time_ms, b->lines[i].time_ms);
        SAME(a->lines[i].level, b->lines[i].level);
        SAME(a->lines[i].source, b->lines[i].source);
        SAME_SPAN(a->lines[i].event, b->lines[i].event);
        SAME_SPAN(a->lines[i].text, b->lines[i].text);
        SAME_SPAN(a->lines[i].data, b->lines[i].data);
    }
}

static void same_message(const struct message *a, const struct message *b)
{
    SAME(a->kind, b->kind);
    same_event(&a->event, &b->event);
    SAME(a->epoch, b->epoch);
    SAME(a->progress_partitions, b->progress_partitions);
    SAME(a->progress_partition, b->progress_partition);
    SAME_SPAN(a->coordinator, b->coordinator);
    SAME_SPAN(a->worker, b->worker);
    assert_memory_equal(a->incarnation.bytes, b->incarnation.bytes, INCARNATION_BYTES);
    SAME(a->verdict, b->verdict);
    SAME(a->refused, b->refused);
    SAME(a->cancel_reason, b->cancel_reason);
    assert_memory_equal(a->nonce, b->nonce, 16);
    same_presence(&a->presence, &b->presence);
    same_task(&a->task, &b->task);
    same_lists(a, b);
    SAME(a->status, b->status);
    SAME(a->progress_ppm, b->progress_ppm);
    SAME(a->rollback_ppm, b->rollback_ppm);
    SAME(a->steps_executed, b->steps_executed);
    SAME(a->steps_total, b->steps_total);
    SAME(a->start_offset, b->start_offset);
    SAME(a->started_ms, b->started_ms);
    SAME(a->finished_ms, b->finished_ms);
    SAME(a->waiting_for_workers, b->waiting_for_workers);
    SAME_SPAN(a->pipeline, b->pipeline);
    SAME_SPAN(a->error, b->error);
    same_log(&a->log, &b->log);
    SAME(a->state_offset, b->state_offset);
    SAME(a->first_offset, b->first_offset);
    SAME(a->previous, b->previous);
    SAME(a->hash_count, b->hash_count);
    for (size_t i = 0; i < a->hash_count; i++) {
        assert_true(a->hashes[i] == b->hashes[i]);
    }
    SAME(a->image != NULL, b->image != NULL);
    if (a->image != NULL) {
        char *expected = fixture_dump(a->image), *found = fixture_dump(b->image);
        assert_string_equal(found, expected);
        free(expected);
        free(found);
    }
}

static void every_kind_comes_back_as_it_went(void **state)
{
    (void)state;
    assert_int_equal(COUNT(messages), MESSAGE_LOG_LINES);
    for (size_t i = 0; i < COUNT(messages); i++) {
        struct text text;
        struct message decoded;
        struct error error = {0};
        struct span bytes = encoded(&messages[i], &text);
        if (!message_decode(&decoded, topic_of(messages[i].kind), key, bytes, &error)) {
            fail_msg("%s: %s", message_type(messages[i].kind), error.message);
        }
        same_message(&messages[i], &decoded);
        bool of_run = topic_of(decoded.kind) == TOPIC_PROGRESS && decoded.kind != MESSAGE_HOLDING && decoded.kind != MESSAGE_OWNER_CLAIM &&
                      decoded.kind != MESSAGE_FINISHED_IDS;
        assert_true(!of_run || span_equal(decoded.event.run_id, key));
        message_free(&decoded);
        message_free(&decoded);
        text_fini(&text);
    }
}

/* What is decoded of each truncation is fine or refused, and never reads beyond its end (the copy has no byte to spare). */
static void truncated_bytes_are_refused_or_make_sense(void **state)
{
    (void)state;
    size_t refused = 0, total = 0;
    for (size_t i = 0; i < COUNT(messages); i++) {
        struct text text;
        struct span bytes = encoded(&messages[i], &text);
        for (size_t size = 0; size < bytes.size; size++, total++) {
            char *copy = malloc(size + (size == 0));
            memcpy(copy, bytes.bytes, size);
            struct message decoded;
            struct error error = {0};
            bool ok = message_decode(&decoded, topic_of(messages[i].kind), key, (struct span){copy, size}, &error);
            assert_true(ok || error.message[0] != '\0');
            refused += !ok;
            message_free(&decoded);
            free(copy);
        }
        text_fini(&text);
    }
    assert_true(refused > total * 9 / 10);
}

static uint64_t next_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

static void garbage_is_refused_with_a_reason(void **state)
{
    (void)state;
    uint64_t seed = 88172645463325252u;
    for (size_t round = 0; round < 20000; round++) {
        char bytes[96];
        size_t size = next_random(&seed) % sizeof bytes;
        for (size_t i = 0; i < size; i++) {
            bytes[i] = (char)next_random(&seed);
        }
        struct message decoded;
        struct error error = {0};
        enum message_topic topic = (enum message_topic)(round % 3);
        assert_true(message_decode(&decoded, topic, key, (struct span){bytes, size}, &error) || error.message[0] != '\0');
        message_free(&decoded);
    }
}

static void records_with_flipped_bits_stop_nothing(void **state)
{
    (void)state;
    uint64_t seed = 362436069362436069u;
    for (size_t round = 0; round < 20000; round++) {
        const struct message *message = &messages[round % COUNT(messages)];
        struct text text;
        struct span bytes = encoded(message, &text);
        for (size_t flips = 1 + next_random(&seed) % 3; flips > 0; flips--) {
            text.bytes[next_random(&seed) % bytes.size] ^= (char)(1 << next_random(&seed) % 8);
        }
        struct message decoded;
        struct error error = {0};
        if (message_decode(&decoded, topic_of(message->kind), key, bytes, &error)) {
            struct text again;
            text_init(&again, LIMIT_RECORD_BYTES);
            assert_true(message_encode(&decoded, &again, &error)); /* what was let in can be said again */
            text_fini(&again);
        }
        message_free(&decoded);
        text_fini(&text);
    }
}

static void unknown_fields_are_tolerated(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(messages); i++) {
        struct text text;
        encoded(&messages[i], &text);
        text_append(&text, "\xfa\x3f\x03new", 6); /* field 1023, three bytes */
        struct message decoded;
        struct error error = {0};
        if (!message_decode(&decoded, topic_of(messages[i].kind), key, text_span(&text), &error)) {
            fail_msg("%s: %s", message_type(messages[i].kind), error.message);
        }
        same_message(&messages[i], &decoded);
        message_free(&decoded);
        text_fini(&text);
    }
}

/* Bytes written by hand: what no encoder of ours would write. */
struct row {
    const char *what;
    enum message_topic topic;
    struct span key, bytes;
    const char *error;
};
#define TICKET "\x0a\x06\x08\x01\x18\x01\x20\x01" /* field 1: step 1, execute, ticket 1 */
#define REQUEST_ID "\x0a\x10" "0123456789abcdef"
static const struct row rows[] = {
    {"nothing", TOPIC_PROGRESS, S("r"), S(""), "an empty record"},
    {"an unknown body", TOPIC_PROGRESS, S("r"), S("\xea\x07\x01x"), "a record of no kind that is known"},
    {"no bytes of ours", TOPIC_PROGRESS, S("r"), S("hello"), "the bytes are no record of this topic"},
    {"a length of six bytes", TOPIC_PROGRESS, S("r"), S("\x52\x88\x80\x80\x80\x80\x00" TICKET), "the bytes are no record of this topic"},
    {"no ticket", TOPIC_PROGRESS, S("r"), S("\x52\x00"), "Started: no ticket"},
    {"no key", TOPIC_PROGRESS, S(""), S("\x52\x08" TICKET),
     "Started: key: is empty; write a letter or digit, then letters, digits, '.', '_' and '-'"},
    {"a key with a blank", TOPIC_PROGRESS, S("a b"), S("\x52\x08" TICKET),
     "Started: key: 'a b' is no identifier: a blank stands in it; write a letter or digit, then letters, digits, '.', '_' and '-'"},
    {"direction 0", TOPIC_PROGRESS, S("r"), S("\x52\x06\x0a\x04\x08\x01\x20\x01"), "Started: direction 0 is none that is known"},
    {"direction 9", TOPIC_PROGRESS, S("r"), S("\x52\x08\x0a\x06\x08\x01\x18\x09\x20\x01"), "Started: direction 9 is none that is known"},
    {"ticket 0", TOPIC_PROGRESS, S("r"), S("\x52\x06\x0a\x04\x08\x01\x18\x01"), "Started: ticket 0 is not within 1 and 4294967295"},
    {"step 1000", TOPIC_PROGRESS, S("r"), S("\x52\x09\x0a\x07\x08\xe8\x07\x18\x01\x20\x01"), "Started: step 1000 is not within 0 and 999"},
    {"outcome 0", TOPIC_PROGRESS, S("r"), S("\x62\x08" TICKET), "Done: outcome 0 is none that is known"},
    {"outcome 77", TOPIC_PROGRESS, S("r"), S("\x62\x0a" TICKET "\x10\x4d"), "Done: outcome 77 is none that is known"},
    {"a short request id", TOPIC_PROGRESS, S("r"), S("\x12\x05\x0a\x01x\x10\x01"), "Cancel: request_id of 1 bytes, not 16"},
    {"control 9", TOPIC_PROGRESS, S("r"), S("\x12\x14" REQUEST_ID "\x10\x09"), "Cancel: control kind 9 is none that is known"},
    {"no plan", TOPIC_PROGRESS, S("r"), S("\x0a\x14" REQUEST_ID "\x10\x01"), "Start: no plan"},
    {"a need beyond the plan", TOPIC_PROGRESS, S("r"),
     S("\x0a\x27" REQUEST_ID "\x10\x01" "\x22\x11" "\x0a\x01p" "\x1a\x0c" "\x0a\x01" "a" "\x12\x01" "b" "\x1a\x01" "c" "\x32\x01\x05"),
     "Start: step 0: needs step 5 of 1"},
    {"a negative epoch", TOPIC_PROGRESS, S("r"), S("\xb2\x01\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
     "Withdrawn: epoch -1 is not within 0 and 9223372036854775807"},
    {"an end that is none", TOPIC_PROGRESS, S("r"), S("\xd2\x01\x02\x10\x02"), "RunFinished: status 'running' is no end"},
    {"no addressee", TOPIC_TASKS, S("w"), S("\x32\x03\x0a\x01" "c"), "Welcome: incarnation of 0 bytes, not 16"},
    {"a task on the workers topic", TOPIC_WORKERS, S("w"), S("\x22\x00"), "Mark: coordinator: is empty"},
    {"a log line of a level that is none", TOPIC_LOGS, S("r"), S("\x0a\x04\x2a\x02\x10\x09"),
     "LogLines: line 0: level 9 is none that is known"},
    {"a log line that is no UTF-8", TOPIC_LOGS, S("r"), S("\x0a\x09\x2a\x07\x10\x01\x18\x02\x2a\x01\xff"),
     "LogLines: line 0: text is no UTF-8"},
    {"log lines without a ticket", TOPIC_LOGS, S("r"), S("\x0a\x00"), "LogLines: no ticket"},
    {"a lease of 1 ms", TOPIC_WORKERS, S("w"),
     S("\x0a\x1a" "\x0a\x01w" "\x12\x10" "0123456789abcdef" "\x1a\x01q" "\x40\x01"), "Hello: lease_ms 1 is not within 2000 and 600000"},
};

static void what_is_not_legal_is_named(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct message decoded;
        struct error error = {0};
        if (message_decode(&decoded, rows[i].topic, rows[i].key, rows[i].bytes, &error)) {
            fail_msg("%s was let in", rows[i].what);
        }
        if (strcmp(error.message, rows[i].error) != 0) {
            fail_msg("%s: '%s'", rows[i].what, error.message);
        }
    }
}

static void defaults_of_the_wire_are_filled_in(void **state)
{
    (void)state;
    static const struct span bytes = S("\x0a\x24" REQUEST_ID "\x10\x01" "\x22\x0e" "\x0a\x01p" "\x1a\x09" "\x0a\x01" "a" "\x12\x01" "b"
                                       "\x1a\x01" "c");
    struct message decoded;
    struct error error = {0};
    if (!message_decode(&decoded, TOPIC_PROGRESS, key, bytes, &error)) {
        fail_msg("%s", error.message);
    }
    const struct plan_step *step = &decoded.event.plan->steps[0];
    static const struct plan_retry expected = PLAN_RETRY_DEFAULT;
    assert_int_equal(step->retry.max_attempts, expected.max_attempts);
    assert_int_equal(step->retry.max_losses, expected.max_losses);
    assert_int_equal(step->retry.multiplier_permille, expected.multiplier_permille);
    assert_true(span_equal(decoded.event.params, span_of("{}")));
    message_free(&decoded);
}

static void long_reasons_are_cut_between_letters(void **state)
{
    (void)state;
    static char reason[LIMIT_MESSAGE_BYTES * 2 + 1];
    reason[0] = 'x';
    for (size_t i = 1; i + 1 < sizeof reason; i += 2) {
        memcpy(reason + i, "\xc3\xa9", 2);
    }
    struct message message = {.kind = MESSAGE_CANCEL, .event = {.kind = EVENT_CANCEL, .reason = {reason, sizeof reason - 2}}};
    struct text text;
    struct message decoded;
    struct error error = {0};
    assert_true(message_decode(&decoded, TOPIC_PROGRESS, key, encoded(&message, &text), &error));
    assert_int_equal(decoded.event.reason.size, LIMIT_MESSAGE_BYTES - 1);
    message_free(&decoded);
    text_fini(&text);
}

static void a_result_over_its_limit_is_refused(void **state)
{
    (void)state;
    static char data[LIMIT_RESULT_BYTES + 1];
    memset(data, ' ', sizeof data);
    struct message message = {.kind = MESSAGE_DONE, .event = {.ticket = ticket, .data = {data, sizeof data}}};
    struct text text;
    struct message decoded;
    struct error error = {0};
    assert_false(message_decode(&decoded, TOPIC_PROGRESS, key, encoded(&message, &text), &error));
    assert_string_equal(error.message, "Done: data, rollback_data and set of 65537 bytes; at most 65536 are allowed");
    text_fini(&text);
}

static void a_record_over_the_limit_is_not_written(void **state)
{
    (void)state;
    char *data = calloc(1, LIMIT_RECORD_BYTES);
    struct message message = {.kind = MESSAGE_DONE, .event = {.ticket = ticket, .data = {data, LIMIT_RECORD_BYTES}}};
    struct text text;
    struct error error = {0};
    text_init(&text, 2 * (size_t)LIMIT_RECORD_BYTES);
    assert_false(message_encode(&message, &text, &error));
    assert_int_equal(text.size, 0);
    text_fini(&text);
    free(data);
}

/* A record full of empty messages may cost many times its own size: what it may take is bounded. */
static void a_record_of_empty_steps_is_refused(void **state)
{
    (void)state;
    size_t size = LIMIT_RECORD_BYTES;
    char *bytes = malloc(size);
    static const unsigned char head[] = {0x0a, 0xf8, 0xff, 0xff, 0x01, 0x22, 0xf3, 0xff, 0xff, 0x01}; /* Start, and its plan */
    memcpy(bytes, head, sizeof head);
    for (size_t i = sizeof head; i + 1 < size; i += 2) {
        memcpy(bytes + i, "\x1a\x00", 2);
    }
    struct message decoded;
    struct error error = {0};
    assert_false(message_decode(&decoded, TOPIC_PROGRESS, key, (struct span){bytes, size}, &error));
    free(bytes);
}

/* The most that the limits let in fits a record: a task with a full context, and a plan of a full file. */
static void the_limits_fit_a_record(void **state)
{
    (void)state;
    size_t overhead = (size_t)LIMIT_STEPS * (LIMIT_NAME_BYTES + 2 * LIMIT_IDENTIFIER_BYTES + 64);
    assert_true(2 * (size_t)LIMIT_CONTEXT_BYTES + overhead + LIMIT_PIPELINE_FILE_BYTES < LIMIT_RECORD_BYTES);
}

static void owners_records_are_known(void **state)
{
    (void)state;
    for (enum message_kind kind = MESSAGE_START; kind <= MESSAGE_LOG_LINES; kind++) {
        bool expected = kind >= MESSAGE_LOST && kind <= MESSAGE_FINISHED_IDS;
        assert_int_equal(message_is_owners(kind), expected);
    }
    assert_string_equal(message_type(MESSAGE_RUN_PROGRESSED), "RunProgressed");
}

/* What the fold asserts of its states it must not be made to assert by a record. */
static void twice_active(struct saga *changed)
{
    static struct saga_step again;
    again = image_steps[1];
    again.active_next = NULL;
    image_steps[1].active_next = &again;
    (void)changed;
}

static void list_without_a_step(struct saga *changed)
{
    changed->active = NULL;
}

static void two_rolled_back(struct saga *changed)
{
    changed->status = RUN_ROLLING_BACK;
}

static void over_and_active(struct saga *changed)
{
    changed->status = RUN_ROLLED_BACK;
}

static void paused_but_running(struct saga *changed)
{
    changed->paused = true;
}

static void all_done_but_running(struct saga *changed)
{
    changed->progress_ppm = PPM_ONE;
}

static void cause_out_of_range(struct saga *changed)
{
    static struct saga_trouble trouble = {.cause_step = 5};
    changed->trouble = &trouble;
}

static void time_before_all(struct saga *changed)
{
    changed->started_ms = -1;
}

static void time_after_all(struct saga *changed)
{
    static struct saga_step_work late = {.attempt_ms = INT64_MAX};
    image_steps[1].work = &late;
    (void)changed;
}

static void from_a_newer_fold(struct saga *changed)
{
    changed->fold_version = SAGA_FOLD_VERSION + 1;
}

static void fans_out_by_itself(struct saga *changed)
{
    image_steps[4].fan = &image_fan;
    (void)changed;
}

static const struct {
    void (*change)(struct saga *changed);
    const char *reason;
} wrong_images[] = {
    {twice_active, "Snapshot: a step is active twice"},
    {list_without_a_step, "Snapshot: the list of active steps is not that of open tickets and due retries"},
    {two_rolled_back, "Snapshot: more or less than one step is being rolled back"},
    {over_and_active, "Snapshot: it is over, and a step is active"},
    {paused_but_running, "Snapshot: it is paused, or it is not"},
    {all_done_but_running, "Snapshot: its progress does not fit its status"},
    {cause_out_of_range, "Snapshot: its cause is no step"},
    {time_before_all, "Snapshot: a time is out of its range"},
    {time_after_all, "Snapshot: a step has a value out of its range"},
    {from_a_newer_fold, "Snapshot: fold_version 5 is not within 1 and 4"},
    {fans_out_by_itself, "Snapshot: a step has instances that it cannot have"},
};

static void states_that_the_fold_cannot_make_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(wrong_images); i++) {
        struct saga changed = image;
        struct saga_step steps_before[COUNT(image_steps)];
        struct message decoded, message = {.kind = MESSAGE_SNAPSHOT, .image = &changed};
        struct text text;
        struct error error = {0};
        memcpy(steps_before, image_steps, sizeof steps_before);
        wrong_images[i].change(&changed);
        assert_false(message_decode(&decoded, TOPIC_PROGRESS, key, encoded(&message, &text), &error));
        assert_string_equal(error.message, wrong_images[i].reason);
        memcpy(image_steps, steps_before, sizeof steps_before);
        text_fini(&text);
    }
}

int main(void)
{
    link_image();
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_comes_back_as_it_went),
        cmocka_unit_test(truncated_bytes_are_refused_or_make_sense),
        cmocka_unit_test(garbage_is_refused_with_a_reason),
        cmocka_unit_test(records_with_flipped_bits_stop_nothing),
        cmocka_unit_test(unknown_fields_are_tolerated),
        cmocka_unit_test(what_is_not_legal_is_named),
        cmocka_unit_test(defaults_of_the_wire_are_filled_in),
        cmocka_unit_test(long_reasons_are_cut_between_letters),
        cmocka_unit_test(a_result_over_its_limit_is_refused),
        cmocka_unit_test(a_record_over_the_limit_is_not_written),
        cmocka_unit_test(a_record_of_empty_steps_is_refused),
        cmocka_unit_test(the_limits_fit_a_record),
        cmocka_unit_test(owners_records_are_known),
        cmocka_unit_test(states_that_the_fold_cannot_make_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
