/* SPDX-License-Identifier: Apache-2.0 */
/* Who serves a loop while its own thread does something in between that should be short. As a rule it is, and the deputy sleeps on; if it
 * is not, the deputy has taken the loop over within 2 * DEPUTY_LOOK_MS. One of the two serves it at a time, and each sees what the other did. */
#ifndef DEPUTY_H
#define DEPUTY_H

#include "common/error.h"

#include <stdbool.h>

#define DEPUTY_LOOK_MS 5 /* against leases of seconds; and not so often that who is away all the time would notice */

struct deputy;

/* `serve`: one turn of the loop; false: it is over. `call`, from the other thread: a turn that waits returns, now or when it next would wait.
 * While it serves the deputy has the signal mask of who calls this, else it blocks all. NULL: there is no thread to be had. Caller owes
 * deputy_free(). */
struct deputy *deputy_new(bool (*serve)(void *state), void (*call)(void *state), void *state, struct error *error);
/* Not while the loop's own thread is away. NULL is fine. */
void deputy_free(struct deputy *deputy);

/* From now on to deputy_return() the loop is not the caller's, who should block the signals that interrupt a turn. */
void deputy_leave(struct deputy *deputy);
/* Waits for the end of a turn that is under way. false: the loop is over. */
bool deputy_return(struct deputy *deputy);

#endif
