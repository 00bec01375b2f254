/* SPDX-License-Identifier: Apache-2.0 */
/* Names with any byte in them, as text without blanks: percent-encoding, as URLs have it. */
#ifndef ACTION_ENCODING_H
#define ACTION_ENCODING_H

#include "common/text.h"

/* Everything but A-Z a-z 0-9 - . _ ~ becomes %XX; '/' stays where `slashes`. */
bool percent_append(struct text *text, const char *bytes, bool slashes);
/* The same as a new string; the caller owes free(). NULL: out of memory. */
char *percent_encode(const char *bytes, bool slashes);
/* Back, in place. false: it is no such text, or holds %00. */
bool percent_decode(char *text);

#endif
