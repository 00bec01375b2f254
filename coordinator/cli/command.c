/* SPDX-License-Identifier: Apache-2.0 */
#include "coordinator/cli/command.h"

#include "coordinator/cli/lookup.h"
#include "coordinator/cli/summary.h"

#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

void complain(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fflush(stdout);
    fputs("backstep: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
}

int complain_of(const struct error *error)
{
    complain("%s", error->message);
    switch (error->kind) {
    case ERROR_TRANSIENT:
    case ERROR_FATAL: return EXIT_UNREACHABLE;
    case ERROR_REJECTED: return EXIT_REFUSED;
    default: return EXIT_USAGE;
    }
}

int complain_of_no_run(const struct call *call, const char *run_id, int64_t kept_since_ms)
{
    struct text id, since;
    text_init(&id, 4096);
    text_init(&since, 64);
    text_append_visible(&id, span_of(run_id));
    char way[CLIENT_WAY_BYTES];
    if (lookup_may_be_older(run_id, kept_since_ms)) {
        append_timestamp(&since, kept_since_ms);
        complain("no such run is known: '%s' is not on the log of prefix '%s', which is kept since %s: either it never was, or it has "
                 "ended and is older than what is kept",
                 text_string(&id), call->client.prefix, text_string(&since));
    } else {
        complain("no such run: '%s' is not on the log of prefix '%s'; backstep list %s shows what is", text_string(&id),
                 call->client.prefix, client_way(&call->client, way));
    }
    text_fini(&id);
    text_fini(&since);
    return EXIT_USAGE;
}

void print_text(const struct text *text)
{
    fwrite(text_string(text), 1, text->size, stdout);
    fflush(stdout);
}

void print_line(const struct text *text)
{
    fwrite(text_string(text), 1, text->size, stdout);
    fputc('\n', stdout);
    fflush(stdout);
}

bool output_is_closed(void)
{
    struct pollfd output = {.fd = STDOUT_FILENO};
    return poll(&output, 1, 0) == 1 && (output.revents & POLLERR) != 0;
}
