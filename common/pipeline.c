/* SPDX-License-Identifier: Apache-2.0 */
/* Fields are rows of tables: a function reads one, and says what is wrong with it. */
#include "common/pipeline_internal.h"

#include "common/expression.h"
#include "common/file.h"
#include "common/limits.h"
#include "common/names.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define ARENA_BUDGET_BYTES ((size_t)64 * MIB)

/* ---- problems */

static void *must(void *memory)
{
    if (memory == NULL) {
        abort();
    }
    return memory;
}

size_t reader_enter(struct reader *reader, const char *format, ...)
{
    size_t outer = reader->path_size;
    va_list arguments;
    va_start(arguments, format);
    const char *dot = outer > 0 && format[0] != '[' ? "." : "";
    size_t room = sizeof reader->path - outer;
    int used = snprintf(reader->path + outer, room, "%s", dot);
    used += vsnprintf(reader->path + outer + used, room - (size_t)used, format, arguments);
    va_end(arguments);
    reader->path_size = strlen(reader->path);
    return outer;
}

void reader_leave(struct reader *reader, size_t outer)
{
    reader->path_size = outer;
    reader->path[outer] = '\0';
}

static void add_problem(struct reader *reader, int line, const char *field, const char *text)
{
    struct pipeline *pipeline = reader->pipeline;
    if (pipeline->problem_count > PROBLEMS_MAX) {
        return;
    }
    if (pipeline->problem_count == PROBLEMS_MAX) {
        line = INT32_MAX;
        field = "";
        text = "there are more mistakes; mend these first";
    }
    if (pipeline->problems == NULL) {
        pipeline->problems = must(arena_take_array(&pipeline->arena, PROBLEMS_MAX + 1, sizeof *pipeline->problems));
    }
    pipeline->problems[pipeline->problem_count++] = (struct pipeline_problem){
        .file = reader->file,
        .line = line,
        .field = must(arena_copy(&pipeline->arena, span_of(field))),
        .text = must(arena_copy(&pipeline->arena, span_of(text))),
    };
}

size_t reader_enter_step(struct reader *reader, uint32_t index, const char *field, const char **file)
{
    const struct pipeline_place *place = &reader->pipeline->places[index];
    *file = reader->file;
    reader->file = place->file;
    return reader_enter(reader, "[%u].%s", place->position, field);
}

void reader_leave_step(struct reader *reader, size_t outer, const char *file)
{
    reader->file = file;
    reader_leave(reader, outer);
}

void reader_expression(struct reader *reader, int line, struct span expression)
{
    struct reading *reading = reader->reading;
    if (expression.size > LIMIT_EXPRESSION_BYTES) {
        reader_problem(reader, line, "is an expression of %zu bytes; at most %d are allowed", expression.size,
                       LIMIT_EXPRESSION_BYTES);
        return;
    }
    if (reading->expression_count == reading->expression_room) {
        reading->expression_room = reading->expression_room > 0 ? 2 * reading->expression_room : 16;
        reading->expressions = must(realloc(reading->expressions, reading->expression_room * sizeof *reading->expressions));
    }
    reading->expressions[reading->expression_count++] = (struct written_expression){
        expression, reader->file, must(arena_copy(&reader->pipeline->arena, span_of(reader->path))), line};
}

static void report_expression(struct reader *reader, const struct written_expression *written, const struct error *error)
{
    const char *file = reader->file;
    reader->file = written->file;
    add_problem(reader, written->line, written->field, error->message);
    reader->file = file;
}

void reader_check_expressions(struct reader *reader)
{
    const struct reading *reading = reader->reading;
    size_t count = reading->expression_count, which = 0;
    struct span *expressions = count > 0 ? must(calloc(count, sizeof *expressions)) : NULL;
    for (size_t i = 0; i < count; i++) {
        expressions[i] = reading->expressions[i].expression;
    }
    struct error error;
    for (size_t at = 0; at < count && !expressions_check(expressions + at, count - at, &which, &error); at += which + 1) {
        report_expression(reader, &reading->expressions[at + which], &error);
    }
    free(expressions);
}

void reader_problem(struct reader *reader, int line, const char *format, ...)
{
    char text[ERROR_MESSAGE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    add_problem(reader, line, reader->path, text);
}

void pipeline_report_document(void *reader, int line, const char *text)
{
    add_problem(reader, line, "", text);
}

/* By line within a file, and in the order they were found within one. */
static void sort_problems(struct pipeline *pipeline)
{
    struct pipeline_problem *problems = pipeline->problems;
    for (size_t i = 1; i < pipeline->problem_count; i++) {
        struct pipeline_problem problem = problems[i];
        size_t j = i;
        for (; j > 0 && problems[j - 1].file == problem.file && problems[j - 1].line > problem.line; j--) {
            problems[j] = problems[j - 1];
        }
        problems[j] = problem;
    }
}

void pipeline_append_problems(const struct pipeline *pipeline, struct text *text)
{
    for (size_t i = 0; i < pipeline->problem_count; i++) {
        const struct pipeline_problem *problem = &pipeline->problems[i];
        text_append_visible(text, span_of(problem->file));
        if (problem->line > 0 && problem->line < INT32_MAX) {
            text_format(text, ":%d", problem->line);
        }
        text_append_string(text, ": ");
        if (problem->field[0] != '\0') {
            text_append_visible(text, span_of(problem->field));
            text_append_string(text, ": ");
        }
        text_append_visible(text, span_of(problem->text));
        text_append_char(text, '\n');
    }
}

/* ---- values */

/* 'x', the text '5', a list: what stands there. */
struct found {
    char text[160];
};

static const char *describe(struct found *found, const struct node *node)
{
    if (node->kind != NODE_SCALAR) {
        return node_type_name(node);
    }
    snprintf(found->text, sizeof found->text, "%s'%s'", node->plain ? "" : "the text ", SHOWN(node->scalar));
    return found->text;
}
#define FOUND(node) describe(&(struct found){{0}}, node)

static bool want_kind(struct reader *reader, const struct node *node, enum node_kind kind)
{
    static const char *const wanted[] = {[NODE_SCALAR] = "text", [NODE_LIST] = "a list", [NODE_MAP] = "a map"};
    if (node->kind != kind) {
        reader_problem(reader, node->line, "is %s, where %s is expected", node_type_name(node), wanted[kind]);
        return false;
    }
    return true;
}

/* Any scalar but nothing: a name may look like a number. */
static bool read_text(struct reader *reader, const struct node *node, struct span *text)
{
    if (node->kind == NODE_SCALAR && node->plain && node->scalar.size == 0) {
        reader_problem(reader, node->line, "is empty");
        return false;
    }
    *text = node->scalar;
    return want_kind(reader, node, NODE_SCALAR);
}

static bool read_name(struct reader *reader, const struct node *node, struct span *name)
{
    struct error error;
    if (!read_text(reader, node, name)) {
        return false;
    }
    if (!name_check(*name, &error)) {
        reader_problem(reader, node->line, "%s", error.message);
        return false;
    }
    return true;
}

static bool read_identifier(struct reader *reader, const struct node *node, struct span *identifier)
{
    struct error error;
    if (!read_text(reader, node, identifier)) {
        return false;
    }
    if (!identifier_check(*identifier, &error)) {
        reader_problem(reader, node->line, "%s", error.message);
        return false;
    }
    return true;
}

static void read_description(struct reader *reader, const struct node *node, struct span *description)
{
    if (want_kind(reader, node, NODE_SCALAR)) {
        *description = node->scalar;
        if (node->scalar.size > LIMIT_DESCRIPTION_BYTES) {
            reader_problem(reader, node->line, "is %zu bytes long; at most %d are allowed", node->scalar.size,
                           LIMIT_DESCRIPTION_BYTES);
        }
    }
}

static void read_duration(struct reader *reader, const struct node *node, int64_t least_ms, int64_t *duration_ms)
{
    struct error error;
    int64_t value;
    if (!want_kind(reader, node, NODE_SCALAR)) {
        return;
    }
    if (!duration_parse(node->scalar, &value, &error)) {
        reader_problem(reader, node->line, "%s", error.message);
    } else if (value < least_ms) {
        reader_problem(reader, node->line, "must be longer than 0; leave it out for none");
    } else {
        *duration_ms = value;
    }
}

static void read_integer(struct reader *reader, const struct node *node, int64_t least, int64_t most, uint32_t *number)
{
    int64_t value;
    if (!node_integer(node, &value) || value < least || value > most) {
        reader_problem(reader, node->line, "%s is no integer from %lld to %lld", FOUND(node), (long long)least, (long long)most);
        return;
    }
    *number = (uint32_t)value;
}

static bool read_bool(struct reader *reader, const struct node *node, bool *value)
{
    enum scalar_kind kind = node_scalar_kind(node);
    if (kind != SCALAR_TRUE && kind != SCALAR_FALSE) {
        reader_problem(reader, node->line, "is %s, where true or false is expected", node_type_name(node));
        return false;
    }
    *value = kind == SCALAR_TRUE;
    return true;
}

static struct span read_json(struct reader *reader, const struct node *node)
{
    struct text text;
    text_init(&text, 8 * (size_t)LIMIT_PIPELINE_FILE_BYTES);
    if (node_append_json(node, &text) > 0) {
        reader_problem(reader, node->line, "holds what JSON cannot say: a number that is not finite or too large, or a NUL");
    }
    struct span json = arena_keep(&reader->pipeline->arena, text_span(&text));
    text_fini(&text);
    return json;
}

/* ---- tables of fields */

struct field {
    const char *name;
    void (*read)(struct reader *reader, const struct node *node, void *target);
};

#define FIELDS_MAX 30

static void refuse_field(struct reader *reader, const struct node *node, const struct field *fields)
{
    const char *names[FIELDS_MAX + 1] = {NULL};
    for (size_t i = 0; fields[i].name != NULL; i++) {
        assert(i < FIELDS_MAX);
        names[i] = fields[i].name;
    }
    const char *suggestion = name_suggest(node->key, names);
    if (suggestion != NULL) {
        reader_problem(reader, node->key_line, "unknown field; did you mean '%s'?", suggestion);
    } else if (memchr(node->key.size > 0 ? node->key.bytes : "", ' ', node->key.size) != NULL && node->kind == NODE_SCALAR &&
               node->scalar.size == 0) {
        reader_problem(reader, node->key_line, "unknown field; a text with a comma in braces must be quoted");
    } else {
        reader_problem(reader, node->key_line, "unknown field");
    }
}

static void read_fields(struct reader *reader, const struct node *map, const struct field *fields, void *target)
{
    for (const struct node *node = map->first; node != NULL; node = node->next) {
        size_t outer = reader_enter(reader, "%s", SHOWN(node->key));
        const struct field *field = fields;
        while (field->name != NULL && !span_equal(node->key, span_of(field->name))) {
            field++;
        }
        if (field->name != NULL) {
            field->read(reader, node, target);
        } else {
            refuse_field(reader, node, fields);
        }
        reader_leave(reader, outer);
    }
}

static const struct node *find_member(const struct node *map, const char *name)
{
    for (const struct node *node = map->first; node != NULL; node = node->next) {
        if (span_equal(node->key, span_of(name))) {
            return node;
        }
    }
    return NULL;
}

static void want_member(struct reader *reader, const struct node *map, const char *name)
{
    if (find_member(map, name) == NULL) {
        size_t outer = reader_enter(reader, "%s", name);
        reader_problem(reader, map->line, "is missing");
        reader_leave(reader, outer);
    }
}

/* ---- params */

static void param_required(struct reader *reader, const struct node *node, void *target)
{
    read_bool(reader, node, &((struct pipeline_param *)target)->required);
}

static void param_default(struct reader *reader, const struct node *node, void *target)
{
    ((struct pipeline_param *)target)->fallback = read_json(reader, node);
}

static void param_description(struct reader *reader, const struct node *node, void *target)
{
    read_description(reader, node, &((struct pipeline_param *)target)->description);
}

static void param_secret(struct reader *reader, const struct node *node, void *target)
{
    read_bool(reader, node, &((struct pipeline_param *)target)->secret);
}

static const struct field param_fields[] = {
    {"required", param_required},
    {"secret", param_secret},
    {"default", param_default},
    {"description", param_description},
    {NULL, NULL},
};

static void read_param(struct reader *reader, const struct node *node, struct pipeline_param *param)
{
    struct error error;
    param->name = node->key;
    param->line = node->key_line;
    if (!name_check(param->name, &error)) {
        reader_problem(reader, node->key_line, "its name %s", error.message);
    }
    if (node->kind == NODE_SCALAR && node_scalar_kind(node) == SCALAR_NULL) {
        return; /* declared, and no more is said */
    }
    if (node->kind != NODE_MAP) {
        reader_problem(reader, node->line, "is %s, where a map with 'required' or 'default', and 'description', is expected",
                       node_type_name(node));
        return;
    }
    read_fields(reader, node, param_fields, param);
    if (param->required && param->fallback.size > 0) {
        reader_problem(reader, node->key_line, "is required and has a default; one of them is enough");
    }
    if (param->secret && param->fallback.size > 0 && !pipeline_is_reference(param->fallback)) {
        reader_problem(reader, node->key_line,
                       "is secret, and its default would stand on the log: give {env: NAME} or {file: NAME}, which the worker resolves");
    }
}

static void pipeline_params_field(struct reader *reader, const struct node *node, void *target)
{
    struct pipeline *pipeline = target;
    if (!want_kind(reader, node, NODE_MAP)) {
        return;
    }
    if (node->count > LIMIT_PARAMS) {
        reader_problem(reader, node->line, "holds %zu parameters; at most %d are allowed", node->count, LIMIT_PARAMS);
        return;
    }
    pipeline->params = must(arena_take_array(&pipeline->arena, node->count, sizeof *pipeline->params));
    pipeline->param_count = 0; /* a second `params` was reported as such */
    for (const struct node *child = node->first; child != NULL; child = child->next) {
        size_t outer = reader_enter(reader, "%s", SHOWN(child->key));
        read_param(reader, child, &pipeline->params[pipeline->param_count++]);
        reader_leave(reader, outer);
    }
}

/* ---- steps */

struct step_target {
    struct plan_step *step;
    struct step_draft *draft;
};

static struct plan_step *step_of(void *target)
{
    return ((struct step_target *)target)->step;
}

static void step_name(struct reader *reader, const struct node *node, void *target)
{
    struct span name;
    if (read_name(reader, node, &name)) {
        step_of(target)->name = name;
    }
}

#define USES_PIPELINE "pipeline:"

static bool begins_scope(struct span handler)
{
    return span_equal(handler, span_of(PLAN_HANDLER_SCOPE)) || span_equal(handler, span_of(PLAN_HANDLER_MERGE));
}

static void step_uses(struct reader *reader, const struct node *node, void *target)
{
    struct step_target *step = target;
    size_t prefix = sizeof USES_PIPELINE - 1;
    if (node->kind != NODE_SCALAR || node->scalar.size < prefix || memcmp(node->scalar.bytes, USES_PIPELINE, prefix) != 0) {
        if (read_identifier(reader, node, &step->step->handler) && begins_scope(step->step->handler)) {
            step->step->kind = PLAN_SCOPE;
        }
        return;
    }
    struct span name = {node->scalar.bytes + prefix, node->scalar.size - prefix};
    step->step->kind = PLAN_SCOPE;
    step->step->handler = span_of(PLAN_HANDLER_SCOPE);
    step->draft->uses = node;
    step->draft->pipeline = reader_pipeline(reader, node, name);
}

static void step_scope(struct reader *reader, const struct node *node, void *target)
{
    struct span name;
    if (read_name(reader, node, &name)) {
        ((struct step_target *)target)->draft->scope = node;
    }
}

static void step_queue(struct reader *reader, const struct node *node, void *target)
{
    read_identifier(reader, node, &step_of(target)->queue);
}

static void step_weight(struct reader *reader, const struct node *node, void *target)
{
    double weight;
    if (!node_number(node, &weight) || weight < 0) {
        reader_problem(reader, node->line, "%s is no weight; write a number that is not negative", FOUND(node));
        return;
    }
    ((struct step_target *)target)->draft->weight = weight;
}

/* Names are looked up when all steps are known. */
static const struct node *read_step_list(struct reader *reader, const struct node *node)
{
    if (node->kind == NODE_SCALAR && node_scalar_kind(node) == SCALAR_STRING) {
        reader_problem(reader, node->line, "is text, where a list is expected; write [%s]", SHOWN(node->scalar));
        return NULL;
    }
    return want_kind(reader, node, NODE_LIST) ? node : NULL;
}

static void step_needs(struct reader *reader, const struct node *node, void *target)
{
    ((struct step_target *)target)->draft->needs = read_step_list(reader, node);
}

static void step_reads(struct reader *reader, const struct node *node, void *target)
{
    ((struct step_target *)target)->draft->reads = read_step_list(reader, node);
}

/* Each ${ jq } of a text; "$${" stands for "${". */
static bool read_templates(struct reader *reader, const struct node *node)
{
    struct span rest = node->scalar;
    struct template_part part;
    struct error error;
    enum template_step step;
    if (!template_has(rest)) {
        return false;
    }
    while ((step = template_next(&rest, &part, &error)) == TEMPLATE_PART) {
        if (part.kind == TEMPLATE_EXPRESSION) {
            reader_expression(reader, node->line, part.text);
        }
    }
    if (step == TEMPLATE_BROKEN) {
        reader_problem(reader, node->line, "%s", error.message);
    }
    return true;
}

static bool has_templates(struct reader *reader, const struct node *node)
{
    bool any = node->kind == NODE_SCALAR && read_templates(reader, node);
    size_t index = 0;
    for (const struct node *child = node->first; child != NULL; child = child->next) {
        size_t outer =
            node->kind == NODE_LIST ? reader_enter(reader, "[%zu]", index++) : reader_enter(reader, "%s", SHOWN(child->key));
        any = has_templates(reader, child) || any;
        reader_leave(reader, outer);
    }
    return any;
}

static void step_with(struct reader *reader, const struct node *node, void *target)
{
    if (!want_kind(reader, node, NODE_MAP)) {
        return;
    }
    struct plan_step *step = step_of(target);
    ((struct step_target *)target)->draft->with = node;
    step->templated = has_templates(reader, node);
    step->input = read_json(reader, node);
}

static void step_timeout(struct reader *reader, const struct node *node, void *target)
{
    read_duration(reader, node, 1, &step_of(target)->timeout_ms);
}

static void step_heartbeat_timeout(struct reader *reader, const struct node *node, void *target)
{
    read_duration(reader, node, 1, &step_of(target)->heartbeat_timeout_ms);
}

static void retry_max_attempts(struct reader *reader, const struct node *node, void *target)
{
    read_integer(reader, node, 1, LIMIT_ATTEMPTS, &((struct plan_retry *)target)->max_attempts);
}

static void retry_max_losses(struct reader *reader, const struct node *node, void *target)
{
    read_integer(reader, node, 0, LIMIT_LOSSES, &((struct plan_retry *)target)->max_losses);
}

static void retry_backoff(struct reader *reader, const struct node *node, void *target)
{
    read_duration(reader, node, 0, &((struct plan_retry *)target)->backoff_ms);
}

static void retry_max_backoff(struct reader *reader, const struct node *node, void *target)
{
    read_duration(reader, node, 0, &((struct plan_retry *)target)->max_backoff_ms);
}

static void retry_multiplier(struct reader *reader, const struct node *node, void *target)
{
    double value;
    if (!node_number(node, &value) || value < 1 || value > LIMIT_MULTIPLIER) {
        reader_problem(reader, node->line, "%s is no number from 1 to %d", FOUND(node), LIMIT_MULTIPLIER);
        return;
    }
    ((struct plan_retry *)target)->multiplier_permille = (uint32_t)(value * 1000 + 0.5);
}

static void retry_jitter(struct reader *reader, const struct node *node, void *target)
{
    double value;
    if (!node_number(node, &value) || value < 0 || value > 1) {
        reader_problem(reader, node->line, "%s is no number from 0 to 1", FOUND(node));
        return;
    }
    ((struct plan_retry *)target)->jitter_permille = (uint32_t)(value * 1000 + 0.5);
}

static const struct field retry_fields[] = {
    {"max_attempts", retry_max_attempts},
    {"max_losses", retry_max_losses},
    {"backoff", retry_backoff},
    {"multiplier", retry_multiplier},
    {"max_backoff", retry_max_backoff},
    {"jitter", retry_jitter},
    {NULL, NULL},
};

static void read_retry(struct reader *reader, const struct node *node, struct plan_retry *retry)
{
    if (!want_kind(reader, node, NODE_MAP)) {
        return;
    }
    size_t before = reader->pipeline->problem_count;
    read_fields(reader, node, retry_fields, retry);
    if (reader->pipeline->problem_count > before || retry->max_backoff_ms >= retry->backoff_ms) {
        return;
    }
    const struct node *most = find_member(node, "max_backoff");
    if (most == NULL) {
        retry->max_backoff_ms = retry->backoff_ms; /* who says 5m means 5m, whatever our default for the most is */
        return;
    }
    size_t outer = reader_enter(reader, "max_backoff");
    reader_problem(reader, most->line, "is shorter than the backoff");
    reader_leave(reader, outer);
}

static void step_retry(struct reader *reader, const struct node *node, void *target)
{
    read_retry(reader, node, &step_of(target)->retry);
}

/* ---- how it is undone */

static void rollback_retry(struct reader *reader, const struct node *node, void *target)
{
    struct plan_retry *retry = &step_of(target)->rollback_retry;
    *retry = (struct plan_retry)PLAN_RETRY_ROLLBACK;
    read_retry(reader, node, retry);
}

static void rollback_timeout(struct reader *reader, const struct node *node, void *target)
{
    read_duration(reader, node, 1, &step_of(target)->rollback_timeout_ms);
}

static const struct field rollback_fields[] = {{"retry", rollback_retry}, {"timeout", rollback_timeout}, {NULL, NULL}};

static void step_rollback(struct reader *reader, const struct node *node, void *target)
{
    if (node->kind == NODE_MAP) {
        read_fields(reader, node, rollback_fields, target);
    } else if (node->kind != NODE_SCALAR || !span_equal(node->scalar, span_of("none"))) {
        reader_problem(reader, node->line, "%s is unknown; write 'none', a map with 'retry' and 'timeout', or leave it out",
                       FOUND(node));
    } else {
        step_of(target)->rollback_none = true;
    }
}

/* ---- expressions */

static void read_expression(struct reader *reader, const struct node *node, struct span *expression)
{
    if (read_text(reader, node, expression)) {
        reader_expression(reader, node->line, *expression);
    }
}

static void step_when(struct reader *reader, const struct node *node, void *target)
{
    read_expression(reader, node, &step_of(target)->when);
}

static void step_each(struct reader *reader, const struct node *node, void *target)
{
    read_expression(reader, node, &step_of(target)->each);
}

static void step_max_parallel(struct reader *reader, const struct node *node, void *target)
{
    read_integer(reader, node, 1, LIMIT_ELEMENTS, &step_of(target)->max_parallel);
}

static void validate_assert(struct reader *reader, const struct node *node, void *target)
{
    read_expression(reader, node, &step_of(target)->assert);
}

static void validate_message(struct reader *reader, const struct node *node, void *target)
{
    struct span *message = &step_of(target)->message;
    if (read_text(reader, node, message) && message->size > LIMIT_MESSAGE_BYTES) {
        reader_problem(reader, node->line, "is %zu bytes long; at most %d are allowed", message->size, LIMIT_MESSAGE_BYTES);
    }
}

static const struct field validate_fields[] = {{"assert", validate_assert}, {"message", validate_message}, {NULL, NULL}};

static void step_validate(struct reader *reader, const struct node *node, void *target)
{
    struct plan_step *step = step_of(target);
    step->kind = PLAN_VALIDATE;
    step->message = span_of("its condition does not hold");
    if (want_kind(reader, node, NODE_MAP)) {
        want_member(reader, node, "assert");
        read_fields(reader, node, validate_fields, target);
    }
}

static void step_wrap(struct reader *reader, const struct node *node, void *target)
{
    struct plan_step *step = step_of(target);
    const struct node *list = read_step_list(reader, node);
    if (list == NULL) {
        return;
    }
    if (list->count > LIMIT_WRAPPERS) {
        reader_problem(reader, node->line, "holds %zu wrappers; at most %d are allowed", list->count, LIMIT_WRAPPERS);
        return;
    }
    struct span *wrap = must(arena_take_array(&reader->pipeline->arena, list->count, sizeof *wrap));
    size_t index = 0;
    for (const struct node *child = list->first; child != NULL; child = child->next, index++) {
        size_t outer = reader_enter(reader, "[%zu]", index);
        read_identifier(reader, child, &wrap[index]);
        reader_leave(reader, outer);
    }
    step->wrap = wrap;
    step->wrap_count = (uint32_t)list->count;
}

static void step_start_timeout(struct reader *reader, const struct node *node, void *target)
{
    read_duration(reader, node, 1, &step_of(target)->start_timeout_ms);
}

static const struct field step_fields[] = {
    {"name", step_name},
    {"uses", step_uses},
    {"scope", step_scope},
    {"queue", step_queue},
    {"weight", step_weight},
    {"needs", step_needs},
    {"reads", step_reads},
    {"with", step_with},
    {"when", step_when},
    {"each", step_each},
    {"max_parallel", step_max_parallel},
    {"validate", step_validate},
    {"wrap", step_wrap},
    {"retry", step_retry},
    {"start_timeout", step_start_timeout},
    {"timeout", step_timeout},
    {"heartbeat_timeout", step_heartbeat_timeout},
    {"rollback", step_rollback},
    {NULL, NULL},
};

/* What makes no sense beside something else. */
static void refuse_beside(struct reader *reader, const struct node *map, const char *name, const char *text)
{
    const struct node *node = find_member(map, name);
    if (node != NULL) {
        size_t outer = reader_enter(reader, "%s", name);
        reader_problem(reader, node->key_line, "%s", text);
        reader_leave(reader, outer);
    }
}

static void refuse_combinations(struct reader *reader, const struct node *map, const struct step_target *target)
{
    static const char *const of_pipelines[] = {"retry", "each",  "timeout", "start_timeout", "heartbeat_timeout", "rollback",
                                               "wrap",  "reads", NULL};
    static const char *const of_validations[] = {"uses", "wrap", "rollback", "with", NULL};
    bool nested = target->draft->uses != NULL;
    for (const char *const *name = of_pipelines; nested && *name != NULL; name++) {
        refuse_beside(reader, map, *name, "does not go with a pipeline as a step; say it of the steps in it");
    }
    for (const char *const *name = of_validations; target->step->kind == PLAN_VALIDATE && *name != NULL; name++) {
        refuse_beside(reader, map, *name, "does not go with 'validate'");
    }
    if (find_member(map, "each") == NULL) {
        refuse_beside(reader, map, "max_parallel", "says how many instances run at once, and needs 'each'");
    }
}

/* A step is served by the handler of its own name, unless it says otherwise. */
static void choose_handler(struct reader *reader, const struct node *node, struct plan_step *step, bool in_scope)
{
    if (step->kind == PLAN_VALIDATE) {
        step->handler = span_of(PLAN_HANDLER_VALIDATE);
        return;
    }
    if (!in_scope && step->name.size > 0 && memchr(step->name.bytes, '/', step->name.size) != NULL) {
        size_t outer = reader_enter(reader, "name");
        reader_problem(reader, find_member(node, "name")->line,
                       "'%s' holds a '/', which stands between a pipeline's name and its steps'", SHOWN(step->name));
        reader_leave(reader, outer);
    }
    if (find_member(node, "uses") != NULL || step->name.size == 0) {
        return;
    }
    step->handler = step->name;
    if (!identifier_is_valid(step->name)) {
        size_t outer = reader_enter(reader, "name");
        reader_problem(reader, find_member(node, "name")->line,
                       "'%s' is no handler's name; say with 'uses' which handler (letters, digits, '.', '_', '-') does it",
                       SHOWN(step->name));
        reader_leave(reader, outer);
    }
}

/* Room for one more step. false: there are too many. */
static bool reserve_step(struct reader *reader)
{
    struct pipeline *pipeline = reader->pipeline;
    uint32_t count = pipeline->plan.step_count, room = reader->step_room > 0 ? 2 * reader->step_room : 16;
    if (count == LIMIT_STEPS) {
        return false;
    }
    if (count == reader->step_room) {
        struct plan_step *steps = must(arena_take_array(&pipeline->arena, room, sizeof *steps));
        struct pipeline_place *places = must(arena_take_array(&pipeline->arena, room, sizeof *places));
        struct step_draft *drafts = must(arena_take_array(&pipeline->arena, room, sizeof *drafts));
        for (uint32_t i = 0; i < count; i++) {
            steps[i] = pipeline->steps[i];
            places[i] = pipeline->places[i];
            drafts[i] = reader->drafts[i];
        }
        pipeline->steps = steps;
        pipeline->plan.steps = steps;
        pipeline->places = places;
        reader->drafts = drafts;
        reader->step_room = room;
    }
    return true;
}

static void read_step(struct reader *reader, const struct node *node, uint32_t position)
{
    struct pipeline *pipeline = reader->pipeline;
    uint32_t index = pipeline->plan.step_count;
    struct plan_step step = {.queue = span_of("default"), .retry = PLAN_RETRY_DEFAULT};
    struct step_draft draft = {.weight = 1};
    struct step_target target = {&step, &draft};
    if (want_kind(reader, node, NODE_MAP)) {
        want_member(reader, node, "name");
        read_fields(reader, node, step_fields, &target);
        refuse_combinations(reader, node, &target);
        choose_handler(reader, node, &step, draft.scope != NULL);
    }
    if (!reserve_step(reader)) {
        return; /* was reported when the list was counted */
    }
    pipeline->steps[index] = step;
    reader->drafts[index] = draft;
    pipeline->places[index] = (struct pipeline_place){reader->file, node->line, position};
    pipeline->plan.step_count++;
}

static void read_steps(struct reader *reader, const struct node *list);

/* The steps of another file, as if they stood here. */
static void read_include(struct reader *reader, const struct node *item)
{
    const struct node *include = find_member(item, "include");
    struct span name = {0};
    for (const struct node *member = item->first; member != NULL; member = member->next) {
        if (member != include) {
            reader_problem(reader, member->key_line, "'%s' does not go with 'include'", SHOWN(member->key));
        }
    }
    struct reader inner = {0};
    const struct node *root = read_text(reader, include, &name) ? reader_open(reader, include->line, name, &inner) : NULL;
    if (root == NULL) {
        free(inner.real_path);
        return;
    }
    struct reader saved = *reader;
    reader->file = inner.file;
    reader->real_path = inner.real_path;
    reader->outer = &saved;
    reader->path_size = 0;
    reader->path[0] = '\0';
    const struct node *steps = root->kind == NODE_MAP ? find_member(root, "steps") : NULL;
    if (steps == NULL || root->count != 1) {
        reader_problem(reader, root->line, "a file that is included holds 'steps', and nothing else");
    } else {
        size_t outer = reader_enter(reader, "steps");
        read_steps(reader, steps);
        reader_leave(reader, outer);
    }
    free(inner.real_path);
    reader->file = saved.file;
    reader->real_path = saved.real_path;
    reader->outer = saved.outer;
    memcpy(reader->path, saved.path, sizeof saved.path);
    reader->path_size = saved.path_size;
}

static void read_steps(struct reader *reader, const struct node *list)
{
    if (!want_kind(reader, list, NODE_LIST)) {
        return;
    }
    size_t before = reader->pipeline->plan.step_count;
    if (list->count < 1 || list->count + before > LIMIT_STEPS) {
        reader_problem(reader, list->line, "holds %zu steps; 1 to %zu are allowed%s", list->count, LIMIT_STEPS - before,
                       before > 0 ? " here, with those before" : "");
        return;
    }
    uint32_t position = 0;
    for (const struct node *child = list->first; child != NULL; child = child->next, position++) {
        size_t outer = reader_enter(reader, "[%u]", position);
        if (child->kind == NODE_MAP && find_member(child, "include") != NULL) {
            read_include(reader, child);
        } else {
            read_step(reader, child, position);
        }
        reader_leave(reader, outer);
    }
}

/* ---- the pipeline */

static void pipeline_name(struct reader *reader, const struct node *node, void *target)
{
    read_name(reader, node, &((struct pipeline *)target)->plan.name);
}

static void pipeline_description(struct reader *reader, const struct node *node, void *target)
{
    read_description(reader, node, &((struct pipeline *)target)->plan.description);
}

static void pipeline_steps(struct reader *reader, const struct node *node, void *target)
{
    struct pipeline *pipeline = target;
    if (pipeline->plan.step_count == 0) { /* else a second `steps`, which was reported */
        read_steps(reader, node);
        pipeline_order(reader);
    }
}

static void pipeline_timeout(struct reader *reader, const struct node *node, void *target)
{
    read_duration(reader, node, 1, &((struct pipeline *)target)->plan.timeout_ms);
}

static void pipeline_on_failure(struct reader *reader, const struct node *node, void *target)
{
    bool pause = node->kind == NODE_SCALAR && span_equal(node->scalar, span_of("pause"));
    if (!pause && (node->kind != NODE_SCALAR || !span_equal(node->scalar, span_of("rollback")))) {
        reader_problem(reader, node->line, "%s is unknown; write 'rollback' or 'pause'", FOUND(node));
    }
    ((struct pipeline *)target)->plan.pause_on_failure = pause;
}

static const struct field pipeline_fields[] = {
    {"name", pipeline_name},
    {"description", pipeline_description},
    {"params", pipeline_params_field},
    {"timeout", pipeline_timeout},
    {"on_failure", pipeline_on_failure},
    {"steps", pipeline_steps},
    {NULL, NULL},
};

void reader_read(struct reader *reader, const struct node *root)
{
    if (root->kind != NODE_MAP) {
        reader_problem(reader, root->line, "is %s, where a map with 'name' and 'steps' is expected", node_type_name(root));
        return;
    }
    want_member(reader, root, "name");
    want_member(reader, root, "steps");
    read_fields(reader, root, pipeline_fields, reader->pipeline);
    if (reader->pipeline->problem_count == 0) {
        size_t outer = reader_enter(reader, "steps");
        pipeline_flatten(reader);
        reader_leave(reader, outer);
    }
}

struct pipeline *pipeline_new(const char *file)
{
    struct pipeline *pipeline = must(calloc(1, sizeof *pipeline));
    arena_init(&pipeline->arena, 16 * KIB, ARENA_BUDGET_BYTES);
    pipeline->file = must(arena_copy(&pipeline->arena, span_of(file)));
    return pipeline;
}

static struct pipeline *read_whole(struct span text, const char *file, const char *path)
{
    struct pipeline *pipeline = pipeline_new(file);
    struct reading reading = {0};
    struct reader reader = {.pipeline = pipeline, .reading = &reading, .file = pipeline->file};
    reader.real_path = path != NULL ? realpath(path, NULL) : NULL;
    const struct node *root = document_read(text, &pipeline->arena, pipeline_report_document, &reader);
    if (root != NULL) {
        reader_read(&reader, root);
        reader_check_expressions(&reader);
    }
    if (pipeline->arena.failed && pipeline->problem_count == 0) {
        abort();
    }
    sort_problems(pipeline);
    free(reader.real_path);
    free(reading.expressions);
    return pipeline;
}

struct pipeline *pipeline_read_text(struct span text, const char *file)
{
    return read_whole(text, file, NULL);
}

struct pipeline *pipeline_read_file(const char *path)
{
    bool piped = strcmp(path, "-") == 0;
    const char *file = piped ? "standard input" : path;
    struct error error;
    struct text text;
    text_init(&text, LIMIT_PIPELINE_FILE_BYTES + 64 * KIB);
    struct pipeline *pipeline;
    if (file_read(path, &text, LIMIT_PIPELINE_FILE_BYTES, &error)) {
        pipeline = read_whole(text_span(&text), file, piped ? NULL : path);
    } else {
        pipeline = pipeline_new(file);
        add_problem(&(struct reader){.pipeline = pipeline, .file = pipeline->file}, 0, "", error.message);
    }
    text_fini(&text);
    return pipeline;
}

void pipeline_free(struct pipeline *pipeline)
{
    while (pipeline != NULL) {
        struct pipeline *next = pipeline->next;
        pipeline_free(pipeline->inner);
        arena_fini(&pipeline->arena);
        free(pipeline);
        pipeline = next;
    }
}

void pipeline_set_queue(struct pipeline *pipeline, const char *queue)
{
    for (uint32_t i = 0; i < pipeline->plan.step_count; i++) {
        pipeline->steps[i].queue = span_of(queue);
    }
}
