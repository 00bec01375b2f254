/* SPDX-License-Identifier: Apache-2.0 */
/* What is known of the files beside their bytes: one record a file, kept in the workspace as JSON lines. */
#ifndef UPLOAD_METADATA_H
#define UPLOAD_METADATA_H

#include "worker/actions/upload/listing.h"

#include <jansson.h>

#define LIMIT_METADATA_RECORDS LIMIT_UPLOAD_FILES

/* Read CSV (a name that ends with .csv) or JSON lines; each record has a text 'file', which no other has. INVALID: it has not, by line. */
bool metadata_import(const char *path, const struct workspace *workspace, size_t *count, struct error *error);
/* INVALID: a record of a file that is not in the listing. No metadata is fine. */
bool metadata_check(const struct listing *listing, const struct workspace *workspace, struct error *error);
/* All of it, by file; an empty object where there is none. Caller owes json_decref(). NULL: it cannot be read. */
json_t *metadata_read(const struct workspace *workspace, struct error *error);

#endif
