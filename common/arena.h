/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that is taken piece by piece and given back at once. */
#ifndef ARENA_H
#define ARENA_H

#include "common/span.h"

#include <stdbool.h>
#include <stddef.h>

struct arena_block;

struct arena {
    struct arena_block *blocks; /* newest first; NULL: nothing was taken from the heap */
    char *next;
    size_t left;
    size_t block_bytes; /* of the next block */
    size_t budget_bytes; /* what may still be taken from the heap */
    bool failed;        /* out of memory or over the budget: stays so; check it at the end */
};

/* `first_bytes`: size of the first block; `budget_bytes`: the most that is taken from the heap. Caller's storage; owes arena_fini(). */
void arena_init(struct arena *arena, size_t first_bytes, size_t budget_bytes);
/* Take from `memory` (aligned for max_align_t) first; it stays the caller's. */
void arena_lend(struct arena *arena, void *memory, size_t size);
void arena_fini(struct arena *arena);

/* Zeroed and aligned for anything; never NULL for size 0. NULL: it failed. */
void *arena_take(struct arena *arena, size_t size);
void *arena_take_array(struct arena *arena, size_t count, size_t size);
/* A copy with a NUL behind it. */
char *arena_copy(struct arena *arena, struct span span);
struct span arena_keep(struct arena *arena, struct span span);

/* Let the blocks live on without the arena: arena_blocks_free() gives them back. NULL is fine there. */
struct arena_block *arena_detach(struct arena *arena);
void arena_blocks_free(struct arena_block *blocks);

#endif
