/* SPDX-License-Identifier: Apache-2.0 */
/* From the state of a run to what has to be published: the effects that are due, each at most once in this owner's memory. */
#include "common/log.h"
#include "common/runs_task.h"
#include "coordinator/service/service_internal.h"

#include <assert.h>
#include <stdlib.h>

/* All runs together, or what is said of ten thousand of them is more than what they do; a burst of so many need not wait. */
#define ANNOUNCEMENTS_PER_MS 4
#define ANNOUNCEMENTS_AT_ONCE 1000
#define BUSY_RECORDS 200 /* while a look brings so many, all that is said costs somebody's task, and nobody waits for a round trip: */
#define BUSY_TURNS 4     /* then each one takes so many turns */
#define ANNOUNCE_EVERY_MS 250 /* RunProgressed: at most 4 times a second, the first after as long */
/* Beyond these we wait for the broker instead of piling up more: a producer holds 100,000 records and 256 MiB, and refuses the next. */
#define BACKLOG_RECORDS_MAX 50000
#define BACKLOG_BYTES_MAX ((size_t)64 * MIB)
#define HELD_BACK_MS 5 /* then we look again */
/* What people read waits so long for more of it: by itself each word is a request here and a fetch of all who read, in the way of the next
 * task. Where more than one word comes in that time all of them wait for the next beat, and RunProgressed goes with them; where a look
 * brings BUSY_RECORDS there is enough of it to go together at once. */
#define WORDS_WAIT_MS 5
#define BEAT_MS 20
#define LATER_AT_ONCE 4096 /* jobs that can wait, between two looks at what has come meanwhile */

bool job_may_send(const struct service *service)
{
    struct bus_backlog backlog = bus_backlog(service->bus);
    return backlog.records < BACKLOG_RECORDS_MAX && backlog.bytes < BACKLOG_BYTES_MAX;
}

static int64_t next_beat(int64_t after_ms)
{
    return (after_ms / BEAT_MS + 1) * BEAT_MS;
}

static void *allocate(size_t size)
{
    void *memory = calloc(1, size);
    if (memory == NULL) {
        abort();
    }
    return memory;
}

/* ---- when to look again: a binary heap by wake_ms */

#define HEAP_ROOM_MIN 64

static void heap_set(struct service *service, size_t index, struct alarm alarm)
{
    service->heap[index] = alarm;
    alarm.job->heap_index = (uint32_t)index;
}

static void heap_up(struct service *service, size_t index)
{
    struct alarm alarm = service->heap[index];
    while (index > 0 && service->heap[(index - 1) / 2].wake_ms > alarm.wake_ms) {
        heap_set(service, index, service->heap[(index - 1) / 2]);
        index = (index - 1) / 2;
    }
    heap_set(service, index, alarm);
}

static void heap_down(struct service *service, size_t index)
{
    struct alarm alarm = service->heap[index];
    for (;;) {
        size_t child = 2 * index + 1;
        if (child >= service->heap_size) {
            break;
        }
        if (child + 1 < service->heap_size && service->heap[child + 1].wake_ms < service->heap[child].wake_ms) {
            child++;
        }
        if (service->heap[child].wake_ms >= alarm.wake_ms) {
            break;
        }
        heap_set(service, index, service->heap[child]);
        index = child;
    }
    heap_set(service, index, alarm);
}

static void heap_set_room(struct service *service, size_t room)
{
    struct alarm *heap = realloc(service->heap, room * sizeof *heap);
    if (heap == NULL) {
        abort();
    }
    service->heap = heap;
    service->heap_room = room;
}

static void heap_remove(struct service *service, struct job *job)
{
    size_t index = job->heap_index;
    if (index == NOT_IN_HEAP) {
        return;
    }
    job->heap_index = NOT_IN_HEAP;
    struct alarm last = service->heap[--service->heap_size];
    if (last.job != job) {
        heap_set(service, index, last);
        heap_up(service, index);
        heap_down(service, last.job->heap_index);
    }
    if (service->heap_room > HEAP_ROOM_MIN && service->heap_size < service->heap_room / 8) { /* a burst has gone by */
        heap_set_room(service, service->heap_room / 4);
    }
}

static void wake_at(struct job *job, int64_t wake_ms)
{
    struct service *service = job_owned(job)->service;
    if (job->heap_index != NOT_IN_HEAP && service->heap[job->heap_index].wake_ms == wake_ms) {
        return;
    }
    heap_remove(service, job);
    if (wake_ms == INT64_MAX) {
        return;
    }
    if (service->heap_size == service->heap_room) {
        heap_set_room(service, service->heap_room > 0 ? service->heap_room * 2 : HEAP_ROOM_MIN);
    }
    heap_set(service, service->heap_size++, (struct alarm){wake_ms, job});
    heap_up(service, job->heap_index);
}

int64_t jobs_next_ms(const struct service *service)
{
    if (!job_may_send(service)) {
        return service->now_ms + HELD_BACK_MS;
    }
    if (service->dirty_count > 0) {
        return 0;
    }
    return service->heap_size > 0 ? service->heap[0].wake_ms : INT64_MAX;
}

/* ---- jobs */

struct job *job_of(struct owned *owned, struct run *run)
{
    if (run->attached == NULL) {
        run->attached = owned;
        *job_if_any(run) =
            (struct job){.heap_index = NOT_IN_HEAP, .announce_ms = next_beat(owned->service->now_ms + ANNOUNCE_EVERY_MS)};
    }
    return job_if_any(run);
}

struct job_rare *job_rare(struct job *job)
{
    if (job->rare == NULL) {
        job->rare = allocate(sizeof *job->rare);
    }
    return job->rare;
}

static struct tracked *hint(const struct job *job)
{
    const struct service *service = job_owned(job)->service;
    return service->hint_of == job ? service->hint : job->tickets;
}

static void set_hint(const struct job *job, struct tracked *tracked)
{
    job_owned(job)->service->hint_of = job;
    job_owned(job)->service->hint = tracked;
}

/* `before` is the one before it in the list, NULL for the first. */
static void drop_ticket(struct job *job, struct tracked *before, struct tracked *tracked)
{
    dispatch_end(job_owned(job)->service->dispatch, &tracked->item);
    *(before != NULL ? &before->next : &job->tickets) = tracked->next;
    job->tickets_last = job->tickets_last == tracked ? before : job->tickets_last;
    if (hint(job) == tracked) {
        set_hint(job, tracked->next);
    }
    if (tracked == &job->first) {
        *tracked = (struct tracked){0};
    } else {
        free(tracked);
    }
}

/* A ticket with another number begins afresh. */
static void renumber(struct tracked *tracked, const struct ticket *ticket)
{
    item_set_ticket(&tracked->item, ticket);
    tracked->item.confirm = tracked->item.ahead = tracked->item.more_behind = false;
    tracked->item.held_back = tracked->item.end_sent = tracked->item.cancel_sent = false;
}

static struct tracked *add_ticket(struct job *job)
{
    struct tracked *tracked = job->first.item.owner == NULL ? &job->first : allocate(sizeof *tracked);
    tracked->item.owner = job;
    *(job->tickets_last != NULL ? &job->tickets_last->next : &job->tickets) = tracked;
    job->tickets_last = tracked;
    return tracked;
}

void job_free(struct job *job)
{
    while (job->tickets != NULL) {
        drop_ticket(job, NULL, job->tickets);
    }
    heap_remove(job_owned(job)->service, job);
    assert(!job->dirty);
    if (job_owned(job)->service->hint_of == job) {
        job_owned(job)->service->hint_of = NULL;
    }
    free(job->rare);
    job_run(job)->attached = NULL;
}

void jobs_drop(struct owned *owned)
{
    struct service *service = owned->service;
    size_t kept = 0;
    for (size_t i = 0; i < service->dirty_count; i++) {
        struct job *job = service->dirty[i];
        if (job_owned(job) == owned) {
            job->dirty = false;
        } else {
            service->dirty[kept++] = job;
        }
    }
    service->dirty_count = kept;
    for (struct run *run = runs_next(owned->runs, NULL); run != NULL; run = runs_next(owned->runs, run)) {
        if (run->attached != NULL) {
            job_free(job_if_any(run));
        }
    }
}

void job_touch(struct job *job)
{
    struct service *service = job_owned(job)->service;
    job->announce = true;
    if (job->dirty) {
        return;
    }
    if (service->dirty_count == service->dirty_room) {
        service->dirty_room = service->dirty_room > 0 ? service->dirty_room * 2 : 64;
        struct job **dirty = realloc(service->dirty, service->dirty_room * sizeof(struct job *));
        if (dirty == NULL) {
            abort();
        }
        service->dirty = dirty;
    }
    job->dirty = true;
    service->dirty[service->dirty_count++] = job;
}

void job_touch_later(struct job *job)
{
    job->announce = true;
    if (!job->dirty) {
        wake_at(job, job_owned(job)->service->now_ms);
    }
}

static bool has_key(const struct dispatch_item *item, const struct ticket *ticket)
{
    return item->step == ticket->step && item->instance == ticket->instance && item->direction == (uint8_t)ticket->direction;
}

static struct tracked *find_between(struct tracked *tracked, const struct tracked *end, const struct ticket *ticket)
{
    while (tracked != end && !has_key(&tracked->item, ticket)) {
        tracked = tracked->next;
    }
    return tracked != end ? tracked : NULL;
}

static struct tracked *find_key(struct job *job, const struct ticket *ticket)
{
    struct tracked *from = hint(job);
    struct tracked *tracked = find_between(from, NULL, ticket);
    tracked = tracked != NULL ? tracked : find_between(job->tickets, from, ticket);
    if (tracked != NULL) {
        set_hint(job, tracked->next);
    }
    return tracked;
}

struct tracked *job_find(struct job *job, const struct ticket *ticket)
{
    struct tracked *tracked = find_key(job, ticket);
    return tracked != NULL && tracked->item.number == ticket->number ? tracked : NULL;
}

static bool publish(struct job *job, struct message *message)
{
    return publish_progress(job_owned(job)->service, job_owned(job), job_run(job)->saga.run_id, message);
}

void job_lost(struct job *job, struct tracked *tracked, struct span worker, const char *reason, enum log_level level)
{
    struct message message = {.kind = MESSAGE_LOST};
    message.event.ticket = item_ticket(&tracked->item);
    message.event.worker = worker;
    message.event.reason = span_of(reason);
    tracked->item.end_sent = true;
    log_event(level, "ticket_lost", "run=%.*s step=%u ticket=%u worker=%.*s reason=%s", SPAN_ARGS(job_run(job)->saga.run_id),
              tracked->item.step, tracked->item.number, SPAN_ARGS(worker), LOG_QUOTED(reason));
    publish(job, &message);
}

static void withdraw(struct job *job, struct tracked *tracked)
{
    struct message message = {.kind = MESSAGE_WITHDRAWN};
    message.event.ticket = item_ticket(&tracked->item);
    dispatch_end(job_owned(job)->service->dispatch, &tracked->item);
    tracked->item.end_sent = true;
    publish(job, &message);
}

/* What was sent ahead is open now: it is where it was sent, or was, for its worker is over. */
static void catch_up(struct job *job, struct tracked *tracked)
{
    dispatch_catch_up(&tracked->item);
    if (tracked->item.state == ITEM_IDLE && !tracked->item.end_sent) {
        job_lost(job, tracked, (struct span){0}, "its worker was over before its step was ready", LOG_DEBUG);
    }
}

/* Its ticket was opened by a Done that this owner did not wait for, or not with it: of several that were opened since the last
 * look the nearest that is known tells. */
static enum dispatch_behind behind_what(struct job *job, const struct ticket *ticket)
{
    const struct plan *plan = job_run(job)->saga.plan;
    struct ticket before = *ticket;
    const struct tracked *tracked = NULL;
    while (tracked == NULL && ticket->direction == DIRECTION_EXECUTE && plan->steps[before.step].behind) {
        before.step--;
        tracked = find_key(job, &before);
    }
    return tracked != NULL ? dispatch_behind_of(&tracked->item) : BEHIND_UNSENT;
}

static void begin_behind(struct job *job, struct tracked *tracked)
{
    struct ticket ticket = item_ticket(&tracked->item);
    switch (behind_what(job, &ticket)) {
    case BEHIND_UNSENT: break;
    case BEHIND_INHERITED: tracked->item.state = ITEM_INHERITED; break;
    case BEHIND_DROPPED: withdraw(job, tracked); break; /* "no ticket is ever sent twice" */
    }
}

/* The ticket as this owner knows it. Of a new number the earlier one has ended in the log. */
static struct tracked *track(struct job *job, const struct saga_effect *effect, bool *is_new)
{
    struct tracked *tracked = find_key(job, &effect->ticket);
    *is_new = tracked == NULL || tracked->item.number != effect->ticket.number;
    if (tracked == NULL) {
        tracked = add_ticket(job);
    }
    if (*is_new) {
        dispatch_end(job_owned(job)->service->dispatch, &tracked->item);
        renumber(tracked, &effect->ticket);
        begin_behind(job, tracked);
    } else if (tracked->item.ahead) {
        catch_up(job, tracked);
    }
    tracked->item.confirm = effect->confirm;
    tracked->item.seen = job->seen;
    return tracked;
}

void job_inherit(struct job *job)
{
    struct saga_effect effect;
    for (struct saga_cursor cursor = {0}; saga_next_effect(&job_run(job)->saga, &cursor, &effect);) {
        if (effect.kind == EFFECT_DISPATCH || effect.kind == EFFECT_CANCEL_TASK || effect.kind == EFFECT_HOLD) {
            bool is_new;
            track(job, &effect, &is_new)->item.state = ITEM_INHERITED;
        }
    }
}

/* ---- effects */

static void perform_dispatch(struct job *job, const struct saga_effect *effect)
{
    bool is_new;
    struct tracked *tracked = track(job, effect, &is_new);
    if (is_new && tracked->item.state == ITEM_IDLE && !tracked->item.end_sent) {
        const struct plan_step *step = &job_run(job)->saga.plan->steps[effect->ticket.step];
        dispatch_offer(job_owned(job)->service->dispatch, &tracked->item, (uint32_t)job_owned(job)->partition, step->queue, step->handler);
    }
}

static void cancel_task(struct job *job, const struct tracked *tracked, enum cancel_reason reason)
{
    struct message message = {.kind = MESSAGE_CANCEL_TASK, .cancel_reason = reason};
    message.event.run_id = job_run(job)->saga.run_id;
    message.event.ticket = item_ticket(&tracked->item);
    publish_task(job_owned(job)->service, job_owned(job), tracked->item.worker, &message);
}

static void perform_cancel(struct job *job, const struct saga_effect *effect)
{
    bool is_new;
    struct tracked *tracked = track(job, effect, &is_new);
    if (tracked->item.end_sent || tracked->item.cancel_sent || tracked->item.state == ITEM_INHERITED) {
        return; /* an inherited one is adopted or ended first */
    }
    if (tracked->item.state != ITEM_PLACED) {
        withdraw(job, tracked);
        return;
    }
    tracked->item.cancel_sent = true;
    cancel_task(job, tracked, effect->cancel_reason);
}

/* The run is paused: what was sent may end, what was not is taken back. */
static void perform_hold(struct job *job, const struct saga_effect *effect)
{
    bool is_new;
    struct tracked *tracked = track(job, effect, &is_new);
    if (!tracked->item.end_sent && tracked->item.state != ITEM_PLACED && tracked->item.state != ITEM_INHERITED) {
        withdraw(job, tracked);
    }
}

static void perform_answer(struct job *job, const struct saga_effect *effect)
{
    struct saga_request *request = effect->request;
    struct message message = {
        .kind = MESSAGE_ANSWERED, .verdict = (enum verdict)request->verdict, .start_offset = job_run(job)->saga.start_offset};
    memcpy(message.event.request_id, request->id, sizeof request->id);
    message.event.reason = saga_request_reason(request);
    request->sent = true;
    publish(job, &message);
}

static void perform_finish(struct job *job)
{
    const struct saga *saga = &job_run(job)->saga;
    struct message message = {.kind = MESSAGE_RUN_FINISHED,
                              .status = (enum run_status)saga->status,
                              .pipeline = saga->plan->name,
                              .error = saga_trouble(saga)->error,
                              .start_offset = saga->start_offset,
                              .started_ms = saga->started_ms,
                              .finished_ms = saga->finished_ms,
                              .steps_executed = saga_steps_executed(saga),
                              .steps_total = saga->plan->step_count,
                              .progress_ppm = saga->progress_ppm};
    job->finish_sent = (uint16_t)saga->finish_count;
    log_event(LOG_INFO, "run_finished", "run=%.*s status=%s error=%s", SPAN_ARGS(saga->run_id), run_status_name(message.status),
              LOG_QUOTED_SPAN(saga_trouble(saga)->error));
    publish(job, &message);
}

static bool is_ahead(const struct job *job, const struct tracked *tracked)
{
    struct ticket ticket = item_ticket(&tracked->item);
    return saga_is_ahead(&job_run(job)->saga, &ticket);
}

/* The run does not go on, and what was sent ahead is not to begin. Where the ticket before it has ended well it may have, and is
 * open then. */
static void hold_back(struct job *job, struct tracked *tracked)
{
    const struct saga *saga = &job_run(job)->saga;
    if (tracked->item.state == ITEM_PLACED && !tracked->item.held_back && (saga->stopping || saga->status == RUN_PAUSED)) {
        tracked->item.held_back = true;
        cancel_task(job, tracked, CANCEL_AHEAD);
    }
}

/* What a worker waits for. */
static void perform_dispatches(struct job *job)
{
    struct saga_effect effect;
    job->seen = !job->seen;
    set_hint(job, job->tickets);
    for (struct saga_cursor cursor = {0}; saga_next_effect(&job_run(job)->saga, &cursor, &effect);) {
        switch (effect.kind) {
        case EFFECT_DISPATCH:    perform_dispatch(job, &effect); break;
        case EFFECT_CANCEL_TASK: perform_cancel(job, &effect);   break;
        case EFFECT_HOLD:        perform_hold(job, &effect);     break;
        case EFFECT_ANSWER:
        case EFFECT_FINISH:      break; /* perform_words() */
        }
    }
    struct tracked *before = NULL;
    for (struct tracked *tracked = job->tickets, *next; tracked != NULL; tracked = next) {
        next = tracked->next;
        if (tracked->item.ahead && is_ahead(job, tracked)) {
            hold_back(job, tracked);
        } else if (tracked->item.ahead || tracked->item.seen != job->seen) { /* neither ahead any more nor open */
            job->sent_in_vain = job->sent_in_vain || tracked->item.ahead;
            drop_ticket(job, before, tracked); /* it has ended */
            continue;
        }
        before = tracked;
        if (tracked->item.state == ITEM_INHERITED && job_owned(job)->resolved && !tracked->item.end_sent) {
            job_lost(job, tracked, (struct span){0}, "a new owner found nobody who holds it", LOG_DEBUG);
        }
    }
}

/* What the records before this one have opened may be what it is about. */
void job_catch_up(struct job *job)
{
    if (job->dirty) {
        perform_dispatches(job);
    }
}

static bool is_unsaid(const struct job *job, const struct saga_effect *effect)
{
    return (effect->kind == EFFECT_ANSWER && !effect->request->sent) ||
           (effect->kind == EFFECT_FINISH && job->finish_sent != (uint16_t)job_run(job)->saga.finish_count);
}

/* What there is to be said waits for more: true until service->words_ms. */
static bool words_wait(struct service *service)
{
    if (service->look_records > BUSY_RECORDS) {
        return false;
    }
    if (service->words_ms == 0) {
        service->words_ms = service->words_often ? next_beat(service->now_ms) : service->now_ms + WORDS_WAIT_MS;
    }
    return service->now_ms < service->words_ms;
}

/* What people read: it may follow. */
static void perform_words(struct job *job, int64_t *wake_ms)
{
    struct service *service = job_owned(job)->service;
    struct saga_effect effect;
    for (struct saga_cursor cursor = {0}; saga_next_effect(&job_run(job)->saga, &cursor, &effect);) {
        if (!is_unsaid(job, &effect)) {
            continue;
        }
        if (words_wait(service)) {
            *wake_ms = service->words_ms;
            return;
        }
        service->words_count++;
        if (effect.kind == EFFECT_ANSWER) {
            perform_answer(job, &effect);
        } else {
            perform_finish(job);
        }
    }
}

/* An answer that was read back may have to be given once more, if the same question comes again: it may stand right behind. */
void job_answered(struct job *job)
{
    for (struct saga_request *request = job_run(job)->saga.requests; request != NULL; request = request->next) {
        request->sent = request->sent && !request->answered;
    }
}

/* ---- RunProgressed */

size_t job_list_waiting(const struct job *job, struct waiting_step *waiting, size_t max)
{
    size_t count = 0;
    for (const struct tracked *tracked = job->tickets; tracked != NULL && count < max; tracked = tracked->next) {
        const struct dispatch_item *item = &tracked->item;
        if (item->state == ITEM_WAITING && !dispatch_is_served(item)) {
            waiting[count++] = (struct waiting_step){.step = item->step,
                                                     .instance = item->instance,
                                                     .handler = dispatch_item_handler(item),
                                                     .queue = dispatch_item_queue(item),
                                                     .since_ms = saga_find_step(&job_run(job)->saga, item->step, item->instance)->ready_ms};
        }
    }
    return count;
}

/* Thousands of runs that change at once take turns. false: its turn comes at job->announce_ms. */
static bool has_turn(struct job *job)
{
    struct service *service = job_owned(job)->service;
    int64_t now = service->now_ms * ANNOUNCEMENTS_PER_MS;
    if (job->has_turn) {
        job->has_turn = false;
        return true;
    }
    int64_t turns = service->look_records > BUSY_RECORDS ? BUSY_TURNS : 1;
    service->announce_turn = service->announce_turn < now ? now : service->announce_turn + turns;
    if (service->announce_turn <= now + ANNOUNCEMENTS_AT_ONCE) {
        return true;
    }
    job->has_turn = true;
    job->announce_ms = (service->announce_turn - ANNOUNCEMENTS_AT_ONCE + ANNOUNCEMENTS_PER_MS - 1) / ANNOUNCEMENTS_PER_MS;
    return false;
}

static void announce(struct job *job)
{
    const struct saga *saga = &job_run(job)->saga;
    struct service *service = job_owned(job)->service;
    struct waiting_step waiting[WAITING_TOLD];
    struct message message = {.kind = MESSAGE_RUN_PROGRESSED,
                              .status = (enum run_status)saga->status,
                              .progress_ppm = saga->progress_ppm,
                              .rollback_ppm = saga_rollback_ppm(saga),
                              .waiting = waiting,
                              .waiting_count = job_list_waiting(job, waiting, WAITING_TOLD)};
    if (!job_owned(job)->resolved) {
        message.waiting_for_workers = dispatch_awaited(service->dispatch, (uint32_t)job_owned(job)->partition);
    }
    job->announce = false;
    job->announce_ms = next_beat(service->now_ms + ANNOUNCE_EVERY_MS);
    publish(job, &message);
}

/* ---- deadlines */

static bool same_ticket(const struct ticket *a, const struct ticket *b)
{
    return a->step == b->step && a->instance == b->instance && a->direction == b->direction && a->number == b->number;
}

static void perform_deadline(struct job *job, int64_t *wake_ms)
{
    struct saga_deadline deadline;
    if (!saga_next_deadline(&job_run(job)->saga, &deadline)) {
        return;
    }
    int64_t left_ms = deadline.due_ms - log_now_ms(job_owned(job));
    if (left_ms > 0) {
        int64_t due_ms = job_owned(job)->service->now_ms + left_ms;
        *wake_ms = due_ms < *wake_ms ? due_ms : *wake_ms;
        return;
    }
    if (job->timer_sent != (uint8_t)deadline.timer || !same_ticket(&job->rare->timer_ticket, &deadline.ticket)) {
        struct message message = {.kind = MESSAGE_TIMER_FIRED};
        message.event.timer = deadline.timer;
        message.event.ticket = deadline.ticket;
        job->timer_sent = (uint8_t)deadline.timer;
        job_rare(job)->timer_ticket = deadline.ticket;
        publish(job, &message);
    }
}

/* ---- all of it */

static bool has_effects(const struct saga *saga)
{
    struct saga_effect effect;
    struct saga_cursor cursor = {0};
    return saga_next_effect(saga, &cursor, &effect);
}

/* Forget what nobody will ask for again. true: the job is gone. */
static bool settle(struct job *job)
{
    struct runs *runs = job_owned(job)->runs;
    struct run *run = job_run(job);
    if (run->saga.status == RUN_NONE && !run->saga.newer && !has_effects(&run->saga)) {
        job_free(job);
        runs_remove(runs, run);
        return true;
    }
    if (saga_is_closed(&run->saga)) {
        job_free(job);
        if (runs_is_named(run)) {
            runs_remove(runs, run);
        } else if (!run->saga.retired) {
            runs_retire(runs, run);
        }
        return true;
    }
    return false;
}

static void perform_rest(struct job *job)
{
    struct saga *saga = &job_run(job)->saga;
    int64_t wake_ms = INT64_MAX;
    perform_words(job, &wake_ms);
    if (settle(job)) {
        return;
    }
    perform_deadline(job, &wake_ms);
    if (job->announce && saga->steps != NULL && !saga_is_over(saga)) {
        if (job->announce_ms <= job_owned(job)->service->now_ms && has_turn(job)) {
            announce(job);
        } else {
            wake_ms = job->announce_ms < wake_ms ? job->announce_ms : wake_ms;
        }
    }
    wake_at(job, wake_ms);
}

/* A connection has one request under way: tasks go first, for workers wait for them; answers and ends follow. */
static void perform_dirty(struct service *service)
{
    while (service->state == SERVICE_WORKING && job_may_send(service) && service->dirty_from < service->dirty_count) {
        struct job *job = service->dirty[service->dirty_from++];
        job->dirty = false;
        perform_dispatches(job);
    }
    jobs_place(service);
    for (size_t i = 0; i < service->dirty_from; i++) {
        perform_rest(service->dirty[i]);
    }
    service->dirty_count -= service->dirty_from;
    if (service->dirty_count > 0) {
        memmove(service->dirty, service->dirty + service->dirty_from, service->dirty_count * sizeof(struct job *));
    }
    service->dirty_from = 0;
}

/* All that waited was said: the next word waits anew. */
static void end_words(struct service *service)
{
    if (service->words_ms > 0 && service->words_ms <= service->now_ms) {
        service->words_ms = 0;
        service->words_often = service->words_count * WORDS_WAIT_MS > service->now_ms - service->words_since_ms;
        service->words_count = 0;
        service->words_since_ms = service->now_ms;
    }
}

void jobs_perform(struct service *service)
{
    perform_dirty(service);
    for (int count = 0; service->state == SERVICE_WORKING && count < LATER_AT_ONCE && job_may_send(service) && service->heap_size > 0 &&
                        service->heap[0].wake_ms <= service->now_ms;
         count++) {
        struct job *job = service->heap[0].job;
        heap_remove(service, job);
        if (!job->dirty) {
            perform_dispatches(job);
            perform_rest(job);
        }
    }
    if (service->heap_size == 0 || service->heap[0].wake_ms > service->now_ms) {
        end_words(service);
    }
}

void jobs_say_words(struct service *service)
{
    service->words_ms = service->now_ms;
    for (size_t i = 0; i < service->heap_size && service->state == SERVICE_WORKING; i++) {
        int64_t ignored_ms;
        perform_words(service->heap[i].job, &ignored_ms);
    }
}

/* ---- tasks */

static struct tracked *track_ahead(struct job *job, const struct ticket *ticket, struct dispatch_worker *worker)
{
    struct tracked *tracked = find_key(job, ticket);
    if (tracked == NULL) {
        tracked = add_ticket(job);
    }
    dispatch_end(job_owned(job)->service->dispatch, &tracked->item);
    renumber(tracked, ticket);
    dispatch_place_ahead(&tracked->item, worker);
    return tracked;
}

/* Nothing was sent in vain: a run whose steps fail, or have large results, would be sent all that is left each time. Nothing
 * else of the run is under way, so that nothing else can become of its shared values meanwhile; and all of it will fit. Where
 * there is much to do a task ahead saves no request, and nobody waits for a round trip. */
static bool may_go_ahead(const struct job *job, const struct tracked *head)
{
    const struct saga *saga = &job_run(job)->saga;
    const struct service *service = job_owned(job)->service;
    bool alone = saga->active != NULL && saga->active->active_next == NULL;
    bool in_vain = job->sent_in_vain && service->options.ahead_from != SERVICE_AHEAD_ALWAYS;
    return alone && !in_vain && service->options.ahead_from > 0 && service->look_records <= BUSY_RECORDS &&
           head->item.direction == DIRECTION_EXECUTE && saga->context_bytes <= LIMIT_CONTEXT_BYTES / 2;
}

/* Is there a ticket behind that step of `head`'s run, and may it go to the same worker? */
static bool next_ahead(const struct job *job, const struct dispatch_worker *worker, uint32_t step, struct ticket *ticket)
{
    const struct saga *saga = &job_run(job)->saga;
    struct service *service = job_owned(job)->service;
    if (!saga_next_ahead(saga, step, ticket)) {
        return false;
    }
    const struct plan_step *plan = &saga->plan->steps[ticket->step];
    return dispatch_takes_ahead(service->dispatch, worker, plan->queue, plan->handler, service->options.ahead_from);
}

/* Behind the task of `head`, which was sent, those of the steps that need nothing else; `ticket` is the first of them. */
static void send_ahead(struct job *job, struct tracked *head, struct ticket ticket)
{
    struct service *service = job_owned(job)->service;
    struct dispatch_worker *worker = head->item.worker;
    struct ticket after = item_ticket(&head->item), next;
    for (bool sent = true, more = true; sent && more; after = ticket, ticket = next) {
        struct runs_task filled;
        runs_task_fill_ahead(&filled, &job_run(job)->saga, ticket, head->item.step, after);
        more = next_ahead(job, worker, ticket.step, &next);
        struct message message = {.kind = MESSAGE_TASK, .task = filled.task};
        message.task.more_behind = more;
        sent = publish_task(service, job_owned(job), worker, &message);
        runs_task_free(&filled);
        if (sent) {
            track_ahead(job, &ticket, worker);
        }
    }
}

void job_adopt_ahead(struct job *job, const struct held_ticket *held, struct dispatch_worker *worker)
{
    if (saga_is_ahead(&job_run(job)->saga, &held->ticket)) {
        track_ahead(job, &held->ticket, worker)->item.more_behind = held->more_behind;
    }
}

static void send_task(struct job *job, struct tracked *tracked)
{
    const struct saga *saga = &job_run(job)->saga;
    const struct ticket ticket = item_ticket(&tracked->item);
    struct ticket next;
    struct runs_task filled;
    runs_task_fill(&filled, saga, ticket, tracked->item.confirm);
    struct message message = {.kind = MESSAGE_TASK, .task = filled.task};
    struct service *service = job_owned(job)->service;
    struct dispatch_worker *worker = tracked->item.worker;
    message.task.more_behind = may_go_ahead(job, tracked) && next_ahead(job, worker, ticket.step, &next);
    bool sent = publish_task(service, job_owned(job), worker, &message);
    runs_task_free(&filled);
    if (!sent && service->state == SERVICE_WORKING) {
        const struct plan_step *plan = &saga->plan->steps[ticket.step];
        dispatch_refused(service->dispatch, worker, REFUSED_UNKNOWN, plan->queue, plan->handler); /* its address is wrong */
        withdraw(job, tracked);
    } else if (sent && message.task.more_behind) {
        send_ahead(job, tracked, next);
    }
}

void jobs_place(struct service *service)
{
    struct dispatch_item *item;
    while (service->state == SERVICE_WORKING && job_may_send(service) &&
           (item = dispatch_next_placed(service->dispatch)) != NULL) {
        send_task(item->owner, (struct tracked *)item);
    }
}
