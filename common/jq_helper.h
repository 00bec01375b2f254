/* SPDX-License-Identifier: Apache-2.0 */
/* Processes for libjq: this very program, begun again to do nothing else. A process that has threads must not fork and go on, for what
 * another thread holds, the heap's locks too, is held for ever in the child; a program that is executed holds nothing.
 *
 * A helper turns aside before main(), whosever that is: a constructor asks jq_helper_begin() for its role. It reads what it is asked on descriptor
 * 0, a socket, and answers on 1, the same one. It says JQ_HELPER_GREETING first, and nothing is said to it before: a program that has come to be
 * something else than a helper is not fed expressions. */
#ifndef COMMON_JQ_HELPER_H
#define COMMON_JQ_HELPER_H

#include "common/error.h"
#include "common/span.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define JQ_HELPER_VARIABLE "BACKSTEP_JQ" /* in a helper's environment: its role */
#define JQ_HELPER_GREETING "jq here\n"
#define JQ_HELPER_GREETING_MS 10000 /* a busy machine takes its time to start a program */
#define JQ_HELPER_FIRST_FILE 3 /* in the helper: what it is given besides the socket */
#define JQ_HELPER_FILES 3 /* at most */

/* ---------------------------------------------------------------- for who starts one */

struct jq_helper {
    pid_t pid;
    int fd; /* our end of the socket */
};

/* Start one in that role, with `files` as its descriptors from JQ_HELPER_FIRST_FILE on, and hear its greeting. Caller owes jq_helper_end(). TRANSIENT: there was no
 * such process to be had. Any thread; not after the thread has ended, for the helper ends with it. */
bool jq_helper_start(struct jq_helper *helper, const char *role, const int *files, size_t count, struct error *error);
/* Send it all of `bytes`. Of one that has ended meanwhile the status says why, so that nothing is said here. */
void jq_helper_ask(const struct jq_helper *helper, struct span bytes);
/* Kill it, if it is `unwanted`; wait for its end. Returns its status, as waitpid() gives it. */
int jq_helper_end(struct jq_helper *helper, bool unwanted);

/* The environment of a helper in that role, for who starts it by other means. Caller owes jq_helper_environment_free(). */
char **jq_helper_environment(const char *role);
void jq_helper_environment_free(char **environment); /* NULL is fine */

/* ---------------------------------------------------------------- in the helper */

/* false: this process is no helper in that role. Else it is confined (jq_confine()), and has greeted. */
bool jq_helper_begin(const char *role);

/* All of it. Where the other end is gone there is nobody to be told anything, and the process ends. */
void jq_helper_read(void *bytes, size_t size);
void jq_helper_write(const void *bytes, size_t size);

#endif
