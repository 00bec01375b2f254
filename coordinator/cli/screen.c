/* SPDX-License-Identifier: Apache-2.0 */
#include "coordinator/cli/screen_internal.h"

#include "coordinator/cli/step_facts.h"

#include <stdio.h>

#define NAME_MIN 8 /* "overall", "rollback", and most names */
#define NAME_MAX 24
#define BAR_MIN 6
#define BAR_ROOMY 12 /* a bar gives way to notes down to this */
#define NOTE_COLUMNS 24 /* "14 of 25  about 5 s left" */
#define REASON_COLUMNS 32 /* "after 3 attempts: disk is full" */
#define HEADER_COLUMNS 78
#define LOW_ROWS 12
#define LAST_STEPS_MAX 100
#define OUTCOME_LINES_MAX 12

static void put_header(struct frame *frame)
{
    const struct plan *plan = frame->view->saga != NULL ? frame->view->saga->plan : NULL;
    struct span run_id = frame->view->run_id;
    uint32_t edge = frame->columns < HEADER_COLUMNS ? frame->columns : HEADER_COLUMNS;
    uint32_t id_columns = width_of(frame, run_id);
    if (plan == NULL) {
        put(frame, BOLD, run_id);
        end_line(frame);
        return;
    }
    char steps[32];
    int size = snprintf(steps, sizeof steps, "%u step%s", plan->step_count, plan->step_count == 1 ? "" : "s");
    uint32_t name_columns = width_of(frame, plan->name);
    bool with_id = id_columns + GAP + NAME_MIN <= edge;
    uint32_t rest = with_id ? edge - id_columns - GAP : edge;
    bool with_steps = name_columns + GAP + (uint32_t)size <= rest;
    struct text name;
    text_init(&name, NOTE_BYTES_MAX);
    screen_append_cut(plan->name, with_steps ? rest - GAP - (uint32_t)size : rest, frame->style->utf8, &name);
    put(frame, BOLD, text_span(&name));
    text_fini(&name);
    if (with_steps) {
        pad_to(frame, frame->used + GAP);
        put(frame, PLAIN, span_of(steps));
    }
    if (with_id) {
        pad_to(frame, edge - id_columns);
        put(frame, DIM, run_id);
    }
    end_line(frame);
}

static void put_rule(struct frame *frame)
{
    pad_to(frame, INDENT);
    put(frame, DIM, span_of(frame->style->utf8 ? "────────" : "--------"));
    end_line(frame);
}

static void put_overall(struct frame *frame)
{
    const struct saga *saga = frame->view->saga;
    bool back = saga->status == RUN_ROLLING_BACK, done = saga->status == RUN_SUCCEEDED;
    uint32_t ppm = back ? not_quite(saga_rollback_ppm(saga)) : saga->progress_ppm;
    int64_t end_ms = saga->finished_ms > 0 ? saga->finished_ms : frame->view->now_ms;
    put_name(frame, 0, span_of(back ? "rollback" : "overall"));
    if (frame->bar > 0) {
        put_bar(frame, ppm, back ? YELLOW : done ? GREEN : CYAN);
    }
    pad_to(frame, column_word(frame));
    put_percent(frame, ppm);
    if (frame->with_time) {
        put_time(frame, end_ms > saga->started_ms ? end_ms - saga->started_ms : 0);
    }
    if (saga->status == RUN_PAUSED) {
        note(frame, "paused");
    } else if (saga->cancelling && !done) {
        note(frame, "cancelling");
    }
    end_line(frame);
}

/* Lines that stand under the bars while the run goes on: at most four. */
struct notices {
    struct text text[4];
    enum colour colours[4];
    uint32_t count;
};

static void add_notice(struct notices *notices, enum colour colour, struct span span)
{
    struct text *text = &notices->text[notices->count];
    text_init(text, NOTE_BYTES_MAX);
    text_append_span(text, span);
    notices->colours[notices->count++] = colour;
}

/* "paused: the store is being moved; resume lets it go on, rollback undoes it" */
static void say_pause(const struct screen_view *view, struct text *out)
{
    text_append_string(out, "paused");
    if (view->pause_reason.size > 0 && !view->saga->held) {
        text_append_string(out, ": ");
        text_append_span(out, view->pause_reason);
    }
    text_format(out, "; %s", saga_pause_hint(view->saga));
}

static void say_takeover(const struct screen_view *view, struct text *out)
{
    bool one = view->waiting_for_workers == 1;
    text_format(out, "a new coordinator waits for %lld worker%s to say what %s", (long long)view->waiting_for_workers,
                one ? "" : "s", one ? "it holds" : "they hold");
}

static void collect_notices(const struct screen_view *view, struct notices *notices)
{
    const struct saga *saga = view->saga;
    struct text words;
    notices->count = 0;
    if (view->last) {
        return;
    }
    text_init(&words, NOTE_BYTES_MAX);
    if (saga != NULL && saga_trouble(saga)->error.size > 0) {
        add_notice(notices, RED, saga_trouble(saga)->error);
    }
    if (saga != NULL && saga->status == RUN_PAUSED) {
        say_pause(view, &words);
        add_notice(notices, YELLOW, text_span(&words));
        text_clear(&words);
    }
    if (view->waiting_for_workers > 0) {
        say_takeover(view, &words);
        add_notice(notices, YELLOW, text_span(&words));
    }
    if (view->notice.size > 0) {
        add_notice(notices, YELLOW, view->notice);
    }
    text_fini(&words);
}

static void put_notices(struct frame *frame, struct notices *notices, uint32_t most)
{
    for (uint32_t i = 0; i < notices->count; i++) {
        if (i < most) {
            put_line(frame, notices->colours[i], text_span(&notices->text[i]));
        }
        text_fini(&notices->text[i]);
    }
}

/* ---- how it ended */

/* "rolled back  Step 'upload' failed: disk is full": the reason whole, broken where the line ends. */
static void put_outcome(struct frame *frame, const char *word, enum colour colour, struct span reason)
{
    uint32_t indent = (uint32_t)strlen(word) + GAP;
    bool hanging = frame->columns > indent + 20;
    put(frame, colour, span_of(word));
    if (!hanging) {
        end_line(frame);
        indent = INDENT;
    }
    uint32_t width = frame->columns > indent ? frame->columns - indent : 1;
    for (uint32_t i = 0; i < OUTCOME_LINES_MAX && reason.size > 0; i++) {
        size_t size = i + 1 < OUTCOME_LINES_MAX ? screen_break(reason, width, frame->style->utf8) : reason.size;
        pad_to(frame, indent);
        put_line(frame, PLAIN, (struct span){reason.bytes, size});
        reason = (struct span){reason.bytes + size, reason.size - size};
        while (reason.size > 0 && reason.bytes[0] == ' ') {
            reason = (struct span){reason.bytes + 1, reason.size - 1};
        }
    }
    if (frame->used > 0) {
        end_line(frame);
    }
}

static void put_not_undone(struct frame *frame)
{
    const struct saga *saga = frame->view->saga;
    for (const struct saga_step *step = NULL; (step = saga_next_step(saga, step)) != NULL;) {
        if (step->status != STEP_ROLLBACK_FAILED || step->fan != NULL) {
            continue; /* of a step that fans out, its instances are told */
        }
        struct text words;
        text_init(&words, NOTE_BYTES_MAX);
        text_format(&words, "%.*s", SPAN_ARGS(saga->plan->steps[step->index].name));
        if (step->instance > 0) {
            text_format(&words, "[%u]", step->instance);
        }
        text_format(&words, ": %.*s", SPAN_ARGS(saga_step_text(step, TEXT_ROLLBACK_ERROR)));
        put_outcome(frame, "not undone", RED, text_span(&words));
        text_fini(&words);
    }
}

static void put_end(struct frame *frame)
{
    const struct saga *saga = frame->view->saga;
    static const struct {
        const char *word;
        enum colour colour;
    } words[] = {
        [RUN_PAUSED] = {"paused", YELLOW},
        [RUN_ROLLED_BACK] = {"rolled back", RED},
        [RUN_CANCELLED] = {"cancelled", YELLOW},
        [RUN_ROLLBACK_INCOMPLETE] = {"rollback incomplete", RED},
    };
    if (saga->status >= sizeof words / sizeof words[0] || words[saga->status].word == NULL) {
        return;
    }
    const char *word = words[saga->status].word;
    struct span reason = saga->status == RUN_PAUSED && !saga->held ? frame->view->pause_reason : screen_reason(saga);
    if (saga->status == RUN_CANCELLED && reason.size == 0) {
        reason = span_of(saga_trouble(saga)->undo_total > 0 ? "what was done is undone" : "there was nothing to undo");
    }
    end_line(frame);
    put_outcome(frame, word, words[saga->status].colour, reason);
    put_not_undone(frame);
    if (saga->status == RUN_PAUSED) {
        put_outcome(frame, "      ", PLAIN, span_of(saga_pause_hint(saga)));
    }
    if (frame->view->hint.size > 0) {
        pad_to(frame, frame->columns > 60 ? (uint32_t)strlen(word) + GAP : 0);
        put_line(frame, DIM, frame->view->hint);
    }
}

/* ---- widths */

static uint32_t widest_name(const struct frame *frame)
{
    const struct plan *plan = frame->view->saga->plan;
    uint32_t widest = NAME_MIN;
    for (uint32_t i = 0; i < plan->step_count && widest < NAME_MAX; i++) {
        uint32_t columns = step_depth(plan, i) * NESTING + width_of(frame, step_short_name(plan, i));
        widest = columns > widest ? columns : widest;
    }
    return widest < NAME_MAX ? widest : NAME_MAX;
}

/* From the first error on, and then for good: bars that jump to and fro would be worse. */
static uint32_t note_columns(const struct saga *saga)
{
    for (uint32_t i = 0; i < saga->plan->step_count; i++) {
        if (saga_step_text(saga->steps[i], TEXT_ERROR).size > 0 || saga_step_text(saga->steps[i], TEXT_ROLLBACK_ERROR).size > 0) {
            return REASON_COLUMNS + NOTE_GAP;
        }
    }
    return NOTE_COLUMNS + NOTE_GAP;
}

/* The bar gives way to notes first, then to what is left of it, then it goes; after it the time, then the end of names. */
static void measure(struct frame *frame)
{
    uint32_t name = widest_name(frame), third = frame->columns / 3;
    frame->name = name <= third || third < NAME_MIN ? name : third;
    frame->name = frame->name < frame->columns ? frame->name : frame->columns;
    uint32_t base = INDENT + frame->name + GAP + WORD_COLUMNS;
    frame->with_time = base + TIME_COLUMNS <= frame->columns;
    uint32_t fixed = base + (frame->with_time ? TIME_COLUMNS : 0) + GAP;
    uint32_t rest = frame->columns > fixed ? frame->columns - fixed : 0;
    uint32_t notes = note_columns(frame->view->saga), beside_notes = rest > notes ? rest - notes : 0;
    uint32_t bar = beside_notes > BAR_ROOMY ? beside_notes : BAR_ROOMY;
    bar = bar < rest ? bar : rest;
    bar = bar < BAR_MAX ? bar : BAR_MAX;
    frame->bar = bar >= BAR_MIN ? bar : 0;
}

/* How the lines of a terminal are shared out. A few steps come first, then overall, notices and the header; a low terminal gives
 * what is left to more steps rather than to what only looks nice. */
struct rows {
    uint32_t steps, overall, notices, header, blank, rule;
};

static uint32_t take(uint32_t *left, uint32_t wanted)
{
    uint32_t taken = wanted < *left ? wanted : *left;
    *left -= taken;
    return taken;
}

static struct rows share_out(const struct screen_view *view, uint32_t rows, uint32_t notices)
{
    const struct saga *saga = view->saga;
    uint32_t left = view->last ? LAST_STEPS_MAX + 5 : rows > 2 ? rows - 1 : 1; /* the last row is the cursor's */
    bool is_low = left < LOW_ROWS;
    struct rows share = {.steps = take(&left, saga->plan->step_count < 3 ? saga->plan->step_count : 3)};
    share.overall = take(&left, !(view->last && is_going_back(saga)));
    share.notices = take(&left, notices);
    share.header = take(&left, 1);
    share.blank = take(&left, !is_low);
    share.rule = take(&left, !is_low && share.overall > 0);
    share.steps += take(&left, saga->plan->step_count - share.steps);
    return share;
}

static void put_run(struct frame *frame, uint32_t rows, struct notices *notices)
{
    struct rows share = share_out(frame->view, rows, notices->count);
    measure(frame);
    if (share.header > 0) {
        put_header(frame);
    }
    if (share.blank > 0) {
        end_line(frame);
    }
    put_steps(frame, share.steps);
    if (share.rule > 0) {
        put_rule(frame);
    }
    if (share.overall > 0) {
        put_overall(frame);
    }
    put_notices(frame, notices, share.notices);
    if (frame->view->last) {
        put_end(frame);
    }
}

void screen_erase(struct screen *screen, struct text *out)
{
    if (screen->lines > 0) {
        text_format(out, "\r\033[%uA\033[J", screen->lines);
        screen->lines = 0;
    }
}

void screen_draw(struct screen *screen, const struct screen_view *view, const struct screen_style *style, struct text *out)
{
    uint32_t columns = style->columns > 0 ? style->columns : 80, rows = style->rows > 0 ? style->rows : 24;
    struct frame frame = {.out = out, .view = view, .style = style, .columns = columns > 1 ? columns - 1 : 1};
    struct notices notices;
    collect_notices(view, &notices);
    if (screen->lines > 0) {
        text_format(out, "\r\033[%uA", screen->lines);
    }
    if (view->saga != NULL && view->saga->plan != NULL) {
        put_run(&frame, rows, &notices);
    } else {
        put_header(&frame);
        put_notices(&frame, &notices, notices.count);
    }
    text_append_string(out, "\033[J");
    screen->lines = frame.lines;
}
