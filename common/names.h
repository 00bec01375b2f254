/* SPDX-License-Identifier: Apache-2.0 */
/* What things may be called, what they are called when nobody says, and what somebody may have meant. */
#ifndef NAMES_H
#define NAMES_H

#include "common/error.h"
#include "common/span.h"
#include "common/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Pipeline and step names: 1 to LIMIT_NAME_BYTES bytes of UTF-8, no control character, no blank at either end. */
bool name_is_valid(struct span name);
/* The same, with the reason: "is empty", "is 201 bytes long; 200 are allowed" ... (to follow the name of what was read). */
bool name_check(struct span name, struct error *error);

/* Handlers, queues, run ids, worker ids, prefix: [A-Za-z0-9][A-Za-z0-9._-]{0,99}. */
bool identifier_is_valid(struct span identifier);
/* With the reason: "'a b' is no identifier: a blank stands in it; write letters, digits, '.', '_' and '-'". */
bool identifier_check(struct span identifier, struct error *error);

/* A list of brokers as librdkafka reads it, "HOST:PORT,HOST:PORT": it takes any number for a port, and passes over what it cannot read. A port may
 * be missing, a HOST be an IPv6 address in brackets, PROTOCOL:// stand before it. INVALID: which of them is wrong. */
bool addresses_check(struct span addresses, struct error *error);

bool utf8_is_valid(struct span span);
/* The longest beginning of `span` of at most `max_bytes` that cuts no UTF-8 sequence. */
struct span utf8_cut(struct span span, size_t max_bytes);

/* The entry of `list` (NULL at its end) that `name` is most likely a slip of, or NULL. An exchange of two neighbours is one slip. */
const char *name_suggest(struct span name, const char *const *list);
/* Append "; did you mean 'x'?", or nothing. */
void name_append_suggestion(struct text *text, struct span name, const char *const *list);

/* For error messages: control characters as \xNN, cut with "..." where it is long. */
struct shown {
    char text[128];
};
const char *show(struct shown *storage, struct span span);
#define SHOWN(span) show(&(struct shown){{0}}, span)

/* From the kernel; aborts where there is none to be had. */
void random_bytes(void *bytes, size_t size);

#define RUN_ID_BYTES 32 /* of a generated id, with its NUL */
/* The pipeline's name cut to 20 of [a-z0-9-], `-`, and 10 characters of Crockford base 32: the second first, then random. */
void run_id_generate(char text[RUN_ID_BYTES], struct span pipeline, int64_t time_s);
/* The second in a generated id. false: it is no generated one. */
bool run_id_time(struct span run_id, int64_t *time_s);

/* "500ms" "10s" "5m" "2h": an integer and a unit; 0 needs none. false, with the reason, for anything else and beyond LIMIT_DURATION_MS. */
bool duration_parse(struct span span, int64_t *duration_ms, struct error *error);
/* As short as it can be said exactly: "500ms", "90s", "2h". */
void duration_append(struct text *text, int64_t duration_ms);
/* For people: "0.4 s", "6.7 s", "3 min 20 s", "2 h 5 min", "3 d 4 h". */
void duration_append_rough(struct text *text, int64_t duration_ms);

void hex_append(struct text *text, const void *bytes, size_t size);
/* `size` bytes from 2 * size hexadecimal digits. */
bool hex_parse(struct span span, void *bytes, size_t size);

#endif
