/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/worker.h"

#include "common/limits.h"
#include "common/log.h"
#include "common/messages.h"
#include "common/topics.h"
#include "worker/builtin.h"
#include "worker/duty.h"
#include "worker/held.h"
#include "worker/outbox.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BATCH_MAX 1000          /* records taken in before what they brought is sent on */
#define WINDOW_SAY_MS 500       /* a window that has doubled or halved is said so soon */
#define MEAN_WEIGHT 16          /* of the past, against one more step */
#define ENDING_LOOK_MS 20
#define NOT_ASKED_MS (INT64_MAX / 4) /* later than any deadline */
#define DRAIN_FLUSH_MS 5000     /* to hand over the last words */

/* CLOSING: it has ended, and what had finished before is being said. ENDING: what it left still runs. */
enum life { LIFE_NONE, LIFE_ALIVE, LIFE_CLOSING, LIFE_ENDING };

struct worker {
    struct worker_options options;
    char progress_topic[TOPICS_NAME_BYTES], tasks_topic[TOPICS_NAME_BYTES];
    char workers_topic[TOPICS_NAME_BYTES], letters_topic[TOPICS_NAME_BYTES];
    struct bus *bus;
    struct outbox *outbox;
    struct text bytes; /* of the record that is about to be posted */
    struct held_tasks held;
    struct worker_counts counts;

    enum life life;
    bool bus_is_broken;
    char ended_because[256];
    struct duty duty;
    struct duty_fence fences[LIMIT_PARTITIONS];
    int32_t partition, letter_partitions;
    uint64_t sequence;
    int64_t heartbeat_ms;   /* monotonic: of the last presence */
    uint32_t announced_window, earlier_window; /* the last, and the one before it, which somebody may still go by */
    int64_t mean_step_us;   /* 0: nothing has run yet */

    bool draining, drain_cancelled, bye_said;
    int64_t drain_ms; /* monotonic: when it was asked for; NOT_ASKED_MS: it has had its tasks, and they may take their time */
};

static int64_t monotonic_ms(const struct worker *worker)
{
    return worker->options.monotonic_ms(worker->options.clock);
}

static int64_t boottime_ms(const struct worker *worker)
{
    return worker->options.boottime_ms(worker->options.clock);
}

/* ---------------------------------------------------------------- what is held */

uint32_t worker_load(const struct worker *worker)
{
    return held_count(&worker->held) - worker->held.ahead;
}

static enum duty_held duty_held(const void *state, struct span run_id, const struct ticket *ticket, uint32_t *number)
{
    const struct worker *worker = state;
    const struct held *held = held_find(&worker->held, run_id, ticket);
    if (held == NULL) {
        return DUTY_NOT_HELD;
    }
    *number = held->task.ticket.number;
    return held->state == HELD_ENDED ? DUTY_ENDED : held->begun ? DUTY_RUNNING : DUTY_QUEUED;
}

static const struct backstep_step *find_handler(const struct worker *worker, struct span handler)
{
    char name[LIMIT_IDENTIFIER_BYTES + 1];
    const struct backstep_step *builtin = builtin_find(handler);
    if (builtin != NULL || handler.size >= sizeof name) {
        return builtin;
    }
    memcpy(name, handler.bytes, handler.size);
    name[handler.size] = '\0';
    return backstep_registry_find(worker->options.handlers, name);
}

static bool duty_serves(const void *state, struct span handler)
{
    return find_handler(state, handler) != NULL;
}

/* ---------------------------------------------------------------- saying things */

static void post(struct worker *worker, const struct message *message, struct parcel parcel, struct span key)
{
    struct error error;
    text_clear(&worker->bytes);
    if (message_encode(message, &worker->bytes, &error)) {
        parcel.posted_ms = boottime_ms(worker);
        parcel.send.key = key;
        parcel.send.value = text_span(&worker->bytes);
        parcel.send.headers[0] = (struct bus_header){.name = "type", .value = span_of(message_type(message->kind))};
        parcel.send.header_count = 1;
        /* Nothing waits for the acknowledgement of an event, but the end of a drain, and what was sent ahead. */
        parcel.send.lazy = !worker->draining && parcel.about == 0 && (parcel.kind == PARCEL_EVENT || parcel.kind == PARCEL_FINISHED);
        parcel.send.can_wait = parcel.kind == PARCEL_FINISHED && parcel.about != 0; /* the step behind it begins without the coordinator */
        outbox_post(worker->outbox, &parcel);
    } else {
        log_event(LOG_ERROR, "record_not_encoded", "type=%s error=%s", message_type(message->kind), LOG_QUOTED(error.message));
    }
}

static void post_event(struct worker *worker, const struct message *message, enum parcel_kind kind, uint64_t about)
{
    struct parcel parcel = {.kind = kind,
                            .about = about,
                            .send = {.topic = worker->progress_topic, .partition = (int32_t)message->progress_partition}};
    post(worker, message, parcel, message->kind == MESSAGE_HOLDING ? (struct span){0} : message->event.run_id);
}

/* An event about a task: "a task names the progress partition to answer on". */
static struct message about(const struct worker *worker, enum message_kind kind, const struct task *task)
{
    return (struct message){.kind = kind,
                            .progress_partition = task->progress_partition,
                            .event = {.run_id = task->run_id,
                                      .ticket = task->ticket,
                                      .worker = span_of(worker->options.id)}};
}

/* What was announced is taken: steps that get slower make the window smaller, and what was sent before that was heard of would be sent again
 * and again. */
static uint32_t window(const struct worker *worker)
{
    uint32_t now = duty_window(worker->options.slots, worker->mean_step_us);
    uint32_t said = worker->announced_window > worker->earlier_window ? worker->announced_window : worker->earlier_window;
    return worker->draining ? 0 : now > said ? now : said;
}

static size_t list_handlers(const struct backstep_registry *registry, struct span handlers[LIMIT_HANDLERS_SAID])
{
    size_t own = (size_t)backstep_registry_count(registry);
    for (size_t i = 0; i < own; i++) {
        handlers[i] = span_of(backstep_registry_step(registry, (int)i)->name);
    }
    for (size_t i = 0; i < BUILTIN_STEPS; i++) {
        handlers[own + i] = span_of(builtin_step(i)->name);
    }
    return own + BUILTIN_STEPS;
}

static void say_presence(struct worker *worker, enum message_kind kind)
{
    const struct worker_options *options = &worker->options;
    struct span handlers[LIMIT_HANDLERS_SAID];
    size_t count = list_handlers(options->handlers, handlers);
    struct message message = {.kind = kind,
                              .presence = {.worker = span_of(options->id),
                                           .incarnation = worker->duty.incarnation,
                                           .queue = span_of(options->queue),
                                           .partition = (uint32_t)worker->partition,
                                           .handlers = handlers,
                                           .handler_count = count,
                                           .slots = options->slots,
                                           .window = duty_window(options->slots, worker->mean_step_us),
                                           .lease_ms = options->lease_ms,
                                           .load = worker_load(worker),
                                           .sequence = ++worker->sequence,
                                           .version = span_of(options->version),
                                           .host = span_of(options->host),
                                           .process_id = options->process_id,
                                           .draining = worker->draining,
                                           .takes_ahead = options->max_tasks == 0}};
    worker->earlier_window = worker->announced_window;
    worker->announced_window = message.presence.window;
    worker->heartbeat_ms = monotonic_ms(worker);
    struct parcel parcel = {.kind = PARCEL_PRESENCE, .send = {.topic = worker->workers_topic}};
    post(worker, &message, parcel, span_of(options->id));
}

static void say_bye(struct worker *worker)
{
    struct message message = {
        .kind = MESSAGE_BYE, .worker = span_of(worker->options.id), .incarnation = worker->duty.incarnation};
    struct parcel parcel = {.kind = PARCEL_EVENT, .send = {.topic = worker->workers_topic}};
    post(worker, &message, parcel, span_of(worker->options.id));
    worker->bye_said = true;
}

static void say_holding(struct worker *worker, const struct message *welcome)
{
    uint32_t count = 0;
    struct held_ticket *tickets = calloc(held_count(&worker->held) + 1, sizeof *tickets);
    if (tickets == NULL) {
        abort();
    }
    for (struct held *held = worker->held.by_id; held != NULL; held = held->by_id.next) {
        if (held->task.progress_partition == welcome->progress_partition && held->state != HELD_ENDED) {
            const struct task *task = &held->task;
            tickets[count++] = (struct held_ticket){task->run_id, task->ticket, task->more_behind};
        }
    }
    struct message message = {.kind = MESSAGE_HOLDING,
                              .progress_partition = welcome->progress_partition,
                              .epoch = welcome->epoch,
                              .worker = span_of(worker->options.id),
                              .incarnation = worker->duty.incarnation,
                              .held = tickets,
                              .held_count = count};
    post_event(worker, &message, PARCEL_EVENT, 0);
    log_event(LOG_DEBUG, "welcomed", "worker=%s partition=%" PRIu32 " epoch=%" PRId64 " holding=%u", worker->options.id,
              welcome->progress_partition, welcome->epoch, count);
    free(tickets);
}

static void say_refused(struct worker *worker, const struct task *task, enum refused_reason reason)
{
    struct message message = about(worker, MESSAGE_REFUSED, task);
    message.refused = reason;
    post_event(worker, &message, PARCEL_EVENT, 0);
    worker->counts.refused++;
}

static void say_expanded(struct worker *worker, const struct task *task, const struct attempt *attempt)
{
    struct message message = about(worker, MESSAGE_EXPANDED, task);
    message.event.elements = attempt->elements;
    message.event.element_count = attempt->element_count;
    post_event(worker, &message, PARCEL_FINISHED, 0);
    worker->counts.done++;
}

/* `ended`: who waits for its acknowledgement; NULL: nobody. */
static void say_done(struct worker *worker, const struct task *task, const struct attempt *attempt, int64_t duration_us,
                     const struct held *ended)
{
    struct message message = about(worker, MESSAGE_DONE, task);
    message.event.outcome = attempt->outcome;
    message.event.elapsed_ms = duration_us / 1000;
    message.event.permanent = attempt->permanent;
    message.event.data = span_of(attempt->data);
    message.event.rollback_data = span_of(attempt->rollback_data);
    message.event.set = span_of(attempt->set);
    message.event.metrics = span_of(attempt->metrics);
    message.event.error = span_of(attempt->error);
    post_event(worker, &message, PARCEL_FINISHED, ended != NULL ? ended->id : 0);
    worker->counts.done++;
}

/* It has not begun, and never will. */
static void say_given_back(struct worker *worker, const struct task *task)
{
    say_done(worker, task, &(struct attempt){.outcome = OUTCOME_CANCELLED_NOT_STARTED}, 0, NULL);
}

/* Undecodable: to the dead-letter topic, so that somebody can see it, and on. */
static void bury(struct worker *worker, const struct bus_event *record, const char *reason)
{
    char partition[16], offset[24];
    snprintf(partition, sizeof partition, "%" PRId32, record->partition);
    snprintf(offset, sizeof offset, "%" PRId64, record->offset);
    struct parcel parcel = {
        .kind = PARCEL_LETTER,
        .posted_ms = boottime_ms(worker),
        .send = {.topic = worker->letters_topic,
                 .partition = bus_partition_of(record->key, worker->letter_partitions),
                 .key = record->key,
                 .value = record->value,
                 .headers = {{"__dlq.errors.topic", span_of(record->topic)},
                             {"__dlq.errors.partition", span_of(partition)},
                             {"__dlq.errors.offset", span_of(offset)},
                             {"__dlq.errors.message", span_of(reason)}},
                 .header_count = 4}};
    outbox_post(worker->outbox, &parcel);
    worker->counts.dead_letters++;
    log_event(LOG_WARN, "dead_letter", "topic=%s partition=%s offset=%s error=%s", record->topic, partition, offset,
              LOG_QUOTED(reason));
}

/* ---------------------------------------------------------------- the end of an incarnation */

/* Take back or cancel everything; what comes back at once is let go. */
static void cancel_all(struct worker *worker, bool say_so)
{
    struct held *held, *next;
    held_unlink_all(&worker->held);
    HASH_ITER(by_id, worker->held.by_id, held, next) {
        if (held->state != HELD_HERE || runner_cancel(worker->options.runner, held->id)) {
            if (say_so && held->state != HELD_ENDED) {
                say_given_back(worker, &held->task);
            }
            held_let_go(&worker->held, held);
        }
    }
}

static void take_reports(struct worker *worker);

/* "Drops its queue, kills its programs, cancels its functions; what had finished is still delivered." */
static void end_incarnation(struct worker *worker, const char *why)
{
    if (worker->life != LIFE_ALIVE) {
        return;
    }
    log_event(LOG_WARN, "incarnation_ends", "worker=%s reason=%s load=%u", worker->options.id, LOG_QUOTED(why),
              worker_load(worker));
    snprintf(worker->ended_because, sizeof worker->ended_because, "%s", why);
    const struct worker_guard *guard = worker->options.guard;
    worker->life = LIFE_CLOSING;
    if (guard == NULL || guard->is_alive(guard->state)) {
        take_reports(worker); /* with a dead guard, what its programs seem to say is not what they did */
    }
    worker->life = LIFE_ENDING;
    if (guard != NULL) {
        guard->end(guard->state);
    }
    cancel_all(worker, false);
    outbox_end_incarnation(worker->outbox, boottime_ms(worker));
    if (!worker->bus_is_broken) {
        bus_stop(worker->bus, worker->tasks_topic, worker->partition);
    }
}

static void break_bus(struct worker *worker, const char *why)
{
    worker->bus_is_broken = true;
    runner_set_wake(worker->options.runner, NULL, NULL);
    end_incarnation(worker, why);
}

/* "One lease after sending its last acknowledged heartbeat has no newer one acknowledged, or has an event unacknowledged for a lease." */
static bool lease_is_over(struct worker *worker)
{
    int64_t now_ms = boottime_ms(worker);
    if (now_ms >= worker->duty.lease_end_ms) {
        end_incarnation(worker, "the lease is over: no heartbeat was acknowledged in time");
        return true;
    }
    int64_t oldest_ms = outbox_oldest_ms(worker->outbox);
    if (oldest_ms != INT64_MAX && now_ms - oldest_ms >= worker->options.lease_ms) {
        end_incarnation(worker, "an event was not acknowledged for a lease");
        return true;
    }
    return false;
}

static void renew_lease(struct worker *worker, int64_t sent_ms)
{
    int64_t until_ms = sent_ms + worker->options.lease_ms;
    if (until_ms <= worker->duty.lease_end_ms) {
        return;
    }
    const struct worker_guard *guard = worker->options.guard;
    if (guard != NULL && !guard->renew(guard->state, until_ms)) {
        end_incarnation(worker, "the guard has ended the lease");
        return;
    }
    worker->duty.lease_end_ms = until_ms;
}

/* ---------------------------------------------------------------- what was sent ahead */

static void give_back(struct worker *worker, struct held *held)
{
    say_given_back(worker, &held->task);
    held_let_go(&worker->held, held);
}

static void begin(struct worker *worker, struct held *held, const struct backstep_step *step)
{
    log_event(LOG_DEBUG, "task", "run=%.*s step=%u ticket=%u", SPAN_ARGS(held->task.run_id),
              held->task.ticket.step, held->task.ticket.number);
    worker->counts.tasks++;
    runner_begin(worker->options.runner, &(struct runner_task){held->id, &held->task, step});
}

/* The Done before it stands in the log. */
static void ahead_begin(struct worker *worker, struct held *held)
{
    const struct backstep_step *step = find_handler(worker, held->task.handler);
    if (step == NULL) { /* other handlers were set meanwhile */
        say_refused(worker, &held->task, REFUSED_UNKNOWN);
        held_let_go(&worker->held, held);
        return;
    }
    held_is_here(&worker->held, held);
    begin(worker, held, step);
}

/* If it has ended, and its Done stands in the log, it is there no more, and who is behind it begins. Not yet where one is to come. */
static void ahead_follow(struct worker *worker, struct held *ended)
{
    struct held *next = ended->behind;
    if (!ended->acknowledged || (next == NULL && ended->expects)) {
        return;
    }
    held_part(ended);
    held_let_go(&worker->held, ended);
    if (next != NULL) {
        ahead_begin(worker, next);
    }
}

/* It has ended so. Returns it where somebody is behind it, or to come, who may go on when its Done stands in the log; else NULL. */
static struct held *ahead_ended(struct worker *worker, struct held *held, const struct attempt *attempt)
{
    struct span data = span_of(attempt->data), set = span_of(attempt->set);
    enum duty_next next = duty_of_next(data.size + set.size);
    bool is_awaited = held->expects && worker->held.ahead < window(worker) * SAGA_AHEAD_MAX;
    bool goes_on = attempt->outcome == OUTCOME_OK || attempt->outcome == OUTCOME_SKIPPED;
    if (!goes_on || !(held->behind != NULL || is_awaited)) {
        return NULL;
    }
    if (next == DUTY_NEXT_GOES_BACK) {
        if (held->behind != NULL) {
            give_back(worker, held->behind);
        }
        return NULL;
    }
    held_has_ended(&worker->held, held, attempt->outcome == OUTCOME_SKIPPED, data, set);
    held->acknowledged = next == DUTY_NEXT_BEGINS;
    return held;
}

/* A new owner: what the one before it was about to send does not count. It is told of it all the same, for it may have been sent. */
static void ahead_forget(struct worker *worker, uint32_t progress_partition)
{
    struct held *held, *next;
    HASH_ITER(by_id, worker->held.by_id, held, next) {
        if (held->task.progress_partition == progress_partition) {
            held->expects = false;
            ahead_follow(worker, held);
        }
    }
}

/* It was not taken. What it was to come behind, if that is here, waits for it in vain. */
static void ahead_missed(struct worker *worker, const struct task *task)
{
    const struct ticket *after = &task->after;
    struct held *before = after->number > 0 ? held_find(&worker->held, task->run_id, after) : NULL;
    if (before == NULL || before->task.ticket.number != after->number || before->behind != NULL) {
        return;
    }
    held_expect_no_more(before);
    ahead_follow(worker, before);
}

static void ahead_wait(struct worker *worker, struct message *message)
{
    struct held *before = held_find(&worker->held, message->task.run_id, &message->task.after);
    if (before->behind != NULL) { /* cannot be: its owner has sent one */
        say_given_back(worker, &message->task);
        return;
    }
    held_wait_behind(&worker->held, held_add(&worker->held, message), before);
    ahead_follow(worker, before);
}

/* ---------------------------------------------------------------- what the runner says */

static void on_waits(struct worker *worker, struct held *held)
{
    held->begun = true;
    struct message message = about(worker, MESSAGE_STARTED, &held->task);
    post_event(worker, &message, PARCEL_CONFIRM, held->id);
}

static void on_started(struct worker *worker, struct held *held, const struct runner_report *report)
{
    held->begun = true;
    struct message message = about(worker, MESSAGE_STARTED, &held->task);
    message.event.elapsed_ms = report->duration_us / 1000;
    post_event(worker, &message, PARCEL_EVENT, 0);
}

static void on_progressed(struct worker *worker, struct held *held, const struct runner_report *report)
{
    struct message message = about(worker, MESSAGE_PROGRESSED, &held->task);
    message.event.current = report->current;
    message.event.total = report->total;
    message.event.metrics = span_of(report->metrics);
    post_event(worker, &message, PARCEL_EVENT, 0);
}

static void on_done(struct worker *worker, struct held *held, const struct runner_report *report)
{
    int64_t weight = worker->mean_step_us == 0 ? 1 : MEAN_WEIGHT;
    int64_t step_us = report->duration_us > 0 ? report->duration_us : 1;
    worker->mean_step_us += (step_us - worker->mean_step_us) / weight;
    worker->mean_step_us = worker->mean_step_us > 0 ? worker->mean_step_us : 1;
    struct held *ended = NULL;
    if (report->attempt.expanded) {
        say_expanded(worker, &held->task, &report->attempt);
    } else {
        ended = ahead_ended(worker, held, &report->attempt);
        say_done(worker, &held->task, &report->attempt, report->duration_us, ended);
    }
    if (ended == NULL) {
        held_let_go(&worker->held, held);
    } else {
        ahead_follow(worker, ended);
    }
}

/* A program that went down with its guard: no Done, for nobody knows what it did; its owner will count it as lost. */
static void on_lost(struct worker *worker, struct held *held)
{
    held_let_go(&worker->held, held);
    end_incarnation(worker, "a program was lost with the guard or the lease");
}

static void on_ended(struct worker *worker, struct held *held, const struct runner_report *report)
{
    if (report->attempt.lost) {
        on_lost(worker, held);
    } else {
        on_done(worker, held, report);
    }
}

static void take_report(struct worker *worker, struct runner_report *report)
{
    struct held *held = held_find_id(&worker->held, report->id);
    bool counts = held != NULL && (worker->life == LIFE_ALIVE || worker->life == LIFE_CLOSING);
    if (counts) {
        switch (report->kind) {
        case RUNNER_WAITS: on_waits(worker, held); break;
        case RUNNER_STARTED: on_started(worker, held, report); break;
        case RUNNER_PROGRESSED: on_progressed(worker, held, report); break;
        case RUNNER_DONE: on_ended(worker, held, report); break;
        }
    } else if (held != NULL && report->kind == RUNNER_DONE) {
        held_let_go(&worker->held, held); /* its incarnation is over: what it did, its owner counts as lost */
    }
    free(report->metrics);
    attempt_fini(&report->attempt);
}

static void take_reports(struct worker *worker)
{
    struct runner_report report;
    int64_t now_ms = monotonic_ms(worker);
    while (runner_poll(worker->options.runner, now_ms, &report)) {
        take_report(worker, &report);
    }
}

/* ---------------------------------------------------------------- what the bus says */

/* A worker for so many tasks has had them: it is given no more, and leaves when the last has ended. */
static void leave_when_done(struct worker *worker)
{
    if (worker->options.max_tasks == 0 || worker->counts.tasks < worker->options.max_tasks || worker->draining) {
        return;
    }
    log_event(LOG_INFO, "had_its_tasks", "worker=%s tasks=%" PRIu64, worker->options.id, worker->counts.tasks);
    worker->draining = true;
    worker->drain_ms = NOT_ASKED_MS;
    say_presence(worker, MESSAGE_HEARTBEAT);
}

static void run(struct worker *worker, struct message *message)
{
    struct held *ended = held_find(&worker->held, message->task.run_id, &message->task.ticket);
    if (ended != NULL) { /* of an earlier ticket, whose result was refused: its owner has read its Done */
        ended->acknowledged = true;
        ended->expects = false;
        ahead_follow(worker, ended);
    }
    if (message->task.after.number > 0) {
        ahead_wait(worker, message);
        return;
    }
    const struct backstep_step *step = find_handler(worker, message->task.handler);
    begin(worker, held_add(&worker->held, message), step);
    leave_when_done(worker);
}

static void cancel(struct worker *worker, const struct message *message)
{
    struct held *held = held_find(&worker->held, message->event.run_id, &message->event.ticket);
    worker->counts.cancelled++;
    bool only_if_not_begun = message->cancel_reason == CANCEL_AHEAD;
    if (held->state == HELD_WAITS || (only_if_not_begun ? runner_withdraw(worker->options.runner, held->id)
                                          : runner_cancel(worker->options.runner, held->id))) {
        give_back(worker, held);
    }
}

static void answer(struct worker *worker, struct message *message)
{
    worker->duty.load = worker_load(worker);
    worker->duty.window = window(worker);
    worker->duty.ahead = worker->held.ahead;
    switch (duty_of(&worker->duty, message, boottime_ms(worker))) {
    case DUTY_SKIP_NOT_MINE: worker->counts.skipped_not_mine++; break;
    case DUTY_SKIP_FENCED: worker->counts.skipped_fenced++; break;
    case DUTY_SKIP_KEY_HELD: worker->counts.skipped_key_held++; break;
    case DUTY_SKIP_ENDED: break;
    case DUTY_HOLDING:
        ahead_forget(worker, message->progress_partition);
        say_holding(worker, message);
        break;
    case DUTY_NEW_INCARNATION: end_incarnation(worker, "the lease is over: a task came after its end"); break;
    case DUTY_REFUSE_UNKNOWN:
        say_refused(worker, &message->task, REFUSED_UNKNOWN);
        ahead_missed(worker, &message->task);
        break;
    case DUTY_REFUSE_BUSY: say_refused(worker, &message->task, REFUSED_BUSY); break;
    case DUTY_GIVE_BACK:
        say_given_back(worker, &message->task);
        ahead_missed(worker, &message->task);
        break;
    case DUTY_RUN: run(worker, message); break;
    case DUTY_CANCEL_QUEUED:
    case DUTY_CANCEL_RUNNING: cancel(worker, message); break;
    case DUTY_ANSWERS: break;
    }
}

/* Is it, at a glance, a sound record for another incarnation? Most of a shared partition is, and need not be decoded: the addressee is
 * field 1, which every encoder writes first. Whatever looks otherwise is decoded, and found out about. */
static bool is_for_another(const struct worker *worker, const struct bus_event *record)
{
    const unsigned char *bytes = (const unsigned char *)record->value.bytes;
    return record->value.size >= 2 + INCARNATION_BYTES && bytes[0] == 0x0a && bytes[1] == INCARNATION_BYTES &&
           record->key.size > 0 && !span_equal(record->key, span_of(worker->options.id)) &&
           memcmp(bytes + 2, worker->duty.incarnation.bytes, INCARNATION_BYTES) != 0;
}

static void on_record(struct worker *worker, const struct bus_event *record)
{
    if (worker->life != LIFE_ALIVE) {
        return;
    }
    if (is_for_another(worker, record)) {
        worker->counts.skipped_not_mine++;
        return;
    }
    struct message message = {0};
    struct error error;
    if (!message_decode(&message, TOPIC_TASKS, record->key, record->value, &error)) {
        bury(worker, record, error.message);
        return;
    }
    answer(worker, &message);
    message_free(&message);
}

static void on_delivered(struct worker *worker, uint64_t cookie)
{
    struct parcel parcel;
    /* An acknowledgement that comes after the end changes nothing. */
    bool lives = worker->life == LIFE_ALIVE && !lease_is_over(worker);
    if (!outbox_acknowledge(worker->outbox, cookie, &parcel) || !lives) {
        return;
    }
    if (parcel.kind == PARCEL_PRESENCE) {
        renew_lease(worker, parcel.posted_ms);
    } else if (parcel.kind == PARCEL_CONFIRM) {
        runner_go(worker->options.runner, parcel.about);
    } else if (parcel.kind == PARCEL_FINISHED && parcel.about != 0) {
        struct held *held = held_find_id(&worker->held, parcel.about);
        if (held != NULL) {
            held->acknowledged = true;
            ahead_follow(worker, held);
        }
    }
}

static void take_event(struct worker *worker, const struct bus_event *event)
{
    switch (event->kind) {
    case BUS_RECORD: on_record(worker, event); break;
    case BUS_DELIVERED: on_delivered(worker, event->cookie); break;
    case BUS_GONE: end_incarnation(worker, event->reason); break;
    case BUS_FATAL: break_bus(worker, event->reason); break;
    case BUS_NOTHING:
    case BUS_JOINED:
    case BUS_ASSIGNED:
    case BUS_REVOKED:
    case BUS_END: break;
    }
}

/* Block for one, then drain: what they bring is sent on together. */
static void listen(struct worker *worker, int timeout_ms)
{
    struct bus_event event;
    bus_poll(worker->bus, timeout_ms, &event);
    for (int i = 0; i < BATCH_MAX && event.kind != BUS_NOTHING; i++) {
        take_event(worker, &event);
        if (worker->bus_is_broken) {
            return;
        }
        bus_poll(worker->bus, 0, &event);
    }
    if (event.kind != BUS_NOTHING) {
        take_event(worker, &event);
    }
}

/* ---------------------------------------------------------------- what is due by itself */

static bool window_has_changed(const struct worker *worker)
{
    uint32_t now = duty_window(worker->options.slots, worker->mean_step_us);
    return now >= 2 * worker->announced_window || worker->announced_window >= 2 * now;
}

static int64_t heartbeat_due_ms(const struct worker *worker)
{
    int64_t period_ms = window_has_changed(worker) ? WINDOW_SAY_MS : worker->options.lease_ms;
    int64_t quarter_ms = worker->options.lease_ms / 4;
    return worker->heartbeat_ms + (period_ms < quarter_ms ? period_ms : quarter_ms);
}

static int64_t drain_due_ms(const struct worker *worker)
{
    int64_t due_ms = worker->drain_ms + worker->options.drain_timeout_ms;
    return worker->drain_cancelled ? due_ms + worker->options.cancel_grace_ms + DRAIN_FLUSH_MS : due_ms;
}

static void drain(struct worker *worker)
{
    if (!worker->drain_cancelled && monotonic_ms(worker) >= drain_due_ms(worker)) {
        worker->drain_cancelled = true;
        cancel_all(worker, true);
    }
    if (worker_load(worker) == 0 && outbox_count(worker->outbox) == 0 && !worker->bye_said) {
        say_bye(worker); /* only when every end is in the log: a Bye ends what is not */
    }
}

static bool is_drained(const struct worker *worker)
{
    bool said = worker->bye_said && outbox_count(worker->outbox) == 0;
    return worker->draining && (said || (worker->drain_cancelled && monotonic_ms(worker) >= drain_due_ms(worker)));
}

static void flush(struct worker *worker)
{
    struct error error = {0};
    if (!worker->bus_is_broken && !outbox_flush(worker->outbox, worker->bus, &error) && error.kind != ERROR_TRANSIENT) {
        break_bus(worker, error.message);
    }
}

static void do_what_is_due(struct worker *worker)
{
    const struct worker_guard *guard = worker->options.guard;
    if (worker->life == LIFE_ALIVE && guard != NULL && !guard->is_alive(guard->state)) {
        end_incarnation(worker, "the guard is dead");
    }
    if (worker->life == LIFE_ALIVE && lease_is_over(worker)) {
        return;
    }
    if (worker->draining || runner_due_ms(worker->options.runner) <= monotonic_ms(worker)) {
        take_reports(worker);
    }
    if (worker->life == LIFE_ALIVE && monotonic_ms(worker) >= heartbeat_due_ms(worker)) {
        say_presence(worker, MESSAGE_HEARTBEAT);
    }
    if (worker->life == LIFE_ALIVE && worker->draining) {
        drain(worker);
    }
    flush(worker);
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int wait_ms(const struct worker *worker, int timeout_ms)
{
    int64_t now_ms = monotonic_ms(worker);
    int64_t due_ms = earlier(now_ms + timeout_ms, runner_due_ms(worker->options.runner));
    if (worker->life == LIFE_ALIVE) {
        due_ms = earlier(due_ms, heartbeat_due_ms(worker));
        due_ms = earlier(due_ms, now_ms + worker->duty.lease_end_ms - boottime_ms(worker));
    }
    if (worker->draining) {
        due_ms = earlier(due_ms, drain_due_ms(worker));
    }
    if (worker->life != LIFE_ALIVE || (worker->draining && outbox_count(worker->outbox) > 0)) {
        due_ms = earlier(due_ms, now_ms + ENDING_LOOK_MS);
    }
    return due_ms > now_ms ? (int)(due_ms - now_ms) : 0;
}

static bool is_over(const struct worker *worker)
{
    return worker->life != LIFE_ALIVE && worker_load(worker) == 0;
}

enum worker_state worker_step(struct worker *worker, int timeout_ms, struct error *error)
{
    do_what_is_due(worker);
    if (is_drained(worker)) {
        return WORKER_DRAINED;
    }
    if (!is_over(worker)) {
        if (worker->bus_is_broken) {
            runner_wait(worker->options.runner, wait_ms(worker, timeout_ms));
        } else {
            listen(worker, wait_ms(worker, timeout_ms));
        }
        do_what_is_due(worker);
    }
    if (is_over(worker)) {
        worker->life = LIFE_NONE;
        if (worker->draining && outbox_count(worker->outbox) == 0) {
            return WORKER_DRAINED;
        }
        error_set(error, worker->bus_is_broken ? ERROR_FATAL : ERROR_TRANSIENT, "%s", worker->ended_because);
        return worker->bus_is_broken ? WORKER_FATAL : WORKER_NEW_INCARNATION;
    }
    return is_drained(worker) ? WORKER_DRAINED : WORKER_WORKING;
}

/* ---------------------------------------------------------------- beginning */

struct worker *worker_new(const struct worker_options *options)
{
    assert(options->slots >= 1 && options->lease_ms > 0);
    struct worker *worker = calloc(1, sizeof *worker);
    if (worker == NULL) {
        abort();
    }
    worker->options = *options;
    topics_name(worker->progress_topic, TOPICS_PROGRESS, options->prefix, NULL);
    topics_name(worker->tasks_topic, TOPICS_TASKS, options->prefix, options->queue);
    topics_name(worker->workers_topic, TOPICS_WORKERS, options->prefix, NULL);
    topics_name(worker->letters_topic, TOPICS_DEAD_LETTER, options->prefix, NULL);
    worker->outbox = outbox_new();
    text_init(&worker->bytes, LIMIT_RECORD_BYTES);
    return worker;
}

void worker_free(struct worker *worker)
{
    if (worker == NULL) {
        return;
    }
    struct held *held, *next;
    held_unlink_all(&worker->held);
    HASH_ITER(by_id, worker->held.by_id, held, next) {
        held_let_go(&worker->held, held);
    }
    outbox_free(worker->outbox);
    text_fini(&worker->bytes);
    free(worker);
}

static void wake_bus(void *bus)
{
    bus_wake(bus);
}

static bool ensure(struct worker *worker, enum topics_which which, int32_t *partitions, struct error *error)
{
    const struct worker_options *options = &worker->options;
    struct topics_options topics = {.task_partitions = options->task_partitions};
    return topics_ensure(worker->bus, options->prefix, which, options->queue, &topics, true, partitions,
                         options->timeout_ms, error);
}

/* Before anything is read: a question that comes later stands behind a fetch that waits for records, and the first answer to a Welcome
 * did, 100 ms. Where the topic is not there yet, so be it: whoever welcomes us has made it. */
static void know_progress(struct worker *worker)
{
    struct error ignored;
    int32_t count;
    bus_partition_count(worker->bus, worker->progress_topic, &count, worker->options.timeout_ms, &ignored);
}

/* The position is known before anybody can address this incarnation: no task can be missed. */
static bool take_partition(struct worker *worker, struct error *error)
{
    const struct worker_options *options = &worker->options;
    int32_t partitions = 0;
    int64_t first = 0, next = 0;
    if (!ensure(worker, TOPICS_TASKS, &partitions, error) || !ensure(worker, TOPICS_WORKERS, NULL, error) ||
        !ensure(worker, TOPICS_DEAD_LETTER, &worker->letter_partitions, error)) {
        return false;
    }
    worker->partition = bus_partition_of(span_of(options->id), partitions);
    know_progress(worker);
    return bus_bounds(worker->bus, worker->tasks_topic, worker->partition, &first, &next, options->timeout_ms, error) &&
           bus_consume(worker->bus, worker->tasks_topic, worker->partition, next, error);
}

void worker_leave_bus(struct worker *worker)
{
    assert(worker->life == LIFE_NONE);
    runner_set_wake(worker->options.runner, NULL, NULL);
    worker->bus_is_broken = true;
    worker->bus = NULL;
}

static bool begin_lease(struct worker *worker, struct error *error)
{
    const struct worker_guard *guard = worker->options.guard;
    int64_t grace_ms = worker->options.cancel_grace_ms, eighth_ms = worker->options.lease_ms / 8;
    worker->duty.lease_end_ms = boottime_ms(worker) + worker->options.lease_ms;
    return guard == NULL ||
           guard->begin(guard->state, worker->duty.lease_end_ms, grace_ms < eighth_ms ? grace_ms : eighth_ms, error);
}

bool worker_begin(struct worker *worker, struct bus *bus, struct error *error)
{
    assert(worker->life == LIFE_NONE && worker_load(worker) == 0);
    if (worker->bus_is_broken) {
        outbox_unsend(worker->outbox);
        worker->bus_is_broken = false;
    }
    worker->bus = bus;
    memset(worker->fences, 0, sizeof worker->fences);
    worker->duty = (struct duty){.fences = worker->fences,
                                 .fence_count = LIMIT_PARTITIONS,
                                 .held = duty_held,
                                 .serves = duty_serves,
                                 .state = worker};
    worker->options.random(worker->duty.incarnation.bytes, INCARNATION_BYTES);
    worker->sequence = 0;
    worker->bye_said = false;
    if (!take_partition(worker, error)) {
        return false;
    }
    if (!begin_lease(worker, error)) {
        bus_stop(bus, worker->tasks_topic, worker->partition);
        return false;
    }
    outbox_end_incarnation(worker->outbox, boottime_ms(worker)); /* what is still to be said has this lease, however long it took to get here */
    worker->life = LIFE_ALIVE;
    worker->counts.incarnations++;
    runner_set_wake(worker->options.runner, wake_bus, bus);
    say_presence(worker, MESSAGE_HELLO);
    flush(worker);
    return true;
}

void worker_drain(struct worker *worker)
{
    if (worker->draining && worker->drain_ms != NOT_ASKED_MS) {
        return;
    }
    worker->draining = true;
    worker->drain_ms = monotonic_ms(worker);
    if (worker->life != LIFE_ALIVE) {
        return;
    }
    struct held *held, *next;
    held_unlink_all(&worker->held);
    HASH_ITER(by_id, worker->held.by_id, held, next) {
        if (held->state == HELD_ENDED) {
            held_let_go(&worker->held, held);
        } else if (held->state == HELD_WAITS || (!held->begun && runner_withdraw(worker->options.runner, held->id))) {
            give_back(worker, held);
        }
    }
    say_presence(worker, MESSAGE_HEARTBEAT);
}

void worker_set_handlers(struct worker *worker, const struct backstep_registry *handlers)
{
    worker->options.handlers = handlers;
    if (worker->life == LIFE_ALIVE) {
        say_presence(worker, MESSAGE_HELLO);
    }
}

size_t worker_unsaid(const struct worker *worker)
{
    return outbox_count(worker->outbox);
}

const struct worker_counts *worker_counts(const struct worker *worker)
{
    return &worker->counts;
}
