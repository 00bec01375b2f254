/* SPDX-License-Identifier: Apache-2.0 */
/* A saga under test: exactly as much room as it asks for, its whole state as text, and events that are short to write. */
#ifndef SAGA_FIXTURE_H
#define SAGA_FIXTURE_H

#include "common/saga/saga.h"
#include "common/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define S(literal) {literal, sizeof(literal) - 1}
#define MAX_BYTES ((size_t)1 << 24)

/* ---- events; `t` is the ticket's number. A row's events come a second apart, unless `after` says otherwise. */

struct timed_event {
    struct saga_event event;
    int64_t after_ms;  /* since the event before; 0: a second */
};

#define EXECUTE(s, t) .ticket = {.step = (s), .direction = DIRECTION_EXECUTE, .number = (t)}
#define ROLLBACK(s, t) .ticket = {.step = (s), .direction = DIRECTION_ROLLBACK, .number = (t)}
#define WORKER .worker = S("w1")
#define START {.event = {.kind = EVENT_START, .request_id = {1}, .params = S("{}"), .fold_version = SAGA_FOLD_VERSION}}
#define CANCEL {.event = {.kind = EVENT_CANCEL, .request_id = {2}}}
#define STARTED(s, t) {.event = {.kind = EVENT_STARTED, WORKER, EXECUTE(s, t)}}
#define PROGRESSED(s, t, c, n) {.event = {.kind = EVENT_PROGRESSED, .current = (c), .total = (n), EXECUTE(s, t)}}
#define DONE(s, t, o, ...) {.event = {.kind = EVENT_DONE, .outcome = OUTCOME_##o, WORKER, EXECUTE(s, t), __VA_ARGS__}}
#define OK(s, t) DONE(s, t, OK, .data = S("{\"n\":1}"), .rollback_data = S("[1]"))
#define SKIPPED(s, t) DONE(s, t, SKIPPED, .permanent = false)
#define FAILED(s, t, why) DONE(s, t, FAILED, .error = S(why))
#define PERMANENT(s, t, why) DONE(s, t, FAILED, .error = S(why), .permanent = true)
#define CANCELLED(s, t) DONE(s, t, CANCELLED_STARTED, .permanent = false)
#define NOT_STARTED(s, t) DONE(s, t, CANCELLED_NOT_STARTED, .permanent = false)
#define REFUSED(s, t) {.event = {.kind = EVENT_REFUSED, WORKER, EXECUTE(s, t)}}
#define LOST(s, t) {.event = {.kind = EVENT_LOST, WORKER, EXECUTE(s, t)}}
#define LOST_BY_NOBODY(s, t) {.event = {.kind = EVENT_LOST, EXECUTE(s, t)}}
#define WITHDRAWN(s, t) {.event = {.kind = EVENT_WITHDRAWN, EXECUTE(s, t)}}
#define FIRED(s, t, which, ms) {.event = {.kind = EVENT_TIMER_FIRED, .timer = TIMER_##which, EXECUTE(s, t)}, .after_ms = (ms)}
#define UNDO_STARTED(s, t) {.event = {.kind = EVENT_STARTED, WORKER, ROLLBACK(s, t)}}
#define UNDONE(s, t) {.event = {.kind = EVENT_DONE, .outcome = OUTCOME_OK, WORKER, ROLLBACK(s, t)}}
#define NOTHING_TO_UNDO(s, t) {.event = {.kind = EVENT_DONE, .outcome = OUTCOME_SKIPPED, WORKER, ROLLBACK(s, t)}}
#define UNDO_FAILED(s, t, why) {.event = {.kind = EVENT_DONE, .outcome = OUTCOME_FAILED, .error = S(why), WORKER, ROLLBACK(s, t)}}
#define UNDO_IMPOSSIBLE(s, t, why) \
    {.event = {.kind = EVENT_DONE, .outcome = OUTCOME_FAILED, .permanent = true, .error = S(why), WORKER, ROLLBACK(s, t)}}
#define UNDO_LOST(s, t) {.event = {.kind = EVENT_LOST, WORKER, ROLLBACK(s, t)}}
#define UNDO_FIRED(s, t, ms) {.event = {.kind = EVENT_TIMER_FIRED, .timer = TIMER_RETRY, ROLLBACK(s, t)}, .after_ms = (ms)}
#define FINISHED {.event = {.kind = EVENT_FINISHED}}

/* ---- applying */

/* Give exactly what is asked for, and insist that it is enough: the saga asserts it, AddressSanitizer watches. */
static inline enum saga_verdict fixture_apply(struct saga *saga, struct saga_event event)
{
    event.run_id = event.run_id.size > 0 ? event.run_id : (struct span)S("run-1");
    size_t size = saga_room(saga, &event);
    if (size > 0) {
        saga_provide(saga, malloc(size), size);
    }
    assert_int_equal(saga_room(saga, &event), 0);
    return saga_apply(saga, &event);
}

static inline void fixture_release(struct saga *saga)
{
    saga_release(saga, free);
}

/* ---- the whole state as text: what two sagas are compared by */

static inline void fixture_show_step(struct text *text, const struct saga_step *s)
{
    text_format(text,
                "status=%d direction=%d open=%d started=%d confirm=%d begun=%d,%d executed=%d nothing=%d fired=%d cancel=%d ticket=%u "
                "attempts=%u,%u losses=%u,%u fraction=%u end=%u ready=%lld begun=%lld attempt=%lld report=%lld ended=%lld "
                "rollback=%lld,%lld retry=%lld current=%llu total=%llu",
                s->status, s->direction, s->open, s->started, s->confirm, s->may_have_begun, s->begun_before, s->executed,
                s->nothing_to_undo, s->fired, s->cancel, s->ticket, s->attempts, s->execute_attempts, s->losses, s->silent_losses,
                s->fraction_ppm, s->end_order, (long long)s->ready_ms, (long long)s->begun_ms, (long long)s->attempt_ms,
                (long long)s->report_ms, (long long)s->ended_ms, (long long)s->rollback_begun_ms, (long long)s->rollback_ended_ms,
                (long long)s->retry_ms, (unsigned long long)s->current, (unsigned long long)s->total);
    const struct span spans[] = {s->data, s->rollback_data, s->set, s->metrics, s->error, s->rollback_error, s->worker};
    for (size_t i = 0; i < COUNT(spans); i++) {
        text_format(text, " '%.*s'", SPAN_ARGS(spans[i]));
    }
    text_append_string(text, "\n");
}

/* Caller owes free(). */
static inline char *fixture_dump(const struct saga *saga)
{
    struct text text;
    text_init(&text, MAX_BYTES);
    text_format(&text,
                "%s retired=%d newer=%d finish=%d cancelling=%d stopping=%d version=%u cause=%u ended=%u progress=%u undo=%u start=%lld "
                "started=%lld finished=%lld time=%lld context=%zu '%.*s' '%.*s' '%.*s'\n",
                run_status_name((enum run_status)saga->status), saga->retired, saga->newer, saga->finish_recorded, saga->cancelling,
                saga->stopping, saga->fold_version, saga->cause_step, saga->ended_count, saga->progress_ppm, saga->undo_total,
                (long long)saga->start_offset, (long long)saga->started_ms, (long long)saga->finished_ms, (long long)saga->time_ms,
                saga->context_bytes, SPAN_ARGS(saga->run_id), SPAN_ARGS(saga->params), SPAN_ARGS(saga->error));
    for (uint32_t i = 0; saga->steps != NULL && i < saga->plan->step_count; i++) {
        fixture_show_step(&text, &saga->steps[i]);
    }
    for (const struct saga_request *r = saga->requests; r != NULL; r = r->next) {
        text_format(&text, "request %02x%02x verdict=%d answered=%d '%.*s'\n", r->id[0], r->id[1], r->verdict, r->answered,
                    SPAN_ARGS(r->reason));
    }
    assert_false(text.overflow);
    return text_take(&text);
}

/* "rolling_back: failed rolling_back waiting; due: roll back 1#1": what a reader of a test wants to see. Caller owes free(). */
static inline char *fixture_show(const struct saga *saga)
{
    struct text text;
    text_init(&text, MAX_BYTES);
    text_format(&text, "%s:", run_status_name((enum run_status)saga->status));
    for (uint32_t i = 0; saga->steps != NULL && i < saga->plan->step_count; i++) {
        text_format(&text, " %s", step_status_name((enum step_status)saga->steps[i].status));
    }
    struct saga_effect effect;
    for (struct saga_cursor cursor = {0}; saga_next_effect(saga, &cursor, &effect);) {
        static const char *const names[] = {[EFFECT_DISPATCH] = "send", [EFFECT_CANCEL_TASK] = "cancel", [EFFECT_FINISH] = "finish"};
        if (effect.kind == EFFECT_ANSWER) {
            continue; /* shown by tests of their own */
        }
        text_format(&text, "; %s", names[effect.kind]);
        if (effect.kind != EFFECT_FINISH) {
            text_format(&text, " %s%u#%u%s", effect.ticket.direction == DIRECTION_ROLLBACK ? "undo " : "", effect.ticket.step,
                        effect.ticket.number, effect.confirm ? " confirm" : "");
        }
    }
    struct saga_deadline deadline;
    if (saga_next_deadline(saga, &deadline)) {
        static const char *const timers[] = {"", "retry", "timeout", "heartbeat"};
        text_format(&text, "; %s of %u#%u", timers[deadline.timer], deadline.ticket.step, deadline.ticket.number);
    }
    return text_take(&text);
}

/* A test for each row, named by the row: the first member of a row is its name. */
static inline int fixture_run_rows(const char *group, const void *rows, size_t count, size_t size, CMUnitTestFunction test)
{
    struct CMUnitTest *tests = calloc(count, sizeof *tests);
    for (size_t i = 0; i < count; i++) {
        const char *row = (const char *)rows + i * size;
        tests[i] = (struct CMUnitTest){.name = *(const char *const *)(const void *)row, .test_func = test, .initial_state = (void *)(size_t)row};
    }
    int failed = _cmocka_run_group_tests(group, tests, count, NULL, NULL);
    free(tests);
    return failed;
}

#endif
