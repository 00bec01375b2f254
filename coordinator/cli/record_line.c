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

static void of_lost(const struct message *message, struct text *out)
{
    append_worker(out, message->event.worker);
    text_append_string(out, message->event.worker.size > 0 && message->event.reason.size > 0 ? ": " : "");
    text_append_visible(out, message->event.reason);
}

static void of_timer(const struct message *message, struct text *out)
{
    static const char *const timers[] = {"none", "retry", "timeout", "heartbeat timeout"};
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

static const struct {
    const char *word;
    enum subject subject;
    bool machinery;
    details_function *details;
} kinds[] = {
    [MESSAGE_START] = {"start", OF_RUN, false, of_start},
    [MESSAGE_CANCEL] = {"cancel", OF_RUN, false, of_reason},
    [MESSAGE_STARTED] = {"running", OF_STEP, false, of_started},
    [MESSAGE_PROGRESSED] = {"progress", OF_STEP, false, of_progressed},
    [MESSAGE_DONE] = {"done", OF_STEP, false, of_done},
    [MESSAGE_REFUSED] = {"refused", OF_STEP, true, of_refused},
    [MESSAGE_HOLDING] = {"holding", OF_NONE, true, of_holding},
    [MESSAGE_OWNER_CLAIM] = {"claim", OF_NONE, true, of_claim},
    [MESSAGE_LOST] = {"lost", OF_STEP, false, of_lost},
    [MESSAGE_WITHDRAWN] = {"withdrawn", OF_STEP, true, NULL},
    [MESSAGE_TIMER_FIRED] = {"timer", OF_STEP, false, of_timer},
    [MESSAGE_ANSWERED] = {"answered", OF_RUN, true, of_answered},
    [MESSAGE_RUN_PROGRESSED] = {"state", OF_RUN, true, of_state},
    [MESSAGE_RUN_FINISHED] = {"finished", OF_RUN, false, of_state},
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

bool record_line(const struct message *message, const struct saga *saga, int64_t time_ms, bool all, struct text *out)
{
    if (message->kind >= sizeof kinds / sizeof kinds[0] || kinds[message->kind].word == NULL || (kinds[message->kind].machinery && !all)) {
        return false;
    }
    char number[16];
    bool of_step = kinds[message->kind].subject == OF_STEP;
    const char *direction = of_step ? plain_direction(message->event.ticket.direction) : kinds[message->kind].subject == OF_RUN ? "run" : "-";
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
