/* SPDX-License-Identifier: Apache-2.0 */
/* A saga as text: whole, for comparing two, and short, for people. */
#ifndef SAGA_SHOWN_H
#define SAGA_SHOWN_H

#include "common/saga/saga.h"
#include "common/text.h"

#include <assert.h>
#include <stdio.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define S(literal) {literal, sizeof(literal) - 1}
#define SHOWN_MAX_BYTES ((size_t)1 << 24)

/* ---- the whole state as text: what two sagas are compared by */

static inline void fixture_show_step(struct text *text, const struct saga_step *s)
{
    text_format(text,
                "status=%d direction=%d open=%d started=%d confirm=%d begun=%d,%d executed=%d nothing=%d fired=%d cancel=%d ticket=%u "
                "resolved=%d attempts=%u,%u losses=%u,%u fraction=%u end=%u ready=%lld begun=%lld attempt=%lld report=%lld ended=%lld "
                "rollback=%lld,%lld retry=%lld current=%llu total=%llu",
                s->status, s->direction, s->open, s->started, s->confirm, s->may_have_begun, s->begun_before, s->executed,
                s->nothing_to_undo, s->fired, s->cancel, s->ticket, s->resolved, s->attempts, saga_work(s)->execute_attempts, s->losses, s->silent_losses,
                s->fraction_ppm, saga_work(s)->end_order, (long long)s->ready_ms, (long long)saga_work(s)->begun_ms, (long long)saga_work(s)->attempt_ms,
                (long long)saga_work(s)->report_ms, (long long)saga_work(s)->ended_ms, (long long)saga_work(s)->rollback_begun_ms, (long long)saga_work(s)->rollback_ended_ms,
                (long long)saga_work(s)->retry_ms, (unsigned long long)saga_work(s)->current, (unsigned long long)saga_work(s)->total);
    for (enum step_text kind = TEXT_DATA; kind <= TEXT_WORKER; kind++) {
        text_format(text, " '%.*s'", SPAN_ARGS(saga_step_text(s, kind)));
    }
    text_append_string(text, "\n");
}

/* Caller owes free(). */
static inline char *fixture_dump(const struct saga *saga)
{
    struct text text;
    text_init(&text, SHOWN_MAX_BYTES);
    text_format(&text,
                "%s retired=%d newer=%d finish=%d cancelling=%d stopping=%d version=%u cause=%u ended=%u progress=%u undo=%u start=%lld "
                "started=%lld finished=%lld time=%lld context=%u '%.*s' '%.*s' '%.*s'\n",
                run_status_name((enum run_status)saga->status), saga->retired, saga->newer, saga->finish_recorded, saga->cancelling,
                saga->stopping, saga->fold_version, saga_trouble(saga)->cause_step, saga->ended_count, saga->progress_ppm, saga_trouble(saga)->undo_total,
                (long long)saga->start_offset, (long long)saga->started_ms, (long long)saga->finished_ms, (long long)saga->time_ms,
                saga->context_bytes, SPAN_ARGS(saga->run_id), SPAN_ARGS(saga->params), SPAN_ARGS(saga_trouble(saga)->error));
    text_format(&text, "paused=%d held=%d begun=%d pause=%lld paused_ms=%lld finishes=%u\n", saga->paused, saga->held, saga->begun,
                (long long)saga_trouble(saga)->pause_ms, (long long)saga_trouble(saga)->paused_ms, saga->finish_count);
    for (struct saga_step *step = NULL; (step = saga_next_step(saga, step)) != NULL;) {
        fixture_show_step(&text, step);
        for (uint32_t i = 0; step->fan != NULL && i < step->fan->count; i++) {
            text_format(&text, "element '%.*s'\n", SPAN_ARGS(step->fan->elements[i]));
        }
        if (step->fan != NULL) {
            text_format(&text, "fan done=%u open=%u fraction=%llu\n", step->fan->done, step->fan->open,
                        (unsigned long long)step->fan->fraction_sum);
        }
    }
    for (const struct saga_step *step = saga->active; step != NULL; step = step->active_next) {
        text_format(&text, "active %u.%u\n", step->index, step->instance);
    }
    for (const struct saga_step *step = saga->sets; step != NULL; step = saga_work(step)->set_next) {
        text_format(&text, "set %u.%u\n", step->index, step->instance);
    }
    for (const struct saga_request *r = saga->requests; r != NULL; r = r->next) {
        text_format(&text, "request %02x%02x verdict=%d answered=%d '%.*s'\n", r->id[0], r->id[1], r->verdict, r->answered,
                    SPAN_ARGS(saga_request_reason(r)));
    }
    assert(!text.overflow);
    return text_take(&text);
}

/* "rolling_back: failed rolling_back waiting; due: roll back 1#1": what a reader of a test wants to see. Caller owes free(). */
static inline char *fixture_show(const struct saga *saga)
{
    struct text text;
    text_init(&text, SHOWN_MAX_BYTES);
    text_format(&text, "%s:", run_status_name((enum run_status)saga->status));
    for (struct saga_step *step = NULL; (step = saga_next_step(saga, step)) != NULL;) {
        text_format(&text, " %s%s", step->instance > 0 ? "/" : "", step_status_name((enum step_status)step->status));
    }
    struct saga_effect effect;
    for (struct saga_cursor cursor = {0}; saga_next_effect(saga, &cursor, &effect);) {
        static const char *const names[] = {[EFFECT_DISPATCH] = "send", [EFFECT_CANCEL_TASK] = "cancel", [EFFECT_FINISH] = "finish", [EFFECT_HOLD] = "hold"};
        if (effect.kind == EFFECT_ANSWER) {
            continue; /* shown by tests of their own */
        }
        text_format(&text, "; %s", names[effect.kind]);
        if (effect.kind != EFFECT_FINISH) {
            char instance[16] = "";
            if (effect.ticket.instance > 0) {
                snprintf(instance, sizeof instance, ".%u", effect.ticket.instance);
            }
            text_format(&text, " %s%u%s#%u%s", effect.ticket.direction == DIRECTION_ROLLBACK ? "undo " : "", effect.ticket.step, instance,
                        effect.ticket.number, effect.confirm ? " confirm" : "");
        }
    }
    struct saga_deadline deadline;
    if (saga_next_deadline(saga, &deadline)) {
        static const char *const timers[] = {"", "retry", "timeout", "heartbeat", "start", "run"};
        text_format(&text, "; %s of %u#%u", timers[deadline.timer], deadline.ticket.step, deadline.ticket.number);
    }
    return text_take(&text);
}

#endif
