/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/actions/export/aside.h"

#include "common/names.h"
#include "common/text.h"

#include <inttypes.h>

bool aside_write(FILE *file, const char *what, uint64_t number, const char *error, struct span record)
{
    struct text text;
    text_init(&text, 16 * LIMIT_ASIDE_BYTES);
    text_format(&text, "{\"%s\":%" PRIu64 ",\"error\":", what, number);
    text_append_json_string(&text, span_of(error));
    text_append_string(&text, ",\"record\":");
    text_append_json_string(&text, utf8_cut(record, LIMIT_ASIDE_BYTES));
    text_append_string(&text, "}\n");
    bool ok = fwrite(text_string(&text), 1, text.size, file) == text.size;
    text_fini(&text);
    return ok;
}
