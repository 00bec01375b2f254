/* SPDX-License-Identifier: Apache-2.0 */
/* A run as people and programs are told of it: one JSON object, or a few lines of text. Pure: what time it is comes as an argument. */
#ifndef SUMMARY_H
#define SUMMARY_H

#include "common/text.h"
#include "coordinator/cli/exit_codes.h"
#include "coordinator/cli/reader.h"
#include "coordinator/cli/roster.h"

/* {"run_id","pipeline","success","status","steps_executed","steps_total","progress","error","duration_seconds","steps":[…]},
 * without a newline. While it is paused also "paused":{"since","held","reason"}. A step says what only some have to say: "waiting":
 * {"handler","queue","since"} for a worker, "next_attempt",
 * "remaining_seconds" where that can be told, "instances":{"count","done","running","failed":[…]}, "resolved", and as a
 * heading of a pipeline in the pipeline its "progress". */
void summary_json(const struct run *run, int64_t now_ms, struct text *out);
/* The text of `backstep status`. `roster`: who is and was there, to say of a step that waits; NULL: nobody has looked. */
void summary_text(const struct run *run, const struct roster *roster, int64_t now_ms, struct text *out);
/* "running, 59 %, started 12:04:01": what a message says of it. */
void summary_phrase(const struct run *run, int64_t now_ms, struct text *out);
/* One line of `backstep list`: the object without its steps, or columns. */
void summary_list_json(const struct run *run, int64_t now_ms, struct text *out);
void summary_list_text(const struct run *run, int64_t now_ms, struct text *out);
/* What `list` puts above its columns. */
void summary_list_heading(struct text *out);

/* The exit code of a command that followed the run to this status. */
enum exit_code summary_exit_code(enum run_status status);

/* "2026-01-02T03:04:05.678Z" */
void append_timestamp(struct text *out, int64_t time_ms);
/* Local time of day, "12:04:01", with the date where it is not today's. */
void append_time_of_day(struct text *out, int64_t time_ms, int64_t now_ms);

#endif
