/* SPDX-License-Identifier: Apache-2.0 */
/* backstep dev: a broker, a coordinator and a worker to play with, until Ctrl-C. */
#include "common/clock.h"
#include "coordinator/cli/command.h"
#include "coordinator/cli/embedded.h"
#include "coordinator/cli/faults.h"
#include "coordinator/cli/signals.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOOK_MS 500

/* What is written replaces what is there, and goes when we do: no place for a pipe, a device or a link. */
static bool check_address_file(const char *path, struct error *error)
{
    struct stat there;
    return path == NULL || lstat(path, &there) != 0 || S_ISREG(there.st_mode) ||
           error_set(error, ERROR_INVALID, "--address-file %s: is there, and no regular file", path);
}

/* Whoever finds the file finds all of it. `written`: which file it is. */
static bool write_address(const char *path, const char *address, struct stat *written, struct error *error)
{
    char temporary[PATH_MAX];
    int length = snprintf(temporary, sizeof temporary, "%s.%ld", path, (long)getpid());
    if (length < 0 || (size_t)length >= sizeof temporary) {
        return error_set(error, ERROR_INVALID, "--address-file: the path is too long");
    }
    FILE *file = fopen(temporary, "we");
    bool ok = file != NULL && fstat(fileno(file), written) == 0 && fprintf(file, "%s\n", address) > 0;
    ok = file != NULL && fclose(file) == 0 && ok;
    if (!ok || rename(temporary, path) != 0) {
        error_set(error, ERROR_INVALID, "--address-file %s: %s", path, strerror(errno));
        unlink(temporary);
        return false;
    }
    return true;
}

/* Another one may have written its own there meanwhile. */
static void remove_address(const char *path, const struct stat *written)
{
    struct stat there;
    if (lstat(path, &there) == 0 && there.st_dev == written->st_dev && there.st_ino == written->st_ino) {
        unlink(path);
    }
}

static void greet(const struct call *call, const char *address, const char *steps)
{
    printf(call->json ? "{\"brokers\":\"%s\"}\n" : "%s\n", address);
    fflush(stdout);
    if (call->quiet || call->json) {
        return;
    }
    fprintf(stderr,
            "A broker%s run here until Ctrl-C; nothing is kept. In another terminal:\n\n"
            "  backstep start FILE -b %s\n"
            "  backstep events -b %s\n",
            steps != NULL ? ", a coordinator and a worker" : " and a coordinator", address, address);
    if (steps == NULL) {
        fprintf(stderr, "  backstep-worker --steps DIR -b %s\n", address);
    }
    fprintf(stderr, "  kcat -C -b %s -t %s.progress -f '%%k %%h\\n'\n", address, call->client.prefix);
}

static bool wait_until_up(const struct call *call, struct embedded *embedded, struct error *error)
{
    struct client_options cluster = call->client;
    struct client client;
    struct reader *reader = NULL;
    cluster.brokers = embedded_address(embedded);
    if (client_open(&client, &cluster, error)) {
        struct reader_options options = client_reads(&client, NULL);
        reader = reader_new(&options, error);
    }
    bool ok = reader != NULL && embedded_await_owner(embedded, &client, reader, error);
    reader_free(reader);
    client_close(&client);
    return ok;
}

static bool read_faults(const struct call *call, struct faults *faults, struct error *error)
{
    size_t count;
    const char *const *texts = option_list(call->options, "fault", &count);
    for (size_t i = 0; i < count; i++) {
        if (!faults_add(faults, texts[i], error)) {
            return false;
        }
    }
    return true;
}

/* How long it may be left alone. */
static int suffer(struct embedded *embedded, struct faults *faults)
{
    struct faults_state state;
    int64_t now_ms = clock_monotonic_ms();
    faults_at(faults, now_ms, &state);
    embedded_suffer(embedded, &state);
    return state.next_ms - now_ms < LOOK_MS ? (int)(state.next_ms - now_ms) : LOOK_MS;
}

static int wait_for_end(struct embedded *embedded, struct faults *faults)
{
    struct error error = {0};
    faults_begin(faults, clock_monotonic_ms());
    while (signals_interrupts() == 0) {
        signals_wait(suffer(embedded, faults));
        if (signals_interrupts() == 0 && embedded_is_broken(embedded, &error)) {
            return complain_of(&error);
        }
    }
    return EXIT_DONE;
}

int cmd_dev(struct call *call)
{
    struct error error = {0};
    struct faults faults = {0};
    const char *file = option_text(call->options, "address-file");
    struct embedded_options options = {
        .prefix = call->client.prefix,
        .steps_directory = option_text(call->options, "steps"),
        .concurrency = (int)option_number(call->options, "concurrency"),
        .log_level = option_text(call->options, "log-level"),
    };
    if (!read_faults(call, &faults, &error) || !check_address_file(file, &error)) {
        return complain_of(&error);
    }
    signals_install();
    struct embedded *embedded = embedded_start(&options, &error);
    if (embedded == NULL) {
        return complain_of(&error);
    }
    struct stat written = {0};
    int code;
    if (!wait_until_up(call, embedded, &error) ||
        (file != NULL && !write_address(file, embedded_address(embedded), &written, &error))) {
        code = complain_of(&error);
    } else {
        greet(call, embedded_address(embedded), options.steps_directory);
        code = wait_for_end(embedded, &faults);
    }
    embedded_stop(embedded);
    if (file != NULL) {
        remove_address(file, &written);
    }
    return code;
}
