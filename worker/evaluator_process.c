/* SPDX-License-Identifier: Apache-2.0 */
/* The helper's side: a process that reads expressions and answers, until there is nobody who asks. */
#include "common/expression.h"
#include "common/jq.h"
#include "common/jq_helper.h"
#include "common/text.h"
#include "worker/evaluator_protocol.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PROGRAMS 32 /* compiled and kept: compiling one takes 40 ms, running it hardly any */

#define TOGETHER 64 /* expressions of one program: no deeper than jq's compiler likes it */

struct cached {
    char *text;
    size_t size;
    struct jq_program *program;
    uint64_t used; /* when, in evaluations */
};

static struct {
    struct cached programs[PROGRAMS];
    uint64_t now;
} helper;

static void *allocate(size_t size)
{
    void *memory = malloc(size + 1);
    if (memory == NULL) {
        _exit(JQ_EXIT_MEMORY);
    }
    return memory;
}

static void answer(bool is_error, struct span span)
{
    struct evaluator_answer head = {is_error, (uint32_t)span.size};
    jq_helper_write(&head, sizeof head);
    jq_helper_write(span.bytes, span.size);
}

/* ---------------------------------------------------------------- compiled programs */

static struct cached *find(struct span text)
{
    for (size_t i = 0; i < PROGRAMS; i++) {
        struct cached *cached = &helper.programs[i];
        if (cached->program != NULL && span_equal((struct span){cached->text, cached->size}, text)) {
            return cached;
        }
    }
    return NULL;
}

static struct cached *longest_unused(void)
{
    struct cached *oldest = &helper.programs[0];
    for (size_t i = 1; i < PROGRAMS; i++) {
        oldest = helper.programs[i].used < oldest->used ? &helper.programs[i] : oldest;
    }
    return oldest;
}

/* NULL: it is not jq. */
static struct jq_program *program_of(struct span text, struct error *error)
{
    struct cached *cached = find(text);
    if (cached == NULL) {
        struct jq_program *program = jq_program_new(text, error);
        if (program == NULL) {
            return NULL;
        }
        cached = longest_unused();
        jq_program_free(cached->program);
        free(cached->text);
        *cached = (struct cached){.text = allocate(text.size), .size = text.size, .program = program};
        memcpy(cached->text, text.bytes, text.size);
    }
    cached->used = ++helper.now;
    return cached->program;
}

/* ---------------------------------------------------------------- requests */

static bool evaluate(struct span expression, const struct jq_input *input)
{
    struct error error = {0};
    struct text value;
    text_init(&value, EVALUATOR_VALUE_BYTES);
    struct jq_program *program = program_of(expression, &error);
    bool ok = program != NULL && jq_program_run(program, input, &value, &error);
    answer(!ok, ok ? text_span(&value) : span_of(error.message));
    text_fini(&value);
    return ok;
}

/* Answer them by one program. False: they cannot be put together, and nothing was answered. `ok`: none of them has failed. */
static bool evaluate_together(const struct span *expressions, uint32_t count, const struct jq_input *input, bool *ok)
{
    struct text whole, value;
    struct jq_program *program = NULL;
    bool balanced = count > 1;
    text_init(&whole, SIZE_MAX / 2);
    for (uint32_t i = 0; i < count && balanced; i++) {
        balanced = expression_is_balanced(expressions[i], NULL);
        jq_append_one(&whole, expressions[i]);
    }
    if (balanced && !whole.overflow) {
        program = program_of(text_span(&whole), NULL);
    }
    text_init(&value, EVALUATOR_VALUE_BYTES);
    *ok = program != NULL;
    for (uint32_t i = 0; i < count && *ok; i++) {
        struct error error = {0};
        text_clear(&value);
        *ok = jq_program_run_next(program, i == 0 ? input : NULL, &value, &error);
        answer(!*ok, *ok ? text_span(&value) : span_of(error.message));
    }
    text_fini(&value);
    text_fini(&whole);
    return program != NULL;
}

static bool evaluate_some(const struct span *expressions, uint32_t count, const struct jq_input *input)
{
    bool ok = true;
    if (evaluate_together(expressions, count, input, &ok)) {
        return ok;
    }
    ok = true;
    for (uint32_t i = 0; i < count && ok; i++) {
        ok = evaluate(expressions[i], input);
    }
    return ok;
}

/* All of it is read before the first is evaluated: who asks need not listen while he speaks. */
static char *read_expressions(uint32_t count, struct span *expressions)
{
    size_t size = 0;
    char *bytes = NULL;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t more = 0;
        jq_helper_read(&more, sizeof more);
        bytes = realloc(bytes, size + more + 1);
        if (bytes == NULL) {
            _exit(JQ_EXIT_MEMORY);
        }
        jq_helper_read(bytes + size, more);
        expressions[i].size = more;
        size += more;
    }
    size = 0;
    for (uint32_t i = 0; i < count; i++) {
        expressions[i].bytes = bytes + size;
        size += expressions[i].size;
    }
    return bytes;
}

static void serve(const struct evaluator_request *request)
{
    struct error error = {0};
    char *json = allocate(request->input_size);
    jq_helper_read(json, request->input_size);
    struct span *expressions = allocate(request->count * sizeof *expressions);
    char *bytes = read_expressions(request->count, expressions);
    struct jq_input *input = jq_input_new((struct span){json, request->input_size}, &error);
    free(json);
    if (input == NULL) {
        answer(true, span_of(error.message));
    }
    bool ok = input != NULL;
    for (uint32_t i = 0; i < request->count && ok; i += TOGETHER) {
        uint32_t left = request->count - i;
        ok = evaluate_some(expressions + i, left < TOGETHER ? left : TOGETHER, input);
    }
    jq_input_free(input);
    free(expressions);
    free(bytes);
}

/* Any program with our library in it can be its own helper, and there is none to install or to be missing. */
__attribute__((constructor)) static void become_helper(void)
{
    if (!jq_helper_begin(EVALUATOR_ROLE)) {
        return;
    }
    for (;;) {
        struct evaluator_request request;
        jq_helper_read(&request, sizeof request);
        serve(&request);
    }
}

/* Named by evaluator.c, so that a linker that takes only what is asked for takes this too. */
const char evaluator_process_is_linked = 1;
