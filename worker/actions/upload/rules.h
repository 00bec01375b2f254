/* SPDX-License-Identifier: Apache-2.0 */
/* What the files are called in the store, and which of them are allowed. */
#ifndef UPLOAD_RULES_H
#define UPLOAD_RULES_H

#include "worker/actions/params.h"
#include "worker/actions/store/store.h"
#include "worker/actions/upload/listing.h"

struct organize {
    const char *layout; /* tree, flat or type */
    bool by_stem; /* units: files that differ by extension only */
    const char *units_key; /* taken by the list of units */
    const struct store *store;
};

/* Give each file its key and unit. INVALID: two of one key, or one the store cannot have. */
bool organize_listing(struct listing *listing, const struct organize *organize, size_t *units, struct error *error);

/* INVALID: the first file, or the whole, that breaks a rule. */
bool rules_check(const struct listing *listing, const struct action_values *values, struct error *error);

#endif
