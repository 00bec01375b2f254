/* SPDX-License-Identifier: Apache-2.0 */
/* A directory of step programs: every executable file in it is the handler of that name. */
#ifndef STEPS_DIRECTORY_H
#define STEPS_DIRECTORY_H

#include "common/error.h"

#include <stdbool.h>
#include <stddef.h>

struct steps_directory_entry {
    char *name;
    char *path;            /* from the root */
    char *reason;          /* why it is no handler: "is not executable" ...; NULL: it is one */
    bool ignores_rollback; /* a script in which the word `rollback` does not stand: it would act again. Binaries are not judged */
};

struct steps_directory {
    struct steps_directory_entry *entries; /* by name; hidden files (.x) are left out */
    size_t count, handler_count;
};

/* The caller owes steps_directory_fini(). Fails INVALID: no such directory, more than LIMIT_HANDLERS handlers. */
bool steps_directory_read(struct steps_directory *directory, const char *path, struct error *error);
void steps_directory_fini(struct steps_directory *directory);

#endif
