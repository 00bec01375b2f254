/* SPDX-License-Identifier: Apache-2.0 */
/* Between the files of the live screen only: a frame is built line by line, and each line knows how much room is left. */
#ifndef SCREEN_INTERNAL_H
#define SCREEN_INTERNAL_H

#include "coordinator/cli/screen.h"

#define INDENT 2
#define NESTING 2 /* of a step under the pipeline it is part of */
#define GAP 2
#define NOTE_GAP 3
#define BAR_MAX 24
#define WORD_COLUMNS 7
#define TIME_COLUMNS 7
#define NOTE_BYTES_MAX (8 * 1024)

enum colour { PLAIN, DIM, GREEN, YELLOW, RED, CYAN, BOLD };

struct frame {
    struct text *out;
    const struct screen_view *view;
    const struct screen_style *style;
    uint32_t columns; /* usable: the last one stays free, so that no terminal ever wraps */
    uint32_t name, bar; /* widths; bar 0: there is no room for one */
    bool with_time;
    uint32_t used; /* of the current line */
    uint32_t lines;
};

/* On the current line: as much of `span` as there is room for. */
void put(struct frame *frame, enum colour colour, struct span span);
void pad_to(struct frame *frame, uint32_t column);
void end_line(struct frame *frame);
void put_line(struct frame *frame, enum colour colour, struct span span);

/* Without `utf8` every character that is not ASCII is one '?'. */
uint32_t screen_width_as(struct span span, bool utf8);
/* As much of it as fits `columns`, made visible; the last column is an ellipsis when something was cut. Returns the columns used. */
uint32_t screen_append_cut(struct span span, uint32_t columns, bool utf8, struct text *out);
/* The bytes of the next line of `span` that are at most `columns` wide, broken at a blank where there is one; at least one character. */
size_t screen_break(struct span span, uint32_t columns, bool utf8);

uint32_t width_of(const struct frame *frame, struct span span);
uint32_t room_of(const struct frame *frame);

/* Where the columns of a step's line begin: name, bar, word, time, notes. */
uint32_t column_bar(const struct frame *frame);
uint32_t column_word(const struct frame *frame);
uint32_t column_note(const struct frame *frame);

void put_name(struct frame *frame, uint32_t indent, struct span name);
void put_bar(struct frame *frame, uint32_t ppm, enum colour colour);
void put_percent(struct frame *frame, uint32_t ppm);
void put_time(struct frame *frame, int64_t duration_ms); /* ends where the notes begin */
void note(struct frame *frame, const char *piece); /* whole or not at all */
void note_cut(struct frame *frame, struct span span); /* its beginning is better than nothing */

/* `nested`: it stands under its heading, with the rest of its name. */
void put_step(struct frame *frame, uint32_t index, bool nested);
/* As many steps as fit `most` lines, and a line that counts the others. */
void put_steps(struct frame *frame, uint32_t most);

/* Nothing but what is done is whole. */
static inline uint32_t not_quite(uint32_t ppm)
{
    return ppm < PPM_ONE ? ppm : PPM_ONE - 1;
}

/* Is it being undone, or was it, as far as that went? */
bool is_going_back(const struct saga *saga);

#endif
