/* SPDX-License-Identifier: Apache-2.0 */
#include "common/expression.h"
#include "common/limits.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* ---------------------------------------------------------------- is it jq? */

static const struct {
    const char *expression, *error; /* NULL: it is jq */
} checked[] = {
    {".params.size > 3", NULL},
    {"[.steps.list.files[] | select(.size > 0)] # those that are not empty", NULL},
    {".a |\n  .b", NULL},
    {"def twice: . * 2; 4 | twice", NULL},
    {"env, $ENV, now, input, inputs, debug, halt", NULL},
    {"", "an expression is missing"},
    {" \n ", "an expression is missing"},
    {".a +", "'.a +' is not jq: line 1: syntax error, unexpected end"},
    {"lenght", "'lenght' is not jq: line 1, column 1: lenght/0 is not defined"},
    {".a\n | map(.b) | lenght", "'.a\\x0a | map(.b) | lenght' is not jq: line 2, column 14: lenght/0 is not defined"},
    {".name + $name", "'.name + $name' is not jq: line 1, column 9: $name is not defined"},
    {"{\"a\":", "'{\"a\":' is not jq: '}' is missing"},
    {".a } { .b", "'.a } { .b' is not jq: '}' closes nothing"},
    {"include \"other\"; .", "'include \"other\"; .' is not jq: line 1: module not found: other"},
    {"import \"passwd\" as $p {search: \"/etc\"}; $p",
     "'import \"passwd\" as $p {search: \"/etc\"}; $p' is not jq: line 1: module not found: passwd"},
};

static void an_expression_is_jq_or_it_is_said_where_it_is_not(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof checked / sizeof *checked; i++) {
        struct error error = {0};
        bool ok = expression_check(span_of(checked[i].expression), &error);
        assert_string_equal(error.message, checked[i].error != NULL ? checked[i].error : "");
        assert_int_equal(ok, checked[i].error == NULL);
    }
}

static void a_home_with_jq_definitions_changes_nothing(void **state)
{
    (void)state;
    char home[] = "/tmp/backstep-home-XXXXXX";
    char path[sizeof home + 8];
    assert_non_null(mkdtemp(home));
    snprintf(path, sizeof path, "%s/.jq", home);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs("def of_home: 1;", file);
    fclose(file);
    char *before = strdup(getenv("HOME") != NULL ? getenv("HOME") : "/");
    setenv("HOME", home, 1);
    bool known = expression_check(span_of("of_home"), NULL);
    setenv("HOME", before, 1);
    free(before);
    remove(path);
    remove(home);
    assert_false(known);
}

/* As under `ulimit -v`, and in a container that may not raise a limit. A sanitizer has reserved more than that. */
static void a_narrower_limit_of_memory_than_ours_will_do(void **state)
{
    (void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    skip();
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
    skip();
#endif
#endif
    int status = 0;
    pid_t pid = fork();
    if (pid == 0) {
        const struct rlimit narrow = {200 * MIB, 200 * MIB};
        bool ok = setrlimit(RLIMIT_AS, &narrow) == 0 && expression_check(span_of(".a"), NULL);
        _exit(ok ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static _Noreturn void refuse_to_live(void)
{
    _exit(99);
}

/* A process that has threads must execute something at once after fork(), and what it forks this way runs no such handler. */
static void nothing_runs_in_a_fork_of_this_process(void **state)
{
    (void)state;
    struct error error = {0};
    assert_int_equal(pthread_atfork(NULL, NULL, refuse_to_live), 0);
    assert_true(expression_check(span_of(".a"), &error));
    assert_string_equal(error.message, "");
}

static void of_many_expressions_the_first_that_is_none_is_named(void **state)
{
    (void)state;
    struct error error = {0};
    size_t which = 99;
    struct span sound[] = {span_of(".a # so"), span_of("def f: 1; f"), span_of(".b | length")};
    assert_true(expressions_check(sound, 3, &which, &error));
    assert_true(expressions_check(sound, 0, &which, &error));
    struct span broken[] = {span_of(".a"), span_of("1) | (2"), span_of(".c |")};
    assert_false(expressions_check(broken, 3, &which, &error));
    assert_int_equal(which, 1); /* though "(1) | (2)" would be sound */
    struct span only_definition[] = {span_of(".a"), span_of("def f: 1;")};
    assert_true(expressions_check(only_definition, 2, &which, &error));
}

static void an_expression_has_a_bound(void **state)
{
    (void)state;
    struct error error = {0};
    char *long_one = malloc(LIMIT_EXPRESSION_BYTES + 1);
    memset(long_one, '1', LIMIT_EXPRESSION_BYTES + 1);
    assert_true(expression_check((struct span){long_one, LIMIT_EXPRESSION_BYTES}, &error));
    assert_false(expression_check((struct span){long_one, LIMIT_EXPRESSION_BYTES + 1}, &error));
    assert_string_equal(error.message, "has 16385 bytes; an expression may have 16384");
    assert_false(expression_check((struct span){"1\0002", 3}, &error));
    assert_string_equal(error.message, "has a NUL in it");
    memset(long_one, '[', LIMIT_EXPRESSION_BYTES);
    assert_false(expression_check((struct span){long_one, LIMIT_EXPRESSION_BYTES}, &error)); /* whatever jq makes of it, we live */
    free(long_one);
}

/* ---------------------------------------------------------------- templates */

/* Literal parts as they are, expressions in < >. */
static const struct {
    const char *template, *parts, *error;
} templates[] = {
    {"plain", "plain", NULL},
    {"", "", NULL},
    {"${ .a }", "<.a>", NULL},
    {"${.a}${.b}", "<.a><.b>", NULL},
    {"Hello ${ .params.name }!", "Hello <.params.name>!", NULL},
    {"${ {a: {b: 1}} | .a }", "<{a: {b: 1}} | .a>", NULL},
    {"${ \"}\" }", "<\"}\">", NULL},
    {"${ \"a\\\"}\" }", "<\"a\\\"}\">", NULL},
    {"${ \"x\\(.a | {b: \"}\"} | .b)y\" } end", "<\"x\\(.a | {b: \"}\"} | .b)y\"> end", NULL},
    {"${ .a # not here: }\n }", "<.a # not here: }>", NULL},
    {"$${ .a }", "${ .a }", NULL},
    {"$$${ .a }", "$${ .a }", NULL},
    {"a $${x} ${ .y } $${z}", "a ${x} <.y> ${z}", NULL},
    {"$ { .a } $a $", "$ { .a } $a $", NULL},
    {"${ .a", NULL, "'${ .a' has no end: '}' is missing"},
    {"x ${ .a ] }", NULL, "'${ .a ] }' has no end: ']' closes nothing"},
    {"${ (.a } )", NULL, "'${ (.a } )' has no end: '}' where ')' would close what is open"},
    {"${ \"a }", NULL, "'${ \"a }' has no end: '\"' is missing"},
    {"${ }", NULL, "nothing stands between '${' and '}'"},
};

static enum template_step join(struct span rest, struct text *joined, struct error *error)
{
    struct template_part part;
    enum template_step step;
    while ((step = template_next(&rest, &part, error)) == TEMPLATE_PART) {
        bool expression = part.kind == TEMPLATE_EXPRESSION;
        text_append_string(joined, expression ? "<" : "");
        text_append_span(joined, part.text);
        text_append_string(joined, expression ? ">" : "");
    }
    return step;
}

static void a_template_falls_into_text_and_expressions(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof templates / sizeof *templates; i++) {
        struct error error = {0};
        struct text joined;
        text_init(&joined, 1000);
        enum template_step end = join(span_of(templates[i].template), &joined, &error);
        if (templates[i].error == NULL) {
            assert_string_equal(error.message, "");
            assert_int_equal(end, TEMPLATE_END);
            assert_string_equal(text_string(&joined), templates[i].parts);
        } else {
            assert_int_equal(end, TEMPLATE_BROKEN);
            assert_string_equal(error.message, templates[i].error);
        }
        text_fini(&joined);
    }
}

static void brackets_within_brackets_have_a_bound(void **state)
{
    (void)state;
    struct error error = {0};
    char deep[2 + 200];
    size_t size = 0;
    memset(deep, '(', sizeof deep);
    assert_false(expression_extent((struct span){deep, sizeof deep}, &size, &error));
    assert_string_equal(error.message, "more than 128 brackets and strings in one another");
}

static void a_template_that_is_one_expression_is_a_value(void **state)
{
    (void)state;
    struct span expression = {0};
    assert_true(template_is_value(span_of("${ .a | length }"), &expression));
    assert_memory_equal(expression.bytes, ".a | length", expression.size);
    assert_false(template_is_value(span_of(" ${ .a }"), &expression));
    assert_false(template_is_value(span_of("${ .a }${ .b }"), &expression));
    assert_false(template_is_value(span_of("$${ .a }"), &expression));
    assert_false(template_is_value(span_of("${ .a"), &expression));
}

static void a_template_is_checked_expression_by_expression(void **state)
{
    (void)state;
    struct error error = {0};
    assert_true(template_check(span_of("no template"), &error));
    assert_true(template_check(span_of("${ .a } and ${ .b | length }"), &error));
    assert_false(template_check(span_of("${ .a } and ${ .b | lenght }"), &error));
    assert_string_equal(error.message, "'.b | lenght' is not jq: line 1, column 6: lenght/0 is not defined");
    assert_false(template_check(span_of("${ .a"), &error));
    assert_true(template_has(span_of("a ${ b")));
    assert_false(template_has(span_of("a $ {b}")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_expression_is_jq_or_it_is_said_where_it_is_not),
        cmocka_unit_test(a_home_with_jq_definitions_changes_nothing),
        cmocka_unit_test(of_many_expressions_the_first_that_is_none_is_named),
        cmocka_unit_test(an_expression_has_a_bound),
        cmocka_unit_test(a_narrower_limit_of_memory_than_ours_will_do),
        cmocka_unit_test(nothing_runs_in_a_fork_of_this_process),
        cmocka_unit_test(a_template_falls_into_text_and_expressions),
        cmocka_unit_test(brackets_within_brackets_have_a_bound),
        cmocka_unit_test(a_template_that_is_one_expression_is_a_value),
        cmocka_unit_test(a_template_is_checked_expression_by_expression),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
