/* SPDX-License-Identifier: Apache-2.0 */
/* What people, and their programs, give us. */
#include "common/clock.h"
#include "common/defaults.h"
#include "common/expression.h"
#include "common/limits.h"
#include "common/pipeline.h"
#include "common/text.h"
#include "tests/fuzz/fuzz.h"
#include "worker/evaluator.h"
#include "worker/program_output.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void fuzz_pipeline(struct span bytes)
{
    struct text text;
    text_init(&text, 64 * MIB);
    struct pipeline *pipeline = pipeline_read_text(bytes, "fuzz.yaml");
    pipeline_append_problems(pipeline, &text);
    fuzz_check((pipeline->problem_count == 0) == (text.size == 0), "a file is right without a word, or wrong with one");
    if (pipeline->problem_count == 0) {
        pipeline_append_json(&pipeline->plan, &text);
        struct pipeline *again = pipeline_read_text(text_span(&text), "again.json");
        fuzz_check(again->problem_count == 0, "the plan as a file is wrong");
        fuzz_check(again->plan.step_count == pipeline->plan.step_count, "the plan as a file has other steps");
        pipeline_free(again);
    }
    pipeline_free(pipeline);
    text_fini(&text);
}

static void ignore_progress(void *state, int64_t current, int64_t total)
{
    (void)state;
    fuzz_check(current >= 0 && current <= total && total > 0, "progress outside of its bounds");
}

/* The first bit of a byte says which stream, the others how many bytes. */
void fuzz_output(struct span bytes)
{
    const struct program_listener listener = {.progressed = ignore_progress};
    struct program_output *output = program_output_new(&listener);
    while (output != NULL && bytes.size > 0) {
        unsigned char head = (unsigned char)bytes.bytes[0];
        bytes = (struct span){bytes.bytes + 1, bytes.size - 1};
        size_t size = (size_t)head >> 1 < bytes.size ? (size_t)head >> 1 : bytes.size;
        program_output_feed(output, head & 1 ? PROGRAM_STDERR : PROGRAM_STDOUT, (struct span){bytes.bytes, size});
        bytes = (struct span){bytes.bytes + size, bytes.size - size};
    }
    program_output_end(output);
    const char *reason = program_output_reason(output);
    fuzz_check(reason == NULL || strlen(reason) <= LIMIT_MESSAGE_BYTES, "a reason over the limit");
    free(program_output_take_data(output));
    free(program_output_take_rollback_data(output));
    free(program_output_take_set(output));
    program_output_free(output);
}

/* Without a process that compiles: only what is ours. */
void fuzz_expression(struct span bytes)
{
    struct error error = {0};
    struct span rest = bytes, expression;
    struct template_part part;
    enum template_step step;
    size_t size, total = 0;
    struct text text;
    text_init(&text, 64 * MIB);
    while ((step = template_next(&rest, &part, &error)) == TEMPLATE_PART) {
        fuzz_check(part.text.bytes >= bytes.bytes && part.text.bytes + part.text.size <= bytes.bytes + bytes.size,
                   "a part from elsewhere");
        total += part.text.size;
    }
    fuzz_check(total <= bytes.size, "the parts are more than the whole");
    fuzz_check(step == TEMPLATE_END || error.message[0] != '\0', "a template was refused without a reason");
    if (template_is_value(bytes, &expression)) {
        fuzz_check(expression.bytes >= bytes.bytes && expression.bytes + expression.size <= bytes.bytes + bytes.size,
                   "a value from elsewhere");
    }
    if (expression_extent(bytes, &size, &error)) {
        fuzz_check(size <= bytes.size, "an expression longer than its text");
    }
    expression_is_balanced(bytes, &error);
    expression_append_quoted(&text, bytes);
    text_fini(&text);
}

static struct evaluator *start_evaluator(void)
{
    struct error error = {0};
    struct guard *guard = guard_start(&error); /* lives as long as the process */
    fuzz_check(guard != NULL && guard_lease_begin(guard, INT64_MAX / 4, 1000, &error), "no guard");
    return evaluator_new(guard);
}

/* libjq may crash in its own process: here that is an error, and the next one is evaluated. */
void fuzz_jq(struct span bytes)
{
    static struct evaluator *evaluator;
    evaluator = evaluator != NULL ? evaluator : start_evaluator();
    const char *end = bytes.size > 0 ? memchr(bytes.bytes, '\n', bytes.size) : NULL;
    struct span expression = {bytes.bytes, end != NULL ? (size_t)(end - bytes.bytes) : bytes.size};
    struct span input = end != NULL ? (struct span){end + 1, bytes.size - expression.size - 1} : span_of("null");
    struct error error = {0};
    char *value = NULL;
    int64_t left_ms = 200; /* an endless one ends so */
    struct evaluation evaluation = {.input = input, .expressions = &expression, .count = 1, .left_ms = &left_ms, .cancel_fd = -1};
    enum evaluation_end ended = evaluator_run(evaluator, &evaluation, &value, &error);
    fuzz_check((ended == EVALUATION_DONE) == (value != NULL), "a value without an evaluation, or one without the other");
    fuzz_check(ended == EVALUATION_DONE || error.message[0] != '\0', "an evaluation that failed without a reason");
    free(value);
}

#define WORDS_MAX 64

static const char *environment[WORDS_MAX + 1];

static const char *look_up(const char *name)
{
    size_t size = strlen(name);
    for (const char *const *entry = environment; *entry != NULL; entry++) {
        if (strncmp(*entry, name, size) == 0 && (*entry)[size] == '=') {
            return *entry + size + 1;
        }
    }
    return NULL;
}

/* The lines from `at` to an empty one, as strings; returns where the rest begins. */
static char *split(char *at, const char **words, size_t *count)
{
    *count = 0;
    while (*at != '\0' && *at != '\n') {
        size_t size = strcspn(at, "\n");
        bool last = at[size] == '\0';
        at[size] = '\0';
        if (*count < WORDS_MAX) {
            words[(*count)++] = at;
        }
        at += size + !last;
    }
    words[*count] = NULL;
    return *at == '\n' ? at + 1 : at;
}

/* Files would be read: of those the command line may not speak here. */
static bool names_a_file(const char *text)
{
    return strstr(text, "-F") != NULL || strstr(text, "config") != NULL || strstr(text, "CONFIG") != NULL ||
           strstr(text, "qF") != NULL;
}

void fuzz_options(struct span bytes)
{
    const char *words[WORDS_MAX + 1];
    size_t count, variables;
    struct error error = {0};
    char *copy = text_copy(bytes);
    if (copy == NULL || names_a_file(copy)) {
        free(copy);
        return;
    }
    split(split(copy, words, &count), environment, &variables);
    struct options_input input = {.specs = default_options,
                                  .sets = OPTIONS_COMMON | OPTIONS_CLUSTER | OPTIONS_JOB | OPTIONS_WORKER | OPTIONS_SLOTS |
                                          OPTIONS_OUTPUT,
                                  .daemon = true,
                                  .arguments = words,
                                  .argument_count = count,
                                  .environment = look_up};
    struct options *options = options_read(&input, &error);
    fuzz_check(options != NULL || error.message[0] != '\0', "a command line was refused without a reason");
    if (options != NULL && !options_help_wanted(options)) {
        option_duration_ms(options, "lease");
        option_number(options, "concurrency");
        fuzz_check(option_text(options, "brokers") != NULL && option_origin(options, "brokers") != NULL, "no default");
    }
    options_free(options);
    free(copy);
}
