/* SPDX-License-Identifier: Apache-2.0 */
/* What people see of a run: the live screen of a terminal, and the plain lines of everything else.
 * (status and list: summary.h; workers: roster.h; events as JSON: event_json.h.)
 *
 * PURE: no clock, no I/O, no ioctl. What time it is, how large the terminal is and what was drawn before come as arguments;
 * the bytes to write come back in `out` (appended; write them at once). Nothing from a run, a worker or a file reaches the
 * terminal unchanged if it could drive it.
 *
 * Invariants
 *   - no line is as wide as the terminal, so nothing ever wraps; a live frame is lower than the terminal, so nothing scrolls
 *   - a frame without `colour` has no colours, plain lines have no escape codes at all
 *   - "100 %" stands only beside what is done */
#ifndef SCREEN_H
#define SCREEN_H

#include "common/messages.h"
#include "common/saga/saga.h"
#include "common/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- the live screen */

struct screen_style {
    uint32_t columns; /* of the terminal; 0: 80 */
    uint32_t rows; /* 0: 24 */
    bool colour; /* false for NO_COLOR and TERM=dumb */
    bool utf8; /* false: bars and dots in ASCII, other characters as '?' */
};

struct screen_view {
    const struct saga *saga; /* its plan may be NULL: then only run id and notice are shown */
    struct span run_id;
    int64_t now_ms; /* in log time, as nearly as the caller knows it */
    const struct waiting_step *waiting; /* as RunProgressed announces: ready, and no worker serves it */
    size_t waiting_count;
    int64_t waiting_for_workers; /* as RunProgressed announces: after a takeover */
    struct span pause_reason; /* why a person has paused it, as far as is known */
    struct span notice; /* one line under the bars: "no coordinator has answered yet", "Ctrl-C again leaves at once"; empty: none */
    struct span hint; /* on the last frame of a run that did not succeed: the command that tells more; empty: none */
    bool last; /* this is the last frame: with the outcome, and every step */
};

/* What stands on the terminal; all zero before the first frame, and after anything else was written there. */
struct screen {
    uint32_t lines;
};

/* Draw over the frame before this one. The cursor ends in the first column below the frame, so the terminal is in order whenever
 * the program ends. No mode of the terminal is changed. */
void screen_draw(struct screen *screen, const struct screen_view *view, const struct screen_style *style, struct text *out);

/* Take the frame away, to write something else in its place: "" if there is none. */
void screen_erase(struct screen *screen, struct text *out);

/* ---- plain lines: what a person and grep both read
 * 12:04:05.118 upload-1k7qj4m9x2 upload   execute  failed    attempt 3 of 3: disk is full */

/* What was told of a run so far. All zero at first; owes told_fini(). */
struct told {
    uint8_t status; /* enum run_status */
    uint32_t step_count;
    struct told_step *steps;
};
void told_fini(struct told *told);

/* Append a line, newline included, for everything that has changed since the last call: the run has begun, a step runs, is done,
 * is skipped, has failed (and when it is tried again), is undone or cannot be, the run has ended. Called after each record it is one
 * line an event; called rarely it is the difference. Nothing: nothing is appended. `time_ms`: of the record. */
void told_update(struct told *told, const struct saga *saga, int64_t time_ms, struct text *out);

/* One record as a line, newline included; `saga` (its run after this record, NULL where there is none) gives names and attempts.
 * false: not an event of a run but the machinery's own, and not `all`: nothing was appended. */
bool record_line(const struct message *message, const struct saga *saga, int64_t time_ms, bool all, struct text *out);

/* Does a history tell this record by its own line, beside what told_update() makes of the state after it? */
bool record_is_story(const struct message *message);

/* ---- pieces the other renderers use too */

/* Why the run did not succeed; without the word "cancelled" where the status says so already. Borrowed from the saga. */
struct span screen_reason(const struct saga *saga);

/* "0.1 s", "59.9 s", "5m 03s", "2h 10m", "3d 04h": at most 6 columns, up to 99 days. Rounded down; negative is 0. */
void screen_duration(int64_t duration_ms, struct text *out);
/* Whole percent of parts per million, rounded down. */
static inline uint32_t screen_percent(uint32_t ppm)
{
    return ppm / (PPM_ONE / 100);
}
/* Columns a string takes on a terminal: wide East Asian characters count two, combining ones none. Control characters and bytes
 * that are no UTF-8 count as text_append_visible() writes them. */
uint32_t screen_width(struct span span);

#endif
