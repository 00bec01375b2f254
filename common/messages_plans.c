/* SPDX-License-Identifier: Apache-2.0 */
#include "common/messages_plans.h"

#include <assert.h>
#include <stdalign.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <uthash.h>

#define IDLE_MAX 64 /* plans that no run has just now, and the next one may */

struct known {
    size_t holders;
    struct known *next_idle, *previous_idle; /* only without holders */
    struct span bytes;
    UT_hash_handle hh;
    max_align_t plan[]; /* a struct plan, with everything it points to; then the bytes */
};

struct message_plans {
    struct known *known;
    struct known *idle_first, *idle_last; /* the one that was given back first is forgotten first */
    size_t idle_count;
};

static void *allocate(size_t size)
{
    void *memory = malloc(size);
    if (memory == NULL) {
        abort();
    }
    return memory;
}

struct message_plans *message_plans_new(void)
{
    struct message_plans *plans = allocate(sizeof *plans);
    *plans = (struct message_plans){0};
    return plans;
}

static void forget(struct message_plans *plans, struct known *known)
{
    HASH_DELETE(hh, plans->known, known);
    free(known);
}

void message_plans_free(struct message_plans *plans)
{
    if (plans == NULL) {
        return;
    }
    while (plans->known != NULL) {
        forget(plans, plans->known);
    }
    free(plans);
}

static struct known *known_of(const struct plan *plan)
{
    return (struct known *)((char *)(uintptr_t)plan - offsetof(struct known, plan));
}

static struct known *find(struct message_plans *plans, struct span bytes)
{
    struct known *known = NULL;
    if (bytes.size > 0) {
        HASH_FIND(hh, plans->known, bytes.bytes, bytes.size, known);
    }
    return known;
}

const struct plan *message_plans_find(struct message_plans *plans, struct span bytes)
{
    const struct known *known = find(plans, bytes);
    return known != NULL ? (const void *)known->plan : NULL;
}

static void idle_remove(struct message_plans *plans, struct known *known)
{
    *(known->previous_idle != NULL ? &known->previous_idle->next_idle : &plans->idle_first) = known->next_idle;
    *(known->next_idle != NULL ? &known->next_idle->previous_idle : &plans->idle_last) = known->previous_idle;
    known->next_idle = known->previous_idle = NULL;
    plans->idle_count--;
}

static void idle_append(struct message_plans *plans, struct known *known)
{
    known->previous_idle = plans->idle_last;
    *(plans->idle_last != NULL ? &plans->idle_last->next_idle : &plans->idle_first) = known;
    plans->idle_last = known;
    plans->idle_count++;
}

static struct known *add(struct message_plans *plans, struct span bytes, const struct plan *plan)
{
    size_t room = plan_room(plan);
    struct known *known = allocate(sizeof *known + room + bytes.size);
    *known = (struct known){.holders = 0};
    plan_copy(known->plan, plan);
    char *copy = (char *)known->plan + room;
    memcpy(copy, bytes.bytes, bytes.size);
    known->bytes = (struct span){copy, bytes.size};
    HASH_ADD_KEYPTR(hh, plans->known, known->bytes.bytes, known->bytes.size, known);
    idle_append(plans, known);
    return known;
}

static const struct plan *hold(struct message_plans *plans, struct known *known)
{
    if (known->holders++ == 0) {
        idle_remove(plans, known);
    }
    return (const void *)known->plan;
}

const struct plan *message_plans_hold(struct message_plans *plans, struct span bytes, const struct plan *plan)
{
    uint32_t step;
    struct known *known = find(plans, bytes);
    if (known == NULL) {
        if (bytes.size == 0 || plan_problem(plan, &step) != NULL) {
            return NULL;
        }
        known = add(plans, bytes, plan);
    }
    return hold(plans, known);
}

const struct plan *message_plans_hold_known(struct message_plans *plans, const struct plan *plan)
{
    return hold(plans, known_of(plan));
}

void message_plans_release(struct message_plans *plans, const struct plan *plan)
{
    struct known *known = known_of(plan);
    assert(known->holders > 0);
    if (--known->holders > 0) {
        return;
    }
    idle_append(plans, known);
    if (plans->idle_count > IDLE_MAX) {
        struct known *oldest = plans->idle_first;
        idle_remove(plans, oldest);
        forget(plans, oldest);
    }
}
