/* SPDX-License-Identifier: Apache-2.0 */
/* What is shown of logs and histories: every row is a record, and the line it becomes. */
#include "coordinator/cli/log_line.h"
#include "coordinator/cli/screen.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define S(literal)                                                                                                                 \
    {                                                                                                                              \
        literal, sizeof(literal) - 1                                                                                               \
    }
#define T0 1767355445118 /* 2026-01-02 12:04:05.118 UTC */

static const struct line_row {
    const char *what;
    struct log_line line;
    enum log_level level;
    bool colour;
    const char *text, *json;
} line_rows[] = {
    {"text",
     {T0, LOG_INFO, LOG_SOURCE_STDERR, S(""), S("on it"), S("")},
     LOG_DEBUG,
     false,
     "12:04:05.118 chat-1 talk     execute  info      on it\n",
     ",\"level\":\"info\",\"source\":\"stderr\",\"text\":\"on it\"}\n"},
    {"an event with data",
     {T0, LOG_WARN, LOG_SOURCE_HANDLER, S("boom"), S("it went"), S("{\"n\":3}")},
     LOG_DEBUG,
     false,
     "12:04:05.118 chat-1 talk     execute  warn      boom it went {\"n\":3}\n",
     ",\"level\":\"warn\",\"source\":\"handler\",\"event\":\"boom\",\"text\":\"it went\",\"data\":{\"n\":3}}\n"},
    {"below the level", {T0, LOG_INFO, LOG_SOURCE_STDOUT, S(""), S("on it"), S("")}, LOG_WARN, false, "", NULL},
    {"in colour, and without the run",
     {T0, LOG_ERROR, LOG_SOURCE_STDOUT, S(""), S("no"), S("")},
     LOG_DEBUG,
     true,
     "\033[31m12:04:05.118 talk     execute  error     no\033[0m\n",
     ",\"level\":\"error\",\"source\":\"stdout\",\"text\":\"no\"}\n"},
    {"what would drive a terminal",
     {T0, LOG_INFO, LOG_SOURCE_STDERR, S(""), S("a\033[2Jb\nc"), S("")},
     LOG_DEBUG,
     true,
     "12:04:05.118 talk     execute  info      a\\x1b[2Jb\\x0ac\n",
     ",\"level\":\"info\",\"source\":\"stderr\",\"text\":\"a\\u001b[2Jb\\nc\"}\n"},
    {"data that is no JSON after all",
     {T0, LOG_INFO, LOG_SOURCE_STDERR, S("e"), S(""), S("}{")},
     LOG_DEBUG,
     false,
     "12:04:05.118 chat-1 talk     execute  info      e }{\n",
     ",\"level\":\"info\",\"source\":\"stderr\",\"event\":\"e\"}\n"},
};

static struct message record_of(const struct log_line *lines, size_t count)
{
    return (struct message){.kind = MESSAGE_LOG_LINES,
                            .event = {.run_id = S("chat-1"), .ticket = {0, 0, DIRECTION_EXECUTE, 1}, .worker = S("w1")},
                            .log = {.step = S("talk"), .attempt = 2, .lines = lines, .count = count}};
}

static void a_line_is_shown_as_it_was_meant(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(line_rows); i++) {
        const struct line_row *row = &line_rows[i];
        struct message message = record_of(&row->line, 1);
        struct log_style style = {.level = row->level, .colour = row->colour};
        struct text out;
        text_init(&out, 1 << 16);
        log_lines_text(&message, T0, &style, &out);
        assert_string_equal(text_string(&out), row->text);
        text_clear(&out);
        log_lines_json(&message, T0, &style, &out);
        char json[512] = "";
        if (row->json != NULL) {
            snprintf(json, sizeof json, "%s%s",
                     "{\"time\":\"2026-01-02T12:04:05.118Z\",\"run_id\":\"chat-1\",\"step\":\"talk\","
                     "\"direction\":\"execute\",\"attempt\":2,\"worker\":\"w1\"",
                     row->json);
        }
        assert_string_equal(text_string(&out), json);
        text_fini(&out);
    }
}

static void what_is_lost_is_said_whatever_the_level(void **state)
{
    (void)state;
    struct message message = record_of(NULL, 0);
    message.log.dropped_lines = 3;
    message.log.dropped_bytes = 300;
    message.event.ticket.instance = 7;
    struct log_style style = {.level = LOG_ERROR};
    struct text out;
    text_init(&out, 1 << 16);
    log_lines_text(&message, T0, &style, &out);
    assert_string_equal(text_string(&out),
                        "12:04:05.118 chat-1 talk     execute  dropped   #7 3 lines, 300 bytes: more than is kept\n");
    text_clear(&out);
    log_lines_json(&message, T0, &style, &out);
    assert_non_null(strstr(text_string(&out), "\"instance\":7"));
    assert_non_null(strstr(text_string(&out), "\"dropped_lines\":3,\"dropped_bytes\":300}\n"));
    text_fini(&out);
}

/* What a history tells by a line of its own, and as what; NULL: not at all, the state after it says enough. */
static const struct story_row {
    struct message message;
    const char *told;
} story_rows[] = {
    {{.kind = MESSAGE_CANCEL, .event = {.reason = S("not today")}}, "-        run      cancel    not today\n"},
    {{.kind = MESSAGE_PAUSE, .event = {.reason = S("lunch")}}, "-        run      pause     lunch\n"},
    {{.kind = MESSAGE_RESUME}, "-        run      resume\n"},
    {{.kind = MESSAGE_RETRY}, "-        run      retry\n"},
    {{.kind = MESSAGE_ROLL_BACK}, "-        run      rollback\n"},
    {{.kind = MESSAGE_RESOLVE,
      .event = {.step_name = S("upload"), .ticket = {.instance = 2}, .done = true, .reason = S("by hand")}},
     "-        run      resolve   upload #2 is done: by hand\n"},
    {{.kind = MESSAGE_EXPANDED, .event = {.element_count = 500, .worker = S("w1")}},
     "#0       execute  expanded  500 elements on w1\n"},
    {{.kind = MESSAGE_OWNER_CLAIM, .coordinator = S("host-17")}, "-        -        claim     by host-17\n"},
    {{.kind = MESSAGE_TIMER_FIRED, .event = {.timer = TIMER_TIMEOUT}}, "#0       execute  timer     timeout\n"},
    {{.kind = MESSAGE_TIMER_FIRED, .event = {.timer = TIMER_START}}, "#0       execute  timer     no worker took it in time\n"},
    {{.kind = MESSAGE_TIMER_FIRED, .event = {.timer = TIMER_RUN}}, "-        run      timer     the run's time is over\n"},
    {{.kind = MESSAGE_TIMER_FIRED, .event = {.timer = TIMER_RETRY}}, NULL},
    {{.kind = MESSAGE_ANSWERED, .verdict = VERDICT_REFUSED, .event = {.reason = S("it has ended")}},
     "-        run      answered  refused: it has ended\n"},
    {{.kind = MESSAGE_ANSWERED, .verdict = VERDICT_ACCEPTED}, NULL},
    {{.kind = MESSAGE_START}, NULL},
    {{.kind = MESSAGE_DONE}, NULL},
    {{.kind = MESSAGE_LOST}, NULL},
    {{.kind = MESSAGE_RUN_FINISHED}, NULL},
    {{.kind = MESSAGE_RUN_PROGRESSED}, NULL},
    {{.kind = MESSAGE_HELLO}, NULL},
};

static void a_history_tells_what_the_state_does_not(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(story_rows); i++) {
        struct message message = story_rows[i].message;
        message.event.run_id = (struct span)S("chat-1");
        message.event.ticket.direction = DIRECTION_EXECUTE;
        assert_int_equal(record_is_story(&message), story_rows[i].told != NULL);
        if (story_rows[i].told == NULL) {
            continue;
        }
        struct text out;
        text_init(&out, 1 << 16);
        assert_true(record_line(&message, NULL, T0, true, &out));
        assert_string_equal(text_string(&out) + strlen("12:04:05.118 chat-1 "), story_rows[i].told);
        text_fini(&out);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_is_shown_as_it_was_meant),
        cmocka_unit_test(what_is_lost_is_said_whatever_the_level),
        cmocka_unit_test(a_history_tells_what_the_state_does_not),
    };
    setenv("TZ", "UTC", 1);
    tzset();
    return cmocka_run_group_tests_name("log_line", tests, NULL, NULL);
}
