/* SPDX-License-Identifier: Apache-2.0 */
/* References: in params and inputs {"$secret": {"env": NAME}} and {"$secret": {"file": NAME}} stand for what only this worker knows. The
 * log, and expressions, see the reference; a step sees the value.
 *
 * A worker gives nothing away that was not put there for it: the variable is BACKSTEP_SECRET_NAME, the file NAME in the directory that
 * BACKSTEP_SECRETS names. NAME is an identifier, so that no path is made of it. */
#ifndef REFERENCES_H
#define REFERENCES_H

#include "common/error.h"

#include <jansson.h>

/* `value` with every reference in it resolved; without one it is `value` itself. Caller owes json_decref(). NULL: one cannot be resolved;
 * `error` names it, and shows no value. */
json_t *references_resolve(json_t *value, struct error *error);

#endif
