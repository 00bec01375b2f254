/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ACTION_FORMATTED_H
#define ACTION_FORMATTED_H

/* What printf() would write. The caller owes free(). Aborts without memory. */
char *formatted(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
