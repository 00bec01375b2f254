/* SPDX-License-Identifier: Apache-2.0 */
/* A saga under test: exactly as much room as it asks for, and events that are short to write. */
#ifndef SAGA_FIXTURE_H
#define SAGA_FIXTURE_H

#include "common/messages.h"
#include "tests/unit/saga_shown.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>


/* ---- events; `t` is the ticket's number. A row's events come a second apart, unless `after` says otherwise. */

struct timed_event {
    struct saga_event event;
    int64_t after_ms;  /* since the event before; 0: a second */
};

#define EXECUTE(s, t) .ticket = {.step = (s), .direction = DIRECTION_EXECUTE, .number = (t)}
#define ROLLBACK(s, t) .ticket = {.step = (s), .direction = DIRECTION_ROLLBACK, .number = (t)}
#define WORKER .worker = S("w1")
#define START_OF_FOLD(version) {.event = {.kind = EVENT_START, .request_id = {1}, .params = S("{}"), .fold_version = (version)}}
#define START START_OF_FOLD(SAGA_FOLD_OF_EARLY_TAILS) /* what differs where tasks may be sent ahead: saga_ahead_test.c */
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
#define REQUEST(which, n, ...) {.event = {.kind = EVENT_##which, .request_id = {n}, __VA_ARGS__}}
#define PAUSE REQUEST(PAUSE, 20, WORKER)
#define RESUME REQUEST(RESUME, 21, WORKER)
#define RETRY_RUN(n) REQUEST(RETRY, n, WORKER)
#define ROLL_BACK REQUEST(ROLL_BACK, 23, WORKER)
#define RESOLVE(n, what, ...) REQUEST(RESOLVE, n, .step_name = S(what), __VA_ARGS__)
#define INSTANCE(s, i, t) .ticket = {.step = (s), .instance = (i), .direction = DIRECTION_EXECUTE, .number = (t)}
#define INSTANCE_OK(s, i, t) {.event = {.kind = EVENT_DONE, .outcome = OUTCOME_OK, WORKER, INSTANCE(s, i, t), .data = S("7")}}
#define INSTANCE_FAILED(s, i, t, why) {.event = {.kind = EVENT_DONE, .outcome = OUTCOME_FAILED, WORKER, INSTANCE(s, i, t), .error = S(why)}}
#define INSTANCE_CANCELLED(s, i, t) {.event = {.kind = EVENT_DONE, .outcome = OUTCOME_CANCELLED_STARTED, WORKER, INSTANCE(s, i, t)}}
#define INSTANCE_SKIPPED(s, i, t) {.event = {.kind = EVENT_DONE, .outcome = OUTCOME_SKIPPED, WORKER, INSTANCE(s, i, t)}}
#define INSTANCE_WITHDRAWN(s, i, t) {.event = {.kind = EVENT_WITHDRAWN, INSTANCE(s, i, t)}}
#define INSTANCE_UNDONE(s, i, t) \
    {.event = {.kind = EVENT_DONE, .outcome = OUTCOME_OK, WORKER, \
               .ticket = {.step = (s), .instance = (i), .direction = DIRECTION_ROLLBACK, .number = (t)}}}
#define EXPANDED(s, t, list) {.event = {.kind = EVENT_EXPANDED, WORKER, EXECUTE(s, t), .elements = list, .element_count = COUNT(list)}}
#define RUN_FIRED(ms) {.event = {.kind = EVENT_TIMER_FIRED, .timer = TIMER_RUN}, .after_ms = (ms)}
#define FINISHED {.event = {.kind = EVENT_FINISHED}}

/* ---- applying */

/* A saga of its own that was made from a snapshot of `saga`: bytes, image, copy. Caller owes fixture_release(). */
static inline struct saga fixture_image(const struct saga *saga)
{
    struct message message = {.kind = MESSAGE_SNAPSHOT, .image = saga}, decoded;
    struct saga copy = {0};
    struct error error = {0};
    struct text bytes;
    text_init(&bytes, SHOWN_MAX_BYTES);
    bool ok = message_encode(&message, &bytes, &error) &&
              message_decode(&decoded, TOPIC_PROGRESS, saga->run_id, text_span(&bytes), &error);
    if (!ok) {
        fail_msg("snapshot: %s", error.message);
    }
    size_t size = saga_copy_room(decoded.image);
    saga_copy(&copy, decoded.image, malloc(size), size);
    message_free(&decoded);
    text_fini(&bytes);
    return copy;
}

static inline void fixture_expect_image(const struct saga *saga)
{
    struct saga copy = fixture_image(saga);
    char *expected = fixture_dump(saga), *found = fixture_dump(&copy);
    assert_string_equal(found, expected);
    free(expected);
    free(found);
    saga_release(&copy, free);
}

/* Give exactly what is asked for, and insist that it is enough: the saga asserts it, AddressSanitizer watches. */
static inline enum saga_verdict fixture_apply(struct saga *saga, struct saga_event event)
{
    event.run_id = event.run_id.size > 0 ? event.run_id : (struct span)S("run-1");
    size_t size = saga_room(saga, &event);
    if (size > 0) {
        saga_provide(saga, malloc(size), size);
    }
    assert_int_equal(saga_room(saga, &event), 0);
    enum saga_verdict verdict = saga_apply(saga, &event);
    bool large = saga->steps != NULL && saga->steps[0]->fan != NULL && saga->steps[0]->fan->count > 100; /* one look at all of it would do */
    if (saga->status != RUN_NONE && !saga->retired && !large) {
        fixture_expect_image(saga); /* whatever state there is can be told in a snapshot */
    }
    return verdict;
}

static inline void fixture_release(struct saga *saga)
{
    saga_release(saga, free);
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
