/* SPDX-License-Identifier: Apache-2.0 */
/* What an action keeps between its steps and attempts: a directory of its own per run and job, which all workers of the run must see,
 * and journals in it, of which nothing is lost that was said to be written. */
#ifndef ACTION_WORKSPACE_H
#define ACTION_WORKSPACE_H

#include "common/error.h"
#include "common/text.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>

struct workspace {
    char *base; /* holds all runs */
    char *path; /* BASE/RUN/JOB */
};

/* Open, and make where `create`. `base` NULL: $TMPDIR/backstep-UID, which must belong to this user alone. TRANSIENT: it is not there, or
 * cannot be made. Caller owes workspace_fini(), also after a failure. */
bool workspace_open(struct workspace *workspace, const char *base, const char *run_id, const char *job, bool create,
                    struct error *error);
void workspace_fini(struct workspace *workspace);
/* PATH/NAME; the caller owes free(). Aborts without memory. */
char *workspace_file(const struct workspace *workspace, const char *name);
bool workspace_has(const struct workspace *workspace, const char *name);
/* Write NAME as a whole, or not at all. */
bool workspace_write(const struct workspace *workspace, const char *name, const struct text *text, struct error *error);
/* Remove all of it. It not being there is fine. */
bool workspace_remove(const struct workspace *workspace, struct error *error);
/* The run is over; what it keeps is for a late rollback only. Then prune: what was settled more than `age_s` ago goes. */
bool workspace_settle(const struct workspace *workspace, struct error *error);
void workspace_prune(const struct workspace *workspace, int64_t age_s);

/* Make a directory and those above it. */
bool make_directories(const char *path, struct error *error);
/* Remove a tree, never following a link. */
bool remove_tree(const char *path, struct error *error);

/* Lines, appended by any thread. A line that a crash has cut is not there. */
struct journal {
    int fd;
    pthread_mutex_t mutex;
};
bool journal_open(struct journal *journal, const struct workspace *workspace, const char *name, struct error *error);
void journal_close(struct journal *journal);
/* On the disk when this returns, where `durable`. `line` without its newline. */
bool journal_append(struct journal *journal, const char *line, bool durable, struct error *error);
/* Call `each` for every whole line, oldest first. A journal that is not there has none. */
bool journal_read(const struct workspace *workspace, const char *name, bool (*each)(void *state, char *line), void *state,
                  struct error *error);

#endif
