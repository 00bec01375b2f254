/* SPDX-License-Identifier: Apache-2.0 */
#include "common/arena.h"

#include <stdint.h>
#include <stdlib.h>

#define ALIGNMENT _Alignof(max_align_t)

struct arena_block {
    struct arena_block *next;
    max_align_t memory[];
};

void arena_init(struct arena *arena, size_t first_bytes, size_t budget_bytes)
{
    *arena = (struct arena){.block_bytes = first_bytes, .budget_bytes = budget_bytes};
}

void arena_lend(struct arena *arena, void *memory, size_t size)
{
    arena->next = memory;
    arena->left = size;
}

void arena_blocks_free(struct arena_block *blocks)
{
    while (blocks != NULL) {
        struct arena_block *next = blocks->next;
        free(blocks);
        blocks = next;
    }
}

void arena_fini(struct arena *arena)
{
    arena_blocks_free(arena->blocks);
    *arena = (struct arena){0};
}

struct arena_block *arena_detach(struct arena *arena)
{
    struct arena_block *blocks = arena->blocks;
    *arena = (struct arena){0};
    return blocks;
}

static bool add_block(struct arena *arena, size_t size)
{
    size_t bytes = size > arena->block_bytes ? size : arena->block_bytes;
    if (size > arena->budget_bytes) {
        return false;
    }
    bytes = bytes > arena->budget_bytes ? arena->budget_bytes : bytes;
    struct arena_block *block = malloc(sizeof *block + bytes);
    if (block == NULL) {
        return false;
    }
    block->next = arena->blocks;
    arena->blocks = block;
    arena->next = (char *)block->memory;
    arena->left = bytes;
    arena->budget_bytes -= bytes;
    arena->block_bytes = bytes * 2;
    return true;
}

void *arena_take(struct arena *arena, size_t size)
{
    if (arena->failed || size > SIZE_MAX / 4) {
        arena->failed = true;
        return NULL;
    }
    size_t rounded = (size + (size == 0) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    if (rounded > arena->left && !add_block(arena, rounded)) {
        arena->failed = true;
        return NULL;
    }
    void *memory = arena->next;
    arena->next += rounded;
    arena->left -= rounded;
    memset(memory, 0, size);
    return memory;
}

void *arena_take_array(struct arena *arena, size_t count, size_t size)
{
    if (size > 0 && count > SIZE_MAX / 4 / size) {
        arena->failed = true;
        return NULL;
    }
    return arena_take(arena, count * size);
}

char *arena_copy(struct arena *arena, struct span span)
{
    char *copy = arena_take(arena, span.size + 1);
    if (copy != NULL && span.size > 0) {
        memcpy(copy, span.bytes, span.size);
    }
    return copy;
}

struct span arena_keep(struct arena *arena, struct span span)
{
    char *copy = arena_copy(arena, span);
    return (struct span){copy, copy != NULL ? span.size : 0};
}
