/* SPDX-License-Identifier: Apache-2.0 */
#include "coordinator/cli/plan_drawing.h"

#include "common/limits.h"
#include "coordinator/cli/screen_internal.h"

#include <assert.h>

#define NAME_COLUMNS_MAX 40
#define LINE_BYTES_MAX ((size_t)512 * KIB)

struct drawing {
    const struct plan *plan;
    uint32_t columns, name_columns;
    bool utf8;
    uint64_t weight; /* of all */
    uint32_t wave[LIMIT_STEPS]; /* a step's: one more than the latest of those it needs */
    uint32_t in_wave[LIMIT_STEPS]; /* how many steps a wave has */
};

/* A step may need one that stands after it in the list, so this goes on until nothing changes. The plan has no circle. */
static void find_waves(struct drawing *drawing)
{
    const struct plan *plan = drawing->plan;
    for (bool changed = true; changed;) {
        changed = false;
        for (uint32_t i = 0; i < plan->step_count; i++) {
            for (uint32_t j = 0; j < plan->steps[i].needs_count; j++) {
                uint32_t least = drawing->wave[plan->steps[i].needs[j]] + 1;
                assert(least < LIMIT_STEPS);
                changed = changed || drawing->wave[i] < least;
                drawing->wave[i] = drawing->wave[i] < least ? least : drawing->wave[i];
            }
        }
    }
    for (uint32_t i = 0; i < plan->step_count; i++) {
        drawing->in_wave[drawing->wave[i]]++;
    }
}

static void append_share(const struct drawing *drawing, uint32_t index, struct text *line)
{
    uint64_t weight = drawing->plan->steps[index].weight, whole = drawing->weight;
    if (whole == 0) {
        weight = 1; /* nobody said a weight: equal */
        whole = drawing->plan->step_count;
    }
    if (weight > 0 && weight * 200 < whole) {
        text_append_string(line, "   <1 %");
    } else {
        text_format(line, "  %3u %%", (unsigned)((weight * 200 + whole) / (2 * whole)));
    }
}

static const char *bracket(const struct drawing *drawing, uint32_t place, uint32_t count)
{
    static const char *const marks[2][4] = {{"-", "/", "|", "\\"}, {"─", "┌", "├", "└"}};
    uint32_t which = count == 1 ? 0 : place == 0 ? 1 : place + 1 < count ? 2 : 3;
    return marks[drawing->utf8][which];
}

/* Does it come after the whole wave before it, and after nothing else? */
static bool follows_wave(const struct drawing *drawing, uint32_t index)
{
    const struct plan_step *step = &drawing->plan->steps[index];
    uint32_t wave = drawing->wave[index];
    for (uint32_t i = 0; i < step->needs_count; i++) {
        if (drawing->wave[step->needs[i]] + 1 != wave) {
            return false;
        }
    }
    return wave == 0 || step->needs_count == drawing->in_wave[wave - 1];
}

static void append_after(const struct drawing *drawing, uint32_t index, struct text *notes)
{
    const struct plan_step *step = &drawing->plan->steps[index];
    for (uint32_t i = 0; i < step->needs_count; i++) {
        text_append_string(notes, i == 0 ? "  after " : ", ");
        text_append_span(notes, drawing->plan->steps[step->needs[i]].name);
    }
}

static void append_marks(const struct plan_step *step, struct text *notes)
{
    const struct {
        const char *word;
        struct span expression;
    } marks[] = {{"when", step->when}, {"each", step->each}, {"assert", step->assert}};
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++) {
        if (marks[i].expression.size > 0) {
            text_format(notes, "  %s ", marks[i].word);
            text_append_span(notes, marks[i].expression);
        }
    }
    if (step->max_parallel > 0) {
        text_format(notes, "  %u at once", step->max_parallel);
    }
    text_append_string(notes, step->kind == PLAN_SCOPE ? "  pipeline" : "");
    text_append_string(notes, step->rollback_none ? "  rollback none" : "");
}

static void append_step(const struct drawing *drawing, uint32_t index, uint32_t place, struct text *out)
{
    struct text line;
    text_init(&line, LINE_BYTES_MAX);
    append_share(drawing, index, &line);
    text_format(&line, "  %s ", bracket(drawing, place, drawing->in_wave[drawing->wave[index]]));
    struct span name = drawing->plan->steps[index].name;
    uint32_t used = screen_append_cut(name, drawing->name_columns, drawing->utf8, &line);
    struct text notes;
    text_init(&notes, LINE_BYTES_MAX);
    if (!follows_wave(drawing, index)) {
        append_after(drawing, index, &notes);
    }
    append_marks(&drawing->plan->steps[index], &notes);
    if (notes.size > 0) {
        text_format(&line, "%*s", (int)(drawing->name_columns - used), "");
        text_append_span(&line, text_span(&notes));
    }
    screen_append_cut(text_span(&line), drawing->columns - 1, drawing->utf8, out);
    text_append_char(out, '\n');
    text_fini(&notes);
    text_fini(&line);
}

static void append_wave(const struct drawing *drawing, uint32_t wave, struct text *out)
{
    uint32_t place = 0;
    for (uint32_t i = 0; i < drawing->plan->step_count; i++) {
        if (drawing->wave[i] == wave) {
            append_step(drawing, i, place++, out);
        }
    }
}

void plan_draw(const struct plan *plan, uint32_t columns, bool utf8, struct text *out)
{
    struct drawing drawing = {.plan = plan, .columns = columns > 20 ? columns : 20, .utf8 = utf8};
    assert(plan->step_count <= LIMIT_STEPS);
    find_waves(&drawing);
    for (uint32_t i = 0; i < plan->step_count; i++) {
        drawing.weight += plan->steps[i].weight;
        uint32_t width = screen_width_as(plan->steps[i].name, utf8);
        width = width < NAME_COLUMNS_MAX ? width : NAME_COLUMNS_MAX;
        drawing.name_columns = width > drawing.name_columns ? width : drawing.name_columns;
    }
    screen_append_cut(plan->name, drawing.columns / 2, utf8, out);
    text_format(out, "  %u step%s\n\n", plan->step_count, plan->step_count == 1 ? "" : "s");
    for (uint32_t wave = 0; wave < LIMIT_STEPS && drawing.in_wave[wave] > 0; wave++) {
        append_wave(&drawing, wave, out);
    }
}
