/* SPDX-License-Identifier: Apache-2.0 */
/* The little that jansson lacks: spans, a bound on depth, one-line errors, and growing text. */
#ifndef JSON_H
#define JSON_H

#include "common/error.h"
#include "common/span.h"
#include "common/text.h"

#include <jansson.h>

/* Any JSON value; a key that comes twice, and nesting beyond LIMIT_JSON_DEPTH, are refused. NULL, with the reason and where.
 * Caller owes json_decref(). */
json_t *json_read(struct span span, struct error *error);
/* The same of what we wrote around such values ourselves: LIMIT_JSON_WRAPPING deeper. */
json_t *json_read_wrapped(struct span span, struct error *error);
bool json_is_valid(struct span span);
/* The same, but it must be an object: "is an array, not an object". */
json_t *json_read_object(struct span span, struct error *error);
/* Append it without needless blanks, members in their order. false: the text's limit. */
bool json_write(const json_t *json, struct text *text);
/* "an object", "a number" ...: for errors. */
const char *json_type_name(const json_t *json);

#endif
