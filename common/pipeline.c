/* SPDX-License-Identifier: Apache-2.0 */
/* Fields are rows of tables: a function reads one, and says what is wrong with it. */
#include "common/pipeline_internal.h"

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
        .line = line,
        .field = must(arena_copy(&pipeline->arena, span_of(field))),
        .text = must(arena_copy(&pipeline->arena, span_of(text))),
    };
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

static void report_document(void *sink, int line, const char *text)
{
    add_problem(sink, line, "", text);
}

/* By line, and in the order they were found within one. */
static void sort_problems(struct pipeline *pipeline)
{
    struct pipeline_problem *problems = pipeline->problems;
    for (size_t i = 1; i < pipeline->problem_count; i++) {
        struct pipeline_problem problem = problems[i];
        size_t j = i;
        for (; j > 0 && problems[j - 1].line > problem.line; j--) {
            problems[j] = problems[j - 1];
        }
        problems[j] = problem;
    }
}

void pipeline_append_problems(const struct pipeline *pipeline, struct text *text)
{
    for (size_t i = 0; i < pipeline->problem_count; i++) {
        const struct pipeline_problem *problem = &pipeline->problems[i];
        text_append_visible(text, span_of(pipeline->file));
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
            reader_problem(reader, node->line, "is %zu bytes long; at most %d are allowed", node->scalar.size, LIMIT_DESCRIPTION_BYTES);
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
    const char *name; /* NULL: not yet supported ones follow in `later` */
    void (*read)(struct reader *reader, const struct node *node, void *target);
};

static const char *const later_of_steps[] = {"when", "each", "wrap", "validate", "include", "start_timeout", "on_failure", NULL};
static const char *const later_of_pipelines[] = {"when",          "each",       "wrap",    "validate", "include",
                                                 "start_timeout", "on_failure", "timeout", NULL};
static const char *const later_of_none[] = {NULL};

#define FIELDS_MAX 20

static bool is_listed(struct span name, const char *const *list)
{
    while (*list != NULL && !span_equal(name, span_of(*list))) {
        list++;
    }
    return *list != NULL;
}

static void refuse_field(struct reader *reader, const struct node *node, const struct field *fields, const char *const *later)
{
    if (is_listed(node->key, later)) {
        reader_problem(reader, node->key_line, "not supported yet");
        return;
    }
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

static void read_fields(struct reader *reader, const struct node *map, const struct field *fields, const char *const *later, void *target)
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
            refuse_field(reader, node, fields, later);
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

static const struct field param_fields[] = {
    {"required", param_required},
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
    read_fields(reader, node, param_fields, later_of_none, param);
    if (param->required && param->fallback.size > 0) {
        reader_problem(reader, node->key_line, "is required and has a default; one of them is enough");
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

static void step_uses(struct reader *reader, const struct node *node, void *target)
{
    static const char pipeline[] = "pipeline:";
    if (node->kind == NODE_SCALAR && node->scalar.size >= sizeof pipeline - 1 &&
        memcmp(node->scalar.bytes, pipeline, sizeof pipeline - 1) == 0) {
        reader_problem(reader, node->line, "'pipeline:' is not supported yet");
        return;
    }
    read_identifier(reader, node, &step_of(target)->handler);
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

static void refuse_templates(struct reader *reader, const struct node *node)
{
    if (node->kind == NODE_SCALAR && node->scalar.size > 0 && memmem(node->scalar.bytes, node->scalar.size, "${", 2) != NULL) {
        reader_problem(reader, node->line, "'${ }' is not supported yet");
    }
    size_t index = 0;
    for (const struct node *child = node->first; child != NULL; child = child->next) {
        size_t outer = node->kind == NODE_LIST ? reader_enter(reader, "[%zu]", index++) : reader_enter(reader, "%s", SHOWN(child->key));
        refuse_templates(reader, child);
        reader_leave(reader, outer);
    }
}

static void step_with(struct reader *reader, const struct node *node, void *target)
{
    if (!want_kind(reader, node, NODE_MAP)) {
        return;
    }
    refuse_templates(reader, node);
    step_of(target)->input = read_json(reader, node);
}

static void step_timeout(struct reader *reader, const struct node *node, void *target)
{
    read_duration(reader, node, 1, &step_of(target)->timeout_ms);
}

static void step_heartbeat_timeout(struct reader *reader, const struct node *node, void *target)
{
    read_duration(reader, node, 1, &step_of(target)->heartbeat_timeout_ms);
}

static void step_rollback(struct reader *reader, const struct node *node, void *target)
{
    if (node->kind == NODE_MAP) {
        reader_problem(reader, node->line, "a map is not supported yet; write 'none', or leave it out");
    } else if (node->kind != NODE_SCALAR || !span_equal(node->scalar, span_of("none"))) {
        reader_problem(reader, node->line, "%s is unknown; write 'none', or leave it out", FOUND(node));
    } else {
        step_of(target)->rollback_none = true;
    }
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

static const struct field retry_fields[] = {
    {"max_attempts", retry_max_attempts}, {"max_losses", retry_max_losses},   {"backoff", retry_backoff},
    {"multiplier", retry_multiplier},     {"max_backoff", retry_max_backoff}, {NULL, NULL},
};

static void step_retry(struct reader *reader, const struct node *node, void *target)
{
    struct plan_retry *retry = &step_of(target)->retry;
    if (!want_kind(reader, node, NODE_MAP)) {
        return;
    }
    size_t before = reader->pipeline->problem_count;
    read_fields(reader, node, retry_fields, later_of_none, retry);
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

static const struct field step_fields[] = {
    {"name", step_name},       {"uses", step_uses},       {"queue", step_queue},     {"weight", step_weight},
    {"needs", step_needs},     {"reads", step_reads},     {"with", step_with},       {"retry", step_retry},
    {"timeout", step_timeout}, {"heartbeat_timeout", step_heartbeat_timeout},        {"rollback", step_rollback},
    {NULL, NULL},
};

/* A step is served by the handler of its own name, unless it says otherwise. */
static void choose_handler(struct reader *reader, const struct node *node, struct plan_step *step)
{
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

static void read_step(struct reader *reader, const struct node *node, size_t index)
{
    struct pipeline *pipeline = reader->pipeline;
    struct step_target target = {&pipeline->steps[index], &reader->drafts[index]};
    *target.step = (struct plan_step){.queue = span_of("default"), .retry = PLAN_RETRY_DEFAULT};
    *target.draft = (struct step_draft){.weight = 1};
    pipeline->lines[index] = node->line;
    size_t outer = reader_enter(reader, "[%zu]", index);
    if (want_kind(reader, node, NODE_MAP)) {
        want_member(reader, node, "name");
        read_fields(reader, node, step_fields, later_of_steps, &target);
        choose_handler(reader, node, target.step);
    }
    reader_leave(reader, outer);
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
    if (!want_kind(reader, node, NODE_LIST) || pipeline->steps != NULL) {
        return;
    }
    if (node->count < 1 || node->count > LIMIT_STEPS) {
        reader_problem(reader, node->line, "holds %zu steps; 1 to %d are allowed", node->count, LIMIT_STEPS);
        return;
    }
    pipeline->steps = must(arena_take_array(&pipeline->arena, node->count, sizeof *pipeline->steps));
    pipeline->lines = must(arena_take_array(&pipeline->arena, node->count, sizeof *pipeline->lines));
    reader->drafts = must(arena_take_array(&pipeline->arena, node->count, sizeof *reader->drafts));
    pipeline->plan.steps = pipeline->steps;
    pipeline->plan.step_count = (uint32_t)node->count;
    size_t index = 0;
    for (const struct node *child = node->first; child != NULL; child = child->next) {
        read_step(reader, child, index++);
    }
    pipeline_order(reader);
}

static const struct field pipeline_fields[] = {
    {"name", pipeline_name},
    {"description", pipeline_description},
    {"params", pipeline_params_field},
    {"steps", pipeline_steps},
    {NULL, NULL},
};

static void read_pipeline(struct reader *reader, const struct node *root)
{
    if (root->kind != NODE_MAP) {
        reader_problem(reader, root->line, "is %s, where a map with 'name' and 'steps' is expected", node_type_name(root));
        return;
    }
    want_member(reader, root, "name");
    want_member(reader, root, "steps");
    read_fields(reader, root, pipeline_fields, later_of_pipelines, reader->pipeline);
}

static struct pipeline *pipeline_new(const char *file)
{
    struct pipeline *pipeline = must(calloc(1, sizeof *pipeline));
    arena_init(&pipeline->arena, 16 * KIB, ARENA_BUDGET_BYTES);
    pipeline->file = must(arena_copy(&pipeline->arena, span_of(file)));
    return pipeline;
}

struct pipeline *pipeline_read_text(struct span text, const char *file)
{
    struct pipeline *pipeline = pipeline_new(file);
    struct reader reader = {.pipeline = pipeline};
    const struct node *root = document_read(text, &pipeline->arena, report_document, &reader);
    if (root != NULL) {
        read_pipeline(&reader, root);
    }
    if (pipeline->arena.failed && pipeline->problem_count == 0) {
        abort();
    }
    sort_problems(pipeline);
    return pipeline;
}

struct pipeline *pipeline_read_file(const char *path)
{
    const char *file = strcmp(path, "-") == 0 ? "standard input" : path;
    struct error error;
    struct text text;
    text_init(&text, LIMIT_PIPELINE_FILE_BYTES + 64 * KIB);
    struct pipeline *pipeline;
    if (file_read(path, &text, LIMIT_PIPELINE_FILE_BYTES, &error)) {
        pipeline = pipeline_read_text(text_span(&text), file);
    } else {
        pipeline = pipeline_new(file);
        add_problem(&(struct reader){.pipeline = pipeline}, 0, "", error.message);
    }
    text_fini(&text);
    return pipeline;
}

void pipeline_free(struct pipeline *pipeline)
{
    if (pipeline != NULL) {
        arena_fini(&pipeline->arena);
        free(pipeline);
    }
}

void pipeline_set_queue(struct pipeline *pipeline, const char *queue)
{
    for (uint32_t i = 0; i < pipeline->plan.step_count; i++) {
        pipeline->steps[i].queue = span_of(queue);
    }
}
