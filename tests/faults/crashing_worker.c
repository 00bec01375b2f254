/* SPDX-License-Identifier: Apache-2.0 */
/* A worker whose handlers end its process: "at_once", before anybody has heard that they began, and "later", after that. Each says in
 * JOURNAL/RUN what it was about to do. And others that end well: "work", "slow", once there is a file
 * JOURNAL/go, saying in JOURNAL/thread whether it has the worker's main thread, and "quick", which widens the worker's window. */
#include "worker/backstep.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static FILE *open_journal(const char *name, const char *mode)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", getenv("JOURNAL"), name);
    return fopen(path, mode);
}

static void note(const struct backstep_context *context)
{
    FILE *journal = open_journal(backstep_run_id(context), "a");
    if (journal != NULL) {
        fprintf(journal, "%s %s %d\n", backstep_is_rollback(context) ? "rollback" : "execute", backstep_step_name(context),
                (int)backstep_attempt(context));
        fclose(journal);
    }
}

/* The last one to run "slow". */
static void note_thread(void)
{
    FILE *journal = open_journal("thread", "w");
    if (journal != NULL) {
        fprintf(journal, "%s\n", gettid() == getpid() ? "main" : "other");
        fclose(journal);
    }
}

static enum backstep_outcome crash(struct backstep_context *context, struct backstep_result *result)
{
    note(context);
    signal(SIGSEGV, SIG_DFL); /* a sanitizer would take its time, and the step be known to run */
    raise(SIGSEGV);
    return backstep_fail(result, "it has survived");
}

static enum backstep_outcome crash_later(struct backstep_context *context, struct backstep_result *result)
{
    nanosleep(&(struct timespec){.tv_nsec = 400 * 1000000L}, NULL);
    return crash(context, result);
}

static enum backstep_outcome undo(struct backstep_context *context, const struct backstep_result *done, struct backstep_result *result)
{
    (void)done;
    note(context);
    return backstep_succeed(result, NULL);
}

static enum backstep_outcome quick(struct backstep_context *context, struct backstep_result *result)
{
    (void)context;
    return backstep_succeed(result, NULL);
}

static enum backstep_outcome slow(struct backstep_context *context, struct backstep_result *result)
{
    char path[4096];
    note_thread();
    snprintf(path, sizeof path, "%s/go", getenv("JOURNAL"));
    note(context);
    while (access(path, F_OK) != 0) {
        nanosleep(&(struct timespec){.tv_nsec = 20 * 1000000L}, NULL);
    }
    return backstep_succeed(result, NULL);
}

static enum backstep_outcome work(struct backstep_context *context, struct backstep_result *result)
{
    note(context);
    return backstep_succeed(result, NULL);
}

int main(int argc, char **argv)
{
    static const struct backstep_step steps[] = {
        {.name = "work", .execute = work, .rollback = undo},
        {.name = "quick", .execute = quick},
        {.name = "slow", .execute = slow},
        {.name = "at_once", .execute = crash, .rollback = undo},
        {.name = "later", .execute = crash_later, .rollback = undo},
    };
    struct backstep_registry *registry = backstep_registry_new();
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        backstep_register(registry, &steps[i]);
    }
    return backstep_main(argc, argv, registry);
}
