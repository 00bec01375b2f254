/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/actions/export/sieve.h"

#include "common/jq.h"
#include "common/jq_helper.h"
#include "common/limits.h"
#include "worker/actions/export/aside.h"
#include "worker/actions/export/record.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define TELL_RECORDS 512 /* between two reports to who asks */
#define ROLE "sieve"

/* What the helper is asked; the filter follows. It answers with struct sieve_counts, again and again. */
struct request {
    uint64_t max_failed, filter_size;
    bool csv;
};

/* How it says its end. 3 is jq's, where memory is out. */
enum sieve_exit { SIEVE_DONE = 0, SIEVE_NOT_CONFINED = 1, SIEVE_NOT_JQ = 2, SIEVE_TOO_MANY = 4, SIEVE_DISK = 5, SIEVE_SOURCE = 6 };

/* ---------------------------------------------------------------- the helper */

struct straining {
    FILE *items, *aside;
    uint64_t max_failed;
    struct record_source *source;
    struct jq_program *program;
    struct sieve_counts counts;
    struct text output;
};

static void tell(const struct straining *straining)
{
    jq_helper_write(&straining->counts, sizeof straining->counts);
}

static bool keep_aside(struct straining *straining, const struct error *error)
{
    straining->counts.failed++;
    return aside_write(straining->aside, "line", straining->source->line, error->message, text_span(&straining->source->json));
}

static bool strain(struct straining *straining, struct error *error)
{
    struct jq_input *input = jq_input_new(text_span(&straining->source->json), error);
    text_clear(&straining->output);
    bool ok = input != NULL && jq_program_run_all(straining->program, input, &straining->output, error);
    jq_input_free(input);
    return ok;
}

static bool write_items(struct straining *straining)
{
    const struct text *output = &straining->output;
    for (size_t i = 0; i < output->size; i++) {
        straining->counts.items += output->bytes[i] == '\n';
    }
    return fwrite(text_string(output), 1, output->size, straining->items) == output->size;
}

static enum sieve_exit strain_all(struct straining *straining)
{
    enum record_outcome outcome;
    struct error error = {0};
    while ((outcome = record_read(straining->source, &error)) != RECORD_END) {
        bool ok = outcome == RECORD_READ && strain(straining, &error);
        if (!(ok ? write_items(straining) : keep_aside(straining, &error))) {
            return SIEVE_DISK;
        }
        if (straining->counts.failed > straining->max_failed) {
            return SIEVE_TOO_MANY;
        }
        if (++straining->counts.read % TELL_RECORDS == 0) {
            tell(straining);
        }
    }
    return ferror(straining->source->file) ? SIEVE_SOURCE : SIEVE_DONE;
}

/* The descriptors are where jq_helper_start() puts them. */
static FILE *opened(int which, const char *mode)
{
    FILE *file = fdopen(JQ_HELPER_FIRST_FILE + which, mode);
    if (file == NULL) {
        _exit(JQ_EXIT_MEMORY);
    }
    return file;
}

static struct span read_filter(size_t size)
{
    char *bytes = malloc(size + 1);
    if (bytes == NULL) {
        _exit(JQ_EXIT_MEMORY);
    }
    jq_helper_read(bytes, size);
    return (struct span){bytes, size};
}

__attribute__((constructor)) static void become_helper(void)
{
    struct error error = {0};
    struct request request;
    if (!jq_helper_begin(ROLE)) {
        return;
    }
    jq_helper_read(&request, sizeof request);
    struct straining straining = {.max_failed = request.max_failed, .items = opened(1, "w"), .aside = opened(2, "w")};
    straining.program = jq_program_new(read_filter(request.filter_size), &error);
    if (straining.program == NULL) {
        _exit(SIEVE_NOT_JQ);
    }
    straining.source = record_source_new(opened(0, "r"), request.csv);
    text_init(&straining.output, LIMIT_SIEVE_OUTPUT_BYTES);
    enum sieve_exit code = strain_all(&straining);
    if (code == SIEVE_DONE && (fflush(straining.items) != 0 || fflush(straining.aside) != 0)) {
        code = SIEVE_DISK;
    }
    tell(&straining);
    _exit((int)code);
}

/* ---------------------------------------------------------------- who asks */

/* Take in what it reports until it has ended, or the step is to stop. */
static bool listen_to(const struct sieve *sieve, int fd, struct sieve_counts *counts)
{
    struct pollfd fds[] = {{.fd = fd, .events = POLLIN}, {.fd = sieve->cancel_fd, .events = POLLIN}};
    for (;;) {
        int ready = poll(fds, 2, -1);
        if (ready < 0 && errno != EINTR) {
            return false;
        }
        if (ready > 0 && fds[1].revents != 0) {
            return false;
        }
        if (ready > 0 && fds[0].revents != 0) {
            ssize_t got = read(fd, counts, sizeof *counts); /* whole: a socket keeps small writes whole */
            if (got != sizeof *counts) {
                return got <= 0;
            }
            sieve->counted(sieve->state, counts);
        }
    }
}

static bool judge(const struct sieve *sieve, int status, const struct sieve_counts *counts, struct error *error)
{
    if (WIFSIGNALED(status)) {
        return error_set(error, ERROR_INVALID, "jq crashes on a record after the first %" PRIu64, counts->read);
    }
    switch (WEXITSTATUS(status)) {
    case SIEVE_DONE: return true;
    case SIEVE_NOT_JQ: return error_set(error, ERROR_INVALID, "param 'filter': is not jq");
    case JQ_EXIT_MEMORY:
        return error_set(error, ERROR_INVALID, "jq needs more than %d MiB for a record after the first %" PRIu64,
                         LIMIT_EXPRESSION_MEMORY_BYTES / MIB, counts->read);
    case SIEVE_TOO_MANY:
        return error_set(error, ERROR_INVALID, "more than %" PRIu64 " records failed; see max_failed", sieve->max_failed);
    case SIEVE_SOURCE: return error_set(error, ERROR_TRANSIENT, "the source cannot be read");
    case SIEVE_DISK: return error_set(error, ERROR_TRANSIENT, "the workspace cannot be written; is the disk full?");
    default: return error_set(error, ERROR_TRANSIENT, "jq could not be confined");
    }
}

bool sieve_run(const struct sieve *sieve, struct sieve_counts *counts, struct error *error)
{
    const int files[] = {fileno(sieve->source), fileno(sieve->items), fileno(sieve->aside)};
    struct jq_helper helper;
    *counts = (struct sieve_counts){0};
    fflush(sieve->items);
    fflush(sieve->aside);
    if (!jq_helper_start(&helper, ROLE, files, sizeof files / sizeof *files, error)) {
        return false;
    }
    struct request request = {.max_failed = sieve->max_failed, .filter_size = sieve->filter.size, .csv = sieve->csv};
    jq_helper_ask(&helper, (struct span){(const char *)&request, sizeof request});
    jq_helper_ask(&helper, sieve->filter);
    bool ended = listen_to(sieve, helper.fd, counts);
    int status = jq_helper_end(&helper, !ended);
    return ended ? judge(sieve, status, counts, error) : error_set(error, ERROR_TRANSIENT, "it was cancelled");
}
