/* SPDX-License-Identifier: Apache-2.0 */
/* What steps have logged and nobody has sent yet: lines gathered to one batch an attempt, within a bound. Pure but for the heap; not
 * locked. */
#ifndef LOG_QUEUE_H
#define LOG_QUEUE_H

#include "common/messages.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct log_queue;
struct log_batch;

struct log_queue *log_queue_new(size_t max_bytes); /* caller owes log_queue_free() */
void log_queue_free(struct log_queue *queue); /* NULL is fine */

/* Take a copy of `line`, into the batch of its attempt. false: the queue is full, and the line is counted as dropped. */
bool log_queue_add(struct log_queue *queue, const struct task *task, const struct log_line *line);
/* Count what was dropped elsewhere. */
void log_queue_drop(struct log_queue *queue, const struct task *task, uint64_t lines, uint64_t bytes);

/* The oldest batch, or NULL; it is at most one record. The caller owes log_batch_free(). */
struct log_batch *log_queue_take(struct log_queue *queue);
void log_batch_free(struct log_batch *batch);
/* As a record; valid as long as the batch, until the next call. The worker's id is the caller's to add. */
const struct message *log_batch_message(struct log_batch *batch);

size_t log_queue_bytes(const struct log_queue *queue);
/* Is there a batch that takes no more lines? */
bool log_queue_has_full(const struct log_queue *queue);
/* How many lines were dropped of which no record will tell; since the last call. */
uint64_t log_queue_take_untold(struct log_queue *queue);

#endif
