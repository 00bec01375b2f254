/* SPDX-License-Identifier: Apache-2.0 */
/* The journal of a job: one line a note, "KIND INDEX TEXT".
 *
 *     b INDEX SHA256    it was absent, and is being put
 *     p INDEX PROOF     by which the store's object is known to be ours
 *     m INDEX PARTS     what the store needs to go on
 *     d INDEX SHA256    it is there, and was verified
 *     s INDEX SHA256    it was there before, and holds the same
 *     k 0 PATH          a directory of the store that was not there before */
#ifndef SEND_JOURNAL_H
#define SEND_JOURNAL_H

#include "worker/actions/upload/send.h"

struct send_directories {
    char **paths;
    size_t count;
};

/* Fill in what the files' journal says. Caller owes send_directories_fini(), also after a failure. */
bool send_journal_read(struct send_job *job, struct send_directories *directories, struct error *error);
void send_directories_fini(struct send_directories *directories);
bool send_journal_note(struct journal *journal, char kind, size_t index, const char *text, struct error *error);

#endif
