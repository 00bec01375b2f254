/* SPDX-License-Identifier: Apache-2.0 */
/* Files into a store, several at once, with a journal by which the next attempt goes on and a rollback takes back what was put there. */
#ifndef UPLOAD_SEND_H
#define UPLOAD_SEND_H

#include "worker/actions/store/store.h"
#include "worker/actions/workspace.h"
#include "worker/backstep.h"

struct send_file {
    char *path; /* to read */
    char *key; /* in the store */
    uint64_t size;
    int64_t mtime_ns; /* as it was listed: a file with another is another */
    char *name; /* for people; visible characters only */
    /* From the journal: */
    struct store_memory memory;
    char *sha256; /* of what was begun; NULL: nothing was */
    bool done, was_there;
};

enum send_existing {
    SEND_REFUSE, /* what is in the store already is an error */
    SEND_SAME, /* unless it holds the same */
};

struct send_job {
    struct backstep_context *context;
    const struct workspace *workspace;
    const char *journal; /* its name */
    struct store_options store; /* `stop` and `state` are filled in */
    struct send_file *files;
    size_t count;
    uint32_t parallel, tries;
    enum send_existing existing;
};

struct send_counts {
    size_t stand_by, success, failed, skipped;
    uint64_t bytes_sent; /* by this attempt, what was sent in vain included */
};

/* Send what is not there yet; tells progress by bytes, and metrics. false: the first failure, naming its file. */
bool send_run(struct send_job *job, struct send_counts *counts, struct error *error);

struct send_undone {
    size_t removed, left_alone;
};

/* Take back what the journal says was put there and is still what it was; all of it that can be, whatever fails. */
bool send_undo(struct send_job *job, struct send_undone *undone, struct error *error);

/* The run keeps its files: nothing but them is left in the store. */
bool send_settle(struct send_job *job, struct error *error);

void send_files_free(struct send_file *files, size_t count);

#endif
