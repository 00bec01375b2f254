/* SPDX-License-Identifier: Apache-2.0 */
#include "coordinator/cli/faults.h"

#include "common/names.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_BYTES 64 /* of a request or an error, with its NUL */

/* ---------------------------------------------------------------- reading */

static bool read_time(struct span value, int64_t least_ms, int64_t most_ms, int64_t *time_ms, struct error *error)
{
    if (!duration_parse(value, time_ms, error)) {
        return false;
    }
    if (*time_ms < least_ms || *time_ms > most_ms) {
        return error_set(error, ERROR_INVALID, "must be from %lldms to %llds", (long long)least_ms, (long long)most_ms / 1000);
    }
    return true;
}

static bool read_down(struct fault *fault, struct span value, struct error *error)
{
    fault->kind = FAULT_DOWN;
    return read_time(value, 1, LIMIT_FAULT_MS, &fault->for_ms, error);
}

static bool read_rtt(struct fault *fault, struct span value, struct error *error)
{
    fault->kind = FAULT_RTT;
    return read_time(value, 1, LIMIT_FAULT_DELAY_MS, &fault->time_ms, error);
}

static const char *copy_name(char name[NAME_BYTES], struct span value)
{
    snprintf(name, NAME_BYTES, "%.*s", SPAN_ARGS(value));
    return name;
}

static bool read_error(struct fault *fault, struct span value, struct error *error)
{
    char name[NAME_BYTES];
    fault->kind = FAULT_ERROR;
    return embedded_error_find(copy_name(name, value), &fault->failure.error_code) ||
           error_set(error, ERROR_INVALID,
                     "is no error of Kafka's protocol; write one like NOT_LEADER_FOR_PARTITION, or 'disconnect', or 'none'");
}

static bool read_request(struct fault *fault, struct span value, struct error *error)
{
    char name[NAME_BYTES];
    struct text known;
    fault->failure.request = embedded_request_find(copy_name(name, value));
    if (fault->failure.request >= 0) {
        return true;
    }
    text_init(&known, 1024);
    for (const char *const *request = embedded_requests; *request != NULL; request++) {
        text_format(&known, "%s%s", request == embedded_requests ? "" : ", ", *request);
    }
    error_set(error, ERROR_INVALID, "is no request that can fail here; there are %s", text_string(&known));
    text_fini(&known);
    return false;
}

static bool read_count(struct fault *fault, struct span value, struct error *error)
{
    char digits[NAME_BYTES], *end;
    long count = strtol(copy_name(digits, value), &end, 10);
    if (*end != '\0' || count < 1 || count > LIMIT_FAULT_REQUESTS) {
        return error_set(error, ERROR_INVALID, "must be a number from 1 to %d", LIMIT_FAULT_REQUESTS);
    }
    fault->failure.count = (int)count;
    return true;
}

static bool read_delay(struct fault *fault, struct span value, struct error *error)
{
    int64_t delay_ms;
    if (!read_time(value, 1, LIMIT_FAULT_DELAY_MS, &delay_ms, error)) {
        return false;
    }
    fault->failure.delay_ms = (int)delay_ms;
    return true;
}

static bool read_for(struct fault *fault, struct span value, struct error *error)
{
    return read_time(value, 1, LIMIT_FAULT_MS, &fault->for_ms, error);
}

static bool read_after(struct fault *fault, struct span value, struct error *error)
{
    return read_time(value, 0, LIMIT_FAULT_MS, &fault->after_ms, error);
}

static bool read_every(struct fault *fault, struct span value, struct error *error)
{
    return read_time(value, LIMIT_FAULT_EVERY_MS, LIMIT_FAULT_MS, &fault->every_ms, error);
}

#define ANY_KIND (1 << FAULT_DOWN | 1 << FAULT_RTT | 1 << FAULT_ERROR)

static const struct fault_key {
    const char *name;
    bool first; /* it says of what kind the fault is */
    int kinds;  /* bits: those it may follow */
    bool (*read)(struct fault *fault, struct span value, struct error *error);
} keys[] = {
    {"down", true, 0, read_down},
    {"rtt", true, 0, read_rtt},
    {"error", true, 0, read_error},
    {"request", false, 1 << FAULT_ERROR, read_request},
    {"count", false, 1 << FAULT_ERROR, read_count},
    {"delay", false, 1 << FAULT_ERROR, read_delay},
    {"for", false, 1 << FAULT_RTT, read_for},
    {"after", false, ANY_KIND, read_after},
    {"every", false, ANY_KIND, read_every},
};

/* `seen`: a bit for each key that stands before it. */
static bool read_part(struct fault *fault, unsigned *seen, struct span part, struct error *error)
{
    bool first = *seen == 0;
    const char *equals = part.size > 0 ? memchr(part.bytes, '=', part.size) : NULL;
    struct span name = {part.bytes, equals != NULL ? (size_t)(equals - part.bytes) : part.size};
    for (size_t i = 0; i < sizeof keys / sizeof *keys && equals != NULL; i++) {
        const struct fault_key *key = &keys[i];
        if (!span_equal(span_of(key->name), name) || key->first != first || (!first && (key->kinds & 1 << fault->kind) == 0)) {
            continue;
        }
        if ((*seen & 1u << i) != 0) {
            return error_set(error, ERROR_INVALID, "'%s' stands there twice", key->name);
        }
        *seen |= 1u << i;
        struct span value = {equals + 1, part.size - name.size - 1};
        return key->read(fault, value, error) || error_prefix(error, "%s=%s", key->name, SHOWN(value));
    }
    return error_set(error, ERROR_INVALID, "'%s' cannot stand there; write down=TIME, rtt=TIME[,for=TIME] or "
                     "error=NAME[,request=NAME][,count=N][,delay=TIME], and [,after=TIME][,every=TIME] behind it", SHOWN(part));
}

static bool fault_read(struct fault *fault, struct span text, struct error *error)
{
    unsigned seen = 0;
    for (;;) {
        const char *comma = text.size > 0 ? memchr(text.bytes, ',', text.size) : NULL;
        struct span part = {text.bytes, comma != NULL ? (size_t)(comma - text.bytes) : text.size};
        if (!read_part(fault, &seen, part, error)) {
            return false;
        }
        if (comma == NULL) {
            break;
        }
        text = (struct span){comma + 1, text.size - part.size - 1};
    }
    if (fault->every_ms > 0 && fault->for_ms >= fault->every_ms) {
        return error_set(error, ERROR_INVALID, "it would never end: it takes longer than from one time to the next");
    }
    return true;
}

bool faults_add(struct faults *faults, const char *text, struct error *error)
{
    struct fault fault = {.failure = {.count = 1}};
    if (faults->count == LIMIT_FAULTS) {
        return error_set(error, ERROR_INVALID, "--fault: %d of them are enough", LIMIT_FAULTS);
    }
    if (!fault_read(&fault, span_of(text), error)) {
        return error_prefix(error, "--fault %s", SHOWN(span_of(text)));
    }
    faults->list[faults->count++] = fault;
    return true;
}

/* ---------------------------------------------------------------- when */

void faults_begin(struct faults *faults, int64_t now_ms)
{
    for (size_t i = 0; i < faults->count; i++) {
        faults->list[i].begins_ms = now_ms + faults->list[i].after_ms;
        faults->list[i].ends_ms = now_ms;
    }
}

/* What was missed, since nobody asked in time, is not made good. */
static bool begins(struct fault *fault, int64_t now_ms)
{
    if (now_ms < fault->begins_ms) {
        return false;
    }
    fault->ends_ms = fault->for_ms > 0 ? now_ms + fault->for_ms : FAULTS_NEVER_MS;
    fault->begins_ms = fault->every_ms > 0 ? now_ms + fault->every_ms : FAULTS_NEVER_MS;
    return true;
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

void faults_at(struct faults *faults, int64_t now_ms, struct faults_state *state)
{
    *state = (struct faults_state){.next_ms = FAULTS_NEVER_MS};
    for (size_t i = 0; i < faults->count; i++) {
        struct fault *fault = &faults->list[i];
        if (begins(fault, now_ms) && fault->kind == FAULT_ERROR) {
            state->failures[state->failure_count++] = &fault->failure;
        }
        bool lasts = now_ms < fault->ends_ms;
        if (lasts && fault->kind == FAULT_DOWN) {
            state->down = true;
        } else if (lasts && fault->kind == FAULT_RTT && fault->time_ms > state->round_trip_ms) {
            state->round_trip_ms = (int)fault->time_ms;
        }
        state->next_ms = earlier(state->next_ms, fault->begins_ms);
        state->next_ms = lasts && fault->kind != FAULT_ERROR ? earlier(state->next_ms, fault->ends_ms) : state->next_ms;
    }
}
