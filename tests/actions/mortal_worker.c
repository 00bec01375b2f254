/* SPDX-License-Identifier: Apache-2.0 */
/* A worker that serves the actions and dies, by SIGKILL, when every one of BACKSTEP_DEATHS runs stands where its param "death" says:
 * "HANDLER execute|rollback begin|middle|end". Those at the begin or the end of their step wait there; those in the middle wait at its
 * begin, are let go all at once when the last has come, and the end comes BACKSTEP_DEATH_US microseconds later. */
#include "worker/actions/action.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HANDLERS_MAX 64

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t moved = PTHREAD_COND_INITIALIZER;
static long arrived, expected;

/* A thread of its own, so that the step that came last is cut like the others. */
static void *die(void *state)
{
    (void)state;
    usleep((useconds_t)atol(getenv("BACKSTEP_DEATH_US")));
    kill(getpid(), SIGKILL);
    return NULL;
}

static void wait_for_the_end(void)
{
    for (;;) {
        pause();
    }
}

/* Returns when all are there. */
static void stand(void)
{
    pthread_t thread;
    pthread_mutex_lock(&mutex);
    arrived++;
    if (arrived == expected) {
        assert(pthread_create(&thread, NULL, die, NULL) == 0);
        pthread_cond_broadcast(&moved);
    }
    while (arrived < expected) {
        pthread_cond_wait(&moved, &mutex);
    }
    pthread_mutex_unlock(&mutex);
}

static enum backstep_outcome around(struct backstep_call *call, struct backstep_context *context, struct backstep_result *result)
{
    char handler[64] = "", direction[16] = "", point[16] = "";
    (void)result;
    const char *death = backstep_json_string(backstep_param(context, "death"), "");
    int words = sscanf(death, "%63s %15s %15s", handler, direction, point);
    bool here = words == 3 && strcmp(handler, backstep_call_step(call)->name) == 0 &&
                strcmp(direction, backstep_is_rollback(context) ? "rollback" : "execute") == 0;
    if (!here) {
        return backstep_proceed(call);
    }
    if (strcmp(point, "end") == 0) {
        backstep_proceed(call);
    }
    stand();
    if (strcmp(point, "middle") == 0) {
        backstep_proceed(call);
    }
    wait_for_the_end();
    return BACKSTEP_FAILED;
}

static const struct backstep_wrapper mortal = {.around = around};

int main(int argc, char **argv)
{
    struct backstep_registry *actions = backstep_registry_new(), *registry = backstep_registry_new();
    expected = atol(getenv("BACKSTEP_DEATHS"));
    actions_register(actions);
    for (int i = 0; i < backstep_registry_count(actions); i++) {
        backstep_register(registry, backstep_wrap(registry, &mortal, backstep_registry_step(actions, i)));
    }
    int code = backstep_main(argc, argv, registry);
    backstep_registry_free(actions);
    return code;
}
