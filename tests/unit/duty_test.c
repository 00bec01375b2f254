/* SPDX-License-Identifier: Apache-2.0 */
/* The table "What a worker owes", row by row; and docs/PROTOCOL.md says the same rows in the same order. */
#include "worker/duty.h"

#include "common/limits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define PARTITIONS 4
#define LEASE_END_MS 1000

static const struct incarnation mine = {{1}};

/* The worker's state in a row: on partition 1 it has answered the Welcome of epoch 50; it holds ticket 3 of run-1, step 0. */
struct given {
    enum duty_held held;
    uint32_t load, window, ahead;
    int64_t now_ms;
};

struct row {
    const char *what;
    struct given given;
    struct message message;
    enum duty_answer answer;
    int64_t epoch_after; /* of partition 1 */
};

static enum duty_held held(const void *state, struct span run_id, const struct ticket *ticket, uint32_t *number)
{
    const struct given *given = state;
    bool is_it = span_equal(run_id, span_of("run-1")) && ticket->step == 0 && ticket->direction == DIRECTION_EXECUTE;
    *number = is_it ? 3 : 0;
    return is_it ? given->held : DUTY_NOT_HELD;
}

static bool serves(const void *state, struct span handler)
{
    (void)state;
    return span_equal(handler, span_of("copy"));
}

#define TASK(to, of, partition, name)                                                                                              \
    {                                                                                                                              \
        .kind = MESSAGE_TASK, .incarnation = to, .epoch = of, .progress_partition = partition, .task = {                           \
            .run_id = {"run-1", 5},                                                                                                \
            .ticket = {.number = 3},                                                                                               \
            .handler = {name, sizeof name - 1}                                                                                     \
        }                                                                                                                          \
    }
/* Ticket 3 of that step of run-1, sent ahead behind the step beside it: of the two only step 0 may be here. */
#define AHEAD(of, name, its_step, after_number)                                                                                    \
    {                                                                                                                              \
        .kind = MESSAGE_TASK, .incarnation = {{1}}, .epoch = of, .progress_partition = 1, .task = {                                \
            .run_id = {"run-1", 5},                                                                                                \
            .ticket = {.step = its_step, .number = 3},                                                                             \
            .after = {.step = 1 - its_step, .number = after_number},                                                               \
            .handler = {name, sizeof name - 1}                                                                                     \
        }                                                                                                                          \
    }
#define HOLD_BACK(ticket_number)                                                                                                   \
    {                                                                                                                              \
        .kind = MESSAGE_CANCEL_TASK, .incarnation = {{1}}, .epoch = 50, .progress_partition = 1, .cancel_reason = CANCEL_AHEAD,    \
        .event = {                                                                                                                 \
            .run_id = {"run-1", 5},                                                                                                \
            .ticket = {.number = ticket_number}                                                                                    \
        }                                                                                                                          \
    }
#define CANCEL(to, of, ticket_number)                                                                                              \
    {                                                                                                                              \
        .kind = MESSAGE_CANCEL_TASK, .incarnation = to, .epoch = of, .progress_partition = 1, .event = {                           \
            .run_id = {"run-1", 5},                                                                                                \
            .ticket = {.number = ticket_number}                                                                                    \
        }                                                                                                                          \
    }
#define WELCOME(to, of, partition)                                                                                                 \
    {                                                                                                                              \
        .kind = MESSAGE_WELCOME, .incarnation = to, .epoch = of, .progress_partition = partition                                   \
    }
#define IDLE                                                                                                                       \
    {                                                                                                                              \
        .window = 4                                                                                                                \
    }

static const struct row rows[] = {
    {"a task for another incarnation is skipped", IDLE, TASK({{2}}, 50, 1, "copy"), DUTY_SKIP_NOT_MINE, 50},
    {"a cancel for another incarnation is skipped", IDLE, CANCEL({{2}}, 50, 3), DUTY_SKIP_NOT_MINE, 50},
    {"a welcome for another incarnation is skipped", IDLE, WELCOME({{2}}, 60, 1), DUTY_SKIP_NOT_MINE, 50},
    {"a welcome of a later epoch is remembered and answered", IDLE, WELCOME({{1}}, 60, 1), DUTY_HOLDING, 60},
    {"a welcome of the same epoch is answered again", IDLE, WELCOME({{1}}, 50, 1), DUTY_HOLDING, 50},
    {"a welcome of an earlier epoch is skipped", IDLE, WELCOME({{1}}, 49, 1), DUTY_SKIP_FENCED, 50},
    {"the first welcome of a partition is answered", IDLE, WELCOME({{1}}, 7, 2), DUTY_HOLDING, 50},
    {"a welcome of epoch 0 is answered", IDLE, WELCOME({{1}}, 0, 2), DUTY_HOLDING, 50},
    {"a welcome of a partition that cannot be is skipped", IDLE, WELCOME({{1}}, 60, PARTITIONS), DUTY_SKIP_FENCED, 50},
    {"a task of an earlier epoch is skipped", IDLE, TASK({{1}}, 49, 1, "copy"), DUTY_SKIP_FENCED, 50},
    {"a task of a later epoch is skipped, too: its owner has no Holding", IDLE, TASK({{1}}, 51, 1, "copy"), DUTY_SKIP_FENCED, 50},
    {"a task of a partition without a welcome is skipped", IDLE, TASK({{1}}, 0, 2, "copy"), DUTY_SKIP_FENCED, 50},
    {"a task of a partition that cannot be is skipped", IDLE, TASK({{1}}, 50, PARTITIONS, "copy"), DUTY_SKIP_FENCED, 50},
    {"a cancel of an earlier epoch is skipped", {.held = DUTY_RUNNING}, CANCEL({{1}}, 49, 3), DUTY_SKIP_FENCED, 50},
    {"a task after the lease ends the incarnation",
     {.window = 4, .now_ms = LEASE_END_MS},
     TASK({{1}}, 50, 1, "copy"),
     DUTY_NEW_INCARNATION,
     50},
    {"the last moment of the lease is still of it",
     {.window = 4, .now_ms = LEASE_END_MS - 1},
     TASK({{1}}, 50, 1, "copy"),
     DUTY_RUN,
     50},
    {"the fence comes before the lease", {.window = 4, .now_ms = LEASE_END_MS}, TASK({{1}}, 49, 1, "copy"), DUTY_SKIP_FENCED, 50},
    {"an unknown handler is refused", IDLE, TASK({{1}}, 50, 1, "paste"), DUTY_REFUSE_UNKNOWN, 50},
    {"unknown comes before busy", {.load = 4, .window = 4}, TASK({{1}}, 50, 1, "paste"), DUTY_REFUSE_UNKNOWN, 50},
    {"a full window is refused", {.load = 4, .window = 4}, TASK({{1}}, 50, 1, "copy"), DUTY_REFUSE_BUSY, 50},
    {"who drains has no window", {.load = 0, .window = 0}, TASK({{1}}, 50, 1, "copy"), DUTY_REFUSE_BUSY, 50},
    {"a key that is queued is skipped", {.held = DUTY_QUEUED, .window = 4}, TASK({{1}}, 50, 1, "copy"), DUTY_SKIP_KEY_HELD, 50},
    {"a key that runs is skipped", {.held = DUTY_RUNNING, .window = 4}, TASK({{1}}, 50, 1, "copy"), DUTY_SKIP_KEY_HELD, 50},
    {"any other task is run", IDLE, TASK({{1}}, 50, 1, "copy"), DUTY_RUN, 50},
    {"room for one more is room", {.load = 3, .window = 4}, TASK({{1}}, 50, 1, "copy"), DUTY_RUN, 50},
    {"a cancel of what is queued takes it out", {.held = DUTY_QUEUED}, CANCEL({{1}}, 50, 3), DUTY_CANCEL_QUEUED, 50},
    {"a cancel of what runs is passed on", {.held = DUTY_RUNNING}, CANCEL({{1}}, 50, 3), DUTY_CANCEL_RUNNING, 50},
    {"a cancel of what is not here is skipped", {.held = DUTY_NOT_HELD}, CANCEL({{1}}, 50, 3), DUTY_SKIP_ENDED, 50},
    {"a cancel of another ticket of the key is skipped", {.held = DUTY_RUNNING}, CANCEL({{1}}, 50, 2), DUTY_SKIP_ENDED, 50},
    {"what was sent ahead waits behind what is queued", {.held = DUTY_QUEUED, .window = 4}, AHEAD(50, "copy", 1, 3), DUTY_RUN, 50},
    {"and behind what runs", {.held = DUTY_RUNNING, .window = 4}, AHEAD(50, "copy", 1, 3), DUTY_RUN, 50},
    {"and behind what has ended, if that expects it", {.held = DUTY_ENDED, .window = 4}, AHEAD(50, "copy", 1, 3), DUTY_RUN, 50},
    {"ahead of what is not here it is given back", IDLE, AHEAD(50, "copy", 1, 3), DUTY_GIVE_BACK, 50},
    {"ahead of another ticket of the key, too", {.held = DUTY_RUNNING, .window = 4}, AHEAD(50, "copy", 1, 2), DUTY_GIVE_BACK, 50},
    {"a full window has room for it", {.held = DUTY_RUNNING, .load = 4, .window = 4}, AHEAD(50, "copy", 1, 3), DUTY_RUN, 50},
    {"seven times the window may wait", {.held = DUTY_RUNNING, .window = 4, .ahead = 27}, AHEAD(50, "copy", 1, 3), DUTY_RUN, 50},
    {"and no more", {.held = DUTY_RUNNING, .window = 4, .ahead = 28}, AHEAD(50, "copy", 1, 3), DUTY_GIVE_BACK, 50},
    {"with who drains nothing waits", {.held = DUTY_RUNNING, .window = 0}, AHEAD(50, "copy", 1, 3), DUTY_GIVE_BACK, 50},
    {"the last that one Holding can name waits",
     {.held = DUTY_RUNNING, .load = 2, .window = LIMIT_WINDOW, .ahead = LIMIT_HOLDING - 3},
     AHEAD(50, "copy", 1, 3),
     DUTY_RUN,
     50},
    {"the next one does not",
     {.held = DUTY_RUNNING, .load = 2, .window = LIMIT_WINDOW, .ahead = LIMIT_HOLDING - 2},
     AHEAD(50, "copy", 1, 3),
     DUTY_GIVE_BACK,
     50},
    {"nor is there room for a task as any other",
     {.load = 2, .window = LIMIT_WINDOW, .ahead = LIMIT_HOLDING - 2},
     TASK({{1}}, 50, 1, "copy"),
     DUTY_REFUSE_BUSY,
     50},
    {"for which there was a moment before",
     {.load = 2, .window = LIMIT_WINDOW, .ahead = LIMIT_HOLDING - 3},
     TASK({{1}}, 50, 1, "copy"),
     DUTY_RUN,
     50},
    {"what waits is here", {.held = DUTY_QUEUED, .window = 4}, AHEAD(50, "copy", 0, 3), DUTY_SKIP_KEY_HELD, 50},
    {"what has ended may come again", {.held = DUTY_ENDED, .window = 4}, TASK({{1}}, 50, 1, "copy"), DUTY_RUN, 50},
    {"an unknown handler is refused ahead, too", {.held = DUTY_RUNNING, .window = 4}, AHEAD(50, "paste", 1, 3), DUTY_REFUSE_UNKNOWN, 50},
    {"of another epoch it is skipped", {.held = DUTY_RUNNING, .window = 4}, AHEAD(51, "copy", 1, 3), DUTY_SKIP_FENCED, 50},
    {"after the lease it ends the incarnation",
     {.held = DUTY_RUNNING, .window = 4, .now_ms = LEASE_END_MS},
     AHEAD(50, "copy", 1, 3),
     DUTY_NEW_INCARNATION,
     50},
    {"what is held back is taken out where it is queued", {.held = DUTY_QUEUED}, HOLD_BACK(3), DUTY_CANCEL_QUEUED, 50},
    {"where it runs it goes on", {.held = DUTY_RUNNING}, HOLD_BACK(3), DUTY_SKIP_ENDED, 50},
    {"where it has ended its end is in the log", {.held = DUTY_ENDED}, HOLD_BACK(3), DUTY_SKIP_ENDED, 50},
    {"so is that of another ticket", {.held = DUTY_QUEUED}, HOLD_BACK(2), DUTY_SKIP_ENDED, 50},
    {"a cancel of what has ended is skipped", {.held = DUTY_ENDED}, CANCEL({{1}}, 50, 3), DUTY_SKIP_ENDED, 50},
    {"a record of no task topic is nobody's", IDLE, {.kind = MESSAGE_DONE, .incarnation = {{1}}}, DUTY_SKIP_NOT_MINE, 50},
};

static void run_row(void **state)
{
    const struct row *row = *state;
    struct duty_fence fences[PARTITIONS] = {[1] = {.welcomed = true, .epoch = 50}};
    struct duty duty = {.incarnation = mine,
                        .lease_end_ms = LEASE_END_MS,
                        .fences = fences,
                        .fence_count = PARTITIONS,
                        .load = row->given.load,
                        .window = row->given.window,
                        .ahead = row->given.ahead,
                        .held = held,
                        .serves = serves,
                        .state = &row->given};
    assert_int_equal(duty_of(&duty, &row->message, row->given.now_ms), row->answer);
    assert_int_equal(fences[1].epoch, row->epoch_after);
}

static void window_is_the_slots_and_what_they_run_in_a_round_trip(void **state)
{
    (void)state;
    assert_int_equal(duty_window(4, 0), 4); /* nothing is known yet */
    assert_int_equal(duty_window(4, 60000000), 4); /* a minute */
    assert_int_equal(duty_window(4, 170000), 4);
    assert_int_equal(duty_window(4, 40000), 8); /* else a slot waits a round trip after each step */
    assert_int_equal(duty_window(4, 20000), 12);
    assert_int_equal(duty_window(2, 3000), 28);
    assert_int_equal(duty_window(4, 1), 4096);
    assert_int_equal(duty_window(256, 1), 65536);
}

static void behind_a_large_result_nothing_begins(void **state)
{
    (void)state;
    assert_int_equal(duty_of_next(0), DUTY_NEXT_WAITS);
    assert_int_equal(duty_of_next(LIMIT_AHEAD_RESULT_BYTES), DUTY_NEXT_WAITS);
    assert_int_equal(duty_of_next(LIMIT_AHEAD_RESULT_BYTES + 1), DUTY_NEXT_GOES_BACK);
}

#define ROWS (sizeof rows / sizeof *rows)

/* ---- the page: each of its rows stands for answers that some row above is a test of, and each answer above has its row there */

#define PAGE "docs/PROTOCOL.md"
#define HEADING "| record | case | what to do |\n| --- | --- | --- |\n"
#define PAGE_MAX_BYTES 200000

static const struct {
    const char *record, *situation, *what;
    enum message_kind kinds[3];
    enum duty_answer answer;
} said[] = {
    {"any", "`incarnation` is not mine", "skip it", {MESSAGE_WELCOME, MESSAGE_TASK, MESSAGE_CANCEL_TASK}, DUTY_SKIP_NOT_MINE},
    {"Welcome",
     "`epoch` is lower than the last one welcomed on that `progress_partition`",
     "skip it",
     {MESSAGE_WELCOME},
     DUTY_SKIP_FENCED},
    {"Welcome",
     "else",
     "remember the epoch for that partition; send Holding there, also when nothing is held",
     {MESSAGE_WELCOME},
     DUTY_HOLDING},
    {"Task, CancelTask",
     "`epoch` is not the remembered one of that partition",
     "skip it",
     {MESSAGE_TASK, MESSAGE_CANCEL_TASK},
     DUTY_SKIP_FENCED},
    {"Task", "my lease is over", "begin a new incarnation", {MESSAGE_TASK}, DUTY_NEW_INCARNATION},
    {"Task", "I do not serve `handler`", "Refused(UNKNOWN)", {MESSAGE_TASK}, DUTY_REFUSE_UNKNOWN},
    {"Task",
     "it has no `after`, and my window is full (of queued and running tasks, those that wait for a confirmation included), or I drain",
     "Refused(BUSY)",
     {MESSAGE_TASK},
     DUTY_REFUSE_BUSY},
    {"Task",
     "I hold this (run, step, instance, direction), and it has not ended",
     "skip it; it should not happen",
     {MESSAGE_TASK},
     DUTY_SKIP_KEY_HELD},
    {"Task",
     "it has `after`, and that ticket is not here; or seven times my window wait behind others; or I drain",
     "Done(cancelled, not started)",
     {MESSAGE_TASK},
     DUTY_GIVE_BACK},
    {"Task",
     "else",
     "take it: run it when a slot is free; with `after`, when that ticket has ended here with Done(ok) or Done(skipped) and the Done is acknowledged",
     {MESSAGE_TASK},
     DUTY_RUN},
    {"CancelTask",
     "the ticket is queued here, or waits behind another, or for its Started to be acknowledged",
     "drop it, and what waits behind it; Done(cancelled, not started)",
     {MESSAGE_CANCEL_TASK},
     DUTY_CANCEL_QUEUED},
    {"CancelTask",
     "it runs here, and the reason is not `AHEAD`",
     "stop it; Done with what came of it: (cancelled, started), or how else it ended",
     {MESSAGE_CANCEL_TASK},
     DUTY_CANCEL_RUNNING},
    {"CancelTask",
     "else, or I hold another ticket number of the same (run, step, instance, direction)",
     "skip it: its end is in the log, or it was not to be stopped",
     {MESSAGE_CANCEL_TASK},
     DUTY_SKIP_ENDED},
};

#define SAID (sizeof said / sizeof *said)

static bool is_said(size_t index, enum message_kind kind, enum duty_answer answer)
{
    for (size_t i = 0; i < 3; i++) {
        if (said[index].kinds[i] == kind && said[index].answer == answer) {
            return true;
        }
    }
    return false;
}

static bool has_a_test(size_t index, enum message_kind kind)
{
    for (size_t i = 0; i < ROWS; i++) {
        if (rows[i].message.kind == kind && is_said(index, kind, rows[i].answer)) {
            return true;
        }
    }
    return false;
}

static void each_row_of_the_page_has_a_test_and_the_other_way_round(void **state)
{
    (void)state;
    for (size_t i = 0; i < SAID; i++) {
        for (size_t k = 0; k < 3 && said[i].kinds[k] != MESSAGE_NONE; k++) {
            assert_true(has_a_test(i, said[i].kinds[k]));
        }
    }
    for (size_t i = 0; i < ROWS; i++) {
        bool found = rows[i].message.kind == MESSAGE_DONE; /* of no task topic: the page speaks of none */
        for (size_t k = 0; k < SAID; k++) {
            found = found || is_said(k, rows[i].message.kind, rows[i].answer);
        }
        assert_true(found);
    }
}

static void the_page_has_these_rows_in_this_order(void **state)
{
    static char page[PAGE_MAX_BYTES], made[8000];
    size_t size = 0;
    (void)state;
    FILE *file = fopen(PAGE, "r");
    assert_non_null(file);
    page[fread(page, 1, sizeof page - 1, file)] = '\0';
    fclose(file);
    for (size_t i = 0; i < SAID; i++) {
        size += (size_t)snprintf(made + size, sizeof made - size, "| %s | %s | %s |\n", said[i].record, said[i].situation,
                                 said[i].what);
    }
    char *table = strstr(page, HEADING);
    assert_non_null(table);
    table += strlen(HEADING);
    char *end = strstr(table, "\n\n");
    assert_non_null(end);
    end[1] = '\0';
    assert_string_equal(table, made);
}

int main(void)
{
    struct CMUnitTest tests[ROWS + 4];
    for (size_t i = 0; i < ROWS; i++) {
        tests[i] = (struct CMUnitTest){.name = rows[i].what, .test_func = run_row, .initial_state = (void *)(uintptr_t)&rows[i]};
    }
    tests[ROWS] = (struct CMUnitTest)cmocka_unit_test(window_is_the_slots_and_what_they_run_in_a_round_trip);
    tests[ROWS + 1] = (struct CMUnitTest)cmocka_unit_test(behind_a_large_result_nothing_begins);
    tests[ROWS + 2] = (struct CMUnitTest)cmocka_unit_test(each_row_of_the_page_has_a_test_and_the_other_way_round);
    tests[ROWS + 3] = (struct CMUnitTest)cmocka_unit_test(the_page_has_these_rows_in_this_order);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
