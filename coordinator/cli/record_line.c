/* SPDX-License-Identifier: Apache-2.0 */
/* One record of the progress topic as a plain line. */
#include "coordinator/cli/plain_line.h"
#include "coordinator/cli/screen.h"

#include <stdio.h>

enum subject { OF_RUN, OF_STEP, OF_NONE };

typedef void details_function(const struct message *message, struct text *out);

static void append_worker(struct text *out, struct span worker)
{
    if (worker.size > 0) {
        text_append_string(out, out->bytes[out->size - 1] == ' ' ? "on " : " on ");
        text_append_visible(out, worker);
    }
}

static void of_start(const struct message *message, struct text *out)
{
    const struct plan *plan = message->event.plan;
    if (plan != NULL) {
        text_append_visible(out, plan->name);
        text_format(out, ", %u step%s", plan->step_count, plan->step_count == 1 ? "" : "s");
    }
}

static void of_reason(const struct message *message, struct text *out)
{
    text_append_visible(out, message->event.reason);
}

static void of_started(const struct message *message, struct text *out)
{
    append_worker(out, message->event.worker);
}

static void of_progressed(const struct message *message, struct text *out)
{
    if (message->event.total > 0) {
        text_format(out, "%llu of %llu", (unsigned long long)message->event.current, (unsigned long long)message->event.total);
    } else {
        text_append_string(out, "alive");
    }
}

static void of_done(const struct message *message, struct text *out)
{
    text_append_string(out, outcome_name(message->event.outcome));
    append_worker(out, message->event.worker);
    if (message->event.error.size > 0) {
        text_append_string(out, ": ");
        text_append_visible(out, message->event.error);
    }
}

static void of_refused(const struct message *message, struct text *out)
{
    text_append_string(out, message->refused == REFUSED_BUSY ? "busy" : "handler unknown");
    append_worker(out, message->event.worker);
}

static void of_holding(const struct message *message, struct text *out)
{
    text_format(out, "%zu ticket%s", message->held_count, message->held_count == 1 ? "" : "s");
    append_worker(out, message->worker);
}

static void of_claim(const struct message *message, struct text *out)
{
    text_append_string(out, "by ");
    text_append_visible(out, message->coordinator);
}

static void of_snapshot(const struct message *message, struct text *out)
{
    text_format(out, "of all before offset %lld", (long long)message->state_offset);
}

static void of_finished_ids(const struct message *message, struct text *out)
{
    text_format(out, "%zu run%s", message->hash_count, message->hash_count == 1 ? "" : "s");
}

static void of_lost(const struct message *message, struct text *out)
{
    append_worker(out, message->event.worker);
    text_append_string(out, message->event.worker.size > 0 && message->event.reason.size > 0 ? ": " : "");
    text_append_visible(out, message->event.reason);
}

static void of_timer(const struct message *message, struct text *out)
{
    static const char *const timers[] = {
        "none", "retry", "timeout", "heartbeat timeout", "no worker took it in time", "the run's time is over"};
    text_append_string(out, timers[message->event.timer]);
}

static void of_answered(const struct message *message, struct text *out)
{
    static const char *const verdicts[] = {"none", "accepted", "existing", "refused"};
    text_append_string(out, verdicts[message->verdict]);
    if (message->event.reason.size > 0) {
        text_append_string(out, ": ");
        text_append_visible(out, message->event.reason);
    }
}

static void of_state(const struct message *message, struct text *out)
{
    text_format(out, "%s %u %%", run_status_name(message->status), screen_percent(message->progress_ppm));
    for (size_t i = 0; i < message->waiting_count; i++) {
        text_append_string(out, i == 0 ? ", no worker for '" : ", '");
        text_append_visible(out, message->waiting[i].handler);
        text_append_string(out, "' of queue '");
        text_append_visible(out, message->waiting[i].queue);
        text_append_char(out, '\'');
    }
    if (message->error.size > 0) {
        text_append_string(out, ": ");
        text_append_visible(out, message->error);
    }
}

static void of_resolve(const struct message *message, struct text *out)
{
    const struct saga_event *event = &message->event;
    text_append_visible(out, event->step_name);
    if (event->ticket.instance > 0) {
        text_format(out, " #%u", event->ticket.instance);
    }
    text_append_string(out, event->done ? " is done" : " is undone");
    text_append_string(out, event->reason.size > 0 ? ": " : "");
    text_append_visible(out, event->reason);
}

static void of_expanded(const struct message *message, struct text *out)
{
    text_format(out, "%zu element%s", message->event.element_count, message->event.element_count == 1 ? "" : "s");
    append_worker(out, message->event.worker);
}

/* What of the records stands in a history beside what told.c says of the state they lead to. */
enum story { NOT_TOLD, TOLD, TOLD_REFUSALS, TOLD_BUT_RETRIES };

static const struct {
    const char *word;
    enum subject subject;
    bool machinery;
    details_function *details;
    enum story story;
} kinds[] = {
    [MESSAGE_START] = {"start", OF_RUN, false, of_start, NOT_TOLD},
    [MESSAGE_CANCEL] = {"cancel", OF_RUN, false, of_reason, TOLD},
    [MESSAGE_PAUSE] = {"pause", OF_RUN, false, of_reason, TOLD},
    [MESSAGE_RESUME] = {"resume", OF_RUN, false, of_reason, TOLD},
    [MESSAGE_RETRY] = {"retry", OF_RUN, false, of_reason, TOLD},
    [MESSAGE_ROLL_BACK] = {"rollback", OF_RUN, false, of_reason, TOLD},
    [MESSAGE_RESOLVE] = {"resolve", OF_RUN, false, of_resolve, TOLD},
    [MESSAGE_STARTED] = {"running", OF_STEP, false, of_started, NOT_TOLD},
    [MESSAGE_PROGRESSED] = {"progress", OF_STEP, false, of_progressed, NOT_TOLD},
    [MESSAGE_DONE] = {"done", OF_STEP, false, of_done, NOT_TOLD},
    [MESSAGE_EXPANDED] = {"expanded", OF_STEP, false, of_expanded, TOLD},
    [MESSAGE_REFUSED] = {"refused", OF_STEP, true, of_refused, NOT_TOLD},
    [MESSAGE_HOLDING] = {"holding", OF_NONE, true, of_holding, NOT_TOLD},
    [MESSAGE_OWNER_CLAIM] = {"claim", OF_NONE, true, of_claim, TOLD},
    [MESSAGE_LOST] = {"lost", OF_STEP, false, of_lost, NOT_TOLD},
    [MESSAGE_WITHDRAWN] = {"withdrawn", OF_STEP, true, NULL, NOT_TOLD},
    [MESSAGE_TIMER_FIRED] = {"timer", OF_STEP, false, of_timer, TOLD_BUT_RETRIES},
    [MESSAGE_ANSWERED] = {"answered", OF_RUN, true, of_answered, TOLD_REFUSALS},
    [MESSAGE_RUN_PROGRESSED] = {"state", OF_RUN, true, of_state, NOT_TOLD},
    [MESSAGE_RUN_FINISHED] = {"finished", OF_RUN, false, of_state, NOT_TOLD},
    [MESSAGE_SNAPSHOT] = {"snapshot", OF_RUN, true, of_snapshot, NOT_TOLD},
    [MESSAGE_FINISHED_IDS] = {"finished-ids", OF_NONE, true, of_finished_ids, NOT_TOLD},
};

/* By name where the plan is known, else by number. */
static struct span step_name(const struct message *message, const struct saga *saga, char number[static 16])
{
    uint32_t step = message->event.ticket.step;
    if (saga != NULL && saga->plan != NULL && step < saga->plan->step_count) {
        return saga->plan->steps[step].name;
    }
    snprintf(number, 16, "#%u", step);
    return span_of(number);
}

static bool is_known(const struct message *message)
{
    return message->kind < sizeof kinds / sizeof kinds[0] && kinds[message->kind].word != NULL;
}

bool record_is_story(const struct message *message)
{
    switch (is_known(message) ? kinds[message->kind].story : NOT_TOLD) {
    case NOT_TOLD: return false;
    case TOLD: return true;
    case TOLD_REFUSALS: return message->verdict == VERDICT_REFUSED;
    case TOLD_BUT_RETRIES: return message->event.timer != TIMER_RETRY;
    }
    return false;
}

/* The run's own time has no ticket. */
static enum subject subject_of(const struct message *message)
{
    bool of_run = message->kind == MESSAGE_TIMER_FIRED && message->event.timer == TIMER_RUN;
    return of_run ? OF_RUN : kinds[message->kind].subject;
}

bool record_line(const struct message *message, const struct saga *saga, int64_t time_ms, bool all, struct text *out)
{
    if (!is_known(message) || (kinds[message->kind].machinery && !all)) {
        return false;
    }
    char number[16];
    enum subject subject = subject_of(message);
    bool of_step = subject == OF_STEP;
    const char *direction = of_step ? plain_direction(message->event.ticket.direction) : subject == OF_RUN ? "run" : "-";
    struct span step = of_step ? step_name(message, saga, number) : span_of("-");
    plain_begin(out, time_ms, message->event.run_id, saga, step, direction, kinds[message->kind].word);
    if (of_step && message->event.ticket.number > 1) {
        text_format(out, "ticket %u ", message->event.ticket.number);
    }
    if (kinds[message->kind].details != NULL) {
        kinds[message->kind].details(message, out);
    }
    plain_end(out);
    return true;
}
