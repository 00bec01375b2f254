/* SPDX-License-Identifier: Apache-2.0 */
#include "coordinator/cli/roster.h"
#include "common/text.h"

#include "coordinator/cli/screen.h"
#include "coordinator/cli/summary.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *must(void *memory)
{
    if (memory == NULL) {
        abort();
    }
    return memory;
}

static void worker_clear(struct roster_worker *worker)
{
    for (size_t i = 0; i < worker->handler_count; i++) {
        free(worker->handlers[i]);
    }
    free(worker->handlers);
    free(worker->id);
    free(worker->queue);
    free(worker->version);
    free(worker->host);
    *worker = (struct roster_worker){0};
}

void roster_free(struct roster *roster)
{
    for (size_t i = 0; i < roster->count; i++) {
        worker_clear(&roster->workers[i]);
    }
    free(roster->workers);
    *roster = (struct roster){0};
}

static struct roster_worker *find(const struct roster *roster, const struct incarnation *incarnation)
{
    for (size_t i = 0; i < roster->count; i++) {
        if (memcmp(&roster->workers[i].incarnation, incarnation, sizeof *incarnation) == 0) {
            return &roster->workers[i];
        }
    }
    return NULL;
}

static struct roster_worker *add(struct roster *roster)
{
    if (roster->count == roster->room) {
        roster->room = roster->room > 0 ? roster->room * 2 : 16;
        roster->workers = must(reallocarray(roster->workers, roster->room, sizeof *roster->workers));
    }
    struct roster_worker *worker = &roster->workers[roster->count++];
    *worker = (struct roster_worker){0};
    return worker;
}

static void worker_set(struct roster_worker *worker, const struct presence *presence, int64_t time_ms)
{
    worker_clear(worker);
    *worker = (struct roster_worker){
        .id = text_must_copy(presence->worker),
        .queue = text_must_copy(presence->queue),
        .version = text_must_copy(presence->version),
        .host = text_must_copy(presence->host),
        .handlers = must(calloc(presence->handler_count + 1, sizeof(char *))),
        .handler_count = presence->handler_count,
        .incarnation = presence->incarnation,
        .partition = presence->partition,
        .slots = presence->slots,
        .window = presence->window,
        .load = presence->load,
        .lease_ms = presence->lease_ms,
        .process_id = presence->process_id,
        .draining = presence->draining,
        .seen_ms = time_ms,
    };
    for (size_t i = 0; i < presence->handler_count; i++) {
        worker->handlers[i] = text_must_copy(presence->handlers[i]);
    }
}

void roster_apply(struct roster *roster, const struct message *message, int64_t time_ms)
{
    if (message->kind == MESSAGE_HELLO || message->kind == MESSAGE_HEARTBEAT) {
        struct roster_worker *worker = find(roster, &message->presence.incarnation);
        if (worker == NULL || !worker->gone) {
            worker_set(worker != NULL ? worker : add(roster), &message->presence, time_ms);
        }
    } else if (message->kind == MESSAGE_BYE) {
        struct roster_worker *worker = find(roster, &message->incarnation);
        if (worker != NULL) {
            worker->gone = true;
        }
    }
}

const char *roster_state(const struct roster_worker *worker, int64_t now_ms)
{
    if (now_ms - worker->seen_ms > (int64_t)worker->lease_ms * 5 / 4) {
        return "silent";
    }
    return worker->draining ? "draining" : "ok";
}

static bool is_replaced(const struct roster *roster, const struct roster_worker *worker, int64_t now_ms)
{
    if (strcmp(roster_state(worker, now_ms), "silent") != 0) {
        return false;
    }
    for (size_t i = 0; i < roster->count; i++) {
        const struct roster_worker *other = &roster->workers[i];
        if (strcmp(other->id, worker->id) == 0 && other->seen_ms > worker->seen_ms) {
            return true;
        }
    }
    return false;
}

static int by_id(const void *a, const void *b)
{
    const struct roster_worker *first = a, *second = b;
    int order = strcmp(first->id, second->id);
    return order != 0 ? order : memcmp(&first->incarnation, &second->incarnation, sizeof first->incarnation);
}

void roster_tidy(struct roster *roster, int64_t now_ms)
{
    for (size_t i = 0; i < roster->count; i++) {
        roster->workers[i].gone = roster->workers[i].gone || is_replaced(roster, &roster->workers[i], now_ms);
    }
    size_t kept = 0;
    for (size_t i = 0; i < roster->count; i++) {
        if (roster->workers[i].gone) {
            worker_clear(&roster->workers[i]);
        } else {
            roster->workers[kept++] = roster->workers[i];
        }
    }
    roster->count = kept;
    if (kept > 0) {
        qsort(roster->workers, kept, sizeof *roster->workers, by_id);
    }
}

static bool serves(const struct roster_worker *worker, struct span handler)
{
    for (size_t i = 0; i < worker->handler_count; i++) {
        if (span_equal(span_of(worker->handlers[i]), handler)) {
            return true;
        }
    }
    return false;
}

struct roster_seen roster_seen_of(const struct roster *roster, struct span queue, struct span handler, int64_t now_ms)
{
    struct roster_seen seen = {0};
    int64_t last_serving_ms = 0;
    for (size_t i = 0; i < roster->count; i++) {
        const struct roster_worker *worker = &roster->workers[i];
        if (!span_equal(span_of(worker->queue), queue)) {
            continue;
        }
        seen.alive += !worker->gone && strcmp(roster_state(worker, now_ms), "silent") != 0;
        seen.last_ms = worker->seen_ms > seen.last_ms ? worker->seen_ms : seen.last_ms;
        bool newer = serves(worker, handler) && worker->seen_ms > last_serving_ms;
        last_serving_ms = newer ? worker->seen_ms : last_serving_ms;
    }
    seen.last_ms = last_serving_ms > 0 ? last_serving_ms : seen.last_ms;
    return seen;
}

static void append_named(struct text *out, const char *name, const char *value)
{
    text_format(out, "\"%s\":", name);
    text_append_json_string(out, span_of(value));
    text_append_char(out, ',');
}

void roster_worker_json(const struct roster_worker *worker, int64_t now_ms, struct text *out)
{
    text_append_char(out, '{');
    append_named(out, "worker", worker->id);
    append_named(out, "state", roster_state(worker, now_ms));
    append_named(out, "queue", worker->queue);
    text_append_string(out, "\"handlers\":[");
    for (size_t i = 0; i < worker->handler_count; i++) {
        text_append_string(out, i > 0 ? "," : "");
        text_append_json_string(out, span_of(worker->handlers[i]));
    }
    text_format(out, "],\"slots\":%u,\"window\":%u,\"load\":%u,\"lease_seconds\":%u.%03u,\"partition\":%u,", worker->slots,
                worker->window, worker->load, worker->lease_ms / 1000, worker->lease_ms % 1000, worker->partition);
    text_append_string(out, "\"incarnation\":\"");
    for (size_t i = 0; i < sizeof worker->incarnation.bytes; i++) {
        text_format(out, "%02x", worker->incarnation.bytes[i]);
    }
    text_append_string(out, "\",");
    append_named(out, "version", worker->version);
    append_named(out, "host", worker->host);
    text_format(out, "\"process_id\":%u,\"last_heartbeat\":\"", worker->process_id);
    append_timestamp(out, worker->seen_ms);
    text_append_string(out, "\"}");
}

static void append_padded(struct text *out, const char *value, uint32_t width)
{
    text_append_visible(out, span_of(value));
    for (uint32_t i = screen_width(span_of(value)); i < width; i++) {
        text_append_char(out, ' ');
    }
    text_append_string(out, "  ");
}

#define ID_WIDTH 24
#define QUEUE_WIDTH 12

void roster_heading(struct text *out)
{
    append_padded(out, "WORKER", ID_WIDTH);
    append_padded(out, "STATE", 8);
    append_padded(out, "QUEUE", QUEUE_WIDTH);
    text_append_string(out, "LOAD/SLOTS  HEARTBEAT     HANDLERS\n");
}

/* What every worker of ours serves tells nobody anything. */
static bool is_of_every_worker(const char *handler)
{
    return strcmp(handler, PLAN_HANDLER_VALIDATE) == 0 || strcmp(handler, PLAN_HANDLER_SCOPE) == 0;
}

void roster_worker_text(const struct roster_worker *worker, int64_t now_ms, struct text *out)
{
    char load[32];
    append_padded(out, worker->id, ID_WIDTH);
    append_padded(out, roster_state(worker, now_ms), 8);
    append_padded(out, worker->queue, QUEUE_WIDTH);
    snprintf(load, sizeof load, "%u/%u", worker->load, worker->slots);
    append_padded(out, load, 10);
    size_t before = out->size;
    screen_duration(now_ms - worker->seen_ms, out);
    text_append_string(out, " ago");
    for (size_t i = out->size - before; i < 14; i++) {
        text_append_char(out, ' ');
    }
    const char *blank = "";
    for (size_t i = 0; i < worker->handler_count; i++) {
        if (!is_of_every_worker(worker->handlers[i])) {
            text_append_string(out, blank);
            text_append_visible(out, span_of(worker->handlers[i]));
            blank = " ";
        }
    }
    text_append_char(out, '\n');
}
