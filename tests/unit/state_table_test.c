/* SPDX-License-Identifier: Apache-2.0 */
/* docs/PROTOCOL.md, "State by state", is what the fold does: each state of a run of two steps, each event about the first of them, or about the
 * run, and what is then the state and due. The page and the fold cannot differ: the table is made anew here and compared, line by line.
 *
 * After a change that is meant: BACKSTEP_WRITE_TABLE=1 build/dev/tests/unit_state_table prints the table for the page. */
#include "tests/unit/saga_rows.h"

#define PAGE "docs/PROTOCOL.md"
#define BEGIN "<!-- states: begin -->\n"
#define END "<!-- states: end -->\n"

static const uint32_t first[] = {0};
static const struct plan_step steps[] = {STEP("a", .retry = RETRY(2, 1), .timeout_ms = 10000),
                                         STEP("b", NEEDS(first), .retry = PLAN_RETRY_DEFAULT)};
static const struct plan plan = PLAN(steps);
static const struct plan holding = {.name = S("plan"), .steps = steps, .step_count = COUNT(steps), .pause_on_failure = true};

static const struct given {
    const char *name;
    struct row row;
} givens[] = {
    {"A step is ready", {.plan = &plan, .events = {START}}},
    {"It runs", {.plan = &plan, .events = {START, STARTED(0, 1)}}},
    {"It runs, and its deadline has fired", {.plan = &plan, .events = {START, STARTED(0, 1), FIRED(0, 1, TIMEOUT, 11000)}}},
    {"It waits for its second attempt", {.plan = &plan, .events = {START, STARTED(0, 1), FAILED(0, 1, "no")}}},
    {"It runs, and the run was cancelled", {.plan = &plan, .events = {START, STARTED(0, 1), CANCEL}}},
    {"The run is paused, and the step was not sent", {.plan = &plan, .events = {START, PAUSE}}},
    {"The run is paused, and the step runs", {.plan = &plan, .events = {START, STARTED(0, 1), PAUSE}}},
    {"The step has failed, and the run is held for a person", {.plan = &holding, .events = {START, PERMANENT(0, 1, "no")}}},
    {"The step has succeeded, and the next is ready", {.plan = &plan, .events = {START, OK(0, 1)}}},
    {"It is rolled back", {.plan = &plan, .events = {START, PERMANENT(0, 1, "no")}}},
    {"Its rollback runs", {.plan = &plan, .events = {START, PERMANENT(0, 1, "no"), UNDO_STARTED(0, 1)}}},
    {"Its rollback waits for its second attempt",
     {.plan = &plan, .events = {START, PERMANENT(0, 1, "no"), UNDO_FAILED(0, 1, "busy")}}},
    {"Its rollback has failed for good",
     {.plan = &plan, .events = {START, PERMANENT(0, 1, "no"), UNDO_IMPOSSIBLE(0, 1, "never"), FINISHED}}},
    {"The run is rolled back", {.plan = &plan, .events = {START, PERMANENT(0, 1, "no"), UNDONE(0, 1), FINISHED}}},
};

static const struct {
    const char *name;
    struct timed_event event; /* its ticket is the step's current one, where it has one */
} events[] = {
    {"Started", STARTED(0, 0)},
    {"Done(ok)", OK(0, 0)},
    {"Done(skipped)", SKIPPED(0, 0)},
    {"Done(failed)", FAILED(0, 0, "no")},
    {"Done(failed, permanent)", PERMANENT(0, 0, "no")},
    {"Done(cancelled, started)", CANCELLED(0, 0)},
    {"Done(cancelled, not started)", NOT_STARTED(0, 0)},
    {"Refused", REFUSED(0, 0)},
    {"Withdrawn", WITHDRAWN(0, 0)},
    {"Lost", LOST(0, 0)},
    {"Lost with empty `worker`", LOST_BY_NOBODY(0, 0)},
    {"TimerFired(timeout)", FIRED(0, 0, TIMEOUT, 60000)},
    {"TimerFired(retry)", FIRED(0, 0, RETRY, 60000)},
    {"rollback Started", UNDO_STARTED(0, 0)},
    {"rollback Done(ok)", UNDONE(0, 0)},
    {"rollback Done(skipped)", NOTHING_TO_UNDO(0, 0)},
    {"rollback Done(failed)", UNDO_FAILED(0, 0, "busy")},
    {"rollback Done(failed, permanent)", UNDO_IMPOSSIBLE(0, 0, "never")},
    {"rollback Lost", UNDO_LOST(0, 0)},
    {"rollback TimerFired(retry)", UNDO_FIRED(0, 0, 60000)},
    {"Cancel", REQUEST(CANCEL, 90, WORKER)},
    {"Pause", REQUEST(PAUSE, 91, WORKER)},
    {"Resume", REQUEST(RESUME, 92, WORKER)},
    {"Retry", REQUEST(RETRY, 93, WORKER)},
    {"RollBack", REQUEST(ROLL_BACK, 94, WORKER)},
    {"Resolve(done)", RESOLVE(95, "a", .done = true)},
    {"Resolve(undone)", RESOLVE(96, "a", .done = false)},
};

static void begin(struct saga *saga, const struct row *row, int64_t *time_ms)
{
    for (size_t i = 0; i < COUNT(row->events) && (i == 0 || row->events[i].event.kind != EVENT_START); i++) {
        struct saga_event event = prepared(row, i, time_ms);
        fixture_apply(saga, event);
    }
}

static void add_row(struct text *text, const struct row *row, size_t index)
{
    struct saga saga = {0};
    int64_t time_ms = 1000000;
    begin(&saga, row, &time_ms);
    char *before = fixture_dump(&saga);
    struct saga_event event = events[index].event.event;
    event.time_ms = time_ms + (events[index].event.after_ms > 0 ? events[index].event.after_ms : 1000);
    event.offset = 99;
    event.ticket.number = saga.steps[0]->ticket;
    fixture_apply(&saga, event);
    char *after = fixture_dump(&saga), *shown = fixture_show(&saga);
    bool is_request = event.kind >= EVENT_CANCEL && event.kind <= EVENT_RESOLVE;
    if (is_request && saga.requests->verdict == VERDICT_REFUSED) {
        text_format(text, "| %s | refused: %.*s |\n", events[index].name, SPAN_ARGS(saga_request_reason(saga.requests)));
    } else if (strcmp(before, after) != 0) {
        text_format(text, "| %s | `%s` |\n", events[index].name, shown);
    }
    free(before);
    free(after);
    free(shown);
    fixture_release(&saga);
}

static void add_state(struct text *text, const struct given *given)
{
    struct saga saga = {0};
    int64_t time_ms = 1000000;
    begin(&saga, &given->row, &time_ms);
    char *shown = fixture_show(&saga);
    text_format(text, "\n**%s**: `%s`\n\n| event | then |\n| --- | --- |\n", given->name, shown);
    free(shown);
    fixture_release(&saga);
    for (size_t i = 0; i < COUNT(events); i++) {
        add_row(text, &given->row, i);
    }
}

static char *read_page(void)
{
    FILE *file = fopen(PAGE, "r");
    assert_non_null(file);
    char *page = calloc(1, SHOWN_MAX_BYTES);
    assert_true(fread(page, 1, SHOWN_MAX_BYTES - 1, file) > 0);
    fclose(file);
    return page;
}

static void the_page_says_what_the_fold_does(void **state)
{
    (void)state;
    struct text text;
    text_init(&text, SHOWN_MAX_BYTES);
    for (size_t i = 0; i < COUNT(givens); i++) {
        add_state(&text, &givens[i]);
    }
    text_append_string(&text, "\n");
    char *made = text_take(&text), *page = read_page();
    if (getenv("BACKSTEP_WRITE_TABLE") != NULL) {
        printf("%s", made);
    }
    const char *begins = strstr(page, BEGIN), *ends = strstr(page, END);
    assert_non_null(begins);
    assert_non_null(ends);
    char *said = strndup(begins + strlen(BEGIN), (size_t)(ends - begins) - strlen(BEGIN));
    assert_string_equal(said, made);
    free(said);
    free(page);
    free(made);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_page_says_what_the_fold_does)};
    return cmocka_run_group_tests_name("state by state", tests, NULL, NULL);
}
