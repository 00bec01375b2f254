/* SPDX-License-Identifier: Apache-2.0 */
#include "coordinator/cli/screen_internal.h"

#include <stdio.h>

static const char *const colour_codes[] = {
    [PLAIN] = "",       [DIM] = "\033[2m",   [GREEN] = "\033[32m", [YELLOW] = "\033[33m",
    [RED] = "\033[31m", [CYAN] = "\033[36m", [BOLD] = "\033[1m",
};

void put(struct frame *frame, enum colour colour, struct span span)
{
    if (frame->used >= frame->columns) {
        return;
    }
    bool coloured = frame->style->colour && colour != PLAIN;
    text_append_string(frame->out, coloured ? colour_codes[colour] : "");
    frame->used += screen_append_cut(span, frame->columns - frame->used, frame->style->utf8, frame->out);
    text_append_string(frame->out, coloured ? "\033[0m" : "");
}

void pad_to(struct frame *frame, uint32_t column)
{
    for (column = column < frame->columns ? column : frame->columns; frame->used < column; frame->used++) {
        text_append_char(frame->out, ' ');
    }
}

void end_line(struct frame *frame)
{
    text_append_string(frame->out, "\033[K\n");
    frame->used = 0;
    frame->lines++;
}

uint32_t width_of(const struct frame *frame, struct span span)
{
    return screen_width_as(span, frame->style->utf8);
}

uint32_t room_of(const struct frame *frame)
{
    return frame->columns - frame->used;
}

uint32_t column_bar(const struct frame *frame)
{
    return INDENT + frame->name + GAP;
}

uint32_t column_word(const struct frame *frame)
{
    return column_bar(frame) + (frame->bar > 0 ? frame->bar + GAP : 0);
}

uint32_t column_note(const struct frame *frame)
{
    return column_word(frame) + WORD_COLUMNS + (frame->with_time ? TIME_COLUMNS : 0);
}

/* A piece that stands whole or not at all. */
void note(struct frame *frame, const char *piece)
{
    uint32_t gap = frame->used > column_note(frame) ? GAP : NOTE_GAP;
    if (piece[0] != '\0' && room_of(frame) >= gap + width_of(frame, span_of(piece))) {
        pad_to(frame, frame->used + gap);
        put(frame, PLAIN, span_of(piece));
    }
}

/* A reason: its beginning is better than nothing. */
void note_cut(struct frame *frame, struct span span)
{
    if (room_of(frame) >= NOTE_GAP + 4) {
        pad_to(frame, frame->used + NOTE_GAP);
        put(frame, PLAIN, span);
    }
}

void put_line(struct frame *frame, enum colour colour, struct span span)
{
    put(frame, colour, span);
    end_line(frame);
}

void put_name(struct frame *frame, uint32_t indent, struct span name)
{
    indent = indent < frame->name ? indent : 0;
    uint32_t columns = frame->name - indent;
    pad_to(frame, INDENT + indent);
    frame->used += screen_append_cut(name, columns < room_of(frame) ? columns : room_of(frame), frame->style->utf8, frame->out);
    pad_to(frame, column_bar(frame));
}

void put_bar(struct frame *frame, uint32_t ppm, enum colour colour)
{
    static const char *const eighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
    char bar[BAR_MAX * 3 + 4];
    size_t size = 0;
    uint32_t filled = (uint32_t)((uint64_t)ppm * frame->bar * 8 / PPM_ONE);
    for (uint32_t i = 0; i < filled / 8; i++) {
        size += (size_t)snprintf(bar + size, sizeof bar - size, "%s", frame->style->utf8 ? "█" : "#");
    }
    const char *rest = frame->style->utf8 ? eighths[filled % 8] : filled % 8 >= 4 ? "-" : "";
    size += (size_t)snprintf(bar + size, sizeof bar - size, "%s", rest);
    put(frame, colour, (struct span){bar, size});
}

void put_percent(struct frame *frame, uint32_t ppm)
{
    char words[16];
    snprintf(words, sizeof words, "%3u %%", screen_percent(ppm));
    put(frame, PLAIN, span_of(words));
}

void put_time(struct frame *frame, int64_t duration_ms)
{
    struct text words;
    text_init(&words, 32);
    screen_duration(duration_ms, &words);
    uint32_t end = column_note(frame);
    pad_to(frame, end - (uint32_t)words.size);
    put(frame, PLAIN, text_span(&words));
    text_fini(&words);
}
