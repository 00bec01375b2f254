/* SPDX-License-Identifier: Apache-2.0 */
/* What a step says for people to read: tidied to lines of its log, bounded per attempt, and handed to whoever listens to the context.
 * Belongs to the thread that runs the step, like the context. */
#ifndef STEP_LOG_H
#define STEP_LOG_H

#include "worker/context.h"

/* Where the lines of all attempts of a worker go. Called on the steps' threads; must not wait for anything. */
struct log_sink {
    void (*take)(void *state, const struct task *task, const struct log_line *line);
    void (*dropped)(void *state, const struct task *task, uint64_t lines, uint64_t bytes);
    void *state;
};

/* One line of the handler's own. `event` is its name, or empty; `data` a JSON object, or empty; its text may be any bytes. */
void step_log(struct backstep_context *context, enum log_level level, struct span event, struct span text, struct span data);

/* One line of a program's, without its newline. A blank one is none. A JSON object gives "level", "event" and "message", its other
 * members become the data; any other text says its level as `level=warn`, where it says one. Else it is LOG_INFO. */
void step_log_program(struct backstep_context *context, enum log_source source, struct span line);

/* What was dropped before it came here. */
void step_log_dropped(struct backstep_context *context, uint64_t lines, uint64_t bytes);
/* The attempt is over: say how much of what it logged is lost, if any is. */
void step_log_end(struct backstep_context *context);

#endif
