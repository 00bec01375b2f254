/* SPDX-License-Identifier: Apache-2.0 */
#include "common/names.h"

#include "common/limits.h"

#include <errno.h>
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
    if (fault == NULL) {
        return true;
    }
    bool is_inside = strncmp(fault, "holds", 5) == 0;
    return is_inside ? error_set(error, ERROR_INVALID, "%s at byte %zu", fault, position + 1)
                     : error_set(error, ERROR_INVALID, "%s", fault);
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

/* ---- addresses */

static bool is_port(struct span port)
{
    unsigned number = 0;
    for (size_t i = 0; i < port.size; i++) {
        if (port.bytes[i] < '0' || port.bytes[i] > '9' || i == 5) {
            return false;
        }
        number = number * 10 + (unsigned)(port.bytes[i] - '0');
    }
    return number >= 1 && number <= 65535;
}

/* Behind its one colon, or that behind a bracket; an IPv6 address without brackets has several, and no port. */
static bool find_port(struct span address, struct span *port)
{
    const char *bracket = memrchr(address.bytes, ']', address.size);
    const char *from = bracket != NULL ? bracket : address.bytes;
    const char *end = address.bytes + address.size;
    const char *colon = memchr(from, ':', (size_t)(end - from));
    if (colon == NULL || (bracket == NULL && memchr(colon + 1, ':', (size_t)(end - colon - 1)) != NULL)) {
        return false;
    }
    *port = (struct span){colon + 1, (size_t)(end - colon - 1)};
    return true;
}

static bool address_check(struct span address, struct error *error)
{
    struct span port;
    const char *protocol = address.size > 0 ? memmem(address.bytes, address.size, "://", 3) : NULL;
    struct span host = address;
    if (protocol != NULL) {
        host.bytes = protocol + 3;
        host.size = address.size - (size_t)(host.bytes - address.bytes);
    }
    if (host.size == 0 || (host.bytes[0] == ':' && (host.size == 1 || host.bytes[1] != ':'))) {
        return error_set(error, ERROR_INVALID, "'%s' has no host; write HOST:PORT, more of them separated by commas", SHOWN(address));
    }
    if (address.size > LIMIT_ADDRESS_BYTES) {
        return error_set(error, ERROR_INVALID, "one of %zu bytes; at most %d are allowed", address.size, LIMIT_ADDRESS_BYTES);
    }
    return !find_port(host, &port) || is_port(port) ||
           error_set(error, ERROR_INVALID, "'%s' has no port from 1 to 65535 behind its colon", SHOWN(address));
}

static struct span without_blanks(struct span text)
{
    while (text.size > 0 && text.bytes[0] == ' ') {
        text.bytes++;
        text.size--;
    }
    while (text.size > 0 && text.bytes[text.size - 1] == ' ') {
        text.size--;
    }
    return text;
}

bool addresses_check(struct span addresses, struct error *error)
{
    if (addresses.size == 0 || addresses.size > LIMIT_ADDRESSES_BYTES) {
        return addresses.size == 0
                   ? error_set(error, ERROR_INVALID, "is empty; HOST:PORT is expected")
                   : error_set(error, ERROR_INVALID, "has %zu bytes; at most %d are allowed", addresses.size, LIMIT_ADDRESSES_BYTES);
    }
    for (;;) {
        const char *comma = memchr(addresses.bytes, ',', addresses.size);
        size_t size = comma != NULL ? (size_t)(comma - addresses.bytes) : addresses.size;
        if (!address_check(without_blanks((struct span){addresses.bytes, size}), error)) {
            return false;
        }
        if (comma == NULL) {
            return true;
        }
        addresses = (struct span){comma + 1, addresses.size - size - 1};
    }
}

/* ---- suggestions */

#define SUGGEST_BYTES 64 /* longer names get none: nobody mistypes that by one key */

static char lower(char character)
{
    return character >= 'A' && character <= 'Z' ? (char)(character - 'A' + 'a') : character;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Edits from one to the other: insert, delete, replace, exchange two neighbours; case counts nothing. */
static size_t distance(struct span a, struct span b)
{
    size_t rows[3][SUGGEST_BYTES + 1];
    size_t *before = rows[0], *above = rows[1], *row = rows[2];
    for (size_t j = 0; j <= b.size; j++) {
        above[j] = j;
    }
    for (size_t i = 1; i <= a.size; i++) {
        row[0] = i;
        for (size_t j = 1; j <= b.size; j++) {
            bool same = lower(a.bytes[i - 1]) == lower(b.bytes[j - 1]);
            row[j] = least(least(above[j] + 1, row[j - 1] + 1), above[j - 1] + !same);
            if (i > 1 && j > 1 && lower(a.bytes[i - 1]) == lower(b.bytes[j - 2]) && lower(a.bytes[i - 2]) == lower(b.bytes[j - 1])) {
                row[j] = least(row[j], before[j - 2] + 1);
            }
        }
        size_t *free_row = before;
        before = above;
        above = row;
        row = free_row;
    }
    return above[b.size];
}

static bool contains(struct span outer, struct span inner)
{
    return inner.size >= 4 && memmem(outer.bytes, outer.size, inner.bytes, inner.size) != NULL;
}

const char *name_suggest(struct span name, const char *const *list)
{
    const char *best = NULL;
    if (name.size == 0 || name.size > SUGGEST_BYTES) {
        return NULL;
    }
    size_t allowed = (name.size + 1) / 3 > 0 ? (name.size + 1) / 3 : 1;
    size_t best_distance = allowed + 1;
    for (; *list != NULL; list++) {
        struct span candidate = span_of(*list);
        if (candidate.size == 0 || candidate.size > SUGGEST_BYTES) {
            continue;
        }
        size_t found = distance(name, candidate);
        if (contains(candidate, name) || contains(name, candidate)) {
            found = least(found, allowed);
        }
        /* a name of one or two letters is not "close" to another one just because it is short */
        if (found < best_distance && found < name.size && found < candidate.size) {
            best_distance = found;
            best = *list;
        }
    }
    return best;
}

void name_append_suggestion(struct text *text, struct span name, const char *const *list)
{
    const char *suggestion = name_suggest(name, list);
    if (suggestion != NULL) {
        text_format(text, "; did you mean '%s'?", suggestion);
    }
}

/* ---- ids */

void random_bytes(void *bytes, size_t size)
{
    unsigned char *at = bytes;
    while (size > 0) {
        ssize_t got = getrandom(at, size, 0);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            abort(); /* ids that are not random would be taken for each other */
        }
        at += got;
        size -= (size_t)got;
    }
}

#define RUN_ID_NAME_BYTES 20
#define RUN_ID_TIME_DIGITS 7   /* 35 bits: to the year 3058 */
#define RUN_ID_RANDOM_DIGITS 3 /* a collision is answered `existing`, and another id made */
#define RUN_ID_DIGITS (RUN_ID_TIME_DIGITS + RUN_ID_RANDOM_DIGITS)

static const char crockford[] = "0123456789abcdefghjkmnpqrstvwxyz";

/* Letters become small, blanks and '_' and '.' become '-', all else goes. */
static size_t run_id_stem(char *text, struct span name)
{
    size_t used = 0;
    for (size_t i = 0; i < name.size && used < RUN_ID_NAME_BYTES; i++) {
        char character = lower(name.bytes[i]);
        bool dash = character != '\0' && strchr("-_. ", character) != NULL;
        if (dash && used > 0 && text[used - 1] != '-') {
            text[used++] = '-';
        } else if (!dash && is_alphanumeric(character)) {
            text[used++] = character;
        }
    }
    while (used > 0 && text[used - 1] == '-') {
        used--;
    }
    if (used == 0) {
        memcpy(text, "run", 3);
        used = 3;
    }
    return used;
}

void run_id_generate(char text[RUN_ID_BYTES], struct span pipeline, int64_t time_s)
{
    unsigned char random[RUN_ID_RANDOM_DIGITS];
    random_bytes(random, sizeof random);
    size_t used = run_id_stem(text, pipeline);
    text[used++] = '-';
    for (int i = RUN_ID_TIME_DIGITS - 1; i >= 0; i--) {
        text[used++] = crockford[(uint64_t)time_s >> (5 * i) & 31];
    }
    for (size_t i = 0; i < RUN_ID_RANDOM_DIGITS; i++) {
        text[used++] = crockford[random[i] & 31];
    }
    text[used] = '\0';
}

bool run_id_time(struct span run_id, int64_t *time_s)
{
    if (run_id.size < RUN_ID_DIGITS + 2 || run_id.bytes[run_id.size - RUN_ID_DIGITS - 1] != '-') {
        return false;
    }
    const char *digits = run_id.bytes + run_id.size - RUN_ID_DIGITS;
    int64_t value = 0;
    for (size_t i = 0; i < RUN_ID_DIGITS; i++) {
        const char *digit = digits[i] != '\0' ? strchr(crockford, digits[i]) : NULL;
        if (digit == NULL) {
            return false;
        }
        if (i < RUN_ID_TIME_DIGITS) {
            value = value << 5 | (digit - crockford);
        }
    }
    *time_s = value;
    return true;
}

/* ---- durations */

static const struct {
    const char *name;
    int64_t ms;
} units[] = {{"ms", 1}, {"s", 1000}, {"m", 60 * 1000}, {"h", 3600 * 1000}};

#define UNIT_COUNT (sizeof units / sizeof *units)

/* 0: no such unit. */
static int64_t unit_ms(struct span name)
{
    for (size_t i = 0; i < UNIT_COUNT; i++) {
        if (span_equal(name, span_of(units[i].name))) {
            return units[i].ms;
        }
    }
    return 0;
}

bool duration_parse(struct span span, int64_t *duration_ms, struct error *error)
{
    int64_t value = 0;
    size_t digits = 0;
    while (digits < span.size && span.bytes[digits] >= '0' && span.bytes[digits] <= '9') {
        if (value <= LIMIT_DURATION_MS) {
            value = value * 10 + (span.bytes[digits] - '0');
        }
        digits++;
    }
    int64_t unit = unit_ms((struct span){span.bytes + digits, span.size - digits});
    if (value == 0 && digits > 0 && digits == span.size) {
        unit = 1;
    }
    if (digits == 0 || unit == 0) {
        return error_set(error, ERROR_INVALID, "'%s' is not a duration; write 500ms, 10s, 5m or 2h", SHOWN(span));
    }
    if (value > LIMIT_DURATION_MS / unit) {
        return error_set(error, ERROR_INVALID, "'%s' is longer than a year (8784h)", SHOWN(span));
    }
    *duration_ms = value * unit;
    return true;
}

void duration_append(struct text *text, int64_t duration_ms)
{
    size_t unit = UNIT_COUNT - 1;
    while (unit > 0 && (duration_ms == 0 || duration_ms % units[unit].ms != 0)) {
        unit--;
    }
    if (duration_ms == 0) {
        text_append_string(text, "0s");
        return;
    }
    text_format(text, "%lld%s", (long long)(duration_ms / units[unit].ms), units[unit].name);
}

void duration_append_rough(struct text *text, int64_t duration_ms)
{
    static const struct {
        int64_t below_s, large_s, small_s;
        const char *format;
    } forms[] = {
        {3600, 60, 1, "%lld min %lld s"},
        {24 * 3600, 3600, 60, "%lld h %lld min"},
        {INT64_MAX, 24 * 3600, 3600, "%lld d %lld h"},
    };
    int64_t tenths = duration_ms < 0 ? 0 : (duration_ms + 50) / 100;
    if (tenths < 600) {
        text_format(text, "%lld.%lld s", (long long)(tenths / 10), (long long)(tenths % 10));
        return;
    }
    int64_t seconds = duration_ms / 1000 < 60 ? 60 : duration_ms / 1000;
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        if (seconds < forms[i].below_s) {
            text_format(text, forms[i].format, (long long)(seconds / forms[i].large_s),
                        (long long)(seconds % forms[i].large_s / forms[i].small_s));
            return;
        }
    }
}

/* ---- hexadecimal */

void hex_append(struct text *text, const void *bytes, size_t size)
{
    static const char digits[] = "0123456789abcdef";
    const unsigned char *at = bytes;
    for (size_t i = 0; i < size; i++) {
        text_append_char(text, digits[at[i] >> 4]);
        text_append_char(text, digits[at[i] & 15]);
    }
}

static int hex_digit(char character)
{
    char small = lower(character);
    if (small >= '0' && small <= '9') {
        return small - '0';
    }
    return small >= 'a' && small <= 'f' ? small - 'a' + 10 : -1;
}

bool hex_parse(struct span span, void *bytes, size_t size)
{
    if (span.size != 2 * size) {
        return false;
    }
    for (size_t i = 0; i < size; i++) {
        int high = hex_digit(span.bytes[2 * i]), low = hex_digit(span.bytes[2 * i + 1]);
        if (high < 0 || low < 0) {
            return false;
        }
        ((unsigned char *)bytes)[i] = (unsigned char)(high << 4 | low);
    }
    return true;
}
