/* SPDX-License-Identifier: Apache-2.0 */
#include "coordinator/cli/plain_line.h"

#include "coordinator/cli/screen.h"

#include <time.h>

#define STEP_COLUMNS_MIN 8
#define STEP_COLUMNS_MAX 24
#define DIRECTION_COLUMNS 8
#define WORD_COLUMNS 9

static void pad(struct text *out, uint32_t used, uint32_t columns)
{
    for (; used < columns; used++) {
        text_append_char(out, ' ');
    }
}

static void append_column(struct text *out, struct span span, uint32_t columns)
{
    text_append_visible(out, span);
    pad(out, screen_width(span), columns);
    text_append_char(out, ' ');
}

static void append_clock(struct text *out, int64_t time_ms)
{
    time_t seconds = (time_t)(time_ms / 1000);
    struct tm parts = {0};
    localtime_r(&seconds, &parts);
    text_format(out, "%02d:%02d:%02d.%03d ", parts.tm_hour, parts.tm_min, parts.tm_sec, (int)(time_ms % 1000));
}

static uint32_t step_columns(const struct saga *saga)
{
    uint32_t widest = STEP_COLUMNS_MIN;
    for (uint32_t i = 0; saga != NULL && saga->plan != NULL && i < saga->plan->step_count && widest < STEP_COLUMNS_MAX; i++) {
        uint32_t columns = screen_width(saga->plan->steps[i].name);
        widest = columns > widest ? columns : widest;
    }
    return widest < STEP_COLUMNS_MAX ? widest : STEP_COLUMNS_MAX;
}

static void append_what(struct text *out, const struct saga *saga, struct span step, const char *direction, const char *word)
{
    append_column(out, step, step_columns(saga));
    append_column(out, span_of(direction), DIRECTION_COLUMNS);
    append_column(out, span_of(word), WORD_COLUMNS);
}

void plain_begin(struct text *out, int64_t time_ms, struct span run_id, const struct saga *saga, struct span step,
                 const char *direction, const char *word)
{
    append_clock(out, time_ms);
    append_column(out, run_id.size > 0 ? run_id : span_of("-"), 0);
    append_what(out, saga, step, direction, word);
}

void plain_begin_of_one(struct text *out, int64_t time_ms, const struct saga *saga, struct span step, const char *direction,
                        const char *word)
{
    append_clock(out, time_ms);
    append_what(out, saga, step, direction, word);
}

void plain_end(struct text *out)
{
    while (out->size > 0 && out->bytes[out->size - 1] == ' ') {
        out->size--;
    }
    text_append_char(out, '\n');
}

const char *plain_direction(enum direction direction)
{
    return direction == DIRECTION_ROLLBACK ? "rollback" : "execute";
}
