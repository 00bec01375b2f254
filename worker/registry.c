/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/registry.h"

#include "common/arena.h"
#include "common/json.h"
#include "common/limits.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct backstep_registry {
    const struct backstep_step **steps;
    int count, capacity;
    unsigned version;
    struct arena made; /* steps it made itself: wrappers and the like */
    char error[512];
};

struct backstep_registry *backstep_registry_new(void)
{
    struct backstep_registry *registry = calloc(1, sizeof *registry);
    if (registry != NULL) {
        arena_init(&registry->made, 1024, LIMIT_REGISTRY_BYTES);
    }
    return registry;
}

void backstep_registry_free(struct backstep_registry *registry)
{
    if (registry != NULL) {
        arena_fini(&registry->made);
        free(registry->steps);
        free(registry);
    }
}

bool registry_fail(struct backstep_registry *registry, const char *format, ...)
{
    if (registry != NULL && registry->error[0] == '\0') {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(registry->error, sizeof registry->error, format, arguments);
        va_end(arguments);
    }
    return false;
}

void *registry_take(struct backstep_registry *registry, size_t size)
{
    void *memory = arena_take(&registry->made, size);
    if (memory == NULL) {
        registry_fail(registry, "out of memory");
    }
    return memory;
}

unsigned registry_version(const struct backstep_registry *registry)
{
    return registry->version;
}

static bool is_identifier(const char *name)
{
    static const char first[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    size_t size = name != NULL ? strlen(name) : 0;
    return size >= 1 && size <= LIMIT_IDENTIFIER_BYTES && strspn(name, first) == size && strchr("._-", name[0]) == NULL;
}

/* ---------------------------------------------------------------- what a sound step is */

/* One row a number of the policy: what it may be. */
static const char *policy_problem(const struct backstep_policy *policy)
{
    const struct {
        const char *field;
        int64_t value, most;
    } rows[] = {
        {"max_attempts", policy->max_attempts, LIMIT_ATTEMPTS},
        {"max_losses", policy->max_losses, LIMIT_LOSSES},
        {"rollback_max_attempts", policy->rollback_max_attempts, LIMIT_ATTEMPTS},
        {"backoff_ms", policy->backoff_ms, LIMIT_DURATION_MS},
        {"max_backoff_ms", policy->max_backoff_ms, LIMIT_DURATION_MS},
        {"timeout_ms", policy->timeout_ms, LIMIT_DURATION_MS},
        {"heartbeat_timeout_ms", policy->heartbeat_timeout_ms, LIMIT_DURATION_MS},
        {"start_timeout_ms", policy->start_timeout_ms, LIMIT_DURATION_MS},
        {"rollback_timeout_ms", policy->rollback_timeout_ms, LIMIT_DURATION_MS},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (rows[i].value < 0 || rows[i].value > rows[i].most) {
            return rows[i].field;
        }
    }
    bool multiplies = policy->multiplier == 0 || (policy->multiplier >= 1 && policy->multiplier <= LIMIT_MULTIPLIER);
    return multiplies ? NULL : "multiplier";
}

static bool input_is_sound(struct backstep_registry *registry, const struct backstep_step *step)
{
    struct error error = {0};
    json_t *input = step->with != NULL ? json_read_object(span_of(step->with), &error) : NULL;
    if (step->with != NULL && input == NULL) {
        return registry_fail(registry, "step '%s': with: %s", step->name, error.message);
    }
    json_decref(input);
    return true;
}

static bool is_sound(struct backstep_registry *registry, const struct backstep_step *step)
{
    if (step == NULL) {
        return registry_fail(registry, "a step is NULL");
    }
    if (!is_identifier(step->name)) {
        return registry_fail(registry, "step '%.120s': a name is 1 to %d of [A-Za-z0-9._-], and begins with a letter or digit",
                             step->name != NULL ? step->name : "", LIMIT_IDENTIFIER_BYTES);
    }
    if (step->execute == NULL) {
        return registry_fail(registry, "step '%s' has no execute", step->name);
    }
    if (!isfinite(step->weight) || step->weight < 0) {
        return registry_fail(registry, "step '%s': weight must not be negative, and finite; it is %g", step->name, step->weight);
    }
    const char *field = policy_problem(&step->policy);
    if (field != NULL) {
        return registry_fail(registry, "step '%s': policy.%s is out of its range", step->name, field);
    }
    return input_is_sound(registry, step);
}

/* ---------------------------------------------------------------- its place */

static bool make_room(struct backstep_registry *registry)
{
    if (registry->count == LIMIT_HANDLERS) {
        return registry_fail(registry, "more than %d steps", LIMIT_HANDLERS);
    }
    if (registry->count < registry->capacity) {
        return true;
    }
    int capacity = registry->capacity * 2 + 8;
    const struct backstep_step **steps = realloc(registry->steps, (size_t)capacity * sizeof *steps);
    if (steps == NULL) {
        return registry_fail(registry, "out of memory");
    }
    registry->steps = steps;
    registry->capacity = capacity;
    return true;
}

static int position(const struct backstep_registry *registry, const char *name)
{
    for (int i = 0; registry != NULL && name != NULL && i < registry->count; i++) {
        if (strcmp(registry->steps[i]->name, name) == 0) {
            return i;
        }
    }
    return -1;
}

/* Where `name` stands, for what is to be done beside it. */
static bool find_place(struct backstep_registry *registry, const char *name, int *at)
{
    *at = position(registry, name);
    return *at >= 0 || registry_fail(registry, "Step '%.120s' not found", name != NULL ? name : "");
}

static bool insert(struct backstep_registry *registry, int at, const struct backstep_step *step)
{
    if (registry == NULL || !is_sound(registry, step)) {
        return false;
    }
    if (position(registry, step->name) >= 0) {
        return registry_fail(registry, "step '%s' is registered already", step->name);
    }
    if (!make_room(registry)) {
        return false;
    }
    memmove(&registry->steps[at + 1], &registry->steps[at], (size_t)(registry->count - at) * sizeof *registry->steps);
    registry->steps[at] = step;
    registry->count++;
    registry->version++;
    return true;
}

bool backstep_register(struct backstep_registry *registry, const struct backstep_step *step)
{
    return insert(registry, registry != NULL ? registry->count : 0, step);
}

bool backstep_insert_before(struct backstep_registry *registry, const char *name, const struct backstep_step *step)
{
    int at;
    return find_place(registry, name, &at) && insert(registry, at, step);
}

bool backstep_insert_after(struct backstep_registry *registry, const char *name, const struct backstep_step *step)
{
    int at;
    return find_place(registry, name, &at) && insert(registry, at + 1, step);
}

bool backstep_replace(struct backstep_registry *registry, const char *name, const struct backstep_step *step)
{
    int at;
    if (!find_place(registry, name, &at) || !is_sound(registry, step)) {
        return false;
    }
    int same = position(registry, step->name);
    if (same >= 0 && same != at) {
        return registry_fail(registry, "step '%s' is registered already", step->name);
    }
    registry->steps[at] = step;
    registry->version++;
    return true;
}

bool backstep_unregister(struct backstep_registry *registry, const char *name)
{
    int at = position(registry, name);
    if (at < 0) {
        return false;
    }
    registry->count--;
    registry->version++;
    memmove(&registry->steps[at], &registry->steps[at + 1], (size_t)(registry->count - at) * sizeof *registry->steps);
    return true;
}

/* ---------------------------------------------------------------- what is in it */

int backstep_registry_count(const struct backstep_registry *registry)
{
    return registry != NULL ? registry->count : 0;
}

const struct backstep_step *backstep_registry_step(const struct backstep_registry *registry, int index)
{
    return index >= 0 && index < backstep_registry_count(registry) ? registry->steps[index] : NULL;
}

const struct backstep_step *backstep_registry_find(const struct backstep_registry *registry, const char *name)
{
    return backstep_registry_step(registry, position(registry, name));
}

double backstep_registry_total_weight(const struct backstep_registry *registry)
{
    double total = 0;
    for (int i = 0; i < backstep_registry_count(registry); i++) {
        total += registry->steps[i]->weight;
    }
    return total;
}

const char *backstep_registry_error(const struct backstep_registry *registry)
{
    return registry != NULL ? registry->error : "the registry is NULL";
}
