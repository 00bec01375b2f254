/* SPDX-License-Identifier: Apache-2.0 */
/* backstep completion SHELL: the script that its tab completion takes. */
#include "coordinator/cli/command.h"
#include "coordinator/cli/completion.h"

#define SCRIPT_BYTES_MAX (1024 * 1024)

int cmd_completion(struct call *call)
{
    struct text script;
    text_init(&script, SCRIPT_BYTES_MAX);
    bool ok = completion_append(&script, call->arguments[0]);
    if (ok) {
        print_text(&script);
    } else {
        struct text shown;
        text_init(&shown, SCRIPT_BYTES_MAX);
        text_append_visible(&shown, span_of(call->arguments[0]));
        complain("there is no completion for '%s'; write bash, zsh or fish", text_string(&shown));
        text_fini(&shown);
    }
    text_fini(&script);
    return ok ? EXIT_DONE : EXIT_USAGE;
}
