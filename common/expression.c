/* SPDX-License-Identifier: Apache-2.0 */
#include "common/expression.h"

#include "common/jq_compile.h"
#include "common/limits.h"

#include <stdint.h>
#include <string.h>

/* ---------------------------------------------------------------- for messages */

#define QUOTED_BYTES 200 /* a long expression is known by its beginning */

void expression_append_quoted(struct text *text, struct span expression)
{
    bool cut = expression.size > QUOTED_BYTES;
    size_t size = cut ? QUOTED_BYTES : expression.size;
    while (cut && size > 0 && ((unsigned char)expression.bytes[size] & 0xC0) == 0x80) {
        size--; /* not in the middle of a character */
    }
    text_append_char(text, '\'');
    text_append_visible(text, (struct span){expression.bytes, size});
    text_append_string(text, cut ? "...'" : "'");
}

bool expression_blame(struct span expression, const char *what, struct error *error)
{
    struct text quoted;
    text_init(&quoted, 8 * QUOTED_BYTES);
    expression_append_quoted(&quoted, expression);
    error_prefix(error, "%s %s", text_string(&quoted), what);
    text_fini(&quoted);
    return false;
}

/* ---------------------------------------------------------------- where an expression ends */

/* What is open, the innermost last: the bracket that closes it, or '"' for a string. */
struct scan {
    const char *at, *end;
    char open[LIMIT_JSON_DEPTH];
    size_t depth;
};

static bool push(struct scan *scan, char closer, struct error *error)
{
    if (scan->depth == sizeof scan->open) {
        return error_set(error, ERROR_INVALID, "more than %d brackets and strings in one another", LIMIT_JSON_DEPTH);
    }
    scan->open[scan->depth++] = closer;
    return true;
}

static bool is_in_string(const struct scan *scan)
{
    return scan->depth > 0 && scan->open[scan->depth - 1] == '"';
}

static bool scan_in_string(struct scan *scan, struct error *error)
{
    char character = *scan->at++;
    if (character == '"') {
        scan->depth--;
    } else if (character == '\\' && scan->at < scan->end && *scan->at++ == '(') {
        return push(scan, ')', error);
    }
    return true;
}

static bool scan_outside(struct scan *scan, struct error *error)
{
    char character = *scan->at++;
    switch (character) {
    case '"': return push(scan, '"', error);
    case '(': return push(scan, ')', error);
    case '[': return push(scan, ']', error);
    case '{': return push(scan, '}', error);
    case '#':
        while (scan->at < scan->end && *scan->at != '\n') {
            scan->at++;
        }
        return true;
    case ')':
    case ']':
    case '}':
        if (scan->open[scan->depth - 1] != character) {
            return error_set(error, ERROR_INVALID, "'%c' where '%c' would close what is open", character,
                             scan->open[scan->depth - 1]);
        }
        scan->depth--;
        return true;
    default: return true;
    }
}

bool expression_extent(struct span text, size_t *size, struct error *error)
{
    struct scan scan = {.at = text.bytes, .end = text.size > 0 ? text.bytes + text.size : text.bytes};
    while (scan.at < scan.end) {
        if (scan.depth == 0 && strchr(")]}", *scan.at) != NULL && *scan.at != '\0') {
            break;
        }
        if (!(is_in_string(&scan) ? scan_in_string(&scan, error) : scan_outside(&scan, error))) {
            return false;
        }
    }
    if (scan.depth > 0) {
        return error_set(error, ERROR_INVALID, "'%c' is missing", scan.open[scan.depth - 1]);
    }
    *size = text.size > 0 ? (size_t)(scan.at - text.bytes) : 0;
    return true;
}

/* ---------------------------------------------------------------- compiling one */

static bool is_blank(char character)
{
    return character == ' ' || character == '\t' || character == '\n' || character == '\r';
}

static struct span trim(struct span text)
{
    while (text.size > 0 && is_blank(text.bytes[0])) {
        text.bytes++;
        text.size--;
    }
    while (text.size > 0 && is_blank(text.bytes[text.size - 1])) {
        text.size--;
    }
    return text;
}

static bool is_sound(struct span expression, struct error *error)
{
    if (trim(expression).size == 0) {
        return error_set(error, ERROR_INVALID, "an expression is missing");
    }
    if (expression.size > LIMIT_EXPRESSION_BYTES) {
        return error_set(error, ERROR_INVALID, "has %zu bytes; an expression may have %d", expression.size, LIMIT_EXPRESSION_BYTES);
    }
    if (memchr(expression.bytes, '\0', expression.size) != NULL) {
        return error_set(error, ERROR_INVALID, "has a NUL in it");
    }
    return true;
}

/* Our own look at the brackets says more than jq's "syntax error" does. */
bool expression_is_balanced(struct span expression, struct error *error)
{
    size_t size = 0;
    if (!expression_extent(expression, &size, error)) {
        return false;
    }
    return size == expression.size || error_set(error, ERROR_INVALID, "'%c' closes nothing", expression.bytes[size]);
}

bool expression_check(struct span expression, struct error *error)
{
    if (!is_sound(expression, error)) {
        return false;
    }
    return (expression_is_balanced(expression, error) && jq_compile_apart(expression, error)) ||
           expression_blame(expression, "is not jq", error);
}

/* jq spends nearly all of its time on its own builtins, so that compiling them all at once, "(a),(b)", costs no more than one. Only where each
 * is balanced for itself does the whole say anything about the parts. */
static bool all_compile(const struct span *expressions, size_t count)
{
    struct text whole;
    bool ok = true;
    text_init(&whole, SIZE_MAX / 2);
    for (size_t i = 0; i < count && ok; i++) {
        ok = is_sound(expressions[i], NULL) && expression_is_balanced(expressions[i], NULL);
        text_append_string(&whole, i > 0 ? ",(" : "(");
        text_append_span(&whole, expressions[i]);
        text_append_string(&whole, "\n)"); /* a comment may end it */
    }
    ok = ok && !whole.overflow && jq_compile_apart(text_span(&whole), NULL);
    text_fini(&whole);
    return ok;
}

bool expressions_check(const struct span *expressions, size_t count, size_t *which, struct error *error)
{
    if (count > 1 && all_compile(expressions, count)) {
        return true;
    }
    for (size_t i = 0; i < count; i++) {
        if (!expression_check(expressions[i], error)) {
            *which = i;
            return false;
        }
    }
    return true;
}

/* ---------------------------------------------------------------- templates */

static const char *find(struct span text, const char *needle)
{
    return text.size > 0 ? memmem(text.bytes, text.size, needle, strlen(needle)) : NULL;
}

bool template_has(struct span text)
{
    return find(text, "${") != NULL;
}

static void advance(struct span *rest, size_t size)
{
    rest->bytes += size;
    rest->size -= size;
}

static enum template_step take_literal(struct span *rest, size_t size, struct template_part *part)
{
    *part = (struct template_part){TEMPLATE_LITERAL, {rest->bytes, size}};
    advance(rest, size);
    return TEMPLATE_PART;
}

static enum template_step take_expression(struct span *rest, struct template_part *part, struct error *error)
{
    struct span inner = {rest->bytes + 2, rest->size - 2};
    size_t size = 0;
    if (!expression_extent(inner, &size, error)) {
        expression_blame(*rest, "has no end", error);
        return TEMPLATE_BROKEN;
    }
    if (size == inner.size || inner.bytes[size] != '}') {
        char found = size < inner.size ? inner.bytes[size] : '\0';
        found != '\0' ? error_set(error, ERROR_INVALID, "'%c' closes nothing", found)
                      : error_set(error, ERROR_INVALID, "'}' is missing");
        expression_blame(*rest, "has no end", error);
        return TEMPLATE_BROKEN;
    }
    *part = (struct template_part){TEMPLATE_EXPRESSION, trim((struct span){inner.bytes, size})};
    if (part->text.size == 0) {
        error_set(error, ERROR_INVALID, "nothing stands between '${' and '}'");
        return TEMPLATE_BROKEN;
    }
    advance(rest, 2 + size + 1);
    return TEMPLATE_PART;
}

enum template_step template_next(struct span *rest, struct template_part *part, struct error *error)
{
    if (rest->size == 0) {
        return TEMPLATE_END;
    }
    const char *at = find(*rest, "${");
    if (at == NULL) {
        return take_literal(rest, rest->size, part);
    }
    size_t before = (size_t)(at - rest->bytes);
    bool escaped = before > 0 && at[-1] == '$';
    if (escaped && before == 1) {
        advance(rest, 1);
        return take_literal(rest, 2, part);
    }
    return before > 0 ? take_literal(rest, escaped ? before - 1 : before, part) : take_expression(rest, part, error);
}

bool template_is_value(struct span text, struct span *expression)
{
    struct template_part part;
    struct span rest = text;
    if (template_next(&rest, &part, NULL) != TEMPLATE_PART || part.kind != TEMPLATE_EXPRESSION || rest.size > 0) {
        return false;
    }
    *expression = part.text;
    return true;
}

bool template_check(struct span text, struct error *error)
{
    struct template_part part;
    enum template_step step;
    while ((step = template_next(&text, &part, error)) == TEMPLATE_PART) {
        if (part.kind == TEMPLATE_EXPRESSION && !expression_check(part.text, error)) {
            return false;
        }
    }
    return step == TEMPLATE_END;
}
