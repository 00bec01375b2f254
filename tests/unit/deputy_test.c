/* SPDX-License-Identifier: Apache-2.0 */
/* Who serves the loop while its own thread is away. Nothing here waits for a time to pass: each waits for what it is about. */
#include "worker/deputy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

struct loop {
    struct deputy *deputy;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    pthread_t server;        /* of the last turn */
    int turns, calls, last;  /* no more than `last` turns; 0: for ever */
    bool waits, called;      /* a turn waits for a call */
    int unguarded;           /* by whoever has the loop, without a lock */
};

static bool serve(void *state)
{
    struct loop *loop = state;
    loop->unguarded++;
    pthread_mutex_lock(&loop->mutex);
    loop->server = pthread_self();
    loop->turns++;
    pthread_cond_broadcast(&loop->changed);
    while (loop->waits && !loop->called) {
        pthread_cond_wait(&loop->changed, &loop->mutex);
    }
    loop->called = false;
    bool goes_on = loop->turns != loop->last;
    pthread_mutex_unlock(&loop->mutex);
    return goes_on;
}

static void call(void *state)
{
    struct loop *loop = state;
    pthread_mutex_lock(&loop->mutex);
    loop->calls++;
    loop->called = true;
    pthread_cond_broadcast(&loop->changed);
    pthread_mutex_unlock(&loop->mutex);
}

static void begin(struct loop *loop)
{
    struct error error;
    *loop = (struct loop){.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    loop->deputy = deputy_new(serve, call, loop, &error);
    assert_non_null(loop->deputy);
}

/* By the other thread. */
static void await_turn(struct loop *loop, int number)
{
    pthread_mutex_lock(&loop->mutex);
    while (loop->turns < number) {
        pthread_cond_wait(&loop->changed, &loop->mutex);
    }
    assert_false(pthread_equal(loop->server, pthread_self()));
    pthread_mutex_unlock(&loop->mutex);
}

static int turns_of(struct loop *loop)
{
    pthread_mutex_lock(&loop->mutex);
    int turns = loop->turns;
    pthread_mutex_unlock(&loop->mutex);
    return turns;
}

static void who_stays_away_is_stood_in_for_until_he_is_back(void **state)
{
    struct loop loop;
    (void)state;
    begin(&loop);
    for (int round = 1; round <= 3; round++) {
        deputy_leave(loop.deputy);
        await_turn(&loop, turns_of(&loop) + 3);
        assert_true(deputy_return(loop.deputy));
        int turns = loop.turns; /* nobody else has the loop now */
        assert_int_equal(loop.unguarded, turns);
        assert_true(serve(&loop));
        assert_int_equal(loop.unguarded, turns + 1);
    }
    deputy_free(loop.deputy);
}

static void a_turn_that_waits_is_called(void **state)
{
    struct loop loop;
    (void)state;
    begin(&loop);
    loop.waits = true;
    deputy_leave(loop.deputy);
    await_turn(&loop, 1);
    assert_true(deputy_return(loop.deputy));
    assert_true(loop.calls >= 1);
    assert_int_equal(loop.turns, 1);
    deputy_free(loop.deputy);
}

static void the_end_of_the_loop_is_told_to_who_comes_back(void **state)
{
    struct loop loop;
    (void)state;
    begin(&loop);
    loop.last = 2;
    deputy_leave(loop.deputy);
    await_turn(&loop, 2);
    assert_false(deputy_return(loop.deputy));
    assert_int_equal(loop.turns, 2); /* after the last turn there is none */
    deputy_free(loop.deputy);
}

static void who_is_back_at_once_has_the_loop(void **state)
{
    struct loop loop;
    (void)state;
    begin(&loop);
    for (int i = 1; i <= 20000; i++) {
        deputy_leave(loop.deputy);
        assert_true(deputy_return(loop.deputy));
        serve(&loop);
        assert_int_equal(loop.unguarded, loop.turns);
    }
    deputy_free(loop.deputy);
}

static _Atomic pid_t signalled;

static void on_signal(int signal)
{
    (void)signal;
    atomic_store(&signalled, gettid());
}

static pid_t who_gets_one(void)
{
    atomic_store(&signalled, 0);
    kill(getpid(), SIGUSR1);
    while (atomic_load(&signalled) == 0) {
        sched_yield();
    }
    return atomic_load(&signalled);
}

static void signals_go_to_who_has_the_loop(void **state)
{
    struct loop loop;
    sigset_t usual, one;
    (void)state;
    begin(&loop);
    sigaction(SIGUSR1, &(struct sigaction){.sa_handler = on_signal}, NULL);
    assert_int_equal(who_gets_one(), gettid());
    sigemptyset(&one);
    sigaddset(&one, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &one, &usual);
    deputy_leave(loop.deputy);
    assert_int_not_equal(who_gets_one(), gettid());
    assert_true(deputy_return(loop.deputy));
    pthread_sigmask(SIG_SETMASK, &usual, NULL);
    assert_int_equal(who_gets_one(), gettid());
    deputy_free(loop.deputy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_stays_away_is_stood_in_for_until_he_is_back),
        cmocka_unit_test(a_turn_that_waits_is_called),
        cmocka_unit_test(the_end_of_the_loop_is_told_to_who_comes_back),
        cmocka_unit_test(who_is_back_at_once_has_the_loop),
        cmocka_unit_test(signals_go_to_who_has_the_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
