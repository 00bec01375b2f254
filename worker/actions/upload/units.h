/* SPDX-License-Identifier: Apache-2.0 */
/* Data units: what belongs together, each with its files as the store has them and what is known of them. */
#ifndef UPLOAD_UNITS_H
#define UPLOAD_UNITS_H

#include "worker/actions/upload/listing.h"
#include "worker/actions/upload/send.h"

#define UNITS_FILE "data-units.jsonl" /* in the workspace */

/* Ask the store for every file of `job` again, and write one JSON line a unit:
 *     {"unit": "a/b", "files": [{"file", "key", "size", "sha256"}], "metadata": {FILE: {...}}}
 * Names that are no UTF-8 are percent-encoded, and the file says so: "encoded": true. TRANSIENT: the store has not got a file any more. */
bool units_write(const struct listing *listing, struct send_job *job, size_t *units, struct error *error);

#endif
