/* SPDX-License-Identifier: Apache-2.0 */
/* jq expressions as people write them into pipeline files, and the templates that hold them: "Hello ${ .params.name }".
 * docs/EXPRESSIONS.md says what they see and what becomes of them. */
#ifndef EXPRESSION_H
#define EXPRESSION_H

#include "common/error.h"
#include "common/span.h"
#include "common/text.h"

#include <stdbool.h>
#include <stddef.h>

/* Is `expression` jq? Compiled by libjq in a process of its own, within the bounds of an evaluation; takes some 50 ms.
 * INVALID: "'.a +' is not jq: line 1: syntax error, unexpected end"; TRANSIENT: there was no such process to be had. */
bool expression_check(struct span expression, struct error *error);

/* The same for all of them, in the time of one where they are sound. false: `which` is the first that is not. */
bool expressions_check(const struct span *expressions, size_t count, size_t *which, struct error *error);

/* How much of `text` is one expression: up to the first closing bracket that nothing in it has opened, or to its end. Strings, \( ) in
 * them and comments are passed over. INVALID: a string or bracket stays open, or is closed by another sort of bracket. */
bool expression_extent(struct span text, size_t *size, struct error *error);

/* Does it open and close its own brackets and strings only? INVALID: why not. */
bool expression_is_balanced(struct span expression, struct error *error);

/* Append it for a message: in quotes, control characters made visible, cut where it is long. */
void expression_append_quoted(struct text *text, struct span expression);
/* Put "'<expression>' <what>: " before the message. Returns false. */
bool expression_blame(struct span expression, const char *what, struct error *error);

/* ---------------------------------------------------------------- templates */

enum template_part_kind { TEMPLATE_LITERAL, TEMPLATE_EXPRESSION };

struct template_part {
    enum template_part_kind kind;
    struct span text; /* borrowed from the template; of an expression without its blanks around */
};

/* Does `text` hold "${"? Else it is text as it stands. */
bool template_has(struct span text);

enum template_step { TEMPLATE_PART, TEMPLATE_END, TEMPLATE_BROKEN };

/* Take the next part off `rest`. "$${" is the literal "${". BROKEN, with `error`: "${" without its "}", or nothing in between. */
enum template_step template_next(struct span *rest, struct template_part *part, struct error *error);

/* Is `text` one expression and nothing else? Then its value takes the place of the string, whatever its type. */
bool template_is_value(struct span text, struct span *expression);

/* Is every expression in it jq? */
bool template_check(struct span text, struct error *error);

#endif
