/* SPDX-License-Identifier: Apache-2.0 */
#include "common/names.h"

#include "common/limits.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

/* ---- UTF-8 */

/* Bytes of the sequence that `bytes` begins with, 0 where it is none: overlong forms, surrogates and what is beyond U+10FFFF are none. */
static size_t sequence_size(const unsigned char *bytes, size_t left, uint32_t *code)
{
    static const struct {
        unsigned char mask, lead;
        uint32_t least;
    } forms[] = {{0x80, 0x00, 0}, {0xe0, 0xc0, 0x80}, {0xf0, 0xe0, 0x800}, {0xf8, 0xf0, 0x10000}};
    for (size_t extra = 0; extra < 4; extra++) {
        if ((bytes[0] & forms[extra].mask) != forms[extra].lead) {
            continue;
        }
        if (extra >= left) {
            return 0;
        }
        *code = bytes[0] & (unsigned char)~forms[extra].mask;
        for (size_t i = 1; i <= extra; i++) {
            if ((bytes[i] & 0xc0) != 0x80) {
                return 0;
            }
            *code = *code << 6 | (bytes[i] & 0x3f);
        }
        bool legal = *code >= forms[extra].least && *code <= 0x10ffff && (*code < 0xd800 || *code > 0xdfff);
        return legal ? extra + 1 : 0;
    }
    return 0;
}

static bool is_control(uint32_t code)
{
    return code < 0x20 || (code >= 0x7f && code < 0xa0) || code == 0x2028 || code == 0x2029;
}

/* U+200E.. and U+202A.. turn the direction of what follows: a name with them shows as another. */
static bool is_direction(uint32_t code)
{
    return code == 0x200e || code == 0x200f || (code >= 0x202a && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069);
}

static bool is_blank(uint32_t code)
{
    return code == ' ' || code == 0xa0 || code == 0x3000 || (code >= 0x2000 && code <= 0x200b) || code == 0xfeff;
}

bool utf8_is_valid(struct span span)
{
    uint32_t code;
    for (size_t i = 0; i < span.size;) {
        size_t size = sequence_size((const unsigned char *)span.bytes + i, span.size - i, &code);
        if (size == 0) {
            return false;
        }
        i += size;
    }
    return true;
}

struct span utf8_cut(struct span span, size_t max_bytes)
{
    if (span.size <= max_bytes) {
        return span;
    }
    size_t size = max_bytes;
    while (size > 0 && max_bytes - size < 4 && ((unsigned char)span.bytes[size] & 0xc0) == 0x80) {
        size--;
    }
    return (struct span){span.bytes, size};
}

const char *show(struct shown *storage, struct span span)
{
    size_t used = 0, i = 0;
    const size_t room = sizeof storage->text - 8;
    while (i < span.size && used < room) {
        uint32_t code = 0;
        size_t size = sequence_size((const unsigned char *)span.bytes + i, span.size - i, &code);
        if (size == 0 || is_control(code) || is_direction(code)) {
            used += (size_t)snprintf(storage->text + used, sizeof storage->text - used, "\\x%02x", (unsigned char)span.bytes[i]);
            i++;
            continue;
        }
        memcpy(storage->text + used, span.bytes + i, size);
        used += size;
        i += size;
    }
    snprintf(storage->text + used, sizeof storage->text - used, "%s", i < span.size ? "..." : "");
    return storage->text;
}

/* ---- names */

/* NULL: fine. `position`: of the first byte that is not. */
static const char *name_fault(struct span name, size_t *position)
{
    uint32_t code = 0;
    for (size_t i = 0; i < name.size;) {
        *position = i;
        size_t size = sequence_size((const unsigned char *)name.bytes + i, name.size - i, &code);
        if (size == 0) {
            return "holds bytes that are no UTF-8";
        }
        if (is_control(code) || is_direction(code)) {
            return "holds a control character";
        }
        if (i == 0 && is_blank(code)) {
            return "begins with a blank";
        }
        i += size;
    }
    return is_blank(code) ? "ends with a blank" : NULL;
}

bool name_check(struct span name, struct error *error)
{
    if (name.size == 0) {
        return error_set(error, ERROR_INVALID, "is empty");
    }
    if (name.size > LIMIT_NAME_BYTES) {
        return error_set(error, ERROR_INVALID, "is %zu bytes long; at most %d are allowed", name.size, LIMIT_NAME_BYTES);
    }
    size_t position = 0;
    const char *fault = name_fault(name, &position);
    if (fault != NULL) {
        return error_set(error, ERROR_INVALID, "%s at byte %zu", fault, position + 1);
    }
    return true;
}

bool name_is_valid(struct span name)
{
    return name_check(name, NULL);
}

static bool is_alphanumeric(char character)
{
    return (character >= '0' && character <= '9') || (character >= 'a' && character <= 'z') || (character >= 'A' && character <= 'Z');
}

static bool is_identifier_character(char character)
{
    return is_alphanumeric(character) || character == '.' || character == '_' || character == '-';
}

bool identifier_is_valid(struct span identifier)
{
    if (identifier.size == 0 || identifier.size > LIMIT_IDENTIFIER_BYTES || !is_alphanumeric(identifier.bytes[0])) {
        return false;
    }
    for (size_t i = 1; i < identifier.size; i++) {
        if (!is_identifier_character(identifier.bytes[i])) {
            return false;
        }
    }
    return true;
}

/* What stands at `at`, for an error: 'é', a blank, byte 0x07. */
static void describe_character(struct span span, size_t at, char text[24])
{
    unsigned char byte = (unsigned char)span.bytes[at];
    uint32_t code = 0;
    size_t size = sequence_size((const unsigned char *)span.bytes + at, span.size - at, &code);
    if (byte == ' ') {
        snprintf(text, 24, "a blank");
    } else if (size == 0 || is_control(code) || is_direction(code)) {
        snprintf(text, 24, "byte 0x%02x", byte);
    } else {
        snprintf(text, 24, "'%.*s'", (int)size, span.bytes + at);
    }
}

bool identifier_check(struct span identifier, struct error *error)
{
    static const char rule[] = "write a letter or digit, then letters, digits, '.', '_' and '-'";
    if (identifier_is_valid(identifier)) {
        return true;
    }
    if (identifier.size == 0) {
        return error_set(error, ERROR_INVALID, "is empty; %s", rule);
    }
    if (identifier.size > LIMIT_IDENTIFIER_BYTES) {
        return error_set(error, ERROR_INVALID, "is %zu bytes long; at most %d are allowed", identifier.size, LIMIT_IDENTIFIER_BYTES);
    }
    size_t at = 0;
    while (at < identifier.size && is_identifier_character(identifier.bytes[at])) {
        at++;
    }
    bool first = at == identifier.size || at == 0;
    char found[24];
    describe_character(identifier, first ? 0 : at, found);
    return error_set(error, ERROR_INVALID, "'%s' is no identifier: %s %s; %s", SHOWN(identifier), found,
                     first ? "begins it" : "stands in it", rule);
}
