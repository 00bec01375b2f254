/* SPDX-License-Identifier: Apache-2.0 */
/* Things by a hash of 64 bits: twelve bytes a place, of which at most three quarters are taken. The things are the caller's. */
#ifndef RUNS_TABLE_H
#define RUNS_TABLE_H

#include "common/span.h"

#include <stdint.h>

struct runs_table {
    uint32_t *tags; /* of the hash; says where its place would be */
    void **things; /* NULL: free */
    size_t room, used;
};

void runs_table_fini(struct runs_table *table); /* all zero before and after */
/* The thing of that hash that has the name; NULL: none. */
void *runs_table_find(const struct runs_table *table, uint64_t hash, struct span name, struct span (*name_of)(const void *thing));
/* All that may have that hash, `max` of them at most: how many. */
size_t runs_table_all(const struct runs_table *table, uint64_t hash, void **things, size_t max);
/* It is not there yet. Aborts where memory is out. */
void runs_table_add(struct runs_table *table, uint64_t hash, void *thing);
void runs_table_remove(struct runs_table *table, uint64_t hash, const void *thing); /* it is there */

#endif
