/* SPDX-License-Identifier: Apache-2.0 */
/* C11 threads by way of POSIX ones, for builds under ThreadSanitizer only. librdkafka uses the C11 calls, which the sanitizer does not
 * know: a thread made by them crashes it, and what their locks order looks like a race. Linked into a program these stand before libc's. */
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <threads.h>

static_assert(sizeof(mtx_t) >= sizeof(pthread_mutex_t) && sizeof(cnd_t) >= sizeof(pthread_cond_t),
              "one lives in the other's place");

struct start {
    thrd_start_t function;
    void *argument;
};

static void *run(void *argument)
{
    struct start start = *(struct start *)argument;
    free(argument);
    return (void *)(intptr_t)start.function(start.argument);
}

static int result_of(int code)
{
    switch (code) {
    case 0: return thrd_success;
    case EBUSY: return thrd_busy;
    case ETIMEDOUT: return thrd_timedout;
    case ENOMEM: return thrd_nomem;
    default: return thrd_error;
    }
}

int thrd_create(thrd_t *thread, thrd_start_t function, void *argument)
{
    struct start *start = malloc(sizeof *start);
    if (start == NULL) {
        return thrd_nomem;
    }
    *start = (struct start){function, argument};
    pthread_t created;
    int code = pthread_create(&created, NULL, run, start);
    if (code != 0) {
        free(start);
        return result_of(code);
    }
    *thread = created;
    return thrd_success;
}

int thrd_join(thrd_t thread, int *result)
{
    void *returned;
    int code = pthread_join(thread, &returned);
    if (code == 0 && result != NULL) {
        *result = (int)(intptr_t)returned;
    }
    return result_of(code);
}

int thrd_detach(thrd_t thread)
{
    return result_of(pthread_detach(thread));
}

static pthread_mutex_t *posix_mutex(mtx_t *mutex)
{
    return (pthread_mutex_t *)(void *)mutex;
}

static pthread_cond_t *posix_condition(cnd_t *condition)
{
    return (pthread_cond_t *)(void *)condition;
}

int mtx_init(mtx_t *mutex, int type)
{
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_settype(&attributes, (type & mtx_recursive) != 0 ? PTHREAD_MUTEX_RECURSIVE : PTHREAD_MUTEX_NORMAL);
    int code = pthread_mutex_init(posix_mutex(mutex), &attributes);
    pthread_mutexattr_destroy(&attributes);
    return result_of(code);
}

void mtx_destroy(mtx_t *mutex)
{
    pthread_mutex_destroy(posix_mutex(mutex));
}

int mtx_lock(mtx_t *mutex)
{
    return result_of(pthread_mutex_lock(posix_mutex(mutex)));
}

int mtx_trylock(mtx_t *mutex)
{
    return result_of(pthread_mutex_trylock(posix_mutex(mutex)));
}

int mtx_unlock(mtx_t *mutex)
{
    return result_of(pthread_mutex_unlock(posix_mutex(mutex)));
}

int cnd_init(cnd_t *condition)
{
    return result_of(pthread_cond_init(posix_condition(condition), NULL));
}

void cnd_destroy(cnd_t *condition)
{
    pthread_cond_destroy(posix_condition(condition));
}

int cnd_signal(cnd_t *condition)
{
    return result_of(pthread_cond_signal(posix_condition(condition)));
}

int cnd_broadcast(cnd_t *condition)
{
    return result_of(pthread_cond_broadcast(posix_condition(condition)));
}

int cnd_wait(cnd_t *condition, mtx_t *mutex)
{
    return result_of(pthread_cond_wait(posix_condition(condition), posix_mutex(mutex)));
}

int cnd_timedwait(cnd_t *condition, mtx_t *mutex, const struct timespec *until)
{
    return result_of(pthread_cond_timedwait(posix_condition(condition), posix_mutex(mutex), until));
}
