/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/actions/formatted.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

char *formatted(const char *format, ...)
{
    char *text = NULL;
    va_list arguments;
    va_start(arguments, format);
    int size = vasprintf(&text, format, arguments);
    va_end(arguments);
    if (size < 0) {
        abort();
    }
    return text;
}
