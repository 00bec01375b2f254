/* SPDX-License-Identifier: Apache-2.0 */
/* What can be said only when all steps are known: who needs whom, and each one's share of the whole. */
#include "common/limits.h"
#include "common/names.h"
#include "common/pipeline_internal.h"

#include <math.h>
#include <stdlib.h>

#define NO_STEP UINT32_MAX

static uint32_t find_step(const struct pipeline *pipeline, struct span name)
{
    for (uint32_t i = 0; i < pipeline->plan.step_count; i++) {
        if (pipeline->steps[i].name.size > 0 && span_equal(pipeline->steps[i].name, name)) {
            return i;
        }
    }
    return NO_STEP;
}

/* ---- names */

static void refuse_repeated_names(struct reader *reader)
{
    const struct pipeline *pipeline = reader->pipeline;
    for (uint32_t i = 0; i < pipeline->plan.step_count; i++) {
        uint32_t first = pipeline->steps[i].name.size > 0 ? find_step(pipeline, pipeline->steps[i].name) : i;
        if (first < i) {
            const struct pipeline_place *place = &pipeline->places[first];
            const char *file;
            size_t outer = reader_enter_step(reader, i, "name", &file);
            bool elsewhere = place->file != reader->file;
            reader_problem(reader, pipeline->places[i].line, "'%s' is the name of steps[%u] already (%s%sline %d)",
                           SHOWN(pipeline->steps[i].name), place->position, elsewhere ? SHOWN(span_of(place->file)) : "",
                           elsewhere ? ", " : "", place->line);
            reader_leave_step(reader, outer, file);
        }
    }
}

static void refuse_unknown_step(struct reader *reader, int line, struct span name)
{
    const struct pipeline *pipeline = reader->pipeline;
    const char **names = arena_take_array(&reader->pipeline->arena, pipeline->plan.step_count + 1, sizeof *names);
    size_t count = 0;
    for (uint32_t i = 0; names != NULL && i < pipeline->plan.step_count; i++) {
        if (pipeline->steps[i].name.size > 0) {
            names[count++] = pipeline->steps[i].name.bytes; /* the arena's copies end with a NUL */
        }
    }
    const char *suggestion = names != NULL ? name_suggest(name, names) : NULL;
    if (suggestion != NULL) {
        reader_problem(reader, line, "there is no step '%s'; did you mean '%s'?", SHOWN(name), SHOWN(span_of(suggestion)));
    } else {
        reader_problem(reader, line, "there is no step '%s'", SHOWN(name));
    }
}

static bool is_among(uint32_t index, const uint32_t *indexes, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (indexes[i] == index) {
            return true;
        }
    }
    return false;
}

/* The indexes of the steps that `list` names. */
static uint32_t *resolve(struct reader *reader, const struct node *list, uint32_t *count)
{
    uint32_t *indexes = arena_take_array(&reader->pipeline->arena, list->count, sizeof *indexes);
    size_t position = 0;
    *count = 0;
    for (const struct node *node = list->first; node != NULL && indexes != NULL; node = node->next) {
        size_t outer = reader_enter(reader, "[%zu]", position++);
        uint32_t index = node->kind == NODE_SCALAR ? find_step(reader->pipeline, node->scalar) : NO_STEP;
        if (node->kind != NODE_SCALAR) {
            reader_problem(reader, node->line, "is %s, where the name of a step is expected", node_type_name(node));
        } else if (index == NO_STEP) {
            refuse_unknown_step(reader, node->line, node->scalar);
        } else if (is_among(index, indexes, *count)) {
            reader_problem(reader, node->line, "'%s' is named twice", SHOWN(node->scalar));
        } else if (*count < LIMIT_NEEDS) {
            indexes[(*count)++] = index;
        }
        reader_leave(reader, outer);
    }
    return indexes;
}

static void resolve_needs(struct reader *reader, uint32_t index)
{
    struct plan_step *step = &reader->pipeline->steps[index];
    const struct node *needs = reader->drafts[index].needs;
    if (needs != NULL) {
        const char *file;
        size_t outer = reader_enter_step(reader, index, "needs", &file);
        step->needs = resolve(reader, needs, &step->needs_count);
        reader_leave_step(reader, outer, file);
    } else if (index > 0) {
        uint32_t *previous = arena_take(&reader->pipeline->arena, sizeof *previous);
        if (previous != NULL) {
            *previous = index - 1;
            step->needs = previous;
            step->needs_count = 1;
        }
    }
}

static void resolve_scope(struct reader *reader, uint32_t index)
{
    const struct node *scope = reader->drafts[index].scope;
    uint32_t found = scope != NULL ? find_step(reader->pipeline, scope->scalar) : NO_STEP;
    const char *file;
    if (scope == NULL) {
        return;
    }
    size_t outer = reader_enter_step(reader, index, "scope", &file);
    if (found == NO_STEP) {
        refuse_unknown_step(reader, scope->line, scope->scalar);
    } else if (found >= index || reader->pipeline->steps[found].kind != PLAN_SCOPE) {
        reader_problem(reader, scope->line, "'%s' is no pipeline that begins before it", SHOWN(scope->scalar));
    } else {
        reader->pipeline->steps[index].scope = 1 + found;
    }
    reader_leave_step(reader, outer, file);
}

/* ---- circles */

enum colour { WHITE, GREY, BLACK };

struct walk {
    struct reader *reader;
    unsigned char *colours;
    uint32_t *trail; /* the way from where the walk began */
    uint32_t trail_count;
    bool circular;
};

static void report_circle(struct walk *walk, uint32_t closing)
{
    const struct pipeline *pipeline = walk->reader->pipeline;
    uint32_t from = walk->trail_count;
    while (from > 0 && walk->trail[from - 1] != closing) {
        from--;
    }
    uint32_t begin = from > 0 ? from - 1 : 0;
    struct text text;
    text_init(&text, ERROR_MESSAGE_BYTES - 100);
    for (uint32_t i = begin; i < walk->trail_count; i++) {
        text_format(&text, "%s needs ", SHOWN(pipeline->steps[walk->trail[i]].name));
    }
    text_append_string(&text, SHOWN(pipeline->steps[closing].name));
    uint32_t at = walk->trail[walk->trail_count - 1];
    const char *file;
    size_t outer = reader_enter_step(walk->reader, at, "needs", &file);
    const struct node *needs = walk->reader->drafts[at].needs;
    reader_problem(walk->reader, needs != NULL ? needs->line : pipeline->places[at].line, "goes round in a circle: %s%s",
                   text_string(&text), text.overflow ? "..." : "");
    reader_leave_step(walk->reader, outer, file);
    text_fini(&text);
    walk->circular = true;
}

/* Depth first; at most LIMIT_STEPS deep. */
static void walk_from(struct walk *walk, uint32_t index)
{
    const struct plan_step *step = &walk->reader->pipeline->steps[index];
    walk->colours[index] = GREY;
    walk->trail[walk->trail_count++] = index;
    for (uint32_t i = 0; i < step->needs_count; i++) {
        if (walk->colours[step->needs[i]] == GREY) {
            report_circle(walk, step->needs[i]);
        } else if (walk->colours[step->needs[i]] == WHITE) {
            walk_from(walk, step->needs[i]);
        }
    }
    walk->trail_count--;
    walk->colours[index] = BLACK;
}

static bool has_circles(struct reader *reader)
{
    uint32_t count = reader->pipeline->plan.step_count;
    struct walk walk = {.reader = reader};
    walk.colours = arena_take(&reader->pipeline->arena, count);
    walk.trail = arena_take_array(&reader->pipeline->arena, count, sizeof *walk.trail);
    for (uint32_t i = 0; walk.colours != NULL && walk.trail != NULL && i < count; i++) {
        if (walk.colours[i] == WHITE) {
            walk_from(&walk, i);
        }
    }
    return walk.circular;
}

/* ---- reads */

static void mark_needs(const struct plan *plan, uint32_t index, bool *marks)
{
    for (uint32_t i = 0; i < plan->steps[index].needs_count; i++) {
        uint32_t need = plan->steps[index].needs[i];
        if (!marks[need]) {
            marks[need] = true;
            mark_needs(plan, need, marks);
        }
    }
}

/* What a step reads must have ended before it begins. */
static void resolve_reads(struct reader *reader, uint32_t index, bool check)
{
    struct pipeline *pipeline = reader->pipeline;
    struct plan_step *step = &pipeline->steps[index];
    const struct node *reads = reader->drafts[index].reads;
    const char *file;
    size_t outer = reader_enter_step(reader, index, "reads", &file);
    step->reads = resolve(reader, reads, &step->reads_count);
    step->reads_given = true;
    bool *marks = arena_take(&pipeline->arena, pipeline->plan.step_count);
    if (marks != NULL && check) {
        mark_needs(&pipeline->plan, index, marks);
        for (uint32_t i = 0; i < step->reads_count; i++) {
            if (!marks[step->reads[i]]) {
                reader_problem(reader, reads->line, "'%s' is not among the steps it needs, so it may not have run yet",
                               SHOWN(pipeline->steps[step->reads[i]].name));
            }
        }
    }
    reader_leave_step(reader, outer, file);
}

/* ---- weights */

struct share {
    double rest;
    size_t index;
};

static int by_rest(const void *left, const void *right)
{
    const struct share *a = left, *b = right;
    if (a->rest < b->rest || a->rest > b->rest) {
        return a->rest < b->rest ? 1 : -1;
    }
    return a->index < b->index ? -1 : a->index > b->index;
}

/* Each gets what is whole of its share; what is left goes, one by one, to those who lost most. */
static bool share_out(uint32_t *weights, const double *shares, size_t count, double most, double sum)
{
    struct share *rests = malloc(count * sizeof *rests);
    uint32_t left = LIMIT_WEIGHT;
    if (rests == NULL) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        double exact = shares[i] / most / sum * LIMIT_WEIGHT;
        weights[i] = (uint32_t)exact > left ? left : (uint32_t)exact;
        left -= weights[i];
        rests[i] = (struct share){exact - weights[i], i};
    }
    qsort(rests, count, sizeof *rests, by_rest);
    for (size_t i = 0; left > 0; i = (i + 1) % count) {
        if (shares[rests[i].index] > 0) {
            weights[rests[i].index]++;
            left--;
        }
    }
    free(rests);
    return true;
}

bool pipeline_set_weights(uint32_t *weights, const double *shares, size_t count)
{
    double most = 0, sum = 0;
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(shares[i]) || shares[i] < 0) {
            return false;
        }
        most = shares[i] > most ? shares[i] : most;
        weights[i] = 0;
    }
    if (most <= 0) {
        return true;
    }
    for (size_t i = 0; i < count; i++) {
        sum += shares[i] / most; /* so that no sum is too large */
    }
    return share_out(weights, shares, count, most, sum);
}

static void set_weights(struct reader *reader)
{
    struct pipeline *pipeline = reader->pipeline;
    size_t count = pipeline->plan.step_count;
    uint32_t *weights = arena_take_array(&pipeline->arena, count, sizeof *weights);
    double *shares = arena_take_array(&pipeline->arena, count, sizeof *shares);
    pipeline->shares = shares;
    if (weights == NULL || shares == NULL) {
        return;
    }
    for (size_t i = 0; i < count; i++) {
        shares[i] = reader->drafts[i].weight;
    }
    if (!pipeline_set_weights(weights, shares, count)) {
        abort(); /* no memory: each of them was looked at when it was read */
    }
    for (size_t i = 0; i < count; i++) {
        pipeline->steps[i].weight = weights[i];
    }
}

void pipeline_order(struct reader *reader)
{
    uint32_t count = reader->pipeline->plan.step_count;
    refuse_repeated_names(reader);
    for (uint32_t i = 0; i < count; i++) {
        resolve_needs(reader, i);
        resolve_scope(reader, i);
    }
    bool circular = has_circles(reader);
    size_t problems = reader->pipeline->problem_count;
    for (uint32_t i = 0; i < count; i++) {
        if (reader->drafts[i].reads != NULL) {
            resolve_reads(reader, i, !circular && problems == 0);
        }
    }
    set_weights(reader);
}
