/* SPDX-License-Identifier: Apache-2.0 */
#include "common/limits.h"
#include "worker/backstep.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct backstep_registry {
    const struct backstep_step **steps;
    int count, capacity;
    char error[256];
};

struct backstep_registry *backstep_registry_new(void)
{
    return calloc(1, sizeof(struct backstep_registry));
}

void backstep_registry_free(struct backstep_registry *registry)
{
    if (registry != NULL) {
        free(registry->steps);
        free(registry);
    }
}

/* The first failure is kept: what comes after may only follow from it. */
static bool fail(struct backstep_registry *registry, const char *format, ...) __attribute__((format(printf, 2, 3)));
static bool fail(struct backstep_registry *registry, const char *format, ...)
{
    if (registry->error[0] == '\0') {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(registry->error, sizeof registry->error, format, arguments);
        va_end(arguments);
    }
    return false;
}

static bool is_identifier(const char *name)
{
    static const char first[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    size_t size = name != NULL ? strlen(name) : 0;
    return size >= 1 && size <= LIMIT_IDENTIFIER_BYTES && strspn(name, first) == size && strchr("._-", name[0]) == NULL;
}

static bool is_sound(struct backstep_registry *registry, const struct backstep_step *step)
{
    if (!is_identifier(step->name)) {
        return fail(registry, "step '%s': a name is 1 to %d of [A-Za-z0-9._-], and begins with a letter or digit",
                    step->name != NULL ? step->name : "", LIMIT_IDENTIFIER_BYTES);
    }
    if (step->execute == NULL) {
        return fail(registry, "step '%s' has no execute", step->name);
    }
    if (!isfinite(step->weight) || step->weight < 0) {
        return fail(registry, "step '%s': weight must not be negative", step->name);
    }
    if (backstep_registry_find(registry, step->name) != NULL) {
        return fail(registry, "step '%s' is registered already", step->name);
    }
    return registry->count < LIMIT_HANDLERS || fail(registry, "more than %d steps", LIMIT_HANDLERS);
}

static bool make_room(struct backstep_registry *registry)
{
    if (registry->count < registry->capacity) {
        return true;
    }
    int capacity = registry->capacity * 2 + 8;
    const struct backstep_step **steps = realloc(registry->steps, (size_t)capacity * sizeof *steps);
    if (steps == NULL) {
        return fail(registry, "out of memory");
    }
    registry->steps = steps;
    registry->capacity = capacity;
    return true;
}

bool backstep_register(struct backstep_registry *registry, const struct backstep_step *step)
{
    if (!is_sound(registry, step) || !make_room(registry)) {
        return false;
    }
    registry->steps[registry->count++] = step;
    return true;
}

static int position(const struct backstep_registry *registry, const char *name)
{
    for (int i = 0; i < registry->count; i++) {
        if (strcmp(registry->steps[i]->name, name) == 0) {
            return i;
        }
    }
    return -1;
}

bool backstep_unregister(struct backstep_registry *registry, const char *name)
{
    int at = position(registry, name);
    if (at < 0) {
        return false;
    }
    registry->count--;
    memmove(&registry->steps[at], &registry->steps[at + 1], (size_t)(registry->count - at) * sizeof *registry->steps);
    return true;
}

int backstep_registry_count(const struct backstep_registry *registry)
{
    return registry->count;
}

const struct backstep_step *backstep_registry_step(const struct backstep_registry *registry, int index)
{
    return index >= 0 && index < registry->count ? registry->steps[index] : NULL;
}

const struct backstep_step *backstep_registry_find(const struct backstep_registry *registry, const char *name)
{
    int at = position(registry, name);
    return at < 0 ? NULL : registry->steps[at];
}

double backstep_registry_total_weight(const struct backstep_registry *registry)
{
    double total = 0;
    for (int i = 0; i < registry->count; i++) {
        total += registry->steps[i]->weight;
    }
    return total;
}

const char *backstep_registry_error(const struct backstep_registry *registry)
{
    return registry->error;
}
