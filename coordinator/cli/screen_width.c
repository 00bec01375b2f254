/* SPDX-License-Identifier: Apache-2.0 */
/* How wide a string is on a terminal. The C library would need a locale for that, and a locale is a global. */
#include "coordinator/cli/screen_internal.h"

struct range {
    uint32_t first, last;
};

/* Combining marks, joiners and selectors: they take no column of their own. */
static const struct range no_columns[] = {
    {0x0300, 0x036f}, {0x0483, 0x0489}, {0x0591, 0x05bd}, {0x05bf, 0x05bf}, {0x05c1, 0x05c2}, {0x05c4, 0x05c5}, {0x05c7, 0x05c7},
    {0x0610, 0x061a}, {0x064b, 0x065f}, {0x0670, 0x0670}, {0x06d6, 0x06dc}, {0x06df, 0x06e4}, {0x06e7, 0x06e8}, {0x06ea, 0x06ed},
    {0x0900, 0x0902}, {0x093a, 0x093a}, {0x093c, 0x093c}, {0x0941, 0x0948}, {0x094d, 0x094d}, {0x0951, 0x0957}, {0x0e31, 0x0e31},
    {0x0e34, 0x0e3a}, {0x0e47, 0x0e4e}, {0x1ab0, 0x1aff}, {0x1dc0, 0x1dff}, {0x200b, 0x200d}, {0x2060, 0x2060}, {0x20d0, 0x20f0},
    {0x302a, 0x302d}, {0x3099, 0x309a}, {0xfe00, 0xfe0f}, {0xfe20, 0xfe2f}, {0xfeff, 0xfeff}, {0xe0100, 0xe01ef},
};

/* East Asian wide and full width, and the emoji that are shown so. */
static const struct range two_columns[] = {
    {0x1100, 0x115f},   {0x231a, 0x231b},   {0x2329, 0x232a},   {0x23e9, 0x23ec},   {0x23f0, 0x23f0},   {0x23f3, 0x23f3},
    {0x25fd, 0x25fe},   {0x2614, 0x2615},   {0x2648, 0x2653},   {0x267f, 0x267f},   {0x2693, 0x2693},   {0x26a1, 0x26a1},
    {0x26aa, 0x26ab},   {0x26bd, 0x26be},   {0x26c4, 0x26c5},   {0x26ce, 0x26ce},   {0x26d4, 0x26d4},   {0x26ea, 0x26ea},
    {0x26f2, 0x26f3},   {0x26f5, 0x26f5},   {0x26fa, 0x26fa},   {0x26fd, 0x26fd},   {0x2705, 0x2705},   {0x270a, 0x270b},
    {0x2728, 0x2728},   {0x274c, 0x274c},   {0x274e, 0x274e},   {0x2753, 0x2755},   {0x2757, 0x2757},   {0x2795, 0x2797},
    {0x27b0, 0x27b0},   {0x27bf, 0x27bf},   {0x2b1b, 0x2b1c},   {0x2b50, 0x2b50},   {0x2b55, 0x2b55},   {0x2e80, 0x303e},
    {0x3041, 0x33ff},   {0x3400, 0x4dbf},   {0x4e00, 0x9fff},   {0xa000, 0xa4cf},   {0xa960, 0xa97f},   {0xac00, 0xd7a3},
    {0xf900, 0xfaff},   {0xfe10, 0xfe19},   {0xfe30, 0xfe6f},   {0xff00, 0xff60},   {0xffe0, 0xffe6},   {0x16fe0, 0x16fe4},
    {0x17000, 0x18cff}, {0x1b000, 0x1b2ff}, {0x1f004, 0x1f004}, {0x1f0cf, 0x1f0cf}, {0x1f18e, 0x1f18e}, {0x1f191, 0x1f19a},
    {0x1f200, 0x1f265}, {0x1f300, 0x1f320}, {0x1f32d, 0x1f335}, {0x1f337, 0x1f37c}, {0x1f37e, 0x1f393}, {0x1f3a0, 0x1f3ca},
    {0x1f3cf, 0x1f3d3}, {0x1f3e0, 0x1f3f0}, {0x1f3f4, 0x1f3f4}, {0x1f3f8, 0x1f43e}, {0x1f440, 0x1f440}, {0x1f442, 0x1f4fc},
    {0x1f4ff, 0x1f53d}, {0x1f54b, 0x1f54e}, {0x1f550, 0x1f567}, {0x1f57a, 0x1f57a}, {0x1f595, 0x1f596}, {0x1f5a4, 0x1f5a4},
    {0x1f5fb, 0x1f64f}, {0x1f680, 0x1f6c5}, {0x1f6cc, 0x1f6cc}, {0x1f6d0, 0x1f6d2}, {0x1f6d5, 0x1f6d7}, {0x1f6dc, 0x1f6df},
    {0x1f6eb, 0x1f6ec}, {0x1f6f4, 0x1f6fc}, {0x1f7e0, 0x1f7eb}, {0x1f7f0, 0x1f7f0}, {0x1f90c, 0x1f93a}, {0x1f93c, 0x1f945},
    {0x1f947, 0x1f9ff}, {0x1fa70, 0x1faff}, {0x20000, 0x3fffd},
};

/* They turn the direction of what follows: a name could write over the line it stands in. */
static const struct range directions[] = {{0x061c, 0x061c}, {0x200e, 0x200f}, {0x2028, 0x202e}, {0x2066, 0x2069}};

#define IS_IN(code, table) is_in(code, table, sizeof(table) / sizeof(table)[0])

static bool is_in(uint32_t code, const struct range *table, size_t count)
{
    size_t low = 0;
    while (low < count) {
        size_t middle = (low + count) / 2;
        if (code > table[middle].last) {
            low = middle + 1;
        } else if (code < table[middle].first) {
            count = middle;
        } else {
            return true;
        }
    }
    return false;
}

/* One character as it will be written. */
struct glyph {
    size_t size;      /* bytes of the string it stands for */
    uint32_t columns;
    char shown[8];
};

/* The code point at the beginning of `bytes` and its length; 0: no UTF-8. */
static size_t decode(const unsigned char *bytes, size_t size, uint32_t *code)
{
    static const struct {
        unsigned char mask, lead;
        uint32_t least;
    } forms[] = {{0x80, 0x00, 0}, {0xe0, 0xc0, 0x80}, {0xf0, 0xe0, 0x800}, {0xf8, 0xf0, 0x10000}};
    for (size_t length = 1; length <= 4 && length <= size; length++) {
        if ((bytes[0] & forms[length - 1].mask) != forms[length - 1].lead) {
            continue;
        }
        *code = bytes[0] & (unsigned char)~forms[length - 1].mask;
        for (size_t i = 1; i < length; i++) {
            if ((bytes[i] & 0xc0) != 0x80) {
                return 0;
            }
            *code = *code << 6 | (bytes[i] & 0x3f);
        }
        bool surrogate = *code >= 0xd800 && *code <= 0xdfff;
        return *code >= forms[length - 1].least && *code <= 0x10ffff && !surrogate ? length : 0;
    }
    return 0;
}

static struct glyph hex_glyph(unsigned char byte)
{
    static const char digits[] = "0123456789abcdef";
    return (struct glyph){.size = 1, .columns = 4, .shown = {'\\', 'x', digits[byte >> 4], digits[byte & 15]}};
}

static struct glyph glyph_at(struct span span, size_t at, bool utf8)
{
    const unsigned char *bytes = (const unsigned char *)span.bytes + at;
    uint32_t code = 0;
    size_t length = decode(bytes, span.size - at, &code);
    if (length == 0 || code < 0x20 || (code >= 0x7f && code < 0xa0)) {
        return hex_glyph(bytes[0]);
    }
    struct glyph glyph = {.size = length, .columns = 1};
    if (code >= 0x80 && !utf8) {
        glyph.shown[0] = '?';
    } else if (IS_IN(code, directions)) {
        memcpy(glyph.shown, "\xef\xbf\xbd", 3); /* U+FFFD */
    } else {
        memcpy(glyph.shown, bytes, length);
        glyph.columns = IS_IN(code, no_columns) ? 0 : IS_IN(code, two_columns) ? 2 : 1;
    }
    return glyph;
}

uint32_t screen_width_as(struct span span, bool utf8)
{
    uint32_t columns = 0;
    for (size_t at = 0; at < span.size;) {
        struct glyph glyph = glyph_at(span, at, utf8);
        columns += glyph.columns;
        at += glyph.size;
    }
    return columns;
}

uint32_t screen_width(struct span span)
{
    return screen_width_as(span, true);
}

uint32_t screen_append_cut(struct span span, uint32_t columns, bool utf8, struct text *out)
{
    bool cut = screen_width_as(span, utf8) > columns;
    uint32_t used = 0, limit = cut && columns > 0 ? columns - 1 : columns;
    for (size_t at = 0; at < span.size;) {
        struct glyph glyph = glyph_at(span, at, utf8);
        if (used + glyph.columns > limit) {
            break;
        }
        text_append_string(out, glyph.shown);
        used += glyph.columns;
        at += glyph.size;
    }
    if (cut && columns > 0) {
        text_append_string(out, utf8 ? "…" : "~");
        used++;
    }
    return used;
}

size_t screen_break(struct span span, uint32_t columns, bool utf8)
{
    uint32_t used = 0;
    size_t at = 0, blank = 0;
    while (at < span.size) {
        struct glyph glyph = glyph_at(span, at, utf8);
        if (used + glyph.columns > columns && at > 0) {
            return span.bytes[at] == ' ' || blank == 0 ? at : blank;
        }
        used += glyph.columns;
        at += glyph.size;
        blank = glyph.shown[0] == ' ' ? at : blank;
    }
    return at;
}

void screen_duration(int64_t duration_ms, struct text *out)
{
    int64_t seconds = duration_ms > 0 ? duration_ms / 1000 : 0;
    if (seconds < 60) {
        int tenths = duration_ms > 0 ? (int)(duration_ms % 1000 / 100) : 0;
        text_format(out, "%d.%d s", (int)seconds, tenths);
    } else if (seconds < 3600) {
        text_format(out, "%dm %02ds", (int)(seconds / 60), (int)(seconds % 60));
    } else if (seconds < 86400) {
        text_format(out, "%dh %02dm", (int)(seconds / 3600), (int)(seconds / 60 % 60));
    } else {
        text_format(out, "%lldd %02dh", (long long)(seconds / 86400), (int)(seconds / 3600 % 24));
    }
}
