/* SPDX-License-Identifier: Apache-2.0 */
/* Files that name other files: includes, and pipelines in pipelines. */
#include "common/limits.h"
#include "common/pipeline.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define FILES_MAX 4

struct row {
    const char *title;
    const char *files[FILES_MAX][2]; /* name and text; the first is read */
    const char *expected;            /* the plan, or what is wrong; DIR stands for the directory */
};

#define INNER "name: inner\nparams: {who: {required: true}, size: {default: 3}}\nsteps:\n  - {name: x, weight: 3}\n  - {name: y, weight: 1}\n"

#define SECRETIVE "name: i\nparams: {a: {secret: true}, b: {secret: true}, c: {secret: true, default: {file: c}}}\nsteps: [{name: x}]\n"

static const struct row rows[] = {
    {"an include stands where it is named",
     {{"a.yaml", "name: p\nsteps:\n  - name: a\n  - include: lib/more.yaml\n  - name: z\n"},
      {"lib/more.yaml", "steps:\n  - name: m\n  - include: last.yaml\n"},
      {"lib/last.yaml", "steps: [{name: n}]\n"}},
     "{\"name\": \"p\", \"steps\": [\n"
     "  {\"name\": \"a\", \"weight\": 1},\n  {\"name\": \"m\", \"weight\": 1},\n  {\"name\": \"n\", \"weight\": 1},\n  {\"name\": \"z\", \"weight\": 1}\n"
     "]}\n"},
    {"what is wrong in an include is said of it",
     {{"a.yaml", "name: p\nsteps:\n  - name: a\n  - include: more.yaml\n"}, {"more.yaml", "steps:\n  - name: m\n    weigth: 2\n  - name: a\n"}},
     "DIR/more.yaml:3: steps[0].weigth: unknown field; did you mean 'weight'?\n"
     "DIR/more.yaml:4: steps[1].name: 'a' is the name of steps[0] already (DIR/a.yaml, line 3)\n"},
    {"an include holds steps and nothing else", {{"a.yaml", "name: p\nsteps:\n  - include: more.yaml\n"}, {"more.yaml", "name: x\nsteps: [{name: a}]\n"}},
     "DIR/more.yaml:1: a file that is included holds 'steps', and nothing else\n"},
    {"includes do not go round in a circle", {{"a.yaml", "name: p\nsteps:\n  - include: b.yaml\n"}, {"b.yaml", "steps:\n  - include: b.yaml\n"}},
     "DIR/b.yaml:2: steps[0]: goes round in a circle: DIR/a.yaml names DIR/b.yaml names DIR/b.yaml\n"},
    {"a pipeline as a step becomes its steps",
     {{"a.yaml", "name: p\nsteps:\n  - {name: a, weight: 4}\n  - {name: in, uses: 'pipeline:inner', weight: 4, with: {who: you}}\n  - {name: z, weight: 8}\n"},
      {"inner.yaml", INNER}},
     "{\"name\": \"p\", \"steps\": [\n"
     "  {\"name\": \"a\", \"weight\": 4},\n"
     "  {\"name\": \"in\", \"uses\": \"backstep.scope\", \"weight\": 0, \"with\": {\"who\":\"you\",\"size\":3}},\n"
     "  {\"name\": \"in/x\", \"scope\": \"in\", \"uses\": \"x\", \"weight\": 3},\n"
     "  {\"name\": \"in/y\", \"scope\": \"in\", \"uses\": \"y\", \"weight\": 1},\n"
     "  {\"name\": \"z\", \"weight\": 8}\n"
     "]}\n"},
    {"and so on, branches and all",
     {{"a.yaml", "name: p\nsteps:\n  - {name: a, weight: 2}\n  - {name: b, uses: 'pipeline:mid.yaml', needs: [], weight: 2}\n  - {name: z, weight: 4, needs: [a, b], reads: [b]}\n"},
      {"mid.yaml", "name: mid\nsteps:\n  - {name: l, needs: []}\n  - {name: in, uses: 'pipeline:inner', needs: [], with: {who: '${ .params }'}}\n"},
      {"inner.yaml", "name: inner\nparams: {who: {required: true}, cost: {default: '${x}'}}\nsteps: [{name: x}]\n"}},
     "{\"name\": \"p\", \"steps\": [\n"
     "  {\"name\": \"a\", \"weight\": 2},\n"
     "  {\"name\": \"b\", \"uses\": \"backstep.scope\", \"weight\": 0, \"needs\": [], \"with\": {}},\n"
     "  {\"name\": \"b/l\", \"scope\": \"b\", \"uses\": \"l\", \"weight\": 1},\n"
     "  {\"name\": \"b/in\", \"scope\": \"b\", \"uses\": \"backstep.scope\", \"weight\": 0, \"needs\": [\"b\"], \"with\": {\"who\":\"${ .params }\",\"cost\":\"$${x}\"}},\n"
     "  {\"name\": \"b/in/x\", \"scope\": \"b/in\", \"uses\": \"x\", \"weight\": 1},\n"
     "  {\"name\": \"z\", \"weight\": 4, \"needs\": [\"a\", \"b/l\", \"b/in/x\"], \"reads\": [\"b/l\", \"b/in\", \"b/in/x\"]}\n"
     "]}\n"},
    {"what a pipeline as a step wants is checked",
     {{"a.yaml", "name: p\nsteps:\n  - {name: in, uses: 'pipeline:inner', with: {whom: you}}\n  - name: two\n    uses: pipeline:inner\n    with: {who: a}\n    retry: {max_attempts: 2}\n"},
      {"inner.yaml", INNER}},
     "DIR/a.yaml:7: steps[1].retry: does not go with a pipeline as a step; say it of the steps in it\n"},
    {"a parameter it does not have, and one that it requires",
     {{"a.yaml", "name: p\nsteps:\n  - {name: in, uses: 'pipeline:inner', with: {whom: you}}\n"}, {"inner.yaml", INNER}},
     "DIR/a.yaml:3: steps[0].with.whom: DIR/inner.yaml declares no such parameter; did you mean 'who'?\n"
     "DIR/a.yaml:3: steps[0].with: DIR/inner.yaml requires the parameter 'who'\n"},
    {"a secret parameter of it is a reference, or a secret of the pipeline around",
     {{"a.yaml", "name: p\nparams: {t: {secret: true}}\nsteps:\n  - {name: in, uses: 'pipeline:i', with: {a: {env: A}, b: '${ .params.t }'}}\n"},
      {"i.yaml", SECRETIVE}},
     "{\"name\": \"p\", \"steps\": [\n"
     "  {\"name\": \"in\", \"uses\": \"backstep.scope\", \"weight\": 0, \"with\": {\"a\":{\"$secret\":{\"env\":\"A\"}},\"b\":\"${ .params.t }\",\"c\":{\"$secret\":{\"file\":\"c\"}}}},\n"
     "  {\"name\": \"in/x\", \"scope\": \"in\", \"uses\": \"x\", \"weight\": 1}\n"
     "]}\n"},
    {"no secret has a default in the open", {{"a.yaml", "name: p\nparams: {t: {secret: true, default: hunter}}\nsteps: [{name: x}]\n"}},
     "DIR/a.yaml:2: params.t: is secret, and its default would stand on the log: give {env: NAME} or {file: NAME}, which the worker resolves\n"},
    {"and nothing that would stand on the log",
     {{"a.yaml", "name: p\nparams: {t: {secret: true}}\nsteps:\n  - {name: in, uses: 'pipeline:i', with: {a: hunter, b: {env: ../x}}}\n"},
      {"i.yaml", SECRETIVE}},
     "DIR/a.yaml:4: steps[0].with.a: is secret, and its value would stand on the log: give {env: NAME} or {file: NAME}, which the worker resolves, or ${ .params.NAME } of a secret parameter\n"
     "DIR/a.yaml:4: steps[0].with.b: is secret, and its value would stand on the log: give {env: NAME} or {file: NAME}, which the worker resolves, or ${ .params.NAME } of a secret parameter\n"},
    {"nor text around an expression, or between two",
     {{"a.yaml", "name: p\nparams: {t: {secret: true}}\nsteps:\n  - {name: in, uses: 'pipeline:i', with: {a: '${ .params.t }hunter${ .params.t }', b: '${ .params.t }:hunter}'}}\n"},
      {"i.yaml", SECRETIVE}},
     "DIR/a.yaml:4: steps[0].with.a: is secret, and its value would stand on the log: give {env: NAME} or {file: NAME}, which the worker resolves, or ${ .params.NAME } of a secret parameter\n"
     "DIR/a.yaml:4: steps[0].with.b: is secret, and its value would stand on the log: give {env: NAME} or {file: NAME}, which the worker resolves, or ${ .params.NAME } of a secret parameter\n"},
    {"what is wrong in it is said of it",
     {{"a.yaml", "name: p\nsteps:\n  - {name: in, uses: 'pipeline:inner'}\n"}, {"inner.yaml", "name: inner\nsteps:\n  - {name: x, needs: [q]}\n"}},
     "DIR/inner.yaml:3: steps[0].needs[0]: there is no step 'q'\n"},
    {"pipelines do not go round in a circle", {{"a.yaml", "name: p\nsteps:\n  - {name: in, uses: 'pipeline:a.yaml'}\n"}},
     "DIR/a.yaml:3: steps[0].uses: goes round in a circle: DIR/a.yaml names DIR/a.yaml\n"},
    {"nor do expressions in them stay unread",
     {{"a.yaml", "name: p\nsteps:\n  - {name: in, uses: 'pipeline:inner'}\n"}, {"inner.yaml", "name: inner\nsteps:\n  - name: x\n    when: .x |\n"}},
     "DIR/inner.yaml:4: steps[0].when: '.x |' is not jq: line 1: syntax error, unexpected end\n"},
};

static void write_file(const char *directory, const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static void put_directory(struct text *out, const char *expected, const char *directory)
{
    for (const char *at; (at = strstr(expected, "DIR")) != NULL; expected = at + 3) {
        text_append_span(out, (struct span){expected, (size_t)(at - expected)});
        text_append_string(out, directory);
    }
    text_append_string(out, expected);
}

static char *read_row(const struct row *row, const char *directory)
{
    char path[256];
    struct text text;
    text_init(&text, LIMIT_RECORD_BYTES);
    snprintf(path, sizeof path, "%s/%s", directory, row->files[0][0]);
    struct pipeline *pipeline = pipeline_read_file(path);
    if (pipeline->problem_count == 0) {
        pipeline_append_json(&pipeline->plan, &text);
        struct pipeline *again = pipeline_read_text(text_span(&text), "printed");
        struct text twice;
        text_init(&twice, LIMIT_RECORD_BYTES);
        pipeline_append_problems(again, &twice);
        assert_string_equal(text_string(&twice), ""); /* what we print can be started */
        pipeline_append_json(&again->plan, &twice);
        assert_string_equal(text_string(&twice), text_string(&text));
        text_fini(&twice);
        pipeline_free(again);
    } else {
        pipeline_append_problems(pipeline, &text);
    }
    pipeline_free(pipeline);
    return text_take(&text);
}

static void files_name_files(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char directory[] = "/tmp/pipeline_files.XXXXXX", path[256];
        assert_non_null(mkdtemp(directory));
        snprintf(path, sizeof path, "%s/lib", directory);
        assert_int_equal(mkdir(path, 0700), 0);
        for (size_t f = 0; f < FILES_MAX && rows[i].files[f][0] != NULL; f++) {
            write_file(directory, rows[i].files[f][0], rows[i].files[f][1]);
        }
        struct text expected;
        text_init(&expected, LIMIT_RECORD_BYTES);
        put_directory(&expected, rows[i].expected, directory);
        char *found = read_row(&rows[i], directory);
        if (strcmp(found, text_string(&expected)) != 0) {
            print_error("%s:\n%s\nexpected:\n%s", rows[i].title, found, text_string(&expected));
            fail();
        }
        free(found);
        text_fini(&expected);
        for (size_t f = 0; f < FILES_MAX && rows[i].files[f][0] != NULL; f++) {
            snprintf(path, sizeof path, "%s/%s", directory, rows[i].files[f][0]);
            assert_int_equal(unlink(path), 0);
        }
        snprintf(path, sizeof path, "%s/lib", directory);
        assert_int_equal(rmdir(path), 0);
        assert_int_equal(rmdir(directory), 0);
    }
}

static void a_chain_of_files_is_only_so_long(void **state)
{
    (void)state;
    char directory[] = "/tmp/pipeline_files.XXXXXX", name[64], text[64];
    assert_non_null(mkdtemp(directory));
    struct row row = {.files = {{"f0.yaml", ""}}};
    write_file(directory, "f0.yaml", "name: p\nsteps: [{include: f1.yaml}]\n");
    for (int i = 1; i <= LIMIT_PIPELINE_DEPTH; i++) {
        snprintf(name, sizeof name, "f%d.yaml", i);
        snprintf(text, sizeof text, "steps: [{include: f%d.yaml}]\n", i + 1);
        write_file(directory, name, text);
    }
    char *found = read_row(&row, directory);
    assert_non_null(strstr(found, "f8.yaml' would be 9 files deep; at most 8 are allowed"));
    free(found);
    for (int i = 0; i <= LIMIT_PIPELINE_DEPTH; i++) {
        snprintf(name, sizeof name, "%s/f%d.yaml", directory, i);
        assert_int_equal(unlink(name), 0);
    }
    assert_int_equal(rmdir(directory), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_name_files),
        cmocka_unit_test(a_chain_of_files_is_only_so_long),
    };
    return cmocka_run_group_tests_name("files that name files", tests, NULL, NULL);
}
