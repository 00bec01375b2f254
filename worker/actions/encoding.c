/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/actions/encoding.h"

#include "common/names.h"

#include <stdlib.h>
#include <string.h>

static bool is_plain(char byte, bool slashes)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    return (byte == '/' && slashes) || strchr(plain, byte) != NULL;
}

bool percent_append(struct text *text, const char *bytes, bool slashes)
{
    bool ok = true;
    for (const char *at = bytes; *at != '\0'; at++) {
        ok = is_plain(*at, slashes) ? text_append_char(text, *at) : text_format(text, "%%%02X", (unsigned)(unsigned char)*at);
    }
    return ok && !text->overflow;
}

char *percent_encode(const char *bytes, bool slashes)
{
    struct text text;
    text_init(&text, SIZE_MAX / 2);
    bool ok = text_append_string(&text, "") && percent_append(&text, bytes, slashes);
    char *encoded = ok ? text_take(&text) : NULL;
    text_fini(&text);
    return encoded;
}

bool percent_decode(char *text)
{
    char *to = text;
    for (const char *at = text; *at != '\0'; at++) {
        if (*at != '%') {
            *to++ = *at;
            continue;
        }
        if (at[1] == '\0' || at[2] == '\0' || !hex_parse((struct span){.bytes = at + 1, .size = 2}, to, 1) || *to == '\0') {
            return false;
        }
        at += 2;
        to++;
    }
    *to = '\0';
    return true;
}
