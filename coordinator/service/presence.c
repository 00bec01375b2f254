/* SPDX-License-Identifier: Apache-2.0 */
/* The workers topic: who is there, who has answered, who is lost. */
#include "common/limits.h"
#include "common/log.h"
#include "coordinator/service/service_internal.h"

#define LOOK_BACK_MS (2ll * LIMIT_LEASE_MAX_MS) /* two of the longest lease: nobody older can still hold a ticket */

/* The first partition that is ours has brought us the brokers' time; the topic is read on whatever comes and goes after that. */
static void begin_reading(struct service *service, int64_t log_ms)
{
    struct error error;
    int64_t offset;
    service->workers_asked = true;
    bool ok = bus_offset_at(service->bus, service->workers_topic, 0, log_ms - LOOK_BACK_MS, &offset, service->options.timeout_ms, &error) &&
              bus_consume(service->bus, service->workers_topic, 0, offset, &error);
    if (!ok) {
        service_fail(service, error.kind == ERROR_INVALID ? SERVICE_FAILED : SERVICE_FATAL, &error);
    }
}

/* Reading a mark of our own back tells that all that stood before it was read: one for all that were claimed meanwhile. */
static void ask_for_workers(struct service *service)
{
    unsigned char nonce[16];
    bool asked = false;
    for (struct owned *owned = owned_next(service, NULL); owned != NULL; owned = owned_next(service, owned)) {
        if (owned->epoch < 0 || owned->workers_asked) {
            continue;
        }
        if (!service->workers_asked) {
            begin_reading(service, owned->log_ms);
        }
        if (!asked) {
            service->options.random(nonce, sizeof nonce);
        }
        memcpy(owned->sync_nonce, nonce, sizeof nonce);
        owned->workers_asked = asked = true;
    }
    if (asked && service->state == SERVICE_WORKING) {
        publish_mark(service, (struct span){0}, &(struct incarnation){{0}}, nonce);
    }
}

static bool is_asked_by(const struct owned *owned, const struct message *mark)
{
    return owned->workers_asked && memcmp(mark->nonce, owned->sync_nonce, sizeof owned->sync_nonce) == 0;
}

/* `mark`: only to the partitions that were waiting for it; NULL: to all that do not know what it holds. */
static void welcome(struct service *service, struct dispatch_worker *worker, const struct message *mark)
{
    bool sent = true;
    for (struct owned *owned = owned_next(service, NULL); sent && owned != NULL; owned = owned_next(service, owned)) {
        bool meant = owned->workers_read && (mark == NULL || is_asked_by(owned, mark));
        if (meant && !dispatch_has_holding(worker, (uint32_t)owned->partition)) {
            struct message message = {.kind = MESSAGE_WELCOME, .coordinator = span_of(service->name)};
            sent = publish_task(service, owned, worker, &message);
        }
    }
}

static void hear(struct service *service, struct message *message, int64_t time_ms)
{
    bool is_new;
    message->presence.time_ms = time_ms;
    struct dispatch_worker *worker =
        dispatch_hear(service->dispatch, &message->presence, message->kind == MESSAGE_HELLO, service->now_ms, &is_new);
    if (worker == NULL) {
        return;
    }
    if (is_new && service->workers_read) {
        log_event(LOG_INFO, "worker_joined", "worker=%.*s queue=%.*s handlers=%zu slots=%u", SPAN_ARGS(message->presence.worker),
                  SPAN_ARGS(message->presence.queue), message->presence.handler_count, message->presence.slots);
    }
    service->served_changed |= is_new || message->kind == MESSAGE_HELLO;
    if (service->workers_read) {
        welcome(service, worker, NULL);
    }
}

/* `level`: of what is said of its tickets. */
static void lose(struct service *service, struct dispatch_worker *worker, const char *reason, enum log_level level)
{
    struct span name = dispatch_presence(worker)->worker;
    log_event(LOG_INFO, "worker_over", "worker=%.*s reason=%s", SPAN_ARGS(name), LOG_QUOTED(reason));
    struct dispatch_item *item;
    while ((item = dispatch_take_from(service->dispatch, worker)) != NULL) {
        struct tracked *tracked = (struct tracked *)item;
        if (!tracked->item.end_sent && !tracked->item.ahead) { /* what was sent ahead ends with the one before it, or is open later */
            job_lost(item->owner, tracked, name, reason, level);
        }
    }
    dispatch_forget(service->dispatch, worker);
    service->served_changed = true;
}

/* All that stood on the topic when we came was read. Whoever was silent before our mark, by the topic's own clock, for so long that no jump
 * of that clock explains it is over. */
static void bury_the_silent(struct service *service, int64_t mark_ms)
{
    struct dispatch_worker *worker = dispatch_next_worker(service->dispatch, NULL);
    service->workers_read = true;
    while (worker != NULL) {
        struct dispatch_worker *next = dispatch_next_worker(service->dispatch, worker);
        const struct presence *presence = dispatch_presence(worker);
        if (presence->time_ms > 0 && mark_ms - presence->time_ms > (int64_t)presence->lease_ms * 3 / 2 + LIMIT_CLOCK_JUMP_MS) {
            lose(service, worker, "it said nothing for its lease", LOG_WARN);
        }
        worker = next;
    }
}

/* What stood there before the last claim whose owner came to read it was copied then. The clock may have been set back since that claim. */
static void send_letters(struct service *service)
{
    const struct owned *first = owned_of(service, 0);
    if (first != NULL && first->workers_read) {
        letters_send(service, &service->workers_letters, first->workers_seen_ms - LIMIT_CLOCK_JUMP_MS);
    }
}

/* Everybody who is there is welcomed, and has to answer before inherited tickets of these partitions are ended. */
static bool workers_are_read(struct service *service, const struct message *mark, int64_t mark_ms)
{
    bool ours = false;
    for (struct owned *owned = owned_next(service, NULL); owned != NULL; owned = owned_next(service, owned)) {
        if (is_asked_by(owned, mark) && !owned->workers_read) {
            owned->workers_read = ours = true;
            dispatch_await_all(service->dispatch, (uint32_t)owned->partition);
        }
    }
    if (!ours) {
        return false;
    }
    if (!service->workers_read) {
        bury_the_silent(service, mark_ms);
    }
    send_letters(service); /* before the Welcome whose answer says that it was done */
    struct dispatch_worker *worker = NULL;
    while ((worker = dispatch_next_worker(service->dispatch, worker)) != NULL) {
        welcome(service, worker, mark);
    }
    return true;
}

static void on_mark(struct service *service, const struct message *message, int64_t time_ms)
{
    if (workers_are_read(service, message, time_ms)) {
        return;
    }
    struct dispatch_worker *worker = dispatch_find(service->dispatch, &message->incarnation);
    if (worker != NULL && dispatch_mark_proves(worker, message->nonce)) {
        lose(service, worker, "its lease is over", LOG_WARN);
    }
}

/* The owner of progress partition 0 copies what nobody can read. */
static void keep_or_copy(struct service *service, const struct bus_event *record, const char *reason)
{
    struct owned *first = owned_of(service, 0);
    if (first != NULL && first->workers_read) {
        publish_letter(service, record->topic, record->partition, record->offset, record->key, record->value, reason);
    } else {
        letters_keep(&service->workers_letters, record, reason);
    }
}

void presence_record(struct service *service, const struct bus_event *record)
{
    struct message message;
    struct error error;
    if (!message_decode(&message, TOPIC_WORKERS, record->key, record->value, &error)) {
        keep_or_copy(service, record, error.message);
        return;
    }
    switch (message.kind) {
    case MESSAGE_HELLO:
    case MESSAGE_HEARTBEAT: hear(service, &message, record->time_ms); break;
    case MESSAGE_MARK: on_mark(service, &message, record->time_ms); break;
    case MESSAGE_BYE: {
        struct dispatch_worker *worker = dispatch_find(service->dispatch, &message.incarnation);
        if (worker != NULL) {
            lose(service, worker, "it said goodbye", LOG_INFO); /* on its way to it, or ended where we have not read yet */
        }
        break;
    }
    default: break;
    }
    message_free(&message);
}

/* An open ticket that a Holding names stays where it is. */
void presence_holding(struct service *service, struct owned *owned, const struct message *message)
{
    struct dispatch_worker *worker = dispatch_find(service->dispatch, &message->incarnation);
    if (worker == NULL || message->epoch != owned->epoch || dispatch_has_holding(worker, (uint32_t)owned->partition)) {
        return;
    }
    for (size_t i = 0; i < message->held_count; i++) {
        struct run *run = runs_find(owned->runs, message->held[i].run_id);
        struct job *job = run != NULL ? job_if_any(run) : NULL;
        if (job != NULL) {
            job_catch_up(job);
        }
        struct tracked *tracked = job != NULL ? job_find(job, &message->held[i].ticket) : NULL;
        if (tracked != NULL && tracked->item.state == ITEM_INHERITED && !tracked->item.end_sent) {
            dispatch_adopt(service->dispatch, &tracked->item, worker);
            tracked->item.more_behind = message->held[i].more_behind;
            job_touch(job); /* a cancel of it may be due */
        } else if (tracked == NULL && job != NULL) {
            job_adopt_ahead(job, &message->held[i], worker);
            job_touch(job);
        }
    }
    dispatch_set_holding(service->dispatch, worker, (uint32_t)owned->partition);
}

void presence_refused(struct service *service, struct owned *owned, const struct message *message, struct run *run)
{
    (void)owned;
    struct job *job = run != NULL ? job_if_any(run) : NULL;
    struct tracked *tracked = job != NULL ? job_find(job, &message->event.ticket) : NULL;
    if (tracked == NULL || tracked->item.state != ITEM_PLACED) {
        return;
    }
    struct dispatch_worker *worker = tracked->item.worker;
    const struct plan_step *step = &run->saga.plan->steps[message->event.ticket.step];
    dispatch_end(service->dispatch, &tracked->item);
    dispatch_refused(service->dispatch, worker, message->refused, step->queue, step->handler);
    service->served_changed |= message->refused == REFUSED_UNKNOWN;
}

/* Once every incarnation of the last lease has answered or is over: what nobody holds is ended, and goes out again under the next number. */
static void resolve(struct owned *owned)
{
    uint32_t ended = 0;
    owned->resolved = true; /* each job ends its own when its turn comes */
    owned->service->served_changed = true; /* no run of it waits for a worker's answer any more: say so */
    for (struct run *run = runs_next(owned->runs, NULL); run != NULL; run = runs_next(owned->runs, run)) {
        struct job *job = job_if_any(run);
        for (struct tracked *tracked = job != NULL ? job->tickets : NULL; tracked != NULL; tracked = tracked->next) {
            ended += tracked->item.state == ITEM_INHERITED && !tracked->item.end_sent;
        }
    }
    log_event(LOG_INFO, "partition_resolved", "partition=%d lost=%u", (int)owned->partition, ended);
}

static void announce_waiting(struct service *service)
{
    service->served_changed = false;
    for (struct owned *owned = owned_next(service, NULL); owned != NULL; owned = owned_next(service, owned)) {
        struct runs *runs = owned->runs;
        for (struct run *run = runs_next(runs, NULL); run != NULL; run = runs_next(runs, run)) {
            struct job *job = job_if_any(run);
            if (job != NULL && job->tickets != NULL) {
                job_touch_later(job);
            }
        }
    }
}

static void say_ready(struct service *service)
{
    if (!service->all_ready && ownership_is_ready(service)) {
        service->all_ready = true;
        log_event(LOG_INFO, "ready", "partitions=%d workers=%u", (int)service->claimed_count, dispatch_worker_count(service->dispatch));
    }
}

void presence_tick(struct service *service)
{
    struct dispatch_worker *worker;
    ask_for_workers(service);
    if (!service->workers_read) {
        return;
    }
    while (service->state == SERVICE_WORKING && (worker = dispatch_next_silent(service->dispatch, service->now_ms)) != NULL) {
        unsigned char nonce[16];
        const struct presence *presence = dispatch_presence(worker);
        service->options.random(nonce, sizeof nonce);
        dispatch_mark_sent(worker, nonce);
        publish_mark(service, presence->worker, &presence->incarnation, nonce);
    }
    for (struct owned *owned = owned_next(service, NULL); owned != NULL; owned = owned_next(service, owned)) {
        if (owned->workers_read && !owned->resolved && dispatch_awaited(service->dispatch, (uint32_t)owned->partition) == 0) {
            resolve(owned);
        }
    }
    say_ready(service);
    if (service->served_changed) {
        announce_waiting(service);
    }
}
