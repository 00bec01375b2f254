/* SPDX-License-Identifier: Apache-2.0 */
/* A growing string with a bound. Appending past the bound, or without memory, fails once and for all (`overflow`): check it at the end. */
#ifndef TEXT_H
#define TEXT_H

#include "common/span.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AS_TEXT_(number) #number
#define AS_TEXT(number) AS_TEXT_(number) /* what a macro stands for, as a literal */

struct text {
    char *bytes;      /* NUL-terminated once anything was appended; NULL before */
    size_t size;      /* without the NUL */
    size_t capacity;
    size_t max_bytes; /* the most `size` may be */
    bool overflow;    /* something did not fit */
};

void text_init(struct text *text, size_t max_bytes); /* caller's storage; owes text_fini() */
void text_fini(struct text *text);
void text_clear(struct text *text);                 /* keeps the storage; forgets `overflow` */
bool text_reserve(struct text *text, size_t more_bytes);
bool text_append(struct text *text, const void *bytes, size_t size);
bool text_append_string(struct text *text, const char *string);
bool text_append_span(struct text *text, struct span span);
bool text_append_char(struct text *text, char character);
bool text_format(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* `span` as a JSON string, quotes included; bytes that are no UTF-8 become U+FFFD. */
bool text_append_json_string(struct text *text, struct span span);
/* `span` with control characters as \xNN (newline and tab too), so that nothing in it can drive a terminal. */
bool text_append_visible(struct text *text, struct span span);
/* What was appended; "" when nothing was. Borrowed until the next call. */
const char *text_string(const struct text *text);
struct span text_span(const struct text *text);
/* Hand the storage over: the caller owes free(). Never NULL unless memory ran out. */
char *text_take(struct text *text);
/* A string of its own for a span, which need not end in a NUL. The caller owes free(). NULL where memory ran out. */
char *text_copy(struct span span);
char *text_must_copy(struct span span); /* the same, for who has no other way then: aborts without memory */

#endif
