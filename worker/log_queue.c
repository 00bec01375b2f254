/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/log_queue.h"

#include "common/limits.h"
#include "common/text.h"

#include <stdlib.h>
#include <string.h>
#include <uthash.h>
#include <utlist.h>

#define BATCH_BYTES 512 /* what a batch is counted for beside its lines */
#define RESERVE_SHARE 8 /* of the queue an eighth is for batches that only tell what was dropped */
#define LINE_BYTES 64 /* what a line is counted for beside its text */

struct batch_key {
    uint32_t step, instance, direction, number;
    char run_id[LIMIT_IDENTIFIER_BYTES];
};

struct log_batch {
    struct batch_key key;
    size_t run_id_size;
    char step[LIMIT_NAME_BYTES];
    size_t step_size;
    uint32_t attempt;
    struct text text; /* event, text and data of each line, one behind the other */
    struct log_line *lines;
    size_t count, room, bytes;
    uint64_t dropped_lines, dropped_bytes;
    bool full;
    struct message message;
    struct log_batch *prev, *next;
    UT_hash_handle hh; /* while it is open */
};

struct log_queue {
    size_t max_bytes, bytes, full_count;
    struct log_batch *batches; /* the oldest first */
    struct log_batch *open;
    uint64_t untold;
};

struct log_queue *log_queue_new(size_t max_bytes)
{
    struct log_queue *queue = calloc(1, sizeof *queue);
    if (queue == NULL) {
        abort();
    }
    queue->max_bytes = max_bytes;
    return queue;
}

void log_batch_free(struct log_batch *batch)
{
    if (batch != NULL) {
        text_fini(&batch->text);
        free(batch->lines);
        free(batch);
    }
}

void log_queue_free(struct log_queue *queue)
{
    struct log_batch *batch;
    while (queue != NULL && (batch = log_queue_take(queue)) != NULL) {
        log_batch_free(batch);
    }
    free(queue);
}

static size_t make_key(struct batch_key *key, const struct task *task)
{
    size_t size = task->run_id.size < sizeof key->run_id ? task->run_id.size : sizeof key->run_id;
    *key = (struct batch_key){.step = task->ticket.step,
                              .instance = task->ticket.instance,
                              .direction = (uint32_t)task->ticket.direction,
                              .number = task->ticket.number};
    memcpy(key->run_id, task->run_id.bytes, size);
    return size;
}

/* ---- batches */

static struct log_batch *find(const struct log_queue *queue, const struct task *task)
{
    struct batch_key key;
    struct log_batch *batch = NULL;
    size_t size = offsetof(struct batch_key, run_id) + make_key(&key, task);
    HASH_FIND(hh, queue->open, &key, size, batch);
    return batch;
}

static struct log_batch *begin(struct log_queue *queue, const struct task *task)
{
    if (queue->bytes + BATCH_BYTES > queue->max_bytes) {
        return NULL;
    }
    struct log_batch *batch = calloc(1, sizeof *batch);
    if (batch == NULL) {
        return NULL;
    }
    batch->run_id_size = make_key(&batch->key, task);
    batch->step_size = task->step.size < sizeof batch->step ? task->step.size : sizeof batch->step;
    memcpy(batch->step, task->step.bytes, batch->step_size);
    batch->attempt = task->attempt;
    batch->bytes = BATCH_BYTES;
    text_init(&batch->text, SIZE_MAX / 2);
    queue->bytes += BATCH_BYTES;
    DL_APPEND(queue->batches, batch);
    HASH_ADD_KEYPTR(hh, queue->open, &batch->key, offsetof(struct batch_key, run_id) + batch->run_id_size, batch);
    return batch;
}

static void shut(struct log_queue *queue, struct log_batch *batch)
{
    batch->full = true;
    queue->full_count++;
    HASH_DELETE(hh, queue->open, batch);
}

static struct log_batch *batch_of(struct log_queue *queue, const struct task *task)
{
    struct log_batch *batch = find(queue, task);
    return batch != NULL ? batch : begin(queue, task);
}

/* ---- lines */

static size_t size_of(const struct log_line *line)
{
    return LINE_BYTES + line->event.size + line->text.size + line->data.size;
}

static bool make_room(struct log_batch *batch)
{
    if (batch->count < batch->room) {
        return true;
    }
    size_t room = batch->room > 0 ? batch->room * 2 : 16;
    struct log_line *lines = reallocarray(batch->lines, room, sizeof *lines);
    if (lines == NULL) {
        return false;
    }
    batch->lines = lines;
    batch->room = room;
    return true;
}

static bool add(struct log_batch *batch, const struct log_line *line)
{
    if (!make_room(batch) || !text_append_span(&batch->text, line->event) || !text_append_span(&batch->text, line->text) ||
        !text_append_span(&batch->text, line->data)) {
        return false;
    }
    batch->lines[batch->count++] = *line;
    batch->bytes += size_of(line);
    return true;
}

static bool has_place(const struct log_batch *batch, const struct log_line *line)
{
    return batch->count < LIMIT_LOG_RECORD_LINES &&
           batch->text.size + line->event.size + line->text.size + line->data.size <= LIMIT_LOG_RECORD_BYTES;
}

bool log_queue_add(struct log_queue *queue, const struct task *task, const struct log_line *line)
{
    struct log_batch *batch = find(queue, task);
    bool fits = queue->bytes + size_of(line) + BATCH_BYTES <= queue->max_bytes - queue->max_bytes / RESERVE_SHARE;
    if (fits && batch != NULL && !has_place(batch, line)) {
        shut(queue, batch);
        batch = NULL;
    }
    if (fits && batch == NULL) {
        batch = begin(queue, task);
    }
    if (!fits || batch == NULL || !add(batch, line)) {
        log_queue_drop(queue, task, 1, line->event.size + line->text.size + line->data.size);
        return false;
    }
    queue->bytes += size_of(line);
    return true;
}

void log_queue_drop(struct log_queue *queue, const struct task *task, uint64_t lines, uint64_t bytes)
{
    struct log_batch *batch = batch_of(queue, task);
    if (batch == NULL) {
        queue->untold += lines;
        return;
    }
    batch->dropped_lines += lines;
    batch->dropped_bytes += bytes;
}

/* ---- taking */

struct log_batch *log_queue_take(struct log_queue *queue)
{
    struct log_batch *batch = queue->batches;
    if (batch == NULL) {
        return NULL;
    }
    if (batch->full) {
        queue->full_count--;
    } else {
        HASH_DELETE(hh, queue->open, batch);
    }
    DL_DELETE(queue->batches, batch);
    queue->bytes -= batch->bytes;
    return batch;
}

static struct span next(const char **at, struct span span)
{
    span.bytes = *at;
    *at += span.size;
    return span;
}

const struct message *log_batch_message(struct log_batch *batch)
{
    const char *at = text_string(&batch->text);
    for (size_t i = 0; i < batch->count; i++) {
        struct log_line *line = &batch->lines[i];
        line->event = next(&at, line->event);
        line->text = next(&at, line->text);
        line->data = next(&at, line->data);
    }
    batch->message = (struct message){
        .kind = MESSAGE_LOG_LINES,
        .event = {.run_id = {batch->key.run_id, batch->run_id_size},
                  .ticket = {batch->key.step, batch->key.instance, (enum direction)batch->key.direction, batch->key.number}},
        .log = {.step = {batch->step, batch->step_size},
                .attempt = batch->attempt,
                .lines = batch->lines,
                .count = batch->count,
                .dropped_lines = batch->dropped_lines,
                .dropped_bytes = batch->dropped_bytes}};
    return &batch->message;
}

size_t log_queue_bytes(const struct log_queue *queue)
{
    return queue->bytes;
}

bool log_queue_has_full(const struct log_queue *queue)
{
    return queue->full_count > 0;
}

uint64_t log_queue_take_untold(struct log_queue *queue)
{
    uint64_t untold = queue->untold;
    queue->untold = 0;
    return untold;
}
