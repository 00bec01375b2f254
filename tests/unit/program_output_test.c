/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/program_output.h"

#include "common/limits.h"
#include "common/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PREFIX "standard output: "

/* What was called, as text: "p 1/4 m {...} o text e text " */
struct heard {
    struct text text;
};

static void on_progress(void *state, int64_t current, int64_t total)
{
    text_format(&((struct heard *)state)->text, "p %lld/%lld ", (long long)current, (long long)total);
}

static void on_metrics(void *state, struct span metrics)
{
    text_format(&((struct heard *)state)->text, "m %.*s ", SPAN_ARGS(metrics));
}

static void on_log(void *state, enum program_stream stream, struct span line)
{
    text_format(&((struct heard *)state)->text, "%c %.*s ", stream == PROGRAM_STDOUT ? 'o' : 'e', SPAN_ARGS(line));
}

static struct program_output *output_for(struct heard *heard)
{
    const struct program_listener listener = {on_progress, on_metrics, on_log, heard};
    text_init(&heard->text, 64 * MIB);
    struct program_output *output = program_output_new(&listener);
    assert_non_null(output);
    return output;
}

static void expect(const char *what, const char *name, const char *got, const char *wanted)
{
    if ((got == NULL) != (wanted == NULL) || (got != NULL && strcmp(got, wanted) != 0)) {
        fail_msg("%s: %s is %s, not %s", what, name, got != NULL ? got : "(none)", wanted != NULL ? wanted : "(none)");
    }
}

static void expect_taken(const char *what, const char *name, char *got, const char *wanted)
{
    expect(what, name, got, wanted);
    free(got);
}

static const struct row {
    const char *what, *out, *err, *heard, *data, *rollback_data, *set, *violation, *reason;
} rows[] = {
    {.what = "nothing at all", .heard = ""},
    {.what = "progress in whole numbers", .out = "{\"progress\":[3,10]}\n", .heard = "p 3/10 "},
    {.what = "progress in fractions", .out = "{\"progress\":[0.25,1]}\n", .heard = "p 250000/1000000 "},
    {.what = "whole reals stay what they are", .out = "{\"progress\":[3.0,10.0]}\n", .heard = "p 3/10 "},
    {.what = "metrics", .out = "{\"metrics\":{\"loss\":1}}\n", .heard = "m {\"loss\":1} "},
    {.what = "several members in one line",
     .out = "{\"progress\":[1,2],\"metrics\":{\"a\":\"b\"},\"data\":{}}\n",
     .heard = "p 1/2 m {\"a\":\"b\"} ",
     .data = "{}"},
    {.what = "the last data counts",
     .out = "{\"data\":{\"a\":1},\"rollback_data\":{\"x\":1}}\n{\"data\":{\"b\":2}}\n",
     .heard = "",
     .data = "{\"b\":2}",
     .rollback_data = "{\"x\":1}"},
    {.what = "sets are merged",
     .out = "{\"set\":{\"a\":1,\"b\":1}}\n{\"set\":{\"b\":2}}\n",
     .heard = "",
     .set = "{\"a\":1,\"b\":2}"},
    {.what = "a last line without a newline counts", .out = "{\"data\":{\"a\":1}}", .heard = "", .data = "{\"a\":1}"},
    {.what = "blanks around an object, and a carriage return",
     .out = " \t{ \"data\" : { \"a\" : \"\xc3\xa4\" } } \r\n",
     .heard = "",
     .data = "{\"a\":\"\xc3\xa4\"}"},
    {.what = "text is log text", .out = "hello\n\nworld", .heard = "o hello o world "},
    {.what = "other JSON is log text", .out = "[1]\n42\n\"a\"\n", .heard = "o [1] o 42 o \"a\" "},
    {.what = "half an object is log text", .out = "{\"data\":{\"a\":1}\n", .heard = "o {\"data\":{\"a\":1} "},
    {.what = "an empty object says nothing", .out = "{}\n", .heard = ""},
    {.what = "an unknown key",
     .out = "{\"progres\":[1,2]}\n",
     .heard = "",
     .violation = PREFIX "unknown key \"progres\"; did you mean 'progress'?"},
    {.what = "the first violation counts, what is right still counts too",
     .out = "{\"x\":1}\n{\"y\":1}\n{\"data\":{}}\n",
     .heard = "",
     .data = "{}",
     .violation = PREFIX "unknown key \"x\""},
    {.what = "a key that would drive the terminal", .out = "{\"\\u001b[2J\":1}\n", .heard = "",
     .violation = PREFIX "unknown key \"\\x1b[2J\""},
    {.what = "data of another type",
     .out = "{\"data\":[1,2]}\n",
     .heard = "",
     .violation = PREFIX "\"data\": [1,2]: expected an object"},
    {.what = "data that is null", .out = "{\"data\":null}\n", .heard = "",
     .violation = PREFIX "\"data\": null: expected an object"},
    {.what = "rollback data of another type", .out = "{\"rollback_data\":\"x\"}\n", .heard = "",
     .violation = PREFIX "\"rollback_data\": \"x\": expected an object"},
    {.what = "a set of another type", .out = "{\"set\":1}\n", .heard = "", .violation = PREFIX "\"set\": 1: expected an object"},
    {.what = "metrics of another type", .out = "{\"metrics\":true}\n", .heard = "",
     .violation = PREFIX "\"metrics\": true: expected an object"},
    {.what = "progress of another type", .out = "{\"progress\":50}\n", .heard = "",
     .violation = PREFIX "\"progress\": 50: expected [CURRENT, TOTAL], two numbers"},
    {.what = "progress of three", .out = "{\"progress\":[1,2,3]}\n", .heard = "",
     .violation = PREFIX "\"progress\": [1,2,3]: expected [CURRENT, TOTAL], two numbers"},
    {.what = "progress in words", .out = "{\"progress\":[\"1\",2]}\n", .heard = "",
     .violation = PREFIX "\"progress\": [\"1\",2]: expected [CURRENT, TOTAL], two numbers"},
    {.what = "progress of nothing", .out = "{\"progress\":[0,0]}\n", .heard = "",
     .violation = PREFIX "\"progress\": [0,0]: total must be > 0"},
    {.what = "progress beyond its end", .out = "{\"progress\":[3,2]}\n", .heard = "",
     .violation = PREFIX "\"progress\": [3,2]: current must be between 0 and total"},
    {.what = "progress before its beginning", .out = "{\"progress\":[-1,2]}\n", .heard = "",
     .violation = PREFIX "\"progress\": [-1,2]: current must be between 0 and total"},
    {.what = "progress without measure", .out = "{\"progress\":[1,9000000000000000]}\n", .heard = "",
     .violation = PREFIX "\"progress\": [1,9000000000000000]: total must be at most 10^12"},
    {.what = "the reason is the last line that is not blank",
     .err = "first\nsecond \t\r\n\n  \n",
     .heard = "e first e second \t\r e    ",
     .reason = "second"},
    {.what = "a reason without a newline", .err = "one\ntwo", .heard = "e one e two ", .reason = "two"},
    {.what = "a reason is printable", .err = "\x1b[31mred\xff\n", .heard = "e \x1b[31mred\xff ", .reason = "\\x1b[31mred\\xff"},
    {.what = "an object on standard error is text", .err = "{\"data\":{}}\n", .heard = "e {\"data\":{}} ",
     .reason = "{\"data\":{}}"},
};

static void feed_in_pieces(struct program_output *output, enum program_stream stream, const char *text, size_t piece)
{
    for (size_t left = text != NULL ? strlen(text) : 0, size; left > 0; left -= size, text += size) {
        size = piece < left ? piece : left;
        program_output_feed(output, stream, (struct span){text, size});
    }
}

static void lines_mean_what_the_table_says_in_pieces_of_any_size(void **state)
{
    (void)state;
    static const size_t pieces[] = {1, 2, 7, 4096};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0] * 4; i++) {
        const struct row *row = &rows[i / 4];
        struct heard heard;
        struct program_output *output = output_for(&heard);
        feed_in_pieces(output, PROGRAM_STDOUT, row->out, pieces[i % 4]);
        feed_in_pieces(output, PROGRAM_STDERR, row->err, pieces[i % 4]);
        program_output_end(output);
        expect(row->what, "what was heard", text_string(&heard.text), row->heard);
        expect(row->what, "violation", program_output_violation(output), row->violation);
        expect(row->what, "reason", program_output_reason(output), row->reason);
        expect_taken(row->what, "data", program_output_take_data(output), row->data);
        expect_taken(row->what, "rollback data", program_output_take_rollback_data(output), row->rollback_data);
        expect_taken(row->what, "set", program_output_take_set(output), row->set);
        assert_int_equal(program_output_dropped_bytes(output), 0);
        program_output_free(output);
        text_fini(&heard.text);
    }
}

/* ---- limits */

static void feed_repeated(struct program_output *output, enum program_stream stream, char character, size_t count)
{
    char bytes[1024];
    memset(bytes, character, sizeof bytes);
    for (size_t size; count > 0; count -= size) {
        size = count < sizeof bytes ? count : sizeof bytes;
        program_output_feed(output, stream, (struct span){bytes, size});
    }
}

static void feed_string(struct program_output *output, const char *string)
{
    program_output_feed(output, PROGRAM_STDOUT, span_of(string));
}

static void a_result_of_just_the_limit_is_taken(void **state)
{
    (void)state;
    struct heard heard;
    struct program_output *output = output_for(&heard);
    feed_string(output, "{\"data\":{\"a\":\"");
    feed_repeated(output, PROGRAM_STDOUT, 'x', LIMIT_RESULT_BYTES - strlen("{\"a\":\"\"}"));
    feed_string(output, "\"}}\n");
    assert_null(program_output_violation(output));
    char *data = program_output_take_data(output);
    assert_int_equal(strlen(data), LIMIT_RESULT_BYTES);
    free(data);
    program_output_free(output);
    text_fini(&heard.text);
}

static void a_result_beyond_the_limit_is_a_violation(void **state)
{
    (void)state;
    struct heard heard;
    struct program_output *output = output_for(&heard);
    feed_string(output, "{\"data\":{\"a\":\"");
    feed_repeated(output, PROGRAM_STDOUT, 'x', LIMIT_RESULT_BYTES - strlen("{\"a\":\"\"}"));
    feed_string(output, "\"}}\n{\"set\":{}}\n");
    expect("too much", "violation", program_output_violation(output),
           PREFIX "data, rollback_data and set are 65538 bytes together; the limit is 65536");
    program_output_free(output);
    text_fini(&heard.text);
}

static void a_long_line_that_begins_like_an_object_is_a_violation(void **state)
{
    (void)state;
    struct heard heard;
    struct program_output *output = output_for(&heard);
    feed_string(output, "{\"data\":{\"a\":\"");
    feed_repeated(output, PROGRAM_STDOUT, 'x', 1000000 - strlen("{\"data\":{\"a\":\"\"}}"));
    feed_string(output, "\"}}\n");
    expect("too long", "violation", program_output_violation(output),
           PREFIX "a line of 1000000 bytes that begins like a JSON object; the limit is 81920");
    assert_int_equal(program_output_dropped_bytes(output), 1000000 - LIMIT_PROGRAM_LOG_LINE_BYTES);
    program_output_free(output);
    text_fini(&heard.text);
}

static void metrics_beyond_their_limit_are_a_violation(void **state)
{
    (void)state;
    struct heard heard;
    struct program_output *output = output_for(&heard);
    feed_string(output, "{\"metrics\":{\"a\":\"");
    feed_repeated(output, PROGRAM_STDOUT, 'x', LIMIT_METRICS_BYTES);
    feed_string(output, "\"}}\n");
    assert_non_null(strstr(program_output_violation(output), "...: expected at most 64 keys and 4096 bytes"));
    assert_int_equal(heard.text.size, 0);
    program_output_free(output);
    text_fini(&heard.text);
}

static void text_beyond_the_limits_is_dropped_and_counted_but_its_reason_is_kept(void **state)
{
    (void)state;
    struct heard heard;
    struct program_output *output = output_for(&heard);
    uint64_t fed = 0;
    for (int i = 0; i < 100; i++) {
        enum program_stream stream = i % 2 == 0 ? PROGRAM_STDOUT : PROGRAM_STDERR;
        feed_repeated(output, stream, 'x', MIB);
        program_output_feed(output, stream, span_of("\n"));
        fed += MIB;
    }
    program_output_feed(output, PROGRAM_STDERR, span_of("disk is full\n"));
    fed += strlen("disk is full");
    feed_string(output, "{\"data\":{\"a\":1}}");
    program_output_end(output);
    assert_int_equal(program_output_dropped_bytes(output), fed - LIMIT_PROGRAM_LOG_BYTES);
    assert_true(heard.text.size < LIMIT_PROGRAM_LOG_BYTES + 1000);
    expect("100 MiB", "reason", program_output_reason(output), "disk is full");
    expect_taken("100 MiB", "data", program_output_take_data(output), "{\"a\":1}");
    program_output_free(output);
    text_fini(&heard.text);
}

static void a_long_reason_is_cut(void **state)
{
    (void)state;
    struct heard heard;
    struct program_output *output = output_for(&heard);
    feed_repeated(output, PROGRAM_STDERR, 'x', 100000);
    program_output_end(output);
    assert_int_equal(strlen(program_output_reason(output)), LIMIT_MESSAGE_BYTES);
    program_output_free(output);
    text_fini(&heard.text);
}

static void bytes_of_any_value_do_no_harm(void **state)
{
    (void)state;
    struct heard heard;
    struct program_output *output = output_for(&heard);
    unsigned seed = 12345;
    for (int i = 0; i < 300000; i++) {
        static const char likely[] = "{}[]\":,\n\\ data";
        seed = seed * 1103515245u + 12345u;
        unsigned pick = seed >> 16;
        char byte = pick % 3 == 0 ? (char)(pick / 3) : likely[pick / 3 % (sizeof likely - 1)];
        program_output_feed(output, pick % 2 == 0 ? PROGRAM_STDOUT : PROGRAM_STDERR, (struct span){&byte, 1});
    }
    program_output_end(output);
    program_output_free(output);
    text_fini(&heard.text);
}

static void without_a_listener_nothing_is_called(void **state)
{
    (void)state;
    struct program_output *output = program_output_new(&(struct program_listener){0});
    feed_string(output, "text\n{\"progress\":[1,2],\"metrics\":{},\"data\":{}}\n");
    program_output_end(output);
    expect_taken("no listener", "data", program_output_take_data(output), "{}");
    program_output_free(output);
    program_output_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_mean_what_the_table_says_in_pieces_of_any_size),
        cmocka_unit_test(a_result_of_just_the_limit_is_taken),
        cmocka_unit_test(a_result_beyond_the_limit_is_a_violation),
        cmocka_unit_test(a_long_line_that_begins_like_an_object_is_a_violation),
        cmocka_unit_test(metrics_beyond_their_limit_are_a_violation),
        cmocka_unit_test(text_beyond_the_limits_is_dropped_and_counted_but_its_reason_is_kept),
        cmocka_unit_test(a_long_reason_is_cut),
        cmocka_unit_test(bytes_of_any_value_do_no_harm),
        cmocka_unit_test(without_a_listener_nothing_is_called),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
