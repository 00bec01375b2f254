/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/deputy.h"

#include "common/clock.h"

#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>

struct deputy {
    bool (*serve)(void *state);
    void (*call)(void *state);
    void *state;
    sigset_t mask; /* while it serves */
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t left, let_go;
    uint64_t leaves;
    bool away, wanted;  /* the loop's own thread is; it would have the loop again */
    bool sleeps;        /* until somebody leaves; else it looks by itself */
    bool serves, over, stopping;
};

/* With the lock held, which is free meanwhile. */
static void take_over(struct deputy *deputy)
{
    deputy->serves = true;
    sigset_t own;
    pthread_sigmask(SIG_SETMASK, &deputy->mask, &own);
    while (!deputy->wanted && !deputy->over) {
        pthread_mutex_unlock(&deputy->mutex);
        bool goes_on = deputy->serve(deputy->state);
        pthread_mutex_lock(&deputy->mutex);
        deputy->over = !goes_on;
    }
    pthread_sigmask(SIG_SETMASK, &own, NULL);
    deputy->serves = false;
    pthread_cond_signal(&deputy->let_go);
}

static void await_next_look(struct deputy *deputy)
{
    struct timespec until = clock_deadline(DEPUTY_LOOK_MS);
    while (!deputy->stopping && pthread_cond_timedwait(&deputy->left, &deputy->mutex, &until) == 0) {
    }
}

static void await_leave(struct deputy *deputy)
{
    deputy->sleeps = true;
    while (!deputy->stopping && deputy->sleeps) {
        pthread_cond_wait(&deputy->left, &deputy->mutex);
    }
}

/* Whoever has left before a look, and not again until the next one, has been away for all of it. */
static void *stand_by(void *state)
{
    struct deputy *deputy = state;
    uint64_t seen = 0;
    pthread_mutex_lock(&deputy->mutex);
    while (!deputy->stopping) {
        if (deputy->leaves == seen && !deputy->away) {
            await_leave(deputy);
        } else if (deputy->leaves == seen && !deputy->over) {
            take_over(deputy);
        }
        seen = deputy->leaves;
        await_next_look(deputy);
    }
    pthread_mutex_unlock(&deputy->mutex);
    return NULL;
}

static void release(struct deputy *deputy)
{
    pthread_cond_destroy(&deputy->let_go);
    pthread_cond_destroy(&deputy->left);
    pthread_mutex_destroy(&deputy->mutex);
    free(deputy);
}

struct deputy *deputy_new(bool (*serve)(void *state), void (*call)(void *state), void *state, struct error *error)
{
    struct deputy *deputy = calloc(1, sizeof *deputy);
    if (deputy == NULL) {
        abort();
    }
    deputy->serve = serve;
    deputy->call = call;
    deputy->state = state;
    pthread_mutex_init(&deputy->mutex, NULL);
    clock_condition_init(&deputy->left);
    pthread_cond_init(&deputy->let_go, NULL);
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &deputy->mask);
    bool ok = pthread_create(&deputy->thread, NULL, stand_by, deputy) == 0;
    pthread_sigmask(SIG_SETMASK, &deputy->mask, NULL);
    if (!ok) {
        error_set(error, ERROR_TRANSIENT, "no thread could be made that stands by for the worker's own");
        release(deputy);
        return NULL;
    }
    return deputy;
}

void deputy_free(struct deputy *deputy)
{
    if (deputy == NULL) {
        return;
    }
    pthread_mutex_lock(&deputy->mutex);
    deputy->stopping = true;
    pthread_cond_signal(&deputy->left);
    pthread_mutex_unlock(&deputy->mutex);
    pthread_join(deputy->thread, NULL);
    release(deputy);
}

void deputy_leave(struct deputy *deputy)
{
    pthread_mutex_lock(&deputy->mutex);
    deputy->away = true;
    deputy->leaves++;
    if (deputy->sleeps) {
        deputy->sleeps = false;
        pthread_cond_signal(&deputy->left);
    }
    pthread_mutex_unlock(&deputy->mutex);
}

bool deputy_return(struct deputy *deputy)
{
    pthread_mutex_lock(&deputy->mutex);
    deputy->away = false;
    deputy->wanted = true;
    while (deputy->serves) {
        deputy->call(deputy->state);
        pthread_cond_wait(&deputy->let_go, &deputy->mutex);
    }
    deputy->wanted = false;
    bool goes_on = !deputy->over;
    pthread_mutex_unlock(&deputy->mutex);
    return goes_on;
}
