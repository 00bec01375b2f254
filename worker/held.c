/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/held.h"

#include <assert.h>
#include <stdlib.h>

/* What a step has done, that had not when the task was sent. */
struct held_known {
    struct held_known *next;
    bool skipped;
    struct span step, data, set;
    char bytes[];
};

/* By malloc(), which has at hand what a thread gave back; glibc's calloc() does not look there. */
static void *allocate(size_t size)
{
    void *memory = malloc(size);
    if (memory == NULL) {
        abort();
    }
    return memory;
}

static size_t make_key(struct held_key *key, struct span run_id, const struct ticket *ticket)
{
    size_t size = run_id.size < sizeof key->run_id ? run_id.size : sizeof key->run_id;
    key->step = ticket->step;
    key->instance = ticket->instance;
    key->direction = (uint32_t)ticket->direction;
    if (size > 0) {
        memcpy(key->run_id, run_id.bytes, size);
    }
    return offsetof(struct held_key, run_id) + size;
}

struct held *held_find(const struct held_tasks *tasks, struct span run_id, const struct ticket *ticket)
{
    struct held_key key;
    size_t size = make_key(&key, run_id, ticket);
    struct held *held = NULL;
    HASH_FIND(by_key, tasks->by_key, &key, size, held);
    return held;
}

struct held *held_find_id(const struct held_tasks *tasks, uint64_t id)
{
    struct held *held = NULL;
    HASH_FIND(by_id, tasks->by_id, &id, sizeof id, held);
    return held;
}

struct held *held_add(struct held_tasks *tasks, struct message *message)
{
    struct held *held = allocate(sizeof *held);
    *held = (struct held){.id = ++tasks->last_id,
                          .task = message->task,
                          .storage = message->storage,
                          .expects = message->task.more_behind,
                          .known_end = &held->known};
    message->storage = NULL;
    size_t size = make_key(&held->key, held->task.run_id, &held->task.ticket);
    HASH_ADD_KEYPTR(by_key, tasks->by_key, &held->key, size, held);
    HASH_ADD(by_id, tasks->by_id, id, sizeof held->id, held);
    return held;
}

static void free_held(struct held_tasks *tasks, struct held *held)
{
    tasks->ahead -= held->state != HELD_HERE;
    for (struct held_known *known = held->known, *next; known != NULL; known = next) {
        next = known->next;
        free(known);
    }
    free(held->sets);
    HASH_DELETE(by_key, tasks->by_key, held);
    HASH_DELETE(by_id, tasks->by_id, held);
    arena_blocks_free(held->storage);
    free(held);
}

void held_let_go(struct held_tasks *tasks, struct held *held)
{
    if (held->before != NULL) {
        held_expect_no_more(held->before);
    }
    while (held != NULL) {
        struct held *behind = held->behind;
        free_held(tasks, held);
        held = behind;
    }
}

void held_unlink_all(struct held_tasks *tasks)
{
    for (struct held *held = tasks->by_id; held != NULL; held = held->by_id.next) {
        held->before = held->behind = NULL;
    }
}

/* ---- rows */

static void add_set(struct held *held, struct span set)
{
    struct task *task = &held->task;
    struct span *sets = allocate((task->set_count + 1) * sizeof *sets);
    if (task->set_count > 0) {
        memcpy(sets, task->sets, task->set_count * sizeof *sets);
    }
    sets[task->set_count++] = set;
    free(held->sets);
    task->sets = held->sets = sets;
}

static void learn(struct held *held, bool skipped, struct span step, struct span data, struct span set)
{
    struct held_known *known = allocate(sizeof *known + step.size + data.size + set.size);
    char *at = known->bytes;
    *known = (struct held_known){
        .skipped = skipped, .step = span_copy_to(&at, step), .data = span_copy_to(&at, data), .set = span_copy_to(&at, set)};
    *held->known_end = known;
    held->known_end = &known->next;
    struct task *task = &held->task;
    for (size_t i = 0; i < task->result_count; i++) {
        struct step_result *result = (struct step_result *)(size_t)&task->results[i]; /* the task is ours */
        if (result->pending && span_equal(result->step, step)) {
            result->pending = false;
            result->success = !skipped;
            result->skipped = skipped;
            result->data = known->data;
        }
    }
    if (set.size > 0) {
        add_set(held, known->set);
    }
}

void held_wait_behind(struct held_tasks *tasks, struct held *held, struct held *before)
{
    assert(held->state == HELD_HERE && before->behind == NULL);
    held->state = HELD_WAITS;
    tasks->ahead++;
    held->before = before;
    before->behind = held;
    for (const struct held_known *known = before->known; known != NULL; known = known->next) {
        learn(held, known->skipped, known->step, known->data, known->set);
    }
}

void held_has_ended(struct held_tasks *tasks, struct held *held, bool skipped, struct span data, struct span set)
{
    struct span step = held->task.step;
    assert(held->state == HELD_HERE);
    for (struct held *at = held; at != NULL; at = at->behind) {
        learn(at, skipped, step, data, set);
    }
    held->state = HELD_ENDED;
    tasks->ahead++;
}

void held_part(struct held *held)
{
    if (held->behind != NULL) {
        held->behind->before = NULL;
        held->behind = NULL;
    }
}

void held_expect_no_more(struct held *held)
{
    held->behind = NULL;
    held->expects = held->task.more_behind = false;
}

void held_is_here(struct held_tasks *tasks, struct held *held)
{
    assert(held->state == HELD_WAITS);
    held->state = HELD_HERE;
    tasks->ahead--;
}
