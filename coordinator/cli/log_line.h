/* SPDX-License-Identifier: Apache-2.0 */
/* What steps have logged, as people and programs read it. Pure. */
#ifndef LOG_LINE_H
#define LOG_LINE_H

#include "common/messages.h"
#include "common/text.h"

struct log_style {
    const struct saga *saga; /* of the run: how wide step names are; may be NULL */
    enum log_level level; /* lines below it are left out */
    bool colour; /* and without the run's id: for a terminal */
};

/* Each line of the record, and what was dropped, a line each with its newline. `time_ms`: of the record. */
void log_lines_text(const struct message *message, int64_t time_ms, const struct log_style *style, struct text *out);
/* The same as JSON objects: {"time","run_id","step","direction","attempt","worker","level","source","event","text","data"}; where
 * lines were dropped {…,"dropped_lines","dropped_bytes"}. */
void log_lines_json(const struct message *message, int64_t time_ms, const struct log_style *style, struct text *out);

#endif
