/* SPDX-License-Identifier: Apache-2.0 */
/* The tasks a worker has: by key and by id, and in rows, where some were sent ahead behind others. */
#ifndef HELD_H
#define HELD_H

#include "common/arena.h"
#include "common/limits.h"
#include "common/messages.h"

#include <uthash.h>

/* ENDED: well or skipped, and another is behind it or to come; it is there for that until its Done stands in the log. */
enum held_state { HELD_HERE, HELD_WAITS /* sent ahead, behind another */, HELD_ENDED };

/* A task from its arrival until its Done is posted. */
struct held {
    uint64_t id; /* never used again */
    struct held_key { /* the ticket's number is not part of it */
        uint32_t step, instance, direction;
        char run_id[LIMIT_IDENTIFIER_BYTES];
    } key;
    struct task task;
    struct arena_block *storage; /* owned: what the task borrows from */
    enum held_state state;
    bool begun;        /* as far as the runner has said */
    bool acknowledged; /* ENDED: its Done stands in the log */
    bool expects;      /* another is to come behind it, as far as we know: what has ended is there for that one */
    struct held *before, *behind;
    struct held_known *known, **known_end; /* what has become known of steps since the task was sent: once it has ended, its own */
    struct span *sets; /* owned; in the place of the task's where there is more than came with it */
    UT_hash_handle by_key, by_id;
};

/* All zero: none. */
struct held_tasks {
    struct held *by_key, *by_id;
    uint64_t last_id;
    uint32_t ahead; /* of them: they wait, or have ended */
};

/* Takes the message's storage: a task whose key is not there. Aborts where memory is out: the log has everything, another process will
 * take over. */
struct held *held_add(struct held_tasks *tasks, struct message *message);
/* Frees it, and all that waits behind it. */
void held_let_go(struct held_tasks *tasks, struct held *held);
struct held *held_find(const struct held_tasks *tasks, struct span run_id, const struct ticket *ticket); /* NULL: it is not there */
struct held *held_find_id(const struct held_tasks *tasks, uint64_t id);
static inline uint32_t held_count(const struct held_tasks *tasks)
{
    return HASH_CNT(by_id, tasks->by_id);
}

/* It waits behind `before`, behind which there is nobody, and is told what that one was. */
void held_wait_behind(struct held_tasks *tasks, struct held *held, struct held *before);
/* It has ended well, or was skipped, with these results: all that wait behind it are told, as its coordinator would have. */
void held_has_ended(struct held_tasks *tasks, struct held *held, bool skipped, struct span data, struct span set);
void held_part(struct held *held); /* from what waits behind it */
void held_expect_no_more(struct held *held); /* what was to come behind it has its end in the log */
void held_is_here(struct held_tasks *tasks, struct held *held); /* it waits no more */
/* Each is by itself from here on, and may be let go alone. */
void held_unlink_all(struct held_tasks *tasks);

#endif
