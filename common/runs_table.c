/* SPDX-License-Identifier: Apache-2.0 */
#include "common/runs_table.h"

#include <assert.h>
#include <stdlib.h>

#define ROOM_MIN 64

static uint32_t tag_of(uint64_t hash)
{
    return (uint32_t)((hash * 0x9e3779b97f4a7c15u) >> 32);
}

void runs_table_fini(struct runs_table *table)
{
    free(table->tags);
    free(table->things);
    *table = (struct runs_table){0};
}

void *runs_table_find(const struct runs_table *table, uint64_t hash, struct span name, struct span (*name_of)(const void *thing))
{
    uint32_t tag = tag_of(hash);
    size_t mask = table->room - 1;
    for (size_t at = tag & mask; table->room > 0 && table->things[at] != NULL; at = (at + 1) & mask) {
        if (table->tags[at] == tag && span_equal(name_of(table->things[at]), name)) {
            return table->things[at];
        }
    }
    return NULL;
}

size_t runs_table_all(const struct runs_table *table, uint64_t hash, void **things, size_t max)
{
    uint32_t tag = tag_of(hash);
    size_t mask = table->room - 1, count = 0;
    for (size_t at = tag & mask; table->room > 0 && table->things[at] != NULL && count < max; at = (at + 1) & mask) {
        if (table->tags[at] == tag) {
            things[count++] = table->things[at];
        }
    }
    return count;
}

static void put(struct runs_table *table, uint32_t tag, void *thing)
{
    size_t at = tag & (table->room - 1);
    while (table->things[at] != NULL) {
        at = (at + 1) & (table->room - 1);
    }
    table->tags[at] = tag;
    table->things[at] = thing;
}

static void grow(struct runs_table *table)
{
    struct runs_table old = *table;
    table->room = old.room > 0 ? old.room * 2 : ROOM_MIN;
    table->tags = malloc(table->room * sizeof *table->tags);
    table->things = calloc(table->room, sizeof *table->things);
    if (table->tags == NULL || table->things == NULL) {
        abort();
    }
    for (size_t i = 0; i < old.room; i++) {
        if (old.things[i] != NULL) {
            put(table, old.tags[i], old.things[i]);
        }
    }
    free(old.tags);
    free(old.things);
}

void runs_table_add(struct runs_table *table, uint64_t hash, void *thing)
{
    if (table->used * 4 >= table->room * 3) {
        grow(table);
    }
    put(table, tag_of(hash), thing);
    table->used++;
}

/* What stands behind it moves up, where it may stand there: no search must meet a gap before what it looks for. */
void runs_table_remove(struct runs_table *table, uint64_t hash, const void *thing)
{
    size_t mask = table->room - 1, gap = tag_of(hash) & mask;
    while (table->things[gap] != thing) {
        assert(table->things[gap] != NULL);
        gap = (gap + 1) & mask;
    }
    for (size_t at = (gap + 1) & mask; table->things[at] != NULL; at = (at + 1) & mask) {
        size_t home = table->tags[at] & mask;
        if (((at - home) & mask) >= ((at - gap) & mask)) {
            table->tags[gap] = table->tags[at];
            table->things[gap] = table->things[at];
            gap = at;
        }
    }
    table->things[gap] = NULL;
    table->used--;
}
