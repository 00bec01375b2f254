/* SPDX-License-Identifier: Apache-2.0 */
/* What stands behind struct backstep_registry, for the parts of the library that add to it. */
#ifndef REGISTRY_H
#define REGISTRY_H

#include "worker/backstep.h"

/* Keep the first failure; what comes after may only follow from it. Returns false. NULL is fine. */
bool registry_fail(struct backstep_registry *registry, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Zeroed memory that lives as long as the registry. NULL: none is left, and the registry has failed. */
void *registry_take(struct backstep_registry *registry, size_t size);

/* Raised with each change: whoever has made something of the steps sees that it is stale. */
unsigned registry_version(const struct backstep_registry *registry);

#endif
