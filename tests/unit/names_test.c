/* SPDX-License-Identifier: Apache-2.0 */
#include "common/json.h"
#include "common/limits.h"
#include "common/names.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define X10 "xxxxxxxxxx"
#define X100 X10 X10 X10 X10 X10 X10 X10 X10 X10 X10

/* `error` NULL: legal. */
struct name_row {
    const char *name, *error;
};

static void names_are_checked(void **state)
{
    (void)state;
    static const struct name_row rows[] = {
        {"upload", NULL},
        {"two words", NULL},
        {"Größe \"prüfen\" 日本 🎉", NULL},
        {X100 X100, NULL},
        {"", "is empty"},
        {X100 X100 "x", "is 201 bytes long; at most 200 are allowed"},
        {" a", "begins with a blank"},
        {"a ", "ends with a blank"},
        {"a\xc2\xa0", "ends with a blank"},
        {"a\nb", "holds a control character at byte 2"},
        {"a\x7f", "holds a control character at byte 2"},
        {"a\xc2\x85" "b", "holds a control character at byte 2"},
        {"a\xe2\x80\xae" "b", "holds a control character at byte 2"},
        {"\x1b[31m", "holds a control character at byte 1"},
        {"a\xff", "holds bytes that are no UTF-8 at byte 2"},
        {"\xc0\xaf", "holds bytes that are no UTF-8 at byte 1"},     /* overlong */
        {"\xed\xa0\x80", "holds bytes that are no UTF-8 at byte 1"}, /* a surrogate */
        {"\xf4\x90\x80\x80", "holds bytes that are no UTF-8 at byte 1"},
        {"ab\xe2\x82", "holds bytes that are no UTF-8 at byte 3"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct error error = {0};
        bool ok = name_check(span_of(rows[i].name), &error);
        assert_string_equal(ok ? "" : error.message, rows[i].error != NULL ? rows[i].error : "");
        assert_int_equal(ok, name_is_valid(span_of(rows[i].name)));
    }
}

#define RULE "; write a letter or digit, then letters, digits, '.', '_' and '-'"

static void identifiers_are_checked(void **state)
{
    (void)state;
    static const struct name_row rows[] = {
        {"a", NULL},
        {"0", NULL},
        {"Upload.v2_x-y", NULL},
        {X100, NULL},
        {"", "is empty" RULE},
        {X100 "x", "is 101 bytes long; at most 100 are allowed"},
        {"a b", "'a b' is no identifier: a blank stands in it" RULE},
        {"a/b", "'a/b' is no identifier: '/' stands in it" RULE},
        {"größe", "'größe' is no identifier: 'ö' stands in it" RULE},
        {".a", "'.a' is no identifier: '.' begins it" RULE},
        {"-", "'-' is no identifier: '-' begins it" RULE},
        {"a\x1b[2J", "'a\\x1b[2J' is no identifier: byte 0x1b stands in it" RULE},
        {"a\xff", "'a\\xff' is no identifier: byte 0xff stands in it" RULE},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct error error = {0};
        bool ok = identifier_check(span_of(rows[i].name), &error);
        assert_string_equal(ok ? "" : error.message, rows[i].error != NULL ? rows[i].error : "");
        assert_int_equal(ok, identifier_is_valid(span_of(rows[i].name)));
    }
}

static void suggestions_are_close_or_none(void **state)
{
    (void)state;
    static const char *const list[] = {"start", "status", "list", "watch", "max_attempts", "needs", "name", "id", NULL};
    static const struct {
        const char *name, *suggestion;
    } rows[] = {
        {"strat", "start"},     {"statsu", "status"}, {"need", "needs"},    {"Name", "name"},  {"attempts", "max_attempts"},
        {"max-attempts", "max_attempts"}, {"lits", "list"}, {"colour", NULL}, {"", NULL}, {"x", NULL}, {"zz", NULL},
        {"wacht", "watch"},     {X100, NULL},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        const char *suggestion = name_suggest(span_of(rows[i].name), list);
        assert_string_equal(suggestion != NULL ? suggestion : "(none)", rows[i].suggestion != NULL ? rows[i].suggestion : "(none)");
    }
    struct text text;
    text_init(&text, 100);
    name_append_suggestion(&text, span_of("strat"), list);
    name_append_suggestion(&text, span_of("colour"), list);
    assert_string_equal(text_string(&text), "; did you mean 'start'?");
    text_fini(&text);
}

static void run_ids_tell_pipeline_and_second(void **state)
{
    (void)state;
    static const struct {
        const char *pipeline, *stem;
    } rows[] = {
        {"upload", "upload-"},
        {"Copy All_files", "copy-all-files-"},
        {"--x--", "x-"},
        {"日本", "run-"},
        {"Größe", "gre-"},
        {"a name that is longer than twenty", "a-name-that-is-longe-"},
        {"a name that is long  er", "a-name-that-is-long-"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        char id[RUN_ID_BYTES];
        int64_t time_s = 0;
        run_id_generate(id, span_of(rows[i].pipeline), 1767323045);
        assert_memory_equal(id, rows[i].stem, strlen(rows[i].stem));
        assert_int_equal(strlen(id), strlen(rows[i].stem) + 10);
        assert_true(identifier_is_valid(span_of(id)));
        assert_true(run_id_time(span_of(id), &time_s));
        assert_int_equal(time_s, 1767323045);
    }
    int64_t time_s;
    assert_true(run_id_time(span_of("upload-1k7qj4m9x2"), &time_s));
    assert_false(run_id_time(span_of("upload"), &time_s));
    assert_false(run_id_time(span_of("upload-1k7qj4m9xU"), &time_s));
}

static void run_ids_differ(void **state)
{
    (void)state;
    char ids[8][RUN_ID_BYTES];
    size_t same = 0;
    for (size_t i = 0; i < COUNT(ids); i++) {
        run_id_generate(ids[i], span_of("p"), 1767323045);
        for (size_t j = 0; j < i; j++) {
            same += strcmp(ids[i], ids[j]) == 0;
        }
    }
    assert_true(same <= 2); /* of 28 pairs, each the same once in 32,768 */
}

static void durations_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t duration_ms; /* -1: refused */
    } rows[] = {
        {"500ms", 500}, {"10s", 10000}, {"5m", 300000}, {"2h", 7200000},  {"0", 0},     {"0s", 0},      {"8784h", LIMIT_DURATION_MS},
        {"8785h", -1},  {"", -1},       {"10", -1},     {"s", -1},        {"-1s", -1},  {"1.5s", -1},   {"1d", -1},
        {"1 s", -1},    {"1S", -1},     {"1s ", -1},    {"99999999999999999999h", -1},  {"1h30m", -1},  {"+1s", -1},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        int64_t duration_ms = -1;
        assert_int_equal(duration_parse(span_of(rows[i].text), &duration_ms, NULL), rows[i].duration_ms >= 0);
        assert_int_equal(duration_ms, rows[i].duration_ms);
    }
    struct error error;
    int64_t duration_ms;
    assert_false(duration_parse(span_of("2 parsecs"), &duration_ms, &error));
    assert_string_equal(error.message, "'2 parsecs' is not a duration; write 500ms, 10s, 5m or 2h");
}

static void durations_are_written(void **state)
{
    (void)state;
    static const struct {
        int64_t duration_ms;
        const char *exact, *rough;
    } rows[] = {
        {0, "0s", "0.0 s"},
        {1, "1ms", "0.0 s"},
        {449, "449ms", "0.4 s"},
        {6700, "6700ms", "6.7 s"},
        {59940, "59940ms", "59.9 s"},
        {59960, "59960ms", "1 min 0 s"},
        {90000, "90s", "1 min 30 s"},
        {600000, "10m", "10 min 0 s"},
        {7200000, "2h", "2 h 0 min"},
        {7500000, "125m", "2 h 5 min"},
        {273600000, "76h", "3 d 4 h"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct text text;
        int64_t back = -1;
        text_init(&text, 100);
        duration_append(&text, rows[i].duration_ms);
        assert_string_equal(text_string(&text), rows[i].exact);
        assert_true(duration_parse(text_span(&text), &back, NULL));
        assert_int_equal(back, rows[i].duration_ms);
        text_clear(&text);
        duration_append_rough(&text, rows[i].duration_ms);
        assert_string_equal(text_string(&text), rows[i].rough);
        text_fini(&text);
    }
}

static void bytes_are_written_in_hexadecimal_and_read_back(void **state)
{
    (void)state;
    unsigned char bytes[16], back[16];
    struct text text;
    text_init(&text, 100);
    random_bytes(bytes, sizeof bytes);
    hex_append(&text, bytes, sizeof bytes);
    assert_int_equal(text.size, 32);
    assert_true(hex_parse(text_span(&text), back, sizeof back));
    assert_memory_equal(bytes, back, sizeof back);
    assert_false(hex_parse(span_of("0g"), back, 1));
    assert_false(hex_parse(span_of("0"), back, 1));
    text_fini(&text);
}

static void what_is_shown_is_cut_and_harmless(void **state)
{
    (void)state;
    assert_string_equal(SHOWN(span_of("a\x1b[2J\n\xffü")), "a\\x1b[2J\\x0a\\xffü");
    assert_int_equal(strlen(SHOWN(span_of(X100 X100))), 123);
    assert_string_equal(SHOWN(((struct span){0})), "");
    char wild[64];
    for (size_t i = 0; i < 1000; i++) {
        random_bytes(wild, sizeof wild);
        assert_true(utf8_is_valid(span_of(SHOWN(((struct span){wild, sizeof wild})))));
    }
}

static void texts_are_cut_between_letters(void **state)
{
    (void)state;
    struct span text = span_of("aé日");
    static const size_t sizes[] = {0, 1, 1, 3, 3, 3, 6, 6};
    for (size_t i = 0; i < COUNT(sizes); i++) {
        assert_int_equal(utf8_cut(text, i).size, sizes[i]);
    }
}

/* ---- JSON */

static void json_is_written_as_it_was_read(void **state)
{
    (void)state;
    static const char *const values[] = {
        "{\"b\":1,\"a\":[true,false,null,\"x\\\"y\",0.1,-2.5e-7,1e300]}", "[]", "{}", "\"é\"", "9223372036854775807", "1.0", "3.0e25",
    };
    for (size_t i = 0; i < COUNT(values); i++) {
        struct text text;
        struct error error = {0};
        text_init(&text, 1000);
        json_t *json = json_read(span_of(values[i]), &error);
        assert_non_null(json);
        assert_true(json_write(json, &text));
        json_t *again = json_read(text_span(&text), &error);
        assert_true(json_equal(json, again));
        json_decref(json);
        json_decref(again);
        text_fini(&text);
    }
}

static void json_that_is_none_is_refused(void **state)
{
    (void)state;
    static const char *const values[] = {"", "{", "[1,]", "{\"a\":1,\"a\":2}", "1 2", "nul", "\"\\ud800\"", "1e999", "\"a\\u0000\""};
    for (size_t i = 0; i < COUNT(values); i++) {
        assert_false(json_is_valid(span_of(values[i])));
    }
    char deep[1000];
    memset(deep, '[', sizeof deep);
    struct error error = {0};
    assert_null(json_read((struct span){deep, sizeof deep}, &error));
    assert_string_equal(error.message, "JSON nested deeper than 128");
    assert_true(json_is_valid(span_of("\"[[[[[[[[\\\"[[[[\"")));
    assert_null(json_read_object(span_of("3"), &error));
    assert_string_equal(error.message, "is a number, not an object");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_checked),
        cmocka_unit_test(identifiers_are_checked),
        cmocka_unit_test(suggestions_are_close_or_none),
        cmocka_unit_test(run_ids_tell_pipeline_and_second),
        cmocka_unit_test(run_ids_differ),
        cmocka_unit_test(durations_are_read),
        cmocka_unit_test(durations_are_written),
        cmocka_unit_test(bytes_are_written_in_hexadecimal_and_read_back),
        cmocka_unit_test(what_is_shown_is_cut_and_harmless),
        cmocka_unit_test(texts_are_cut_between_letters),
        cmocka_unit_test(json_is_written_as_it_was_read),
        cmocka_unit_test(json_that_is_none_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
