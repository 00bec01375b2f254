/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes on the wire: the only file that knows protobuf-c. One row of `codecs` and a pair of functions a kind of record.
 *
 * Decoding puts all that a message points to into one arena, which also is protobuf-c's allocator: a small record costs one malloc(),
 * and what a hostile one can make us take is bounded. */
#include "common/messages.h"

#include "common/arena.h"
#include "common/limits.h"
#include "common/messages_plans.h"
#include "common/names.h"

#include "backstep.pb-c.h"

#include <assert.h>

typedef Backstep__V1__ProgressRecord ProgressRecord;
typedef Backstep__V1__TaskRecord TaskRecord;
typedef Backstep__V1__WorkerRecord WorkerRecord;
typedef Backstep__V1__LogRecord LogRecord;
typedef Backstep__V1__TicketRef TicketRef;

/* A legal record of LIMIT_RECORD_BYTES takes less than half of this. */
#define DECODE_BUDGET_BYTES ((size_t)64 * MIB)
#define ENCODE_BUDGET_BYTES ((size_t)64 * MIB)
/* Most records are small, and what they take then is the most that glibc keeps at hand for a thread (1,032 bytes), with the block's head:
 * beyond it a malloc() looks through all that was freed. */
#define SMALL_RECORD_BYTES 200
#define SMALL_DECODED_BYTES 1008

struct decoder {
    struct arena arena;
    const struct plan *known; /* the record's plan, taken out of it; NULL: it stands there */
    struct error *error;
};

struct encoder {
    struct arena arena;
    max_align_t first[128];
};

static bool garbage(struct decoder *decoder, const char *what)
{
    return error_set(decoder->error, ERROR_INVALID, "%s", what);
}

/* ---- enums: C's value for each of the wire's, and the way back. Only what stands in a table is legal. */

struct pair {
    int wire, ours;
};

static const struct pair directions[] = {
    {BACKSTEP__V1__DIRECTION__DIRECTION_EXECUTE, DIRECTION_EXECUTE},
    {BACKSTEP__V1__DIRECTION__DIRECTION_ROLLBACK, DIRECTION_ROLLBACK},
};
static const struct pair outcomes[] = {
    {BACKSTEP__V1__OUTCOME__OUTCOME_OK, OUTCOME_OK},
    {BACKSTEP__V1__OUTCOME__OUTCOME_SKIPPED, OUTCOME_SKIPPED},
    {BACKSTEP__V1__OUTCOME__OUTCOME_FAILED, OUTCOME_FAILED},
    {BACKSTEP__V1__OUTCOME__OUTCOME_CANCELLED_STARTED, OUTCOME_CANCELLED_STARTED},
    {BACKSTEP__V1__OUTCOME__OUTCOME_CANCELLED_NOT_STARTED, OUTCOME_CANCELLED_NOT_STARTED},
};
static const struct pair refusals[] = {
    {BACKSTEP__V1__REFUSED_REASON__REFUSED_REASON_UNKNOWN, REFUSED_UNKNOWN},
    {BACKSTEP__V1__REFUSED_REASON__REFUSED_REASON_BUSY, REFUSED_BUSY},
};
static const struct pair timers[] = {
    {BACKSTEP__V1__TIMER__TIMER_RETRY, TIMER_RETRY},
    {BACKSTEP__V1__TIMER__TIMER_TIMEOUT, TIMER_TIMEOUT},
    {BACKSTEP__V1__TIMER__TIMER_HEARTBEAT, TIMER_HEARTBEAT},
    {BACKSTEP__V1__TIMER__TIMER_START, TIMER_START},
    {BACKSTEP__V1__TIMER__TIMER_RUN, TIMER_RUN},
};
static const struct pair verdicts[] = {
    {BACKSTEP__V1__VERDICT__VERDICT_ACCEPTED, VERDICT_ACCEPTED},
    {BACKSTEP__V1__VERDICT__VERDICT_EXISTING, VERDICT_EXISTING},
    {BACKSTEP__V1__VERDICT__VERDICT_REFUSED, VERDICT_REFUSED},
};
static const struct pair statuses[] = {
    {BACKSTEP__V1__RUN_STATUS__RUN_STATUS_PENDING, RUN_PENDING},
    {BACKSTEP__V1__RUN_STATUS__RUN_STATUS_RUNNING, RUN_RUNNING},
    {BACKSTEP__V1__RUN_STATUS__RUN_STATUS_PAUSED, RUN_PAUSED},
    {BACKSTEP__V1__RUN_STATUS__RUN_STATUS_ROLLING_BACK, RUN_ROLLING_BACK},
    {BACKSTEP__V1__RUN_STATUS__RUN_STATUS_SUCCEEDED, RUN_SUCCEEDED},
    {BACKSTEP__V1__RUN_STATUS__RUN_STATUS_ROLLED_BACK, RUN_ROLLED_BACK},
    {BACKSTEP__V1__RUN_STATUS__RUN_STATUS_CANCELLED, RUN_CANCELLED},
    {BACKSTEP__V1__RUN_STATUS__RUN_STATUS_ROLLBACK_INCOMPLETE, RUN_ROLLBACK_INCOMPLETE},
};
static const struct pair cancel_reasons[] = {
    {BACKSTEP__V1__CANCEL_REASON__CANCEL_REASON_REQUESTED, CANCEL_REQUESTED},
    {BACKSTEP__V1__CANCEL_REASON__CANCEL_REASON_SIBLING_FAILED, CANCEL_SIBLING_FAILED},
    {BACKSTEP__V1__CANCEL_REASON__CANCEL_REASON_TIMEOUT, CANCEL_TIMEOUT},
    {BACKSTEP__V1__CANCEL_REASON__CANCEL_REASON_HEARTBEAT, CANCEL_HEARTBEAT},
    {BACKSTEP__V1__CANCEL_REASON__CANCEL_REASON_START_TIMEOUT, CANCEL_START_TIMEOUT},
    {BACKSTEP__V1__CANCEL_REASON__CANCEL_REASON_RUN_TIMEOUT, CANCEL_RUN_TIMEOUT},
    {BACKSTEP__V1__CANCEL_REASON__CANCEL_REASON_AHEAD, CANCEL_AHEAD},
};
static const struct pair kinds[] = {
    {BACKSTEP__V1__STEP_KIND__STEP_KIND_UNSPECIFIED, PLAN_HANDLER},
    {BACKSTEP__V1__STEP_KIND__STEP_KIND_VALIDATE, PLAN_VALIDATE},
    {BACKSTEP__V1__STEP_KIND__STEP_KIND_SCOPE, PLAN_SCOPE},
};
static const struct pair controls[] = {
    {BACKSTEP__V1__CONTROL_KIND__CONTROL_KIND_CANCEL, MESSAGE_CANCEL},
    {BACKSTEP__V1__CONTROL_KIND__CONTROL_KIND_PAUSE, MESSAGE_PAUSE},
    {BACKSTEP__V1__CONTROL_KIND__CONTROL_KIND_RESUME, MESSAGE_RESUME},
    {BACKSTEP__V1__CONTROL_KIND__CONTROL_KIND_RETRY, MESSAGE_RETRY},
    {BACKSTEP__V1__CONTROL_KIND__CONTROL_KIND_ROLL_BACK, MESSAGE_ROLL_BACK},
    {BACKSTEP__V1__CONTROL_KIND__CONTROL_KIND_RESOLVE, MESSAGE_RESOLVE},
};

static const struct pair log_levels[] = {
    {BACKSTEP__V1__LOG_LEVEL__LOG_LEVEL_DEBUG, LOG_DEBUG},
    {BACKSTEP__V1__LOG_LEVEL__LOG_LEVEL_INFO, LOG_INFO},
    {BACKSTEP__V1__LOG_LEVEL__LOG_LEVEL_WARN, LOG_WARN},
    {BACKSTEP__V1__LOG_LEVEL__LOG_LEVEL_ERROR, LOG_ERROR},
};
static const struct pair log_sources[] = {
    {BACKSTEP__V1__LOG_SOURCE__LOG_SOURCE_HANDLER, LOG_SOURCE_HANDLER},
    {BACKSTEP__V1__LOG_SOURCE__LOG_SOURCE_STDERR, LOG_SOURCE_STDERR},
    {BACKSTEP__V1__LOG_SOURCE__LOG_SOURCE_STDOUT, LOG_SOURCE_STDOUT},
};

static const struct pair step_statuses[] = {
    {BACKSTEP__V1__STEP_STATUS__STEP_STATUS_WAITING, STEP_WAITING},
    {BACKSTEP__V1__STEP_STATUS__STEP_STATUS_READY, STEP_READY},
    {BACKSTEP__V1__STEP_STATUS__STEP_STATUS_RUNNING, STEP_RUNNING},
    {BACKSTEP__V1__STEP_STATUS__STEP_STATUS_RETRYING, STEP_RETRYING},
    {BACKSTEP__V1__STEP_STATUS__STEP_STATUS_SUCCEEDED, STEP_SUCCEEDED},
    {BACKSTEP__V1__STEP_STATUS__STEP_STATUS_SKIPPED, STEP_SKIPPED},
    {BACKSTEP__V1__STEP_STATUS__STEP_STATUS_FAILED, STEP_FAILED},
    {BACKSTEP__V1__STEP_STATUS__STEP_STATUS_ROLLING_BACK, STEP_ROLLING_BACK},
    {BACKSTEP__V1__STEP_STATUS__STEP_STATUS_ROLLED_BACK, STEP_ROLLED_BACK},
    {BACKSTEP__V1__STEP_STATUS__STEP_STATUS_ROLLBACK_FAILED, STEP_ROLLBACK_FAILED},
    {BACKSTEP__V1__STEP_STATUS__STEP_STATUS_NOT_RUN, STEP_NOT_RUN},
};
static const struct pair cancels[] = {
    /* saga_step.cancel: 0 is none */
    {BACKSTEP__V1__CANCEL_REASON__CANCEL_REASON_UNSPECIFIED, 0},
    {BACKSTEP__V1__CANCEL_REASON__CANCEL_REASON_REQUESTED, 1 + CANCEL_REQUESTED},
    {BACKSTEP__V1__CANCEL_REASON__CANCEL_REASON_SIBLING_FAILED, 1 + CANCEL_SIBLING_FAILED},
    {BACKSTEP__V1__CANCEL_REASON__CANCEL_REASON_TIMEOUT, 1 + CANCEL_TIMEOUT},
    {BACKSTEP__V1__CANCEL_REASON__CANCEL_REASON_HEARTBEAT, 1 + CANCEL_HEARTBEAT},
    {BACKSTEP__V1__CANCEL_REASON__CANCEL_REASON_START_TIMEOUT, 1 + CANCEL_START_TIMEOUT},
    {BACKSTEP__V1__CANCEL_REASON__CANCEL_REASON_RUN_TIMEOUT, 1 + CANCEL_RUN_TIMEOUT},
};
static const struct pair fired_timers[] = {
    {BACKSTEP__V1__TIMER__TIMER_UNSPECIFIED, TIMER_NONE},
    {BACKSTEP__V1__TIMER__TIMER_TIMEOUT, TIMER_TIMEOUT},
    {BACKSTEP__V1__TIMER__TIMER_HEARTBEAT, TIMER_HEARTBEAT},
    {BACKSTEP__V1__TIMER__TIMER_START, TIMER_START},
};

#define PAIRS(table) table, sizeof(table) / sizeof *(table)

/* -1: no such value. */
static int ours_of(const struct pair *pairs, size_t count, int wire)
{
    for (size_t i = 0; i < count; i++) {
        if (pairs[i].wire == wire) {
            return pairs[i].ours;
        }
    }
    return -1;
}

static int wire_of(const struct pair *pairs, size_t count, int ours)
{
    for (size_t i = 0; i < count; i++) {
        if (pairs[i].ours == ours) {
            return pairs[i].wire;
        }
    }
    assert(false); /* a value that has no place on the wire */
    return 0;
}

static bool read_enum(struct decoder *decoder, const struct pair *pairs, size_t count, int wire, const char *what, int *ours)
{
    *ours = ours_of(pairs, count, wire);
    return *ours >= 0 || error_set(decoder->error, ERROR_INVALID, "%s %d is none that is known", what, wire);
}

/* ---- what both directions share */

static struct span span_of_binary(ProtobufCBinaryData data)
{
    return (struct span){(const char *)data.data, data.len};
}

static ProtobufCBinaryData binary_of(struct span span)
{
    return (ProtobufCBinaryData){.len = span.size, .data = span.size > 0 ? (uint8_t *)(uintptr_t)span.bytes : NULL};
}

static ProtobufCBinaryData binary_of_bytes(const unsigned char *bytes, size_t size)
{
    return binary_of((struct span){(const char *)bytes, size});
}

static struct span span_or(struct span span, const char *otherwise)
{
    return span.size > 0 ? span : span_of(otherwise);
}

/* ---- decoding: checks */

static bool read_bytes16(struct decoder *decoder, ProtobufCBinaryData data, const char *what, unsigned char bytes[16])
{
    if (data.len != 16) {
        return error_set(decoder->error, ERROR_INVALID, "%s of %zu bytes, not 16", what, data.len);
    }
    memcpy(bytes, data.data, 16);
    return true;
}

static bool read_identifier(struct decoder *decoder, const char *string, const char *what, struct span *identifier)
{
    *identifier = span_of(string);
    return identifier_check(*identifier, decoder->error) || error_prefix(decoder->error, "%s", what);
}

static bool read_optional_identifier(struct decoder *decoder, const char *string, const char *what, struct span *identifier)
{
    if (string[0] == '\0') {
        *identifier = (struct span){0};
        return true;
    }
    return read_identifier(decoder, string, what, identifier);
}

static bool read_name(struct decoder *decoder, const char *string, const char *what, struct span *name)
{
    *name = span_of(string);
    return name_check(*name, decoder->error) || error_prefix(decoder->error, "%s", what);
}

static struct span read_message(const char *string)
{
    return utf8_cut(span_of(string), LIMIT_MESSAGE_BYTES);
}

static bool read_range(struct decoder *decoder, int64_t value, int64_t least, int64_t most, const char *what)
{
    return (value >= least && value <= most) || error_set(decoder->error, ERROR_INVALID, "%s %lld is not within %lld and %lld",
                                                          what, (long long)value, (long long)least, (long long)most);
}

static bool read_offset(struct decoder *decoder, int64_t value, const char *what, int64_t *offset)
{
    *offset = value;
    return read_range(decoder, value, 0, INT64_MAX, what);
}

static bool read_size(struct decoder *decoder, size_t size, size_t most, const char *what)
{
    return size <= most || error_set(decoder->error, ERROR_INVALID, "%s of %zu bytes; at most %zu are allowed", what, size, most);
}

static bool read_count(struct decoder *decoder, size_t count, size_t most, const char *what)
{
    return count <= most || error_set(decoder->error, ERROR_INVALID, "%zu %s; at most %zu are allowed", count, what, most);
}

static bool read_ticket(struct decoder *decoder, const TicketRef *wire, struct ticket *ticket)
{
    int direction;
    if (wire == NULL) {
        return garbage(decoder, "no ticket");
    }
    if (!read_enum(decoder, PAIRS(directions), (int)wire->direction, "direction", &direction) ||
        !read_range(decoder, wire->step, 0, LIMIT_STEPS - 1, "step") ||
        !read_range(decoder, wire->instance, 0, LIMIT_ELEMENTS, "instance") ||
        !read_range(decoder, wire->ticket, 1, UINT32_MAX, "ticket")) {
        return false;
    }
    *ticket = (struct ticket){wire->step, wire->instance, (enum direction)direction, wire->ticket};
    return true;
}

static bool read_epoch(struct decoder *decoder, int64_t epoch, struct message *message)
{
    return read_offset(decoder, epoch, "epoch", &message->epoch);
}

/* ---- encoding: pieces */

static void *take(struct encoder *encoder, size_t count, size_t size)
{
    return arena_take_array(&encoder->arena, count, size);
}

static char *string_of(struct encoder *encoder, struct span span)
{
    return span.size > 0 ? arena_copy(&encoder->arena, span) : (char *)(uintptr_t)protobuf_c_empty_string;
}

static char *message_string(struct encoder *encoder, struct span span)
{
    return string_of(encoder, utf8_cut(span, LIMIT_MESSAGE_BYTES));
}

static TicketRef *ticket_of(struct encoder *encoder, struct ticket ticket)
{
    TicketRef *wire = take(encoder, 1, sizeof *wire);
    if (wire != NULL) {
        backstep__v1__ticket_ref__init(wire);
        wire->step = ticket.step;
        wire->instance = ticket.instance;
        wire->direction = (Backstep__V1__Direction)wire_of(PAIRS(directions), (int)ticket.direction);
        wire->ticket = ticket.number;
    }
    return wire;
}

/* ---- plan */

static bool read_indexes(struct decoder *decoder, const uint32_t *indexes, size_t count, uint32_t step_count, const char *what)
{
    if (!read_count(decoder, count, LIMIT_NEEDS, what)) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if (indexes[i] >= step_count) {
            return error_set(decoder->error, ERROR_INVALID, "%s step %u of %u", what, indexes[i], step_count);
        }
    }
    return true;
}

#define DEFAULT_JITTER_PERMILLE 100

static bool read_retry(struct decoder *decoder, const Backstep__V1__Retry *wire, struct plan_retry otherwise,
                       struct plan_retry *retry)
{
    if (wire == NULL) {
        *retry = otherwise;
        return true;
    }
    *retry = (struct plan_retry){
        .max_attempts = wire->max_attempts == 0 ? 1 : wire->max_attempts,
        .max_losses = wire->max_losses,
        .backoff_ms = wire->backoff_ms,
        .multiplier_permille = wire->multiplier_permille == 0 ? 1000 : wire->multiplier_permille,
        .max_backoff_ms = wire->max_backoff_ms,
        .jitter_permille = wire->jitter_permille == 0 ? DEFAULT_JITTER_PERMILLE : wire->jitter_permille - 1,
    };
    return read_range(decoder, retry->max_attempts, 1, LIMIT_ATTEMPTS, "max_attempts") &&
           read_range(decoder, retry->max_losses, 0, LIMIT_LOSSES, "max_losses") &&
           read_range(decoder, retry->backoff_ms, 0, LIMIT_DURATION_MS, "backoff_ms") &&
           read_range(decoder, retry->multiplier_permille, 1, LIMIT_MULTIPLIER * 1000, "multiplier_permille") &&
           read_range(decoder, retry->max_backoff_ms, 0, LIMIT_DURATION_MS, "max_backoff_ms") &&
           read_range(decoder, retry->jitter_permille, 0, 1000, "jitter_permille");
}

static bool read_expression(struct decoder *decoder, const char *string, const char *what, struct span *expression)
{
    *expression = span_of(string);
    return read_size(decoder, expression->size, LIMIT_EXPRESSION_BYTES, what);
}

static bool read_wrap(struct decoder *decoder, char *const *names, size_t count, const struct span **result)
{
    if (!read_count(decoder, count, LIMIT_WRAPPERS, "wrappers")) {
        return false;
    }
    struct span *wrap = arena_take_array(&decoder->arena, count, sizeof *wrap);
    if (wrap == NULL) {
        return garbage(decoder, "out of memory");
    }
    for (size_t i = 0; i < count; i++) {
        if (!read_identifier(decoder, names[i], "wrap", &wrap[i])) {
            return false;
        }
    }
    *result = wrap;
    return true;
}

/* Conditions, fan-out and nesting. */
static bool read_step_more(struct decoder *decoder, const Backstep__V1__PlanStep *wire, uint32_t step_count, struct plan_step *step)
{
    int kind;
    step->templated = wire->templated;
    step->scope = wire->scope;
    step->message = read_message(wire->message);
    step->max_parallel = wire->max_parallel;
    step->wrap_count = (uint32_t)wire->n_wrap;
    step->start_timeout_ms = wire->start_timeout_ms;
    step->rollback_timeout_ms = wire->rollback_timeout_ms;
    if (!read_enum(decoder, PAIRS(kinds), (int)wire->kind, "kind", &kind)) {
        return false;
    }
    step->kind = (enum plan_kind)kind;
    return read_range(decoder, wire->scope, 0, step_count, "scope") && read_expression(decoder, wire->when, "when", &step->when) &&
           read_expression(decoder, wire->assert, "assert", &step->assert) &&
           read_expression(decoder, wire->each, "each", &step->each) &&
           read_range(decoder, wire->max_parallel, 0, LIMIT_ELEMENTS, "max_parallel") &&
           read_wrap(decoder, wire->wrap, wire->n_wrap, &step->wrap) &&
           read_range(decoder, step->start_timeout_ms, 0, LIMIT_DURATION_MS, "start_timeout_ms") &&
           read_range(decoder, step->rollback_timeout_ms, 0, LIMIT_DURATION_MS, "rollback_timeout_ms") &&
           read_retry(decoder, wire->rollback_retry, (struct plan_retry){0}, &step->rollback_retry);
}

static bool read_step(struct decoder *decoder, const Backstep__V1__PlanStep *wire, uint32_t step_count, struct plan_step *step)
{
    step->input = span_of_binary(wire->input);
    step->weight = wire->weight;
    step->needs_count = (uint32_t)wire->n_needs;
    step->needs = wire->needs;
    step->reads_count = wire->reads_given ? (uint32_t)wire->n_reads : 0;
    step->reads = wire->reads_given ? wire->reads : NULL;
    step->reads_given = wire->reads_given;
    step->rollback_none = wire->rollback_none;
    step->timeout_ms = wire->timeout_ms;
    step->heartbeat_timeout_ms = wire->heartbeat_timeout_ms;
    return read_name(decoder, wire->name, "name", &step->name) &&
           read_identifier(decoder, wire->handler, "handler", &step->handler) &&
           read_identifier(decoder, wire->queue, "queue", &step->queue) &&
           read_size(decoder, step->input.size, LIMIT_CONTEXT_BYTES, "input") &&
           read_range(decoder, step->weight, 0, LIMIT_WEIGHT, "weight") &&
           read_indexes(decoder, wire->needs, wire->n_needs, step_count, "needs") &&
           read_indexes(decoder, wire->reads, wire->n_reads, step_count, "reads") &&
           read_retry(decoder, wire->retry, (struct plan_retry)PLAN_RETRY_DEFAULT, &step->retry) &&
           read_range(decoder, step->timeout_ms, 0, LIMIT_DURATION_MS, "timeout_ms") &&
           read_range(decoder, step->heartbeat_timeout_ms, 0, LIMIT_DURATION_MS, "heartbeat_timeout_ms") &&
           read_step_more(decoder, wire, step_count, step);
}

static bool read_plan(struct decoder *decoder, const Backstep__V1__Plan *wire, const struct plan **result)
{
    if (decoder->known != NULL) {
        *result = decoder->known;
        return true;
    }
    if (wire == NULL) {
        return garbage(decoder, "no plan");
    }
    if (!read_count(decoder, wire->n_steps, LIMIT_STEPS, "steps")) {
        return false;
    }
    struct plan *plan = arena_take(&decoder->arena, sizeof *plan);
    struct plan_step *steps = arena_take_array(&decoder->arena, wire->n_steps, sizeof *steps);
    if (plan == NULL || steps == NULL) {
        return garbage(decoder, "out of memory");
    }
    plan->description = span_of(wire->description);
    plan->steps = steps;
    plan->step_count = (uint32_t)wire->n_steps;
    plan->timeout_ms = wire->timeout_ms;
    plan->pause_on_failure = wire->pause_on_failure;
    if (!read_range(decoder, plan->timeout_ms, 0, LIMIT_DURATION_MS, "timeout_ms") ||
        !read_name(decoder, wire->name, "pipeline name", &plan->name) ||
        !read_size(decoder, plan->description.size, LIMIT_DESCRIPTION_BYTES, "description")) {
        return false;
    }
    for (uint32_t i = 0; i < plan->step_count; i++) {
        if (!read_step(decoder, wire->steps[i], plan->step_count, &steps[i])) {
            return error_prefix(decoder->error, "step %u", i);
        }
    }
    *result = plan;
    return true;
}

static Backstep__V1__Retry *retry_of(struct encoder *encoder, const struct plan_retry *retry)
{
    Backstep__V1__Retry *wire = take(encoder, 1, sizeof *wire);
    if (wire != NULL) {
        backstep__v1__retry__init(wire);
        wire->max_attempts = retry->max_attempts;
        wire->max_losses = retry->max_losses;
        wire->backoff_ms = retry->backoff_ms;
        wire->multiplier_permille = retry->multiplier_permille;
        wire->max_backoff_ms = retry->max_backoff_ms;
        wire->jitter_permille = retry->jitter_permille == DEFAULT_JITTER_PERMILLE ? 0 : retry->jitter_permille + 1;
    }
    return wire;
}

/* What every other step has as well need not travel. */
static Backstep__V1__Retry *forward_retry_of(struct encoder *encoder, const struct plan_retry *retry)
{
    static const struct plan_retry usual = PLAN_RETRY_DEFAULT;
    return plan_retry_equal(retry, &usual) ? NULL : retry_of(encoder, retry);
}

static char **names_of(struct encoder *encoder, const struct span *names, size_t count)
{
    char **strings = take(encoder, count, sizeof *strings);
    for (size_t i = 0; strings != NULL && i < count; i++) {
        strings[i] = string_of(encoder, names[i]);
    }
    return strings;
}

static void fill_step_more(struct encoder *encoder, Backstep__V1__PlanStep *wire, const struct plan_step *step)
{
    wire->start_timeout_ms = step->start_timeout_ms;
    wire->rollback_timeout_ms = step->rollback_timeout_ms;
    wire->kind = (Backstep__V1__StepKind)wire_of(PAIRS(kinds), (int)step->kind);
    wire->scope = step->scope;
    wire->templated = step->templated;
    wire->when = string_of(encoder, step->when);
    wire->assert = string_of(encoder, step->assert);
    wire->message = message_string(encoder, step->message);
    wire->each = string_of(encoder, step->each);
    wire->max_parallel = step->max_parallel;
    wire->n_wrap = step->wrap_count;
    wire->wrap = names_of(encoder, step->wrap, step->wrap_count);
    wire->rollback_retry = step->rollback_retry.max_attempts > 0 ? retry_of(encoder, &step->rollback_retry) : NULL;
}

static void fill_step(struct encoder *encoder, Backstep__V1__PlanStep *wire, const struct plan_step *step)
{
    backstep__v1__plan_step__init(wire);
    wire->name = string_of(encoder, step->name);
    wire->handler = string_of(encoder, step->handler);
    wire->queue = string_of(encoder, step->queue);
    wire->input = binary_of(step->input);
    wire->weight = step->weight;
    wire->n_needs = step->needs_count;
    wire->needs = (uint32_t *)(uintptr_t)step->needs;
    wire->n_reads = step->reads_given ? step->reads_count : 0;
    wire->reads = (uint32_t *)(uintptr_t)step->reads;
    wire->reads_given = step->reads_given;
    wire->retry = forward_retry_of(encoder, &step->retry);
    wire->timeout_ms = step->timeout_ms;
    wire->heartbeat_timeout_ms = step->heartbeat_timeout_ms;
    wire->rollback_none = step->rollback_none;
    fill_step_more(encoder, wire, step);
}

static Backstep__V1__Plan *plan_of(struct encoder *encoder, const struct plan *plan)
{
    Backstep__V1__Plan *wire = take(encoder, 1, sizeof *wire);
    Backstep__V1__PlanStep *steps = take(encoder, plan->step_count, sizeof *steps);
    Backstep__V1__PlanStep **pointers = take(encoder, plan->step_count, sizeof *pointers);
    if (wire == NULL || steps == NULL || pointers == NULL) {
        return NULL;
    }
    backstep__v1__plan__init(wire);
    wire->name = string_of(encoder, plan->name);
    wire->description = string_of(encoder, plan->description);
    wire->timeout_ms = plan->timeout_ms;
    wire->pause_on_failure = plan->pause_on_failure;
    wire->n_steps = plan->step_count;
    wire->steps = pointers;
    for (uint32_t i = 0; i < plan->step_count; i++) {
        pointers[i] = &steps[i];
        fill_step(encoder, &steps[i], &plan->steps[i]);
    }
    return wire;
}

/* ---- progress topic: a pair a kind. `body` is the member of the record's oneof, all set to its defaults when it is to be filled. */

static bool read_start(struct decoder *decoder, const void *body, struct message *message)
{
    const Backstep__V1__Start *wire = body;
    struct saga_event *event = &message->event;
    event->fold_version = wire->fold_version;
    event->params = span_or(span_of_binary(wire->params), "{}");
    message->progress_partitions = wire->progress_partitions;
    return read_bytes16(decoder, wire->request_id, "request_id", event->request_id) &&
           read_range(decoder, wire->fold_version, 1, UINT32_MAX, "fold_version") &&
           read_size(decoder, event->params.size, LIMIT_CONTEXT_BYTES, "params") && read_plan(decoder, wire->plan, &event->plan);
}

static void fill_start(struct encoder *encoder, void *body, const struct message *message)
{
    Backstep__V1__Start *wire = body;
    const struct saga_event *event = &message->event;
    wire->request_id = binary_of_bytes(event->request_id, sizeof event->request_id);
    wire->fold_version = event->fold_version;
    wire->progress_partitions = message->progress_partitions;
    wire->plan = plan_of(encoder, event->plan);
    wire->params = binary_of(event->params);
}

static enum saga_event_kind codec_event(enum message_kind kind);

static bool read_control(struct decoder *decoder, const void *body, struct message *message)
{
    const Backstep__V1__Control *wire = body;
    int kind;
    if (!read_enum(decoder, PAIRS(controls), (int)wire->kind, "control kind", &kind)) {
        return false;
    }
    message->kind = (enum message_kind)kind;
    message->event.kind = codec_event(message->kind);
    message->event.reason = read_message(wire->reason);
    message->event.ticket.instance = wire->instance;
    message->event.done = wire->done;
    message->event.data = span_of_binary(wire->data);
    if (message->kind == MESSAGE_RESOLVE && !read_name(decoder, wire->step, "step", &message->event.step_name)) {
        return false;
    }
    return read_bytes16(decoder, wire->request_id, "request_id", message->event.request_id) &&
           read_range(decoder, wire->instance, 0, LIMIT_ELEMENTS, "instance") &&
           read_size(decoder, wire->data.len, LIMIT_RESULT_BYTES, "data");
}

static void fill_control(struct encoder *encoder, void *body, const struct message *message)
{
    Backstep__V1__Control *wire = body;
    wire->request_id = binary_of_bytes(message->event.request_id, sizeof message->event.request_id);
    wire->kind = (Backstep__V1__ControlKind)wire_of(PAIRS(controls), (int)message->kind);
    wire->reason = message_string(encoder, message->event.reason);
    if (message->kind == MESSAGE_RESOLVE) {
        wire->step = string_of(encoder, message->event.step_name);
        wire->instance = message->event.ticket.instance;
        wire->done = message->event.done;
        wire->data = binary_of(message->event.data);
    }
}

static bool read_started(struct decoder *decoder, const void *body, struct message *message)
{
    const Backstep__V1__Started *wire = body;
    message->event.elapsed_ms = wire->elapsed_ms;
    return read_range(decoder, wire->elapsed_ms, 0, LIMIT_DURATION_MS, "elapsed_ms") &&
           read_ticket(decoder, wire->ticket, &message->event.ticket) &&
           read_optional_identifier(decoder, wire->worker, "worker", &message->event.worker);
}

static void fill_started(struct encoder *encoder, void *body, const struct message *message)
{
    Backstep__V1__Started *wire = body;
    wire->elapsed_ms = message->event.elapsed_ms;
    wire->ticket = ticket_of(encoder, message->event.ticket);
    wire->worker = string_of(encoder, message->event.worker);
}

static bool read_progressed(struct decoder *decoder, const void *body, struct message *message)
{
    const Backstep__V1__Progressed *wire = body;
    struct saga_event *event = &message->event;
    event->current = wire->current;
    event->total = wire->total;
    event->metrics = span_of_binary(wire->metrics);
    return read_ticket(decoder, wire->ticket, &event->ticket) &&
           read_size(decoder, event->metrics.size, LIMIT_METRICS_BYTES, "metrics");
}

static void fill_progressed(struct encoder *encoder, void *body, const struct message *message)
{
    Backstep__V1__Progressed *wire = body;
    wire->ticket = ticket_of(encoder, message->event.ticket);
    wire->current = message->event.current;
    wire->total = message->event.total;
    wire->metrics = binary_of(message->event.metrics);
}

static bool read_done(struct decoder *decoder, const void *body, struct message *message)
{
    const Backstep__V1__Done *wire = body;
    struct saga_event *event = &message->event;
    int outcome;
    if (!read_ticket(decoder, wire->ticket, &event->ticket) ||
        !read_enum(decoder, PAIRS(outcomes), (int)wire->outcome, "outcome", &outcome)) {
        return false;
    }
    event->outcome = (enum outcome)outcome;
    event->data = span_of_binary(wire->data);
    event->rollback_data = span_of_binary(wire->rollback_data);
    event->set = span_of_binary(wire->set);
    event->error = read_message(wire->error);
    event->permanent = wire->permanent;
    event->metrics = span_of_binary(wire->metrics);
    event->elapsed_ms = wire->elapsed_ms;
    return read_range(decoder, wire->elapsed_ms, 0, LIMIT_DURATION_MS, "elapsed_ms") &&
           read_size(decoder, event->data.size + event->rollback_data.size + event->set.size, LIMIT_RESULT_BYTES,
                     "data, rollback_data and set") &&
           read_size(decoder, event->metrics.size, LIMIT_METRICS_BYTES, "metrics") &&
           read_optional_identifier(decoder, wire->worker, "worker", &event->worker);
}

static void fill_done(struct encoder *encoder, void *body, const struct message *message)
{
    Backstep__V1__Done *wire = body;
    const struct saga_event *event = &message->event;
    wire->elapsed_ms = event->elapsed_ms;
    wire->ticket = ticket_of(encoder, event->ticket);
    wire->outcome = (Backstep__V1__Outcome)wire_of(PAIRS(outcomes), (int)event->outcome);
    wire->data = binary_of(event->data);
    wire->rollback_data = binary_of(event->rollback_data);
    wire->set = binary_of(event->set);
    wire->error = message_string(encoder, event->error);
    wire->permanent = event->permanent;
    wire->worker = string_of(encoder, event->worker);
    wire->metrics = binary_of(event->metrics);
}

static bool read_expanded(struct decoder *decoder, const void *body, struct message *message)
{
    const Backstep__V1__Expanded *wire = body;
    if (!read_count(decoder, wire->n_elements, LIMIT_ELEMENTS, "elements")) {
        return false;
    }
    struct span *elements = arena_take_array(&decoder->arena, wire->n_elements, sizeof *elements);
    if (elements == NULL) {
        return garbage(decoder, "out of memory");
    }
    size_t size = 0;
    for (size_t i = 0; i < wire->n_elements; i++) {
        elements[i] = span_of_binary(wire->elements[i]);
        size += elements[i].size;
    }
    message->event.elements = elements;
    message->event.element_count = wire->n_elements;
    return read_ticket(decoder, wire->ticket, &message->event.ticket) &&
           read_size(decoder, size, LIMIT_CONTEXT_BYTES, "elements") &&
           read_optional_identifier(decoder, wire->worker, "worker", &message->event.worker);
}

static void fill_expanded(struct encoder *encoder, void *body, const struct message *message)
{
    Backstep__V1__Expanded *wire = body;
    const struct saga_event *event = &message->event;
    wire->ticket = ticket_of(encoder, event->ticket);
    wire->worker = string_of(encoder, event->worker);
    wire->elements = take(encoder, event->element_count, sizeof *wire->elements);
    for (size_t i = 0; wire->elements != NULL && i < event->element_count; i++) {
        wire->elements[i] = binary_of(event->elements[i]);
    }
    wire->n_elements = wire->elements != NULL ? event->element_count : 0;
}

static bool read_refused(struct decoder *decoder, const void *body, struct message *message)
{
    const Backstep__V1__Refused *wire = body;
    int reason;
    if (!read_ticket(decoder, wire->ticket, &message->event.ticket) ||
        !read_enum(decoder, PAIRS(refusals), (int)wire->reason, "reason", &reason)) {
        return false;
    }
    message->refused = (enum refused_reason)reason;
    return read_optional_identifier(decoder, wire->worker, "worker", &message->event.worker);
}

static void fill_refused(struct encoder *encoder, void *body, const struct message *message)
{
    Backstep__V1__Refused *wire = body;
    wire->ticket = ticket_of(encoder, message->event.ticket);
    wire->reason = (Backstep__V1__RefusedReason)wire_of(PAIRS(refusals), (int)message->refused);
    wire->worker = string_of(encoder, message->event.worker);
}

static bool read_holding(struct decoder *decoder, const void *body, struct message *message)
{
    const Backstep__V1__Holding *wire = body;
    if (!read_identifier(decoder, wire->worker, "worker", &message->worker) ||
        !read_bytes16(decoder, wire->incarnation, "incarnation", message->incarnation.bytes) ||
        !read_epoch(decoder, wire->epoch, message) || !read_count(decoder, wire->n_tickets, LIMIT_HOLDING, "tickets")) {
        return false;
    }
    struct held_ticket *held = arena_take_array(&decoder->arena, wire->n_tickets, sizeof *held);
    if (held == NULL) {
        return garbage(decoder, "out of memory");
    }
    for (size_t i = 0; i < wire->n_tickets; i++) {
        if (!read_identifier(decoder, wire->tickets[i]->run_id, "run_id", &held[i].run_id) ||
            !read_ticket(decoder, wire->tickets[i]->ticket, &held[i].ticket)) {
            return error_prefix(decoder->error, "held ticket %zu", i);
        }
        held[i].more_behind = wire->tickets[i]->more_behind;
    }
    message->held = held;
    message->held_count = wire->n_tickets;
    return true;
}

static void fill_holding(struct encoder *encoder, void *body, const struct message *message)
{
    Backstep__V1__Holding *wire = body;
    wire->worker = string_of(encoder, message->worker);
    wire->incarnation = binary_of_bytes(message->incarnation.bytes, INCARNATION_BYTES);
    wire->epoch = message->epoch;
    Backstep__V1__HeldTicket *tickets = take(encoder, message->held_count, sizeof *tickets);
    wire->tickets = take(encoder, message->held_count, sizeof *wire->tickets);
    if (tickets == NULL || wire->tickets == NULL) {
        return;
    }
    wire->n_tickets = message->held_count;
    for (size_t i = 0; i < message->held_count; i++) {
        backstep__v1__held_ticket__init(&tickets[i]);
        tickets[i].run_id = string_of(encoder, message->held[i].run_id);
        tickets[i].ticket = ticket_of(encoder, message->held[i].ticket);
        tickets[i].more_behind = message->held[i].more_behind;
        wire->tickets[i] = &tickets[i];
    }
}

static bool read_owner_claim(struct decoder *decoder, const void *body, struct message *message)
{
    const Backstep__V1__OwnerClaim *wire = body;
    message->progress_partitions = wire->progress_partitions;
    return read_name(decoder, wire->coordinator, "coordinator", &message->coordinator);
}

static void fill_owner_claim(struct encoder *encoder, void *body, const struct message *message)
{
    Backstep__V1__OwnerClaim *wire = body;
    wire->coordinator = string_of(encoder, message->coordinator);
    wire->progress_partitions = message->progress_partitions;
}

static bool read_lost(struct decoder *decoder, const void *body, struct message *message)
{
    const Backstep__V1__Lost *wire = body;
    message->event.reason = read_message(wire->reason);
    return read_epoch(decoder, wire->epoch, message) && read_ticket(decoder, wire->ticket, &message->event.ticket) &&
           read_optional_identifier(decoder, wire->worker, "worker", &message->event.worker);
}

static void fill_lost(struct encoder *encoder, void *body, const struct message *message)
{
    Backstep__V1__Lost *wire = body;
    wire->epoch = message->epoch;
    wire->ticket = ticket_of(encoder, message->event.ticket);
    wire->worker = string_of(encoder, message->event.worker);
    wire->reason = message_string(encoder, message->event.reason);
}

static bool read_withdrawn(struct decoder *decoder, const void *body, struct message *message)
{
    const Backstep__V1__Withdrawn *wire = body;
    return read_epoch(decoder, wire->epoch, message) && read_ticket(decoder, wire->ticket, &message->event.ticket);
}

static void fill_withdrawn(struct encoder *encoder, void *body, const struct message *message)
{
    Backstep__V1__Withdrawn *wire = body;
    wire->epoch = message->epoch;
    wire->ticket = ticket_of(encoder, message->event.ticket);
}

static bool read_timer_fired(struct decoder *decoder, const void *body, struct message *message)
{
    const Backstep__V1__TimerFired *wire = body;
    int timer;
    if (!read_epoch(decoder, wire->epoch, message) || !read_enum(decoder, PAIRS(timers), (int)wire->timer, "timer", &timer)) {
        return false;
    }
    message->event.timer = (enum timer)timer;
    return message->event.timer == TIMER_RUN || read_ticket(decoder, wire->ticket, &message->event.ticket);
}

static void fill_timer_fired(struct encoder *encoder, void *body, const struct message *message)
{
    Backstep__V1__TimerFired *wire = body;
    wire->epoch = message->epoch;
    wire->timer = (Backstep__V1__Timer)wire_of(PAIRS(timers), (int)message->event.timer);
    wire->ticket = message->event.timer != TIMER_RUN ? ticket_of(encoder, message->event.ticket) : NULL;
}

static bool read_answered(struct decoder *decoder, const void *body, struct message *message)
{
    const Backstep__V1__Answered *wire = body;
    int verdict;
    message->event.reason = read_message(wire->reason);
    if (!read_epoch(decoder, wire->epoch, message) ||
        !read_bytes16(decoder, wire->request_id, "request_id", message->event.request_id) ||
        !read_offset(decoder, wire->start_offset, "start_offset", &message->start_offset) ||
        !read_enum(decoder, PAIRS(verdicts), (int)wire->verdict, "verdict", &verdict)) {
        return false;
    }
    message->verdict = (enum verdict)verdict;
    return true;
}

static void fill_answered(struct encoder *encoder, void *body, const struct message *message)
{
    Backstep__V1__Answered *wire = body;
    wire->epoch = message->epoch;
    wire->request_id = binary_of_bytes(message->event.request_id, sizeof message->event.request_id);
    wire->verdict = (Backstep__V1__Verdict)wire_of(PAIRS(verdicts), (int)message->verdict);
    wire->reason = message_string(encoder, message->event.reason);
    wire->start_offset = message->start_offset;
}

static bool read_waiting(struct decoder *decoder, const Backstep__V1__WaitingStep *wire, struct waiting_step *waiting)
{
    waiting->step = wire->step;
    waiting->instance = wire->instance;
    return read_range(decoder, wire->step, 0, LIMIT_STEPS - 1, "step") &&
           read_identifier(decoder, wire->handler, "handler", &waiting->handler) &&
           read_identifier(decoder, wire->queue, "queue", &waiting->queue) &&
           read_offset(decoder, wire->since_ms, "since_ms", &waiting->since_ms);
}

static bool read_waiting_list(struct decoder *decoder, size_t count, Backstep__V1__WaitingStep *const *wire, struct message *message)
{
    if (!read_count(decoder, count, LIMIT_STEPS, "waiting steps")) {
        return false;
    }
    struct waiting_step *waiting = arena_take_array(&decoder->arena, count, sizeof *waiting);
    if (waiting == NULL) {
        return garbage(decoder, "out of memory");
    }
    for (size_t i = 0; i < count; i++) {
        if (!read_waiting(decoder, wire[i], &waiting[i])) {
            return error_prefix(decoder->error, "waiting step %zu", i);
        }
    }
    message->waiting = waiting;
    message->waiting_count = count;
    return true;
}

static bool read_run_progressed(struct decoder *decoder, const void *body, struct message *message)
{
    const Backstep__V1__RunProgressed *wire = body;
    int status;
    message->progress_ppm = wire->progress_ppm;
    message->rollback_ppm = wire->rollback_ppm;
    message->waiting_for_workers = wire->waiting_for_workers;
    if (!read_epoch(decoder, wire->epoch, message) || !read_enum(decoder, PAIRS(statuses), (int)wire->status, "status", &status) ||
        !read_range(decoder, wire->progress_ppm, 0, PPM_ONE, "progress_ppm") ||
        !read_range(decoder, wire->rollback_ppm, 0, PPM_ONE, "rollback_ppm") ||
        !read_range(decoder, wire->waiting_for_workers, 0, INT64_MAX, "waiting_for_workers")) {
        return false;
    }
    message->status = (enum run_status)status;
    return read_waiting_list(decoder, wire->n_waiting, wire->waiting, message);
}

static Backstep__V1__WaitingStep **waiting_list_of(struct encoder *encoder, const struct message *message, size_t *count)
{
    Backstep__V1__WaitingStep *waiting = take(encoder, message->waiting_count, sizeof *waiting);
    Backstep__V1__WaitingStep **list = take(encoder, message->waiting_count, sizeof *list);
    if (waiting == NULL || list == NULL) {
        return NULL;
    }
    *count = message->waiting_count;
    for (size_t i = 0; i < message->waiting_count; i++) {
        const struct waiting_step *from = &message->waiting[i];
        backstep__v1__waiting_step__init(&waiting[i]);
        waiting[i].step = from->step;
        waiting[i].instance = from->instance;
        waiting[i].handler = string_of(encoder, from->handler);
        waiting[i].queue = string_of(encoder, from->queue);
        waiting[i].since_ms = from->since_ms;
        list[i] = &waiting[i];
    }
    return list;
}

static void fill_run_progressed(struct encoder *encoder, void *body, const struct message *message)
{
    Backstep__V1__RunProgressed *wire = body;
    wire->epoch = message->epoch;
    wire->status = (Backstep__V1__RunStatus)wire_of(PAIRS(statuses), (int)message->status);
    wire->progress_ppm = message->progress_ppm;
    wire->rollback_ppm = message->rollback_ppm;
    wire->waiting_for_workers = message->waiting_for_workers;
    wire->waiting = waiting_list_of(encoder, message, &wire->n_waiting);
}

static bool read_run_finished(struct decoder *decoder, const void *body, struct message *message)
{
    const Backstep__V1__RunFinished *wire = body;
    int status;
    message->error = read_message(wire->error);
    message->steps_executed = wire->steps_executed;
    message->steps_total = wire->steps_total;
    message->progress_ppm = wire->progress_ppm;
    if (!read_epoch(decoder, wire->epoch, message) || !read_enum(decoder, PAIRS(statuses), (int)wire->status, "status", &status)) {
        return false;
    }
    message->status = (enum run_status)status;
    if (!run_status_is_final(message->status)) {
        return error_set(decoder->error, ERROR_INVALID, "status '%s' is no end", run_status_name(message->status));
    }
    message->event.status = message->status;
    message->event.finished_ms = wire->finished_ms;
    return read_name(decoder, wire->pipeline, "pipeline", &message->pipeline) &&
           read_offset(decoder, wire->start_offset, "start_offset", &message->start_offset) &&
           read_offset(decoder, wire->started_ms, "started_ms", &message->started_ms) &&
           read_offset(decoder, wire->finished_ms, "finished_ms", &message->finished_ms) &&
           read_range(decoder, wire->steps_total, 0, LIMIT_STEPS, "steps_total") &&
           read_range(decoder, wire->steps_executed, 0, wire->steps_total, "steps_executed") &&
           read_range(decoder, wire->progress_ppm, 0, PPM_ONE, "progress_ppm");
}

static void fill_run_finished(struct encoder *encoder, void *body, const struct message *message)
{
    Backstep__V1__RunFinished *wire = body;
    wire->epoch = message->epoch;
    wire->status = (Backstep__V1__RunStatus)wire_of(PAIRS(statuses), (int)message->status);
    wire->pipeline = string_of(encoder, message->pipeline);
    wire->error = message_string(encoder, message->error);
    wire->start_offset = message->start_offset;
    wire->started_ms = message->started_ms;
    wire->finished_ms = message->finished_ms;
    wire->steps_executed = message->steps_executed;
    wire->steps_total = message->steps_total;
    wire->progress_ppm = message->progress_ppm;
}

/* ---- task topics */

static bool read_result(struct decoder *decoder, const Backstep__V1__StepResult *wire, struct step_result *result)
{
    *result = (struct step_result){
        .success = wire->success,
        .skipped = wire->skipped,
        .scope = wire->scope,
        .pending = wire->pending,
        .data = span_of_binary(wire->data),
        .rollback_data = span_of_binary(wire->rollback_data),
        .error = read_message(wire->error),
    };
    return read_name(decoder, wire->step, "step", &result->step) &&
           read_size(decoder, result->data.size + result->rollback_data.size, LIMIT_CONTEXT_BYTES, "data and rollback_data");
}

static bool read_results(struct decoder *decoder, const Backstep__V1__Task *wire, struct task *task)
{
    size_t count = wire->n_results + (wire->result != NULL);
    if (!read_count(decoder, wire->n_results, LIMIT_STEPS, "results")) {
        return false;
    }
    struct step_result *results = arena_take_array(&decoder->arena, count, sizeof *results);
    if (results == NULL) {
        return garbage(decoder, "out of memory");
    }
    for (size_t i = 0; i < count; i++) {
        if (!read_result(decoder, i < wire->n_results ? wire->results[i] : wire->result, &results[i])) {
            return error_prefix(decoder->error, "result %zu", i);
        }
    }
    task->results = results;
    task->result_count = wire->n_results;
    task->result = wire->result != NULL ? &results[wire->n_results] : NULL;
    return true;
}

static bool read_sets(struct decoder *decoder, const Backstep__V1__Task *wire, struct task *task)
{
    if (!read_count(decoder, wire->n_sets, LIMIT_STEPS, "sets")) {
        return false;
    }
    struct span *sets = arena_take_array(&decoder->arena, wire->n_sets, sizeof *sets);
    if (sets == NULL) {
        return garbage(decoder, "out of memory");
    }
    for (size_t i = 0; i < wire->n_sets; i++) {
        sets[i] = span_of_binary(wire->sets[i]);
    }
    task->sets = sets;
    task->set_count = wire->n_sets;
    return true;
}

static bool read_task_more(struct decoder *decoder, const Backstep__V1__Task *wire, struct task *task)
{
    int kind;
    task->templated = wire->templated;
    task->element = span_of_binary(wire->element);
    task->elements = wire->elements;
    task->wrap_count = wire->n_wrap;
    task->timeout_ms = wire->timeout_ms;
    task->more_behind = wire->more_behind;
    task->scope = span_of(wire->scope);
    task->message = read_message(wire->message);
    if (!read_enum(decoder, PAIRS(kinds), (int)wire->kind, "kind", &kind)) {
        return false;
    }
    task->kind = (enum plan_kind)kind;
    return read_expression(decoder, wire->when, "when", &task->when) &&
           read_expression(decoder, wire->assert, "assert", &task->assert) &&
           read_expression(decoder, wire->each, "each", &task->each) && read_wrap(decoder, wire->wrap, wire->n_wrap, &task->wrap) &&
           read_range(decoder, wire->elements, 0, LIMIT_ELEMENTS, "elements") &&
           read_size(decoder, task->element.size, LIMIT_CONTEXT_BYTES, "element") &&
           read_range(decoder, wire->timeout_ms, 0, LIMIT_DURATION_MS, "timeout_ms") &&
           (task->scope.size == 0 || read_name(decoder, wire->scope, "scope", &task->scope)) &&
           (wire->after == NULL || read_ticket(decoder, wire->after, &task->after));
}

static bool read_task(struct decoder *decoder, const void *body, struct message *message)
{
    const Backstep__V1__Task *wire = body;
    struct task *task = &message->task;
    task->progress_partition = message->progress_partition;
    task->attempt = wire->attempt;
    task->confirm = wire->confirm;
    task->more_attempts = wire->more_attempts;
    task->input = span_or(span_of_binary(wire->input), "{}");
    task->params = span_or(span_of_binary(wire->params), "{}");
    return read_identifier(decoder, wire->run_id, "run_id", &task->run_id) && read_ticket(decoder, wire->ticket, &task->ticket) &&
           read_name(decoder, wire->pipeline, "pipeline", &task->pipeline) && read_name(decoder, wire->step, "step", &task->step) &&
           read_identifier(decoder, wire->handler, "handler", &task->handler) &&
           read_range(decoder, wire->attempt, 1, UINT32_MAX, "attempt") && read_results(decoder, wire, task) &&
           read_sets(decoder, wire, task) && read_task_more(decoder, wire, task);
}

static void fill_result(struct encoder *encoder, Backstep__V1__StepResult *wire, const struct step_result *result)
{
    backstep__v1__step_result__init(wire);
    wire->step = string_of(encoder, result->step);
    wire->success = result->success;
    wire->skipped = result->skipped;
    wire->scope = result->scope;
    wire->pending = result->pending;
    wire->data = binary_of(result->data);
    wire->rollback_data = binary_of(result->rollback_data);
    wire->error = message_string(encoder, result->error);
}

static void fill_results(struct encoder *encoder, Backstep__V1__Task *wire, const struct task *task)
{
    Backstep__V1__StepResult *results = take(encoder, task->result_count + 1, sizeof *results);
    wire->results = take(encoder, task->result_count, sizeof *wire->results);
    wire->sets = take(encoder, task->set_count, sizeof *wire->sets);
    if (results == NULL || wire->results == NULL || wire->sets == NULL) {
        return;
    }
    for (size_t i = 0; i < task->result_count; i++) {
        fill_result(encoder, &results[i], &task->results[i]);
        wire->results[i] = &results[i];
    }
    wire->n_results = task->result_count;
    for (size_t i = 0; i < task->set_count; i++) {
        wire->sets[i] = binary_of(task->sets[i]);
    }
    wire->n_sets = task->set_count;
    if (task->result != NULL) {
        wire->result = &results[task->result_count];
        fill_result(encoder, wire->result, task->result);
    }
}

static void fill_task_more(struct encoder *encoder, Backstep__V1__Task *wire, const struct task *task)
{
    wire->when = string_of(encoder, task->when);
    wire->templated = task->templated;
    wire->kind = (Backstep__V1__StepKind)wire_of(PAIRS(kinds), (int)task->kind);
    wire->assert = string_of(encoder, task->assert);
    wire->message = message_string(encoder, task->message);
    wire->each = string_of(encoder, task->each);
    wire->element = binary_of(task->element);
    wire->elements = task->elements;
    wire->scope = string_of(encoder, task->scope);
    wire->n_wrap = task->wrap_count;
    wire->wrap = names_of(encoder, task->wrap, task->wrap_count);
    wire->timeout_ms = task->timeout_ms;
    wire->more_behind = task->more_behind;
    wire->after = task->after.number > 0 ? ticket_of(encoder, task->after) : NULL;
}

static void fill_task(struct encoder *encoder, void *body, const struct message *message)
{
    Backstep__V1__Task *wire = body;
    const struct task *task = &message->task;
    wire->run_id = string_of(encoder, task->run_id);
    wire->ticket = ticket_of(encoder, task->ticket);
    wire->pipeline = string_of(encoder, task->pipeline);
    wire->step = string_of(encoder, task->step);
    wire->handler = string_of(encoder, task->handler);
    wire->attempt = task->attempt;
    wire->confirm = task->confirm;
    wire->more_attempts = task->more_attempts;
    wire->input = binary_of(task->input);
    wire->params = binary_of(task->params);
    fill_results(encoder, wire, task);
    fill_task_more(encoder, wire, task);
}

static bool read_cancel_task(struct decoder *decoder, const void *body, struct message *message)
{
    const Backstep__V1__CancelTask *wire = body;
    int reason;
    if (!read_identifier(decoder, wire->run_id, "run_id", &message->event.run_id) ||
        !read_ticket(decoder, wire->ticket, &message->event.ticket) ||
        !read_enum(decoder, PAIRS(cancel_reasons), (int)wire->reason, "reason", &reason)) {
        return false;
    }
    message->cancel_reason = (enum cancel_reason)reason;
    return true;
}

static void fill_cancel_task(struct encoder *encoder, void *body, const struct message *message)
{
    Backstep__V1__CancelTask *wire = body;
    wire->run_id = string_of(encoder, message->event.run_id);
    wire->ticket = ticket_of(encoder, message->event.ticket);
    wire->reason = (Backstep__V1__CancelReason)wire_of(PAIRS(cancel_reasons), (int)message->cancel_reason);
}

static bool read_welcome(struct decoder *decoder, const void *body, struct message *message)
{
    const Backstep__V1__Welcome *wire = body;
    return read_name(decoder, wire->coordinator, "coordinator", &message->coordinator);
}

static void fill_welcome(struct encoder *encoder, void *body, const struct message *message)
{
    Backstep__V1__Welcome *wire = body;
    wire->coordinator = string_of(encoder, message->coordinator);
}

/* ---- workers topic */

static bool read_handlers(struct decoder *decoder, const Backstep__V1__Presence *wire, struct presence *presence)
{
    if (!read_count(decoder, wire->n_handlers, LIMIT_HANDLERS_SAID, "handlers")) {
        return false;
    }
    struct span *handlers = arena_take_array(&decoder->arena, wire->n_handlers, sizeof *handlers);
    if (handlers == NULL) {
        return garbage(decoder, "out of memory");
    }
    for (size_t i = 0; i < wire->n_handlers; i++) {
        if (!read_identifier(decoder, wire->handlers[i], "handler", &handlers[i])) {
            return false;
        }
    }
    presence->handlers = handlers;
    presence->handler_count = wire->n_handlers;
    return true;
}

static bool read_presence(struct decoder *decoder, const void *body, struct message *message)
{
    const Backstep__V1__Presence *wire = body;
    struct presence *presence = &message->presence;
    presence->partition = wire->partition;
    presence->slots = wire->slots;
    presence->window = wire->window;
    presence->lease_ms = wire->lease_ms;
    presence->load = wire->load;
    presence->sequence = wire->sequence;
    presence->process_id = wire->process_id;
    presence->draining = wire->draining;
    presence->takes_ahead = wire->takes_ahead;
    presence->version = utf8_cut(span_of(wire->version), LIMIT_NAME_BYTES);
    presence->host = utf8_cut(span_of(wire->host), LIMIT_NAME_BYTES);
    return read_identifier(decoder, wire->worker, "worker", &presence->worker) &&
           read_bytes16(decoder, wire->incarnation, "incarnation", presence->incarnation.bytes) &&
           read_identifier(decoder, wire->queue, "queue", &presence->queue) &&
           read_range(decoder, wire->partition, 0, INT32_MAX, "partition") &&
           read_range(decoder, wire->slots, 0, LIMIT_WINDOW, "slots") &&
           read_range(decoder, wire->window, 0, LIMIT_WINDOW, "window") &&
           read_range(decoder, wire->lease_ms, LIMIT_LEASE_MIN_MS, LIMIT_LEASE_MAX_MS, "lease_ms") &&
           read_range(decoder, wire->sequence > INT64_MAX ? -1 : (int64_t)wire->sequence, 1, INT64_MAX, "sequence") &&
           read_handlers(decoder, wire, presence);
}

static void fill_presence(struct encoder *encoder, void *body, const struct message *message)
{
    Backstep__V1__Presence *wire = body;
    const struct presence *presence = &message->presence;
    wire->worker = string_of(encoder, presence->worker);
    wire->incarnation = binary_of_bytes(presence->incarnation.bytes, INCARNATION_BYTES);
    wire->queue = string_of(encoder, presence->queue);
    wire->partition = presence->partition;
    wire->slots = presence->slots;
    wire->window = presence->window;
    wire->lease_ms = presence->lease_ms;
    wire->version = string_of(encoder, presence->version);
    wire->load = presence->load;
    wire->sequence = presence->sequence;
    wire->draining = presence->draining;
    wire->takes_ahead = presence->takes_ahead;
    wire->host = string_of(encoder, presence->host);
    wire->process_id = presence->process_id;
    wire->handlers = take(encoder, presence->handler_count, sizeof *wire->handlers);
    if (wire->handlers == NULL) {
        return;
    }
    wire->n_handlers = presence->handler_count;
    for (size_t i = 0; i < presence->handler_count; i++) {
        wire->handlers[i] = string_of(encoder, presence->handlers[i]);
    }
}

static bool read_bye(struct decoder *decoder, const void *body, struct message *message)
{
    const Backstep__V1__Bye *wire = body;
    return read_identifier(decoder, wire->worker, "worker", &message->worker) &&
           read_bytes16(decoder, wire->incarnation, "incarnation", message->incarnation.bytes);
}

static void fill_bye(struct encoder *encoder, void *body, const struct message *message)
{
    Backstep__V1__Bye *wire = body;
    wire->worker = string_of(encoder, message->worker);
    wire->incarnation = binary_of_bytes(message->incarnation.bytes, INCARNATION_BYTES);
}

static bool read_mark(struct decoder *decoder, const void *body, struct message *message)
{
    const Backstep__V1__Mark *wire = body;
    /* A mark about nobody is how a coordinator knows that it has read the topic to its end. */
    return read_name(decoder, wire->coordinator, "coordinator", &message->coordinator) &&
           read_optional_identifier(decoder, wire->worker, "worker", &message->worker) &&
           read_bytes16(decoder, wire->incarnation, "incarnation", message->incarnation.bytes) &&
           read_bytes16(decoder, wire->nonce, "nonce", message->nonce);
}

static void fill_mark(struct encoder *encoder, void *body, const struct message *message)
{
    Backstep__V1__Mark *wire = body;
    wire->coordinator = string_of(encoder, message->coordinator);
    wire->worker = string_of(encoder, message->worker);
    wire->incarnation = binary_of_bytes(message->incarnation.bytes, INCARNATION_BYTES);
    wire->nonce = binary_of_bytes(message->nonce, sizeof message->nonce);
}

/* ---- logs */

static bool read_text(struct decoder *decoder, const char *string, size_t most, const char *what, struct span *text)
{
    *text = span_of(string);
    if (!utf8_is_valid(*text)) {
        return error_set(decoder->error, ERROR_INVALID, "%s is no UTF-8", what);
    }
    return read_size(decoder, text->size, most, what);
}

static bool read_log_line(struct decoder *decoder, const Backstep__V1__LogLine *wire, struct log_line *line)
{
    int level, source;
    if (!read_enum(decoder, PAIRS(log_levels), (int)wire->level, "level", &level) ||
        !read_enum(decoder, PAIRS(log_sources), (int)wire->source, "source", &source)) {
        return false;
    }
    line->level = (enum log_level)level;
    line->source = (enum log_source)source;
    line->data = span_of_binary(wire->data);
    return read_offset(decoder, wire->time_ms, "time_ms", &line->time_ms) &&
           read_text(decoder, wire->event, LIMIT_LOG_EVENT_BYTES, "event", &line->event) &&
           read_text(decoder, wire->text, LIMIT_PROGRAM_LOG_LINE_BYTES, "text", &line->text) &&
           read_size(decoder, line->data.size, LIMIT_PROGRAM_LOG_LINE_BYTES, "data");
}

static bool read_log_lines(struct decoder *decoder, const void *body, struct message *message)
{
    const Backstep__V1__LogLines *wire = body;
    struct log_lines *log = &message->log;
    if (!read_count(decoder, wire->n_lines, LIMIT_LOG_RECORD_LINES, "lines")) {
        return false;
    }
    struct log_line *lines = arena_take_array(&decoder->arena, wire->n_lines, sizeof *lines);
    if (lines == NULL) {
        return garbage(decoder, "out of memory");
    }
    for (size_t i = 0; i < wire->n_lines; i++) {
        if (!read_log_line(decoder, wire->lines[i], &lines[i])) {
            return error_prefix(decoder->error, "line %zu", i);
        }
    }
    log->lines = lines;
    log->count = wire->n_lines;
    log->attempt = wire->attempt;
    log->dropped_lines = wire->dropped_lines;
    log->dropped_bytes = wire->dropped_bytes;
    return read_ticket(decoder, wire->ticket, &message->event.ticket) && read_name(decoder, wire->step, "step", &log->step) &&
           read_identifier(decoder, wire->worker, "worker", &message->event.worker) &&
           read_range(decoder, wire->attempt, 1, UINT32_MAX, "attempt");
}

static Backstep__V1__LogLine *log_line_of(struct encoder *encoder, const struct log_line *line)
{
    Backstep__V1__LogLine *wire = take(encoder, 1, sizeof *wire);
    if (wire != NULL) {
        backstep__v1__log_line__init(wire);
        wire->time_ms = line->time_ms;
        wire->level = (Backstep__V1__LogLevel)wire_of(PAIRS(log_levels), (int)line->level);
        wire->source = (Backstep__V1__LogSource)wire_of(PAIRS(log_sources), (int)line->source);
        wire->event = string_of(encoder, line->event);
        wire->text = string_of(encoder, line->text);
        wire->data = binary_of(line->data);
    }
    return wire;
}

static void fill_log_lines(struct encoder *encoder, void *body, const struct message *message)
{
    Backstep__V1__LogLines *wire = body;
    const struct log_lines *log = &message->log;
    wire->worker = string_of(encoder, message->event.worker);
    wire->ticket = ticket_of(encoder, message->event.ticket);
    wire->step = string_of(encoder, log->step);
    wire->attempt = log->attempt;
    wire->dropped_lines = log->dropped_lines;
    wire->dropped_bytes = log->dropped_bytes;
    wire->n_lines = log->count;
    wire->lines = take(encoder, log->count, sizeof *wire->lines);
    for (size_t i = 0; wire->lines != NULL && i < log->count; i++) {
        wire->lines[i] = log_line_of(encoder, &log->lines[i]);
    }
}

/* ---- snapshots */

static bool read_step_enums(struct decoder *decoder, const Backstep__V1__StepState *wire, struct saga_step *step)
{
    int status, fired, cancel;
    if (!read_enum(decoder, PAIRS(step_statuses), (int)wire->status, "step status", &status) ||
        !read_enum(decoder, PAIRS(fired_timers), (int)wire->fired, "fired", &fired) ||
        !read_enum(decoder, PAIRS(cancels), (int)wire->cancel, "cancel", &cancel)) {
        return false;
    }
    step->status = (uint8_t)status;
    step->fired = (uint8_t)fired;
    step->cancel = (uint8_t)cancel;
    step->direction = wire->rolls_back ? DIRECTION_ROLLBACK : DIRECTION_EXECUTE;
    return read_range(decoder, wire->losses, 0, UINT16_MAX, "losses") &&
           read_range(decoder, wire->silent_losses, 0, UINT16_MAX, "silent_losses");
}

/* The bytes stay where protobuf-c has put them. What fails shows at the end of the record. */
static void read_text_of(struct decoder *decoder, struct saga_step *step, enum step_text kind, struct span bytes)
{
    struct saga_text *text = bytes.size > 0 ? arena_take(&decoder->arena, sizeof *text) : NULL;
    if (text != NULL) {
        *text = (struct saga_text){
            .next = step->work->texts, .bytes = bytes.bytes, .size = (uint32_t)bytes.size, .kind = (unsigned)kind & 0xf};
        step->work->texts = text;
    }
}

static bool read_work(struct decoder *decoder, const Backstep__V1__StepState *wire, struct saga_step *step)
{
    static const struct saga_step_work none;
    step->work = arena_take(&decoder->arena, sizeof *step->work);
    if (step->work == NULL) {
        return garbage(decoder, "out of memory");
    }
    *step->work = (struct saga_step_work){
        .execute_attempts = wire->execute_attempts,
        .end_order = wire->end_order,
        .begun_ms = wire->begun_ms,
        .attempt_ms = wire->attempt_ms,
        .report_ms = wire->report_ms,
        .ended_ms = wire->ended_ms,
        .rollback_begun_ms = wire->rollback_begun_ms,
        .rollback_ended_ms = wire->rollback_ended_ms,
        .retry_ms = wire->retry_ms,
        .current = wire->current,
        .total = wire->total,
    };
    read_text_of(decoder, step, TEXT_DATA, span_of_binary(wire->data));
    read_text_of(decoder, step, TEXT_ROLLBACK_DATA, span_of_binary(wire->rollback_data));
    read_text_of(decoder, step, TEXT_SET, span_of_binary(wire->set));
    read_text_of(decoder, step, TEXT_METRICS, span_of_binary(wire->metrics));
    read_text_of(decoder, step, TEXT_ERROR, span_of(wire->error));
    read_text_of(decoder, step, TEXT_ROLLBACK_ERROR, span_of(wire->rollback_error));
    read_text_of(decoder, step, TEXT_WORKER, span_of(wire->worker));
    if (memcmp(step->work, &none, sizeof none) == 0) {
        step->work = NULL;
    }
    return true;
}

static bool read_step_state(struct decoder *decoder, const Backstep__V1__StepState *wire, struct saga_step *step)
{
    *step = (struct saga_step){
        .index = step->index,
        .instance = step->instance,
        .open = wire->open,
        .started = wire->started,
        .confirm = wire->confirm,
        .may_have_begun = wire->may_have_begun,
        .begun_before = wire->begun_before,
        .executed = wire->executed,
        .nothing_to_undo = wire->nothing_to_undo,
        .resolved = wire->resolved,
        .losses = (uint16_t)wire->losses,
        .silent_losses = (uint16_t)wire->silent_losses,
        .ticket = wire->ticket,
        .attempts = wire->attempts,
        .fraction_ppm = wire->fraction_ppm,
        .ready_ms = wire->ready_ms,
    };
    return read_work(decoder, wire, step) && read_step_enums(decoder, wire, step);
}

static bool read_fan(struct decoder *decoder, const Backstep__V1__StepState *wire, struct saga_step *step)
{
    size_t count = wire->n_elements;
    if (!wire->expanded) {
        return true;
    }
    if (!read_count(decoder, count, LIMIT_ELEMENTS, "elements") ||
        !read_range(decoder, (int64_t)wire->n_instances, (int64_t)count, (int64_t)count, "instances")) {
        return false;
    }
    struct saga_fan *fan = arena_take(&decoder->arena, sizeof *fan);
    struct span *elements = arena_take_array(&decoder->arena, count, sizeof *elements);
    struct saga_step *instances = arena_take_array(&decoder->arena, count, sizeof *instances);
    if (fan == NULL || elements == NULL || instances == NULL) {
        return garbage(decoder, "out of memory");
    }
    for (size_t i = 0; i < count; i++) {
        elements[i] = span_of_binary(wire->elements[i]);
        instances[i].index = step->index;
        instances[i].instance = (uint32_t)i + 1;
        if (!read_step_state(decoder, wire->instances[i], &instances[i])) {
            return error_prefix(decoder->error, "instance %zu", i + 1);
        }
    }
    *fan = (struct saga_fan){.count = (uint32_t)count, .elements = elements, .instances = instances};
    step->fan = fan;
    return true;
}

static struct saga_step *read_step_ref(struct decoder *decoder, const struct saga *image, const Backstep__V1__StepRef *wire)
{
    struct saga_step *step = saga_find_step(image, wire->step, wire->instance);
    if (step == NULL) {
        error_set(decoder->error, ERROR_INVALID, "a list names instance %u of step %u, which is not there", wire->instance,
                  wire->step);
    }
    return step;
}

static bool read_active(struct decoder *decoder, const Backstep__V1__Snapshot *wire, struct saga *image)
{
    for (size_t i = 0; i < wire->n_active; i++) {
        struct saga_step *step = read_step_ref(decoder, image, wire->active[i]);
        if (step == NULL || step->active) {
            return step == NULL ? false : garbage(decoder, "a step is active twice");
        }
        step->active = true;
        step->active_before = image->active_last;
        *(image->active_last != NULL ? &image->active_last->active_next : &image->active) = step;
        image->active_last = step;
    }
    return true;
}

static bool read_set_list(struct decoder *decoder, const Backstep__V1__Snapshot *wire, struct saga *image)
{
    for (size_t i = 0; i < wire->n_sets; i++) {
        struct saga_step *step = read_step_ref(decoder, image, wire->sets[i]);
        if (step != NULL && step->work == NULL) {
            return garbage(decoder, "a step has set values and has not begun");
        }
        if (step == NULL || step->work->set_next != NULL || step == image->sets_last) {
            return step == NULL ? false : garbage(decoder, "a step has set values twice");
        }
        *(image->sets_last != NULL ? &image->sets_last->work->set_next : &image->sets) = step;
        image->sets_last = step;
    }
    return true;
}

static bool read_requests(struct decoder *decoder, const Backstep__V1__Snapshot *wire, struct saga *image)
{
    struct saga_request **link = &image->requests;
    if (!read_count(decoder, wire->n_requests, LIMIT_REQUESTS_PER_RUN, "requests")) {
        return false;
    }
    for (size_t i = 0; i < wire->n_requests; i++, link = &(*link)->next) {
        int verdict;
        struct saga_request *request = arena_take(&decoder->arena, sizeof *request);
        if (request == NULL) {
            return garbage(decoder, "out of memory");
        }
        if (!read_bytes16(decoder, wire->requests[i]->id, "request id", request->id) ||
            !read_enum(decoder, PAIRS(verdicts), (int)wire->requests[i]->verdict, "verdict", &verdict)) {
            return false;
        }
        request->verdict = (uint8_t)verdict;
        request->answered = wire->requests[i]->answered;
        struct span reason = span_of(wire->requests[i]->reason);
        request->reason = reason.bytes;
        request->reason_size = (uint32_t)reason.size;
        *link = request;
    }
    return true;
}

static bool read_steps(struct decoder *decoder, const Backstep__V1__Snapshot *wire, struct saga *image)
{
    uint32_t count = image->plan->step_count;
    if (!read_range(decoder, (int64_t)wire->n_steps, count, count, "steps")) {
        return false;
    }
    struct saga_step *steps = arena_take_array(&decoder->arena, count, sizeof *steps);
    image->steps = arena_take_array(&decoder->arena, count, sizeof(struct saga_step *));
    if (steps == NULL || image->steps == NULL) {
        return garbage(decoder, "out of memory");
    }
    for (uint32_t i = 0; i < count; i++) {
        image->steps[i] = &steps[i];
        steps[i].index = i;
        image->has_scopes = image->has_scopes || image->plan->steps[i].kind == PLAN_SCOPE;
        if (!read_step_state(decoder, wire->steps[i], image->steps[i]) || !read_fan(decoder, wire->steps[i], image->steps[i])) {
            return error_prefix(decoder->error, "step %u", i);
        }
    }
    return read_active(decoder, wire, image) && read_set_list(decoder, wire, image) && read_requests(decoder, wire, image);
}

static void read_trouble(struct decoder *decoder, const Backstep__V1__Snapshot *wire, struct saga *image)
{
    struct saga_trouble trouble = {.error = span_of(wire->error),
                                   .cause_step = wire->cause > 0 ? wire->cause - 1 : UINT32_MAX,
                                   .cause_instance = wire->cause_instance,
                                   .pause_ms = wire->pause_ms,
                                   .paused_ms = wire->paused_ms,
                                   .undo_total = wire->undo_total};
    bool any = trouble.error.size > 0 || wire->cause > 0 || wire->cause_instance > 0 || wire->pause_ms != 0 || wire->paused_ms != 0 ||
               wire->undo_total > 0;
    image->trouble = any ? arena_take(&decoder->arena, sizeof *image->trouble) : NULL; /* what fails shows at the end of the record */
    if (image->trouble != NULL) {
        *image->trouble = trouble;
    }
}

static void read_course(struct decoder *decoder, const Backstep__V1__Snapshot *wire, struct saga *image)
{
    image->finish_recorded = wire->finish_recorded;
    image->cancelling = wire->cancelling;
    image->stopping = wire->stopping;
    image->paused = wire->paused;
    image->held = wire->held;
    image->begun = wire->begun;
    image->fold_version = wire->fold_version;
    image->finish_count = wire->finish_count;
    image->ended_count = wire->ended_count;
    image->progress_ppm = wire->progress_ppm;
    image->started_ms = wire->started_ms;
    image->finished_ms = wire->finished_ms;
    image->time_ms = wire->time_ms;
    image->params = span_of_binary(wire->params);
    read_trouble(decoder, wire, image);
}

/* What the fold asserts of its own states it must not be made to assert by a record. */
static bool check_image(struct decoder *decoder, struct saga *image)
{
    for (uint32_t i = 0; i < image->plan->step_count; i++) {
        if (image->steps[i]->fan != NULL) {
            saga_count_fan(image->steps[i]->fan);
        }
    }
    const char *problem = saga_image_problem(image);
    return problem == NULL || garbage(decoder, problem);
}

static bool read_snapshot(struct decoder *decoder, const void *body, struct message *message)
{
    const Backstep__V1__Snapshot *wire = body;
    int status;
    struct saga *image = arena_take(&decoder->arena, sizeof *image);
    if (image == NULL) {
        return garbage(decoder, "out of memory");
    }
    if (!read_epoch(decoder, wire->epoch, message) ||
        !read_offset(decoder, wire->state_offset, "state_offset", &message->state_offset) ||
        !read_offset(decoder, wire->start_offset, "start_offset", &image->start_offset) ||
        !read_offset(decoder, wire->first_offset, "first_offset", &message->first_offset) ||
        !read_enum(decoder, PAIRS(statuses), (int)wire->status, "status", &status) ||
        !read_range(decoder, wire->fold_version, 1, SAGA_FOLD_VERSION, "fold_version") ||
        !read_size(decoder, wire->params.len, LIMIT_CONTEXT_BYTES, "params") ||
        !read_range(decoder, (int64_t)(wire->context_bytes > INT64_MAX ? INT64_MAX : wire->context_bytes), 0, LIMIT_CONTEXT_BYTES,
                    "context_bytes") ||
        !read_plan(decoder, wire->plan, &image->plan)) {
        return false;
    }
    read_course(decoder, wire, image);
    image->status = (uint8_t)status;
    image->context_bytes = (uint32_t)wire->context_bytes;
    image->run_id = message->event.run_id;
    message->image = image;
    return read_steps(decoder, wire, image) && check_image(decoder, image) &&
           read_waiting_list(decoder, wire->n_waiting, wire->waiting, message);
}

static void fill_step_state(struct encoder *encoder, Backstep__V1__StepState *wire, const struct saga_step *step)
{
    backstep__v1__step_state__init(wire);
    wire->status = (Backstep__V1__StepStatus)wire_of(PAIRS(step_statuses), step->status);
    wire->rolls_back = step->direction == DIRECTION_ROLLBACK;
    wire->fired = (Backstep__V1__Timer)wire_of(PAIRS(fired_timers), step->fired);
    wire->cancel = (Backstep__V1__CancelReason)wire_of(PAIRS(cancels), step->cancel);
    wire->open = step->open;
    wire->started = step->started;
    wire->confirm = step->confirm;
    wire->may_have_begun = step->may_have_begun;
    wire->begun_before = step->begun_before;
    wire->executed = step->executed;
    wire->nothing_to_undo = step->nothing_to_undo;
    wire->resolved = step->resolved;
    wire->losses = step->losses;
    wire->silent_losses = step->silent_losses;
    wire->ticket = step->ticket;
    wire->attempts = step->attempts;
    wire->execute_attempts = saga_work(step)->execute_attempts;
    wire->fraction_ppm = step->fraction_ppm;
    wire->end_order = saga_work(step)->end_order;
    wire->ready_ms = step->ready_ms;
    wire->begun_ms = saga_work(step)->begun_ms;
    wire->attempt_ms = saga_work(step)->attempt_ms;
    wire->report_ms = saga_work(step)->report_ms;
    wire->ended_ms = saga_work(step)->ended_ms;
    wire->rollback_begun_ms = saga_work(step)->rollback_begun_ms;
    wire->rollback_ended_ms = saga_work(step)->rollback_ended_ms;
    wire->retry_ms = saga_work(step)->retry_ms;
    wire->current = saga_work(step)->current;
    wire->total = saga_work(step)->total;
    wire->data = binary_of(saga_step_text(step, TEXT_DATA));
    wire->rollback_data = binary_of(saga_step_text(step, TEXT_ROLLBACK_DATA));
    wire->set = binary_of(saga_step_text(step, TEXT_SET));
    wire->metrics = binary_of(saga_step_text(step, TEXT_METRICS));
    wire->error = string_of(encoder, saga_step_text(step, TEXT_ERROR));
    wire->rollback_error = string_of(encoder, saga_step_text(step, TEXT_ROLLBACK_ERROR));
    wire->worker = string_of(encoder, saga_step_text(step, TEXT_WORKER));
}

static void fill_fan(struct encoder *encoder, Backstep__V1__StepState *wire, const struct saga_fan *fan)
{
    Backstep__V1__StepState *instances = take(encoder, fan->count, sizeof *instances);
    wire->elements = take(encoder, fan->count, sizeof *wire->elements);
    wire->instances = take(encoder, fan->count, sizeof *wire->instances);
    wire->expanded = true;
    if (instances == NULL || wire->elements == NULL || wire->instances == NULL) {
        return;
    }
    wire->n_elements = wire->n_instances = fan->count;
    for (uint32_t i = 0; i < fan->count; i++) {
        wire->elements[i] = binary_of(fan->elements[i]);
        wire->instances[i] = &instances[i];
        fill_step_state(encoder, &instances[i], &fan->instances[i]);
    }
}

static void fill_steps(struct encoder *encoder, Backstep__V1__Snapshot *wire, const struct saga *image)
{
    uint32_t count = image->plan->step_count;
    Backstep__V1__StepState *steps = take(encoder, count, sizeof *steps);
    wire->steps = take(encoder, count, sizeof *wire->steps);
    if (steps == NULL || wire->steps == NULL) {
        return;
    }
    wire->n_steps = count;
    for (uint32_t i = 0; i < count; i++) {
        wire->steps[i] = &steps[i];
        fill_step_state(encoder, &steps[i], image->steps[i]);
        if (image->steps[i]->fan != NULL) {
            fill_fan(encoder, &steps[i], image->steps[i]->fan);
        }
    }
}

static const struct saga_step *next_active(const struct saga_step *step)
{
    return step->active_next;
}

static const struct saga_step *next_set(const struct saga_step *step)
{
    return saga_work(step)->set_next;
}

static Backstep__V1__StepRef **refs_of(struct encoder *encoder, const struct saga_step *first,
                                       const struct saga_step *(*next)(const struct saga_step *), size_t *count)
{
    size_t length = 0, i = 0;
    for (const struct saga_step *step = first; step != NULL; step = next(step)) {
        length++;
    }
    Backstep__V1__StepRef *refs = take(encoder, length, sizeof *refs);
    Backstep__V1__StepRef **pointers = take(encoder, length, sizeof *pointers);
    if (refs == NULL || pointers == NULL) {
        return NULL;
    }
    for (const struct saga_step *step = first; step != NULL; step = next(step), i++) {
        backstep__v1__step_ref__init(&refs[i]);
        refs[i].step = step->index;
        refs[i].instance = step->instance;
        pointers[i] = &refs[i];
    }
    *count = length;
    return pointers;
}

static void fill_requests(struct encoder *encoder, Backstep__V1__Snapshot *wire, const struct saga *image)
{
    wire->requests = take(encoder, LIMIT_REQUESTS_PER_RUN, sizeof *wire->requests);
    for (const struct saga_request *request = image->requests; request != NULL && wire->requests != NULL; request = request->next) {
        Backstep__V1__RequestState *state = take(encoder, 1, sizeof *state);
        if (state == NULL) {
            return;
        }
        backstep__v1__request_state__init(state);
        state->id = binary_of_bytes(request->id, sizeof request->id);
        state->verdict = (Backstep__V1__Verdict)wire_of(PAIRS(verdicts), request->verdict);
        state->answered = request->answered;
        state->reason = string_of(encoder, saga_request_reason(request));
        wire->requests[wire->n_requests++] = state;
    }
}

static void fill_snapshot(struct encoder *encoder, void *body, const struct message *message)
{
    Backstep__V1__Snapshot *wire = body;
    const struct saga *image = message->image;
    wire->epoch = message->epoch;
    wire->state_offset = message->state_offset;
    wire->first_offset = message->first_offset;
    wire->start_offset = image->start_offset;
    wire->fold_version = image->fold_version;
    wire->plan = plan_of(encoder, image->plan);
    wire->params = binary_of(image->params);
    wire->status = (Backstep__V1__RunStatus)wire_of(PAIRS(statuses), image->status);
    wire->error = string_of(encoder, saga_trouble(image)->error);
    wire->finish_recorded = image->finish_recorded;
    wire->cancelling = image->cancelling;
    wire->stopping = image->stopping;
    wire->paused = image->paused;
    wire->held = image->held;
    wire->begun = image->begun;
    const struct saga_trouble *trouble = saga_trouble(image);
    wire->cause = trouble->cause_step != UINT32_MAX ? trouble->cause_step + 1 : 0;
    wire->cause_instance = trouble->cause_instance;
    wire->finish_count = image->finish_count;
    wire->ended_count = image->ended_count;
    wire->progress_ppm = image->progress_ppm;
    wire->undo_total = trouble->undo_total;
    wire->started_ms = image->started_ms;
    wire->finished_ms = image->finished_ms;
    wire->time_ms = image->time_ms;
    wire->pause_ms = trouble->pause_ms;
    wire->paused_ms = trouble->paused_ms;
    wire->context_bytes = image->context_bytes;
    fill_steps(encoder, wire, image);
    wire->active = refs_of(encoder, image->active, next_active, &wire->n_active);
    wire->sets = refs_of(encoder, image->sets, next_set, &wire->n_sets);
    fill_requests(encoder, wire, image);
    wire->waiting = waiting_list_of(encoder, message, &wire->n_waiting);
}

uint64_t message_hash(struct span run_id)
{
    uint64_t hash = 14695981039346656037u;
    for (size_t i = 0; i < run_id.size; i++) {
        hash = (hash ^ (unsigned char)run_id.bytes[i]) * 1099511628211u;
    }
    return hash;
}

static bool read_finished_ids(struct decoder *decoder, const void *body, struct message *message)
{
    const Backstep__V1__FinishedIds *wire = body;
    message->hashes = wire->hashes;
    message->hash_count = wire->n_hashes;
    message->previous = wire->previous - 1;
    return read_epoch(decoder, wire->epoch, message) &&
           read_offset(decoder, wire->state_offset, "state_offset", &message->state_offset) &&
           read_range(decoder, wire->previous, 0, INT64_MAX, "previous") &&
           read_count(decoder, wire->n_hashes, LIMIT_FINISHED_IDS, "hashes");
}

static void fill_finished_ids(struct encoder *encoder, void *body, const struct message *message)
{
    (void)encoder;
    Backstep__V1__FinishedIds *wire = body;
    wire->epoch = message->epoch;
    wire->state_offset = message->state_offset;
    wire->previous = message->previous + 1;
    wire->n_hashes = message->hash_count;
    wire->hashes = (uint64_t *)(uintptr_t)message->hashes;
}

/* ---- the table */

enum trait {
    OF_RUN = 1, /* its key is a run id */
    OWNERS = 2, /* only the owner of the partition may write it */
};

struct codec {
    enum message_topic topic;
    int body; /* which member of the topic's oneof */
    const ProtobufCMessageDescriptor *descriptor;
    const char *type;
    unsigned traits;
    enum saga_event_kind event;
    bool (*read)(struct decoder *decoder, const void *body, struct message *message);
    void (*fill)(struct encoder *encoder, void *body, const struct message *message);
};

#define CONTROL_ROW(name, type)                                                                                                    \
    {                                                                                                                              \
        PROGRESS(CONTROL), OF(control), type, OF_RUN, EVENT_##name, read_control, fill_control                                     \
    }
#define PROGRESS(body) TOPIC_PROGRESS, BACKSTEP__V1__PROGRESS_RECORD__BODY_##body
#define TASKS(body) TOPIC_TASKS, BACKSTEP__V1__TASK_RECORD__BODY_##body
#define WORKERS(body) TOPIC_WORKERS, BACKSTEP__V1__WORKER_RECORD__BODY_##body
#define LOGS(body) TOPIC_LOGS, BACKSTEP__V1__LOG_RECORD__BODY_##body
#define OF(name) &backstep__v1__##name##__descriptor

static const struct codec codecs[] = {
    [MESSAGE_START] = {PROGRESS(START), OF(start), "Start", OF_RUN, EVENT_START, read_start, fill_start},
    [MESSAGE_CANCEL] = CONTROL_ROW(CANCEL, "Cancel"),
    [MESSAGE_PAUSE] = CONTROL_ROW(PAUSE, "Pause"),
    [MESSAGE_RESUME] = CONTROL_ROW(RESUME, "Resume"),
    [MESSAGE_RETRY] = CONTROL_ROW(RETRY, "Retry"),
    [MESSAGE_ROLL_BACK] = CONTROL_ROW(ROLL_BACK, "RollBack"),
    [MESSAGE_RESOLVE] = CONTROL_ROW(RESOLVE, "Resolve"),
    [MESSAGE_STARTED] = {PROGRESS(STARTED), OF(started), "Started", OF_RUN, EVENT_STARTED, read_started, fill_started},
    [MESSAGE_PROGRESSED] = {PROGRESS(PROGRESSED), OF(progressed), "Progressed", OF_RUN, EVENT_PROGRESSED, read_progressed,
                            fill_progressed},
    [MESSAGE_DONE] = {PROGRESS(DONE), OF(done), "Done", OF_RUN, EVENT_DONE, read_done, fill_done},
    [MESSAGE_EXPANDED] = {PROGRESS(EXPANDED), OF(expanded), "Expanded", OF_RUN, EVENT_EXPANDED, read_expanded, fill_expanded},
    [MESSAGE_REFUSED] = {PROGRESS(REFUSED), OF(refused), "Refused", OF_RUN, EVENT_REFUSED, read_refused, fill_refused},
    [MESSAGE_HOLDING] = {PROGRESS(HOLDING), OF(holding), "Holding", 0, 0, read_holding, fill_holding},
    [MESSAGE_OWNER_CLAIM] = {PROGRESS(OWNER_CLAIM), OF(owner_claim), "OwnerClaim", 0, 0, read_owner_claim, fill_owner_claim},
    [MESSAGE_LOST] = {PROGRESS(LOST), OF(lost), "Lost", OF_RUN | OWNERS, EVENT_LOST, read_lost, fill_lost},
    [MESSAGE_WITHDRAWN] = {PROGRESS(WITHDRAWN), OF(withdrawn), "Withdrawn", OF_RUN | OWNERS, EVENT_WITHDRAWN, read_withdrawn,
                           fill_withdrawn},
    [MESSAGE_TIMER_FIRED] = {PROGRESS(TIMER_FIRED), OF(timer_fired), "TimerFired", OF_RUN | OWNERS, EVENT_TIMER_FIRED,
                             read_timer_fired, fill_timer_fired},
    [MESSAGE_ANSWERED] = {PROGRESS(ANSWERED), OF(answered), "Answered", OF_RUN | OWNERS, EVENT_ANSWERED, read_answered,
                          fill_answered},
    [MESSAGE_RUN_PROGRESSED] = {PROGRESS(RUN_PROGRESSED), OF(run_progressed), "RunProgressed", OF_RUN | OWNERS, 0,
                                read_run_progressed, fill_run_progressed},
    [MESSAGE_RUN_FINISHED] = {PROGRESS(RUN_FINISHED), OF(run_finished), "RunFinished", OF_RUN | OWNERS, EVENT_FINISHED,
                              read_run_finished, fill_run_finished},
    [MESSAGE_SNAPSHOT] = {PROGRESS(SNAPSHOT), OF(snapshot), "Snapshot", OF_RUN | OWNERS, 0, read_snapshot, fill_snapshot},
    [MESSAGE_FINISHED_IDS] = {PROGRESS(FINISHED_IDS), OF(finished_ids), "FinishedIds", OWNERS, 0, read_finished_ids,
                              fill_finished_ids},
    [MESSAGE_TASK] = {TASKS(TASK), OF(task), "Task", 0, 0, read_task, fill_task},
    [MESSAGE_CANCEL_TASK] = {TASKS(CANCEL), OF(cancel_task), "CancelTask", 0, 0, read_cancel_task, fill_cancel_task},
    [MESSAGE_WELCOME] = {TASKS(WELCOME), OF(welcome), "Welcome", 0, 0, read_welcome, fill_welcome},
    [MESSAGE_HELLO] = {WORKERS(HELLO), OF(presence), "Hello", 0, 0, read_presence, fill_presence},
    [MESSAGE_HEARTBEAT] = {WORKERS(HEARTBEAT), OF(presence), "Heartbeat", 0, 0, read_presence, fill_presence},
    [MESSAGE_BYE] = {WORKERS(BYE), OF(bye), "Bye", 0, 0, read_bye, fill_bye},
    [MESSAGE_MARK] = {WORKERS(MARK), OF(mark), "Mark", 0, 0, read_mark, fill_mark},
    [MESSAGE_LOG_LINES] = {LOGS(LINES), OF(log_lines), "LogLines", OF_RUN, 0, read_log_lines, fill_log_lines},
};

#define CODEC_COUNT (sizeof codecs / sizeof *codecs)

static enum saga_event_kind codec_event(enum message_kind kind)
{
    return codecs[kind].event;
}

static const ProtobufCMessageDescriptor *const records[] = {
    [TOPIC_PROGRESS] = OF(progress_record),
    [TOPIC_TASKS] = OF(task_record),
    [TOPIC_WORKERS] = OF(worker_record),
    [TOPIC_LOGS] = OF(log_record),
};

const char *message_type(enum message_kind kind)
{
    return kind > MESSAGE_NONE && (size_t)kind < CODEC_COUNT ? codecs[kind].type : "None";
}

bool message_is_owners(enum message_kind kind)
{
    return kind > MESSAGE_NONE && (size_t)kind < CODEC_COUNT && (codecs[kind].traits & OWNERS) != 0;
}

/* ---- encoding */

enum { FIELD_VARINT = 0, FIELD_EIGHT_BYTES = 1, FIELD_SIZED = 2, FIELD_FOUR_BYTES = 5 }; /* as a tag says */

static char *put_varint(char *at, uint64_t number)
{
    for (; number >= 0x80; number >>= 7) {
        *at++ = (char)(number | 0x80);
    }
    *at++ = (char)number;
    return at;
}

#define FRAME_BYTES 20 /* at most: two varints */

/* What stands before the body of a record that has nothing but its body. Returns where it ends. */
static char *put_frame(char *at, uint64_t field, size_t body_size)
{
    return put_varint(put_varint(at, field << 3 | FIELD_SIZED), body_size);
}

/* `field`: of the record that has nothing but this; 0: it is the record. */
static bool append_packed(struct text *bytes, const ProtobufCMessage *packed, uint64_t field, const char *type, struct error *error)
{
    char frame[FRAME_BYTES];
    size_t body_size = protobuf_c_message_get_packed_size(packed);
    size_t frame_size = field > 0 ? (size_t)(put_frame(frame, field, body_size) - frame) : 0;
    size_t size = frame_size + body_size;
    if (size > LIMIT_RECORD_BYTES) {
        return error_set(error, ERROR_INVALID, "%s of %zu bytes; a record has at most %d", type, size, LIMIT_RECORD_BYTES);
    }
    if (!text_reserve(bytes, size)) {
        return error_set(error, ERROR_INVALID, "no room for %s of %zu bytes", type, size);
    }
    memcpy(bytes->bytes + bytes->size, frame, frame_size);
    protobuf_c_message_pack(packed, (uint8_t *)bytes->bytes + bytes->size + frame_size);
    bytes->size += size;
    bytes->bytes[bytes->size] = '\0';
    return true;
}

static bool append_task_record(struct text *bytes, const struct codec *codec, void *body, const struct message *message,
                               struct error *error)
{
    TaskRecord record = BACKSTEP__V1__TASK_RECORD__INIT;
    record.body_case = (Backstep__V1__TaskRecord__BodyCase)codec->body;
    record.task = body; /* all pointers to structures look alike */
    record.incarnation = binary_of_bytes(message->incarnation.bytes, INCARNATION_BYTES);
    record.progress_partition = message->progress_partition;
    record.epoch = message->epoch;
    return append_packed(bytes, &record.base, 0, codec->type, error);
}

bool message_encode(const struct message *message, struct text *bytes, struct error *error)
{
    assert(message->kind > MESSAGE_NONE && (size_t)message->kind < CODEC_COUNT);
    const struct codec *codec = &codecs[message->kind];
    struct encoder encoder;
    bool ok;
    arena_init(&encoder.arena, 16 * KIB, ENCODE_BUDGET_BYTES);
    arena_lend(&encoder.arena, encoder.first, sizeof encoder.first);

    ProtobufCMessage *body = arena_take(&encoder.arena, codec->descriptor->sizeof_message);
    protobuf_c_message_init(codec->descriptor, body);
    codec->fill(&encoder, body, message);

    if (encoder.arena.failed) {
        ok = error_set(error, ERROR_INVALID, "no memory for a record of type %s", codec->type);
    } else if (codec->topic == TOPIC_TASKS) {
        ok = append_task_record(bytes, codec, body, message, error);
    } else {
        ok = append_packed(bytes, body, (uint64_t)codec->body, codec->type, error);
    }
    arena_fini(&encoder.arena);
    return ok;
}

/* ---- decoding */

static void *allocate(void *data, size_t size)
{
    struct decoder *decoder = data;
    return arena_take(&decoder->arena, size);
}

static void release(void *data, void *memory)
{
    (void)data, (void)memory; /* all at once, by message_free() */
}

union record {
    ProtobufCMessage base;
    ProgressRecord progress;
    TaskRecord task;
    WorkerRecord worker;
    LogRecord log;
};

static void unwrap(const union record *record, enum message_topic topic, int *body_case, const void **body)
{
    switch (topic) {
    case TOPIC_PROGRESS:
        *body_case = (int)record->progress.body_case;
        *body = record->progress.start;
        break;
    case TOPIC_TASKS:
        *body_case = (int)record->task.body_case;
        *body = record->task.task;
        break;
    case TOPIC_WORKERS:
        *body_case = (int)record->worker.body_case;
        *body = record->worker.hello;
        break;
    case TOPIC_LOGS:
        *body_case = (int)record->log.body_case;
        *body = record->log.lines;
        break;
    }
}

/* `field`: of the topic's record. */
static enum message_kind find_kind(enum message_topic topic, uint64_t field)
{
    for (size_t kind = MESSAGE_NONE + 1; kind < CODEC_COUNT; kind++) {
        if (codecs[kind].topic == topic && (uint64_t)codecs[kind].body == field) {
            return (enum message_kind)kind;
        }
    }
    return MESSAGE_NONE;
}

static bool read_head(struct decoder *decoder, const union record *record, const struct codec *codec, struct span key,
                      struct message *message)
{
    if ((codec->traits & OF_RUN) != 0) {
        message->event.run_id = arena_keep(&decoder->arena, key);
        return identifier_check(key, decoder->error) || error_prefix(decoder->error, "key");
    }
    if (codec->topic == TOPIC_TASKS) {
        message->progress_partition = record->task.progress_partition;
        return read_epoch(decoder, record->task.epoch, message) &&
               read_range(decoder, record->task.progress_partition, 0, INT32_MAX, "progress_partition") &&
               read_bytes16(decoder, record->task.incarnation, "incarnation", message->incarnation.bytes);
    }
    return true;
}

/* `record`: what the body stands in; not looked at where that is nothing else. */
static bool read_body(struct decoder *decoder, enum message_kind kind, const union record *record, const void *body, struct span key,
                      struct message *message)
{
    const struct codec *codec = &codecs[kind];
    message->kind = kind;
    message->event.kind = codec->event;
    bool ok = read_head(decoder, record, codec, key, message) && codec->read(decoder, body, message);
    if (ok && decoder->arena.failed) {
        ok = garbage(decoder, "out of memory");
    }
    return ok || error_prefix(decoder->error, "%s", codec->type);
}

/* ---- fields, found without decoding what stands around them */

/* A varint at `at`, which moves behind it. false: there is none. */
static bool scan_varint(struct span bytes, size_t *at, uint64_t *number)
{
    *number = 0;
    for (int shift = 0; shift < 64 && *at < bytes.size; shift += 7) {
        unsigned char byte = (unsigned char)bytes.bytes[(*at)++];
        *number |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            return true;
        }
    }
    return false;
}

/* The next field: its number, and where it is something with a length, that. false: the bytes are over, or no fields. */
static bool scan_field(struct span bytes, size_t *at, uint64_t *field, struct span *content)
{
    uint64_t tag, number = 0;
    if (!scan_varint(bytes, at, &tag)) {
        return false;
    }
    bool sized = (tag & 7) == FIELD_SIZED || (tag & 7) == FIELD_VARINT;
    if (sized ? !scan_varint(bytes, at, &number) : (tag & 7) != FIELD_EIGHT_BYTES && (tag & 7) != FIELD_FOUR_BYTES) {
        return false;
    }
    uint64_t size = sized ? ((tag & 7) == FIELD_SIZED ? number : 0) : (tag & 7) == FIELD_EIGHT_BYTES ? 8 : 4;
    if (size > bytes.size - *at) {
        return false;
    }
    *field = tag >> 3;
    *content = (struct span){bytes.bytes + *at, (size_t)size};
    *at += (size_t)size;
    return true;
}

/* A record that is nothing but its body, as everybody writes it: shorter to read so, and the same. */
static bool scan_frame(struct span bytes, uint64_t *field, struct span *body)
{
    char frame[FRAME_BYTES];
    size_t at = 0;
    return scan_field(bytes, &at, field, body) && at == bytes.size && (bytes.bytes[0] & 7) == FIELD_SIZED &&
           put_frame(frame, *field, body->size) - frame == body->bytes - bytes.bytes; /* no longer than need be */
}

/* The only plan of a Start or a Snapshot. */
static bool scan_plan(enum message_kind kind, struct span body, struct span *plan, size_t *field_at)
{
    enum { START_PLAN = 4, SNAPSHOT_PLAN = 5 };
    uint64_t wanted = kind == MESSAGE_START ? START_PLAN : SNAPSHOT_PLAN, field;
    struct span content;
    size_t count = 0;
    for (size_t at = 0, before = 0; at < body.size; before = at) {
        if (!scan_field(body, &at, &field, &content)) {
            return false;
        }
        if (field == wanted) {
            *plan = content;
            *field_at = before;
            count++;
        }
    }
    return count == 1 && plan->size > 0;
}

/* The body without the plan that stands in it. */
static struct span without_plan(struct decoder *decoder, struct span body, struct span plan, size_t field_at)
{
    const char *behind = plan.bytes + plan.size;
    size_t rest = (size_t)(body.bytes + body.size - behind);
    char *bytes = arena_take(&decoder->arena, field_at + rest + 1); /* none is no failure */
    if (bytes == NULL) {
        return (struct span){0};
    }
    memcpy(bytes, body.bytes, field_at);
    memcpy(bytes + field_at, behind, rest);
    return (struct span){bytes, field_at + rest};
}

static struct span take_plan_out(struct decoder *decoder, struct message_plans *plans, enum message_kind kind, struct span body,
                                 struct message *message)
{
    struct span plan;
    size_t field_at;
    if ((kind != MESSAGE_START && kind != MESSAGE_SNAPSHOT) || !scan_plan(kind, body, &plan, &field_at)) {
        return body;
    }
    decoder->known = plans != NULL ? message_plans_find(plans, plan) : NULL;
    message->plan_known = decoder->known != NULL;
    if (decoder->known != NULL) {
        return without_plan(decoder, body, plan, field_at);
    }
    message->plan_bytes = arena_keep(&decoder->arena, plan);
    return body;
}

/* NULL: the bytes are none, and `decoder->error` says so. */
static const ProtobufCMessage *unpack(struct decoder *decoder, const ProtobufCMessageDescriptor *descriptor, struct span bytes)
{
    ProtobufCAllocator allocator = {allocate, release, decoder};
    const ProtobufCMessage *unpacked =
        protobuf_c_message_unpack(descriptor, &allocator, bytes.size, (const uint8_t *)bytes.bytes);
    if (unpacked == NULL) {
        garbage(decoder, "the bytes are no record of this topic");
    }
    return unpacked;
}

static bool decode_framed(struct decoder *decoder, struct message_plans *plans, enum message_kind kind, struct span key,
                          struct span body, struct message *message)
{
    body = take_plan_out(decoder, plans, kind, body, message);
    const ProtobufCMessage *unpacked = unpack(decoder, codecs[kind].descriptor, body);
    return unpacked != NULL && read_body(decoder, kind, NULL, unpacked, key, message);
}

static bool decode_whole(struct decoder *decoder, enum message_topic topic, struct span key, struct span bytes, struct message *message)
{
    int body_case = 0;
    const void *body = NULL;
    const union record *record = (const union record *)unpack(decoder, records[topic], bytes);
    if (record == NULL) {
        return false;
    }
    unwrap(record, topic, &body_case, &body);
    enum message_kind kind = body != NULL ? find_kind(topic, (uint64_t)body_case) : MESSAGE_NONE;
    if (kind == MESSAGE_NONE) {
        return garbage(decoder, "a record of no kind that is known");
    }
    return read_body(decoder, kind, record, body, key, message);
}

static bool decode(struct message *message, enum message_topic topic, struct message_plans *plans, struct span key, struct span bytes,
                   struct error *error)
{
    *message = (struct message){0};
    if (bytes.size == 0) {
        return error_set(error, ERROR_INVALID, "an empty record");
    }
    if (bytes.size > LIMIT_RECORD_BYTES) {
        return error_set(error, ERROR_INVALID, "a record of %zu bytes; at most %d are allowed", bytes.size, LIMIT_RECORD_BYTES);
    }
    struct decoder decoder = {.error = error};
    arena_init(&decoder.arena, bytes.size <= SMALL_RECORD_BYTES ? SMALL_DECODED_BYTES : 1024 + bytes.size * 2, DECODE_BUDGET_BYTES);
    uint64_t field;
    struct span body;
    /* A task's record has a head besides. */
    enum message_kind kind = topic != TOPIC_TASKS && scan_frame(bytes, &field, &body) ? find_kind(topic, field) : MESSAGE_NONE;
    bool ok = kind != MESSAGE_NONE ? decode_framed(&decoder, plans, kind, key, body, message)
                                   : decode_whole(&decoder, topic, key, bytes, message);
    if (!ok) {
        arena_fini(&decoder.arena);
        *message = (struct message){0};
        return false;
    }
    message->storage = arena_detach(&decoder.arena);
    return true;
}

bool message_decode(struct message *message, enum message_topic topic, struct span key, struct span bytes, struct error *error)
{
    return decode(message, topic, NULL, key, bytes, error);
}

bool message_decode_known(struct message *message, struct message_plans *plans, struct span key, struct span bytes, struct error *error)
{
    return decode(message, TOPIC_PROGRESS, plans, key, bytes, error);
}

void message_free(struct message *message)
{
    arena_blocks_free(message->storage);
    *message = (struct message){0};
}
