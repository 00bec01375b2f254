/* SPDX-License-Identifier: Apache-2.0 */
/* The jobs of the actions: what a call's params say of sending, files of its workspace as what is sent, and taking all of it back. */
#ifndef UPLOAD_OUTPUTS_H
#define UPLOAD_OUTPUTS_H

#include "worker/actions/store/params.h"
#include "worker/actions/upload/send.h"

/* A job of no files yet, to the param `target`. What is in the store already is an error. */
void job_of(struct send_job *job, struct action_call *call, const char *journal);

/* Room for `count` files; caller owes send_files_free(job->files, job->count). */
void job_reserve(struct send_job *job, size_t count);
/* FILE of the workspace, under `key_take`, which must be the caller's to give away. false: it is not there, but in the job all the same,
 * for a rollback that only needs its key. */
bool job_add_output(struct send_job *job, const char *file, char *key_take);

/* "SHA256  NAME" of FILE into FILE.sha256, both in the workspace, as sha256sum has it. */
bool output_checksum(const struct workspace *workspace, const char *file, char sha256[SHA256_HEX_BYTES], struct error *error);
bool output_write_checksum(const struct workspace *workspace, const char *file, const char *name, char sha256[SHA256_HEX_BYTES],
                           struct error *error);

/* Undo what the journal says, and then that it said so. The call has nothing to undo where there is no journal. */
bool job_take_back(struct send_job *job, struct action_call *call, struct error *error);

#endif
