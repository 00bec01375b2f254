/* SPDX-License-Identifier: Apache-2.0 */
#include "common/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void text_init(struct text *text, size_t max_bytes)
{
    *text = (struct text){.max_bytes = max_bytes};
}

void text_fini(struct text *text)
{
    free(text->bytes);
    *text = (struct text){.max_bytes = text->max_bytes};
}

void text_clear(struct text *text)
{
    text->size = 0;
    text->overflow = false;
    if (text->bytes != NULL) {
        text->bytes[0] = '\0';
    }
}

bool text_reserve(struct text *text, size_t more_bytes)
{
    if (text->overflow || more_bytes > text->max_bytes - text->size) {
        text->overflow = true;
        return false;
    }
    size_t needed = text->size + more_bytes + 1;
    if (needed <= text->capacity) {
        return true;
    }
    size_t capacity = text->capacity < 64 ? 64 : text->capacity * 2;
    capacity = capacity < needed ? needed : capacity;
    char *bytes = realloc(text->bytes, capacity);
    if (bytes == NULL) {
        text->overflow = true;
        return false;
    }
    text->bytes = bytes;
    text->capacity = capacity;
    return true;
}

bool text_append(struct text *text, const void *bytes, size_t size)
{
    if (!text_reserve(text, size)) {
        return false;
    }
    if (size > 0) {
        memcpy(text->bytes + text->size, bytes, size);
    }
    text->size += size;
    text->bytes[text->size] = '\0';
    return true;
}

bool text_append_string(struct text *text, const char *string)
{
    return text_append(text, string, strlen(string));
}

bool text_append_span(struct text *text, struct span span)
{
    return text_append(text, span.bytes, span.size);
}

bool text_append_char(struct text *text, char character)
{
    return text_append(text, &character, 1);
}

bool text_format(struct text *text, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    va_list again;
    va_copy(again, arguments);
    int size = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    bool fits = size >= 0 && text_reserve(text, (size_t)size);
    if (fits) {
        vsnprintf(text->bytes + text->size, (size_t)size + 1, format, again);
        text->size += (size_t)size;
    }
    va_end(again);
    return fits;
}

/* Length of the well-formed UTF-8 sequence at `at`, 0 where there is none (RFC 3629: no overlongs, no surrogates). */
static size_t utf8_length(const unsigned char *at, size_t left)
{
    unsigned char lead = at[0];
    if (lead < 0x80) {
        return 1;
    }
    size_t length = lead >= 0xc2 && lead <= 0xdf ? 2 : (lead & 0xf0) == 0xe0 ? 3 : lead >= 0xf0 && lead <= 0xf4 ? 4 : 0;
    if (length == 0 || length > left) {
        return 0;
    }
    unsigned char low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    unsigned char high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    if (at[1] < low || at[1] > high) {
        return 0;
    }
    for (size_t i = 2; i < length; i++) {
        if ((at[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    return length;
}

static void append_json_character(struct text *text, const unsigned char *at, size_t length)
{
    switch (at[0]) {
    case '"':  text_append_string(text, "\\\""); break;
    case '\\': text_append_string(text, "\\\\"); break;
    case '\n': text_append_string(text, "\\n"); break;
    case '\r': text_append_string(text, "\\r"); break;
    case '\t': text_append_string(text, "\\t"); break;
    default:
        if (at[0] < 0x20 || at[0] == 0x7f) {
            text_format(text, "\\u%04x", at[0]);
        } else {
            text_append(text, at, length);
        }
    }
}

bool text_append_json_string(struct text *text, struct span span)
{
    text_append_char(text, '"');
    const unsigned char *bytes = (const unsigned char *)span.bytes;
    for (size_t i = 0; i < span.size;) {
        size_t length = utf8_length(bytes + i, span.size - i);
        if (length == 0) {
            text_append_string(text, "\xef\xbf\xbd");
            i++;
            continue;
        }
        append_json_character(text, bytes + i, length);
        i += length;
    }
    return text_append_char(text, '"');
}

bool text_append_visible(struct text *text, struct span span)
{
    const unsigned char *bytes = (const unsigned char *)span.bytes;
    for (size_t i = 0; i < span.size;) {
        size_t length = utf8_length(bytes + i, span.size - i);
        bool c1_control = length == 2 && bytes[i] == 0xc2 && bytes[i + 1] < 0xa0;
        if (length == 0 || c1_control || bytes[i] < 0x20 || bytes[i] == 0x7f) {
            text_format(text, "\\x%02x", bytes[i]);
            i++;
            continue;
        }
        text_append(text, bytes + i, length);
        i += length;
    }
    return !text->overflow;
}

const char *text_string(const struct text *text)
{
    return text->bytes != NULL ? text->bytes : "";
}

struct span text_span(const struct text *text)
{
    return (struct span){text->bytes, text->size};
}

char *text_take(struct text *text)
{
    if (text->bytes == NULL && !text_reserve(text, 0)) {
        return NULL;
    }
    char *bytes = text->bytes;
    bytes[text->size] = '\0';
    *text = (struct text){.max_bytes = text->max_bytes};
    return bytes;
}

char *text_copy(struct span span)
{
    char *copy = malloc(span.size + 1);
    if (copy != NULL) {
        if (span.size > 0) {
            memcpy(copy, span.bytes, span.size);
        }
        copy[span.size] = '\0';
    }
    return copy;
}

char *text_must_copy(struct span span)
{
    char *copy = text_copy(span);
    if (copy == NULL) {
        abort();
    }
    return copy;
}
