/* SPDX-License-Identifier: Apache-2.0 */
/* Who is there, from hellos, heartbeats and byes. */
#include "coordinator/cli/roster.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static struct message presence(enum message_kind kind, const char *worker, unsigned char life, uint32_t load)
{
    static const struct span handlers[] = {{"init", 4}, {"upload", 6}};
    struct message message = {
        .kind = kind,
        .presence = {.worker = span_of(worker),
                     .queue = span_of("default"),
                     .handlers = handlers,
                     .handler_count = 2,
                     .slots = 4,
                     .window = 8,
                     .lease_ms = 10000,
                     .load = load,
                     .version = span_of("0.1.0"),
                     .host = span_of("here"),
                     .process_id = 7},
    };
    message.presence.incarnation.bytes[0] = life;
    return message;
}

static void say(struct roster *roster, struct message message, int64_t time_ms)
{
    roster_apply(roster, &message, time_ms);
}

static void the_last_heartbeat_counts(void **state)
{
    (void)state;
    struct roster roster = {0};
    struct text out;
    text_init(&out, 4096);
    say(&roster, presence(MESSAGE_HELLO, "b", 1, 0), 1000);
    say(&roster, presence(MESSAGE_HELLO, "a", 2, 0), 1500);
    say(&roster, presence(MESSAGE_HEARTBEAT, "b", 1, 3), 2000);
    roster_tidy(&roster, 3000);
    assert_int_equal(roster.count, 2);
    assert_string_equal(roster.workers[0].id, "a");
    roster_worker_json(&roster.workers[1], 3000, &out);
    assert_string_equal(
        text_string(&out),
        "{\"worker\":\"b\",\"state\":\"ok\",\"queue\":\"default\",\"handlers\":[\"init\",\"upload\"],\"slots\":4,"
        "\"window\":8,\"load\":3,\"lease_seconds\":10.000,\"partition\":0,"
        "\"incarnation\":\"01000000000000000000000000000000\",\"version\":\"0.1.0\",\"host\":\"here\",\"process_id\":7,"
        "\"last_heartbeat\":\"1970-01-01T00:00:02.000Z\"}");
    text_fini(&out);
    roster_free(&roster);
}

static void who_said_bye_is_gone_and_a_late_heartbeat_changes_nothing(void **state)
{
    (void)state;
    struct roster roster = {0};
    struct message bye = {.kind = MESSAGE_BYE, .incarnation = {{1}}};
    say(&roster, presence(MESSAGE_HELLO, "a", 1, 0), 1000);
    say(&roster, bye, 2000);
    say(&roster, presence(MESSAGE_HEARTBEAT, "a", 1, 0), 2100);
    roster_tidy(&roster, 3000);
    assert_int_equal(roster.count, 0);
    roster_free(&roster);
}

static void a_silent_life_is_shown_until_a_later_one_replaces_it(void **state)
{
    (void)state;
    struct roster roster = {0};
    say(&roster, presence(MESSAGE_HELLO, "a", 1, 0), 1000);
    assert_string_equal(roster_state(&roster.workers[0], 1000 + 12500), "ok");
    assert_string_equal(roster_state(&roster.workers[0], 1000 + 12501), "silent");
    roster_tidy(&roster, 60000);
    assert_int_equal(roster.count, 1);
    say(&roster, presence(MESSAGE_HELLO, "a", 2, 0), 59000);
    roster_tidy(&roster, 60000);
    assert_int_equal(roster.count, 1);
    assert_int_equal(roster.workers[0].incarnation.bytes[0], 2);
    roster_free(&roster);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_last_heartbeat_counts),
        cmocka_unit_test(who_said_bye_is_gone_and_a_late_heartbeat_changes_nothing),
        cmocka_unit_test(a_silent_life_is_shown_until_a_later_one_replaces_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
