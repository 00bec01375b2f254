/* SPDX-License-Identifier: Apache-2.0 */
#include "coordinator/cli/event_json.h"

#include "common/messages.h"
#include "coordinator/cli/summary.h"

static void append_text_field(struct text *out, const char *name, struct span value)
{
    if (value.size > 0) {
        text_format(out, ",\"%s\":", name);
        text_append_json_string(out, value);
    }
}

static void append_word_field(struct text *out, const char *name, const char *word)
{
    text_format(out, ",\"%s\":\"%s\"", name, word);
}

static bool has_ticket(enum message_kind kind)
{
    return kind == MESSAGE_STARTED || kind == MESSAGE_PROGRESSED || kind == MESSAGE_DONE || kind == MESSAGE_REFUSED ||
           kind == MESSAGE_LOST || kind == MESSAGE_WITHDRAWN || kind == MESSAGE_TIMER_FIRED || kind == MESSAGE_EXPANDED;
}

static void append_ticket(struct text *out, const struct reader_record *record)
{
    const struct ticket *ticket = &record->message->event.ticket;
    const struct plan *plan = record->run != NULL ? record->run->saga.plan : NULL;
    if (plan != NULL && ticket->step < plan->step_count) {
        append_text_field(out, "step", plan->steps[ticket->step].name);
    } else {
        text_format(out, ",\"step_index\":%u", ticket->step);
    }
    append_word_field(out, "direction", ticket->direction == DIRECTION_ROLLBACK ? "rollback" : "execute");
    if (ticket->instance > 0) {
        text_format(out, ",\"instance\":%u", ticket->instance);
    }
    text_format(out, ",\"ticket\":%u", ticket->number);
}

static void append_run_state(struct text *out, const struct message *message)
{
    append_word_field(out, "status", run_status_name(message->status));
    text_format(out, ",\"percent\":%u", message->progress_ppm / 10000);
    if (message->waiting_count > 0) {
        text_append_string(out, ",\"waiting\":[");
        for (size_t i = 0; i < message->waiting_count; i++) {
            text_format(out, "%s{\"handler\":", i > 0 ? "," : "");
            text_append_json_string(out, message->waiting[i].handler);
            text_append_string(out, ",\"queue\":");
            text_append_json_string(out, message->waiting[i].queue);
            text_append_string(out, ",\"since\":\"");
            append_timestamp(out, message->waiting[i].since_ms);
            text_append_string(out, "\"}");
        }
        text_append_char(out, ']');
    }
}

static void append_body(struct text *out, const struct reader_record *record)
{
    static const char *const verdicts[] = {"none", "accepted", "existing", "refused"};
    static const char *const timers[] = {"none", "retry", "timeout", "heartbeat", "start", "run"};
    const struct message *message = record->message;
    const struct saga_event *event = &message->event;
    switch (message->kind) {
    case MESSAGE_START: append_text_field(out, "pipeline", event->plan != NULL ? event->plan->name : (struct span){0}); break;
    case MESSAGE_CANCEL:
    case MESSAGE_PAUSE:
    case MESSAGE_RESUME:
    case MESSAGE_RETRY:
    case MESSAGE_ROLL_BACK: append_text_field(out, "reason", event->reason); break;
    case MESSAGE_RESOLVE:
        append_text_field(out, "step", event->step_name);
        append_word_field(out, "resolution", event->done ? "done" : "undone");
        append_text_field(out, "reason", event->reason);
        break;
    case MESSAGE_EXPANDED: text_format(out, ",\"elements\":%zu", event->element_count); break;
    case MESSAGE_PROGRESSED:
        text_format(out, ",\"current\":%llu,\"total\":%llu", (unsigned long long)event->current, (unsigned long long)event->total);
        break;
    case MESSAGE_STARTED: append_text_field(out, "worker", event->worker); break;
    case MESSAGE_DONE:
        append_word_field(out, "outcome", outcome_name(event->outcome));
        if (event->elapsed_ms > 0) {
            text_format(out, ",\"duration_seconds\":%lld.%03d", (long long)(event->elapsed_ms / 1000),
                        (int)(event->elapsed_ms % 1000));
        }
        append_text_field(out, "error", event->error);
        append_text_field(out, "worker", event->worker);
        break;
    case MESSAGE_REFUSED:
        append_word_field(out, "reason", message->refused == REFUSED_BUSY ? "busy" : "unknown");
        append_text_field(out, "worker", event->worker);
        break;
    case MESSAGE_LOST:
        append_text_field(out, "reason", event->reason);
        append_text_field(out, "worker", event->worker);
        break;
    case MESSAGE_TIMER_FIRED: append_word_field(out, "timer", timers[event->timer]); break;
    case MESSAGE_ANSWERED:
        append_word_field(out, "verdict", verdicts[message->verdict]);
        append_text_field(out, "reason", event->reason);
        break;
    case MESSAGE_OWNER_CLAIM: append_text_field(out, "coordinator", message->coordinator); break;
    case MESSAGE_HOLDING:
        append_text_field(out, "worker", message->worker);
        text_format(out, ",\"tickets\":%zu", message->held_count);
        break;
    case MESSAGE_SNAPSHOT: text_format(out, ",\"state_offset\":%lld", (long long)message->state_offset); break;
    case MESSAGE_FINISHED_IDS: text_format(out, ",\"count\":%zu", message->hash_count); break;
    case MESSAGE_RUN_PROGRESSED:
    case MESSAGE_RUN_FINISHED:
        append_run_state(out, message);
        append_text_field(out, "error", message->error);
        break;
    default: break;
    }
}

void event_json(const struct reader_record *record, struct text *out)
{
    text_append_string(out, "{\"time\":\"");
    append_timestamp(out, record->time_ms);
    text_append_string(out, "\",\"run_id\":");
    if (record->key.size > 0) {
        text_append_json_string(out, record->key);
    } else {
        text_append_string(out, "null");
    }
    append_word_field(out, "type", record->message != NULL ? message_type(record->message->kind) : "undecodable");
    text_format(out, ",\"partition\":%d,\"offset\":%lld", record->partition, (long long)record->offset);
    if (record->message == NULL) {
        append_text_field(out, "problem", span_of(record->problem.message));
    } else {
        if (has_ticket(record->message->kind)) {
            append_ticket(out, record);
        }
        append_body(out, record);
        if (record->result == RUNS_FENCED) {
            text_append_string(out, ",\"fenced\":true");
        }
    }
    text_append_char(out, '}');
}

bool event_is_machinery(const struct reader_record *record)
{
    if (record->message == NULL || record->result == RUNS_FENCED) {
        return true;
    }
    switch (record->message->kind) {
    case MESSAGE_HOLDING:
    case MESSAGE_OWNER_CLAIM:
    case MESSAGE_WITHDRAWN:
    case MESSAGE_ANSWERED:
    case MESSAGE_REFUSED:
    case MESSAGE_SNAPSHOT:
    case MESSAGE_FINISHED_IDS:
    case MESSAGE_RUN_PROGRESSED: return true;
    default: return false;
    }
}
