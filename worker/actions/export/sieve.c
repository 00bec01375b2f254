/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/actions/export/sieve.h"

#include "common/jq.h"
#include "common/limits.h"
#include "worker/actions/export/aside.h"
#include "worker/actions/export/record.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define TELL_RECORDS 512 /* between two reports to the parent */
#define SAFE_FD 64 /* beyond the places things get in the child */

/* How the child says its end. 3 is jq's, where memory is out. */
enum sieve_exit { SIEVE_DONE = 0, SIEVE_NOT_CONFINED = 1, SIEVE_NOT_JQ = 2, SIEVE_TOO_MANY = 4, SIEVE_DISK = 5, SIEVE_SOURCE = 6 };

/* ---------------------------------------------------------------- the child */

struct straining {
    const struct sieve *sieve;
    struct record_source *source;
    struct jq_program *program;
    struct sieve_counts counts;
    struct text output;
    int report_fd;
};

static void tell(const struct straining *straining)
{
    ssize_t written = write(straining->report_fd, &straining->counts, sizeof straining->counts);
    if (written != sizeof straining->counts) {
        _exit(SIEVE_DISK); /* nobody reads: the parent is gone */
    }
}

static bool keep_aside(struct straining *straining, const struct error *error)
{
    straining->counts.failed++;
    return aside_write(straining->sieve->aside, "line", straining->source->line, error->message,
                       text_span(&straining->source->json));
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
    return fwrite(text_string(output), 1, output->size, straining->sieve->items) == output->size;
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
        if (straining->counts.failed > straining->sieve->max_failed) {
            return SIEVE_TOO_MANY;
        }
        if (++straining->counts.read % TELL_RECORDS == 0) {
            tell(straining);
        }
    }
    return ferror(straining->sieve->source) ? SIEVE_SOURCE : SIEVE_DONE;
}

/* Keep the three files and the report, and nothing else: not the guard's socket, not a connection. */
static int close_all_but(const struct sieve *sieve, int report_fd)
{
    const int kept[] = {fileno(sieve->source), fileno(sieve->items), fileno(sieve->aside)};
    int report = fcntl(report_fd, F_DUPFD, SAFE_FD);
    for (int fd = 0; fd < SAFE_FD; fd++) {
        if (fd != kept[0] && fd != kept[1] && fd != kept[2]) {
            close(fd);
        }
    }
    for (unsigned begin = SAFE_FD; begin != 0;) { /* ranges between what is kept */
        unsigned next = ~0u;
        const int all[] = {kept[0], kept[1], kept[2], report};
        for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
            if ((unsigned)all[i] >= begin && (unsigned)all[i] < next) {
                next = (unsigned)all[i];
            }
        }
        if (next > begin) {
            close_range(begin, next == ~0u ? ~0u : next - 1, 0);
        }
        begin = next == ~0u ? 0 : next + 1;
    }
    return report;
}

static _Noreturn void run_child(const struct sieve *sieve, int report_fd)
{
    struct error error = {0};
    struct straining straining = {.sieve = sieve};
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    straining.report_fd = close_all_but(sieve, report_fd);
    if (straining.report_fd < 0 || !jq_confine()) {
        _exit(SIEVE_NOT_CONFINED);
    }
    straining.program = jq_program_new(sieve->filter, &error);
    if (straining.program == NULL) {
        _exit(SIEVE_NOT_JQ);
    }
    straining.source = record_source_new(sieve->source, sieve->csv);
    text_init(&straining.output, LIMIT_SIEVE_OUTPUT_BYTES);
    enum sieve_exit code = strain_all(&straining);
    if (code == SIEVE_DONE && (fflush(sieve->items) != 0 || fflush(sieve->aside) != 0)) {
        code = SIEVE_DISK;
    }
    tell(&straining);
    _exit((int)code);
}

/* ---------------------------------------------------------------- the parent */

/* Take in what the child reports until it has ended, or the step is to stop. */
static bool listen(const struct sieve *sieve, int report_fd, struct sieve_counts *counts)
{
    struct pollfd fds[] = {{.fd = report_fd, .events = POLLIN}, {.fd = sieve->cancel_fd, .events = POLLIN}};
    for (;;) {
        int ready = poll(fds, 2, -1);
        if (ready < 0 && errno != EINTR) {
            return false;
        }
        if (ready > 0 && fds[1].revents != 0) {
            return false;
        }
        if (ready > 0 && fds[0].revents != 0) {
            ssize_t got = read(report_fd, counts, sizeof *counts); /* whole: a pipe keeps small writes whole */
            if (got != sizeof *counts) {
                return got == 0;
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

static bool await(const struct sieve *sieve, pid_t pid, int report_fd, struct sieve_counts *counts, struct error *error)
{
    int status = 0;
    bool ended = listen(sieve, report_fd, counts);
    if (!ended) {
        kill(pid, SIGKILL);
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return ended ? judge(sieve, status, counts, error) : error_set(error, ERROR_TRANSIENT, "it was cancelled");
}

bool sieve_run(const struct sieve *sieve, struct sieve_counts *counts, struct error *error)
{
    int ends[2];
    *counts = (struct sieve_counts){0};
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return error_set(error, ERROR_TRANSIENT, "no pipe to jq: %s", strerror(errno));
    }
    fflush(sieve->items);
    fflush(sieve->aside);
    pid_t pid = fork();
    if (pid == 0) {
        close(ends[0]);
        run_child(sieve, ends[1]);
    }
    int failure = errno;
    close(ends[1]);
    bool ok = pid > 0 ? await(sieve, pid, ends[0], counts, error)
                      : error_set(error, ERROR_TRANSIENT, "no process for jq: %s", strerror(failure));
    close(ends[0]);
    return ok;
}
