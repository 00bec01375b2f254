/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/evaluator.h"

#include "common/clock.h"
#include "common/expression.h"
#include "common/jq.h"
#include "common/jq_helper.h"
#include "common/text.h"
#include "worker/evaluator_protocol.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define LOOK_MS 50 /* who waits for a helper looks so often whether he is cancelled */
#define END_MS 5000 /* for the guard to say how a helper ended */

extern const char evaluator_process_is_linked;

struct helper {
    struct guard_program program;
    int fd;
    uint32_t uses;
};

struct evaluator {
    struct guard *guard;
    pthread_mutex_t mutex;
    pthread_cond_t freed;
    struct helper idle[LIMIT_EXPRESSION_HELPERS]; /* the last used last, and first taken: it knows most */
    size_t idle_count, busy_count;
};

/* One call of evaluator_run(). */
struct call {
    struct evaluator *evaluator;
    const struct evaluation *evaluation;
    struct helper helper;
    int64_t deadline_ms; /* monotonic */
    size_t answered; /* expressions */
    char **values;
    struct error *error;
};

/* ---------------------------------------------------------------- waiting */

enum wait { WAIT_READY, WAIT_CANCELLED, WAIT_LATE };

static enum wait wait_for(const struct call *call, short events)
{
    for (;;) {
        struct pollfd fds[] = {{.fd = call->helper.fd, .events = events}, {.fd = call->evaluation->cancel_fd, .events = POLLIN}};
        int64_t left_ms = call->deadline_ms - clock_monotonic_ms();
        int ready = poll(fds, 2, left_ms > 0 ? (int)left_ms : 0);
        if (ready > 0 && fds[1].revents != 0) {
            return WAIT_CANCELLED;
        }
        if (ready > 0) {
            return WAIT_READY;
        }
        if (left_ms <= 0) {
            return WAIT_LATE;
        }
    }
}

enum transfer { TRANSFER_DONE, TRANSFER_ENDED, TRANSFER_CANCELLED, TRANSFER_LATE };

static enum transfer of_wait(enum wait wait)
{
    return wait == WAIT_CANCELLED ? TRANSFER_CANCELLED : wait == WAIT_LATE ? TRANSFER_LATE : TRANSFER_DONE;
}

static bool passes(ssize_t moved)
{
    return moved < 0 && (errno == EAGAIN || errno == EINTR);
}

static enum transfer receive(const struct call *call, void *bytes, size_t size)
{
    for (size_t done = 0; done < size;) {
        enum transfer waited = of_wait(wait_for(call, POLLIN));
        if (waited != TRANSFER_DONE) {
            return waited;
        }
        ssize_t got = recv(call->helper.fd, (char *)bytes + done, size - done, MSG_DONTWAIT);
        if (got <= 0 && !passes(got)) {
            return TRANSFER_ENDED;
        }
        done += got > 0 ? (size_t)got : 0;
    }
    return TRANSFER_DONE;
}

static enum transfer transmit(const struct call *call, struct span bytes)
{
    while (bytes.size > 0) {
        enum transfer waited = of_wait(wait_for(call, POLLOUT));
        if (waited != TRANSFER_DONE) {
            return waited;
        }
        ssize_t put = send(call->helper.fd, bytes.bytes, bytes.size, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (put < 0 && !passes(put)) {
            return TRANSFER_ENDED;
        }
        bytes.bytes += put > 0 ? put : 0;
        bytes.size -= put > 0 ? (size_t)put : 0;
    }
    return TRANSFER_DONE;
}

/* ---------------------------------------------------------------- how a helper ends */

static void drop(struct evaluator *evaluator, struct helper *helper)
{
    guard_kill(evaluator->guard, helper->program.token, SIGKILL, NULL); /* a dead guard's are dead */
    close(helper->fd);
    close(helper->program.status_fd);
}

static struct guard_status status_of(const struct helper *helper)
{
    struct guard_status status = {0};
    struct pollfd told = {.fd = helper->program.status_fd, .events = POLLIN};
    if (poll(&told, 1, END_MS) <= 0 || read(told.fd, &status, sizeof status) != (ssize_t)sizeof status) {
        status = (struct guard_status){0}; /* the guard died, or does not get to it */
    }
    return status;
}

static enum evaluation_end lose(const struct call *call, const char *why)
{
    error_set(call->error, ERROR_TRANSIENT, "%s", why);
    return EVALUATION_LOST;
}

static enum evaluation_end fail(const struct call *call, const char *format, ...) __attribute__((format(printf, 2, 3)));
static enum evaluation_end fail(const struct call *call, const char *format, ...)
{
    char message[ERROR_MESSAGE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    error_set(call->error, ERROR_INVALID, "%s", message);
    expression_blame(call->evaluation->expressions[call->answered], "fails", call->error);
    return EVALUATION_FAILED;
}

static enum evaluation_end judge_exit(const struct call *call, int status)
{
    if (WIFEXITED(status) && WEXITSTATUS(status) == JQ_EXIT_MEMORY) {
        return fail(call, "it needs more than %d MiB", LIMIT_EXPRESSION_MEMORY_BYTES / MIB);
    }
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) { /* not by us: the lease, or the machine is out of memory */
        if (guard_lease_is_over(call->evaluator->guard)) {
            return lose(call, "killed: the worker's lease is over");
        }
        error_set(call->error, ERROR_TRANSIENT, "the process that evaluates was killed");
        return EVALUATION_NOT_STARTED;
    }
    if (WIFSIGNALED(status)) {
        const char *name = sigabbrev_np(WTERMSIG(status));
        return fail(call, "jq crashes on it (SIG%s); is it a recursion without end, or nested very deep?",
                    name != NULL ? name : "?");
    }
    error_set(call->error, ERROR_TRANSIENT, "the process that evaluates ended with status %d", WEXITSTATUS(status));
    return EVALUATION_NOT_STARTED;
}

static enum evaluation_end judge_status(const struct call *call)
{
    struct guard_status status = status_of(&call->helper);
    switch (status.kind) {
    case GUARD_STATUS_ENDED: return judge_exit(call, status.value);
    case GUARD_STATUS_LEASE_OVER: return lose(call, "not started: the worker's lease is over");
    case GUARD_STATUS_NOT_STARTED:
    case GUARD_STATUS_NOT_RUNNABLE:
        error_set(call->error, ERROR_TRANSIENT, "the process that evaluates was not started: %s", strerror(status.value));
        return EVALUATION_NOT_STARTED;
    default: return lose(call, "the guard died");
    }
}

static enum evaluation_end judge(const struct call *call, enum transfer transfer)
{
    switch (transfer) {
    case TRANSFER_CANCELLED:
        error_set(call->error, ERROR_REJECTED, "cancelled while jq was evaluated");
        return EVALUATION_CANCELLED;
    case TRANSFER_LATE:
        return fail(call, "it takes longer than the %.3g s there are for it", (double)*call->evaluation->left_ms / 1000);
    case TRANSFER_ENDED: return judge_status(call);
    case TRANSFER_DONE: break;
    }
    return EVALUATION_DONE;
}

/* ---------------------------------------------------------------- starting one */

static bool spawn_with(struct evaluator *evaluator, struct helper *helper, int theirs, struct error *error)
{
    int null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
    char **environment = jq_helper_environment(EVALUATOR_ROLE);
    struct guard_spawn spawn = {.path = "/proc/self/exe", /* as it was when it began: an upgrade meanwhile changes nothing */
                                .environment = (const char *const *)environment,
                                .bare = true,
                                .input_fd = theirs,
                                .output_fd = theirs,
                                .error_fd = null_fd};
    bool ok = null_fd >= 0 ? guard_spawn(evaluator->guard, &spawn, &helper->program, error)
                           : error_set(error, ERROR_TRANSIENT, "/dev/null: %s", strerror(errno));
    jq_helper_environment_free(environment);
    if (null_fd >= 0) {
        close(null_fd);
    }
    return ok;
}

static bool spawn(struct evaluator *evaluator, struct helper *helper, struct error *error)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
        return error_set(error, ERROR_TRANSIENT, "no socket for jq: %s", strerror(errno));
    }
    *helper = (struct helper){.fd = ends[0]};
    bool ok = spawn_with(evaluator, helper, ends[1], error);
    close(ends[1]);
    if (!ok) {
        close(ends[0]);
    }
    return ok;
}

static enum evaluation_end greet(struct call *call)
{
    char greeting[sizeof JQ_HELPER_GREETING - 1];
    call->deadline_ms = clock_monotonic_ms() + JQ_HELPER_GREETING_MS;
    enum transfer transfer = receive(call, greeting, sizeof greeting);
    if (transfer == TRANSFER_DONE && memcmp(greeting, JQ_HELPER_GREETING, sizeof greeting) == 0) {
        return EVALUATION_DONE;
    }
    if (transfer == TRANSFER_DONE || transfer == TRANSFER_LATE) {
        error_set(call->error, ERROR_TRANSIENT, "the process that evaluates does not answer as one of ours");
        return EVALUATION_NOT_STARTED;
    }
    return judge(call, transfer);
}

/* An idle helper says nothing: what is to be read is its end. Its socket tells of it before the guard does, which has to reap it first. */
static bool is_alive(const struct helper *helper)
{
    struct pollfd ends[] = {{.fd = helper->fd, .events = POLLIN}, {.fd = helper->program.status_fd, .events = POLLIN}};
    return poll(ends, 2, 0) == 0;
}

/* ---------------------------------------------------------------- who has which */

static void wait_a_little(struct evaluator *evaluator)
{
    struct timespec until = clock_deadline(LOOK_MS);
    pthread_cond_timedwait(&evaluator->freed, &evaluator->mutex, &until);
}

static bool is_cancelled(const struct call *call)
{
    return poll(&(struct pollfd){.fd = call->evaluation->cancel_fd, .events = POLLIN}, 1, 0) > 0;
}

/* Take an idle helper that lives, or leave to make one. */
static enum evaluation_end take(struct call *call, bool *taken)
{
    struct evaluator *evaluator = call->evaluator;
    enum evaluation_end end = EVALUATION_DONE;
    *taken = false;
    pthread_mutex_lock(&evaluator->mutex);
    while (evaluator->busy_count == LIMIT_EXPRESSION_HELPERS && end == EVALUATION_DONE) {
        wait_a_little(evaluator);
        end = is_cancelled(call) ? judge(call, TRANSFER_CANCELLED) : EVALUATION_DONE;
    }
    while (end == EVALUATION_DONE && evaluator->idle_count > 0 && !*taken) {
        call->helper = evaluator->idle[--evaluator->idle_count];
        *taken = is_alive(&call->helper);
        if (!*taken) {
            drop(evaluator, &call->helper);
        }
    }
    evaluator->busy_count += end == EVALUATION_DONE;
    pthread_mutex_unlock(&evaluator->mutex);
    return end;
}

/* A busy one is not counted any more; it is kept, or has been dropped. */
static void give_back(struct call *call, bool keep)
{
    struct evaluator *evaluator = call->evaluator;
    pthread_mutex_lock(&evaluator->mutex);
    evaluator->busy_count--;
    if (keep) {
        assert(evaluator->idle_count < LIMIT_EXPRESSION_HELPERS);
        evaluator->idle[evaluator->idle_count++] = call->helper;
    }
    pthread_cond_signal(&evaluator->freed);
    pthread_mutex_unlock(&evaluator->mutex);
}

static enum evaluation_end obtain(struct call *call)
{
    bool taken = false;
    enum evaluation_end end = take(call, &taken);
    if (end != EVALUATION_DONE || taken) {
        return end;
    }
    if (!spawn(call->evaluator, &call->helper, call->error)) {
        give_back(call, false);
        return EVALUATION_LOST; /* the guard cannot be reached */
    }
    end = greet(call);
    if (end != EVALUATION_DONE) {
        drop(call->evaluator, &call->helper);
        give_back(call, false);
    }
    return end;
}

/* ---------------------------------------------------------------- asking */

static void append_request(struct text *text, const struct evaluation *evaluation)
{
    struct evaluator_request head = {(uint32_t)evaluation->input.size, (uint32_t)evaluation->count};
    text_append(text, &head, sizeof head);
    text_append_span(text, evaluation->input);
    for (size_t i = 0; i < evaluation->count; i++) {
        uint32_t size = (uint32_t)evaluation->expressions[i].size;
        text_append(text, &size, sizeof size);
        text_append_span(text, evaluation->expressions[i]);
    }
}

/* The next answer. `bytes`: the caller owes free(), on DONE only. */
static enum transfer receive_answer(struct call *call, struct evaluator_answer *head, char **bytes)
{
    enum transfer transfer = receive(call, head, sizeof *head);
    if (transfer != TRANSFER_DONE) {
        return transfer;
    }
    char *text = head->size <= EVALUATOR_VALUE_BYTES ? malloc(head->size + 1u) : NULL;
    transfer = text != NULL ? receive(call, text, head->size) : TRANSFER_ENDED;
    if (transfer != TRANSFER_DONE) {
        free(text);
        return transfer;
    }
    text[head->size] = '\0';
    *bytes = text;
    return TRANSFER_DONE;
}

/* `sound`: the helper may be used again. */
static enum evaluation_end converse(struct call *call, struct span request, bool *sound)
{
    enum transfer transfer = transmit(call, request);
    *sound = false;
    for (; transfer == TRANSFER_DONE && call->answered < call->evaluation->count; call->answered++) {
        struct evaluator_answer head = {0};
        char *bytes = NULL;
        transfer = receive_answer(call, &head, &bytes);
        if (transfer != TRANSFER_DONE) {
            break;
        }
        if (head.is_error) {
            *sound = true;
            fail(call, "%s", bytes);
            free(bytes);
            return EVALUATION_FAILED;
        }
        call->values[call->answered] = bytes;
    }
    *sound = transfer == TRANSFER_DONE;
    return judge(call, transfer);
}

static enum evaluation_end ask(struct call *call)
{
    bool sound = false;
    struct text request;
    text_init(&request, EVALUATOR_INPUT_BYTES + LIMIT_RECORD_BYTES);
    append_request(&request, call->evaluation);
    int64_t begun_ms = clock_monotonic_ms();
    call->deadline_ms = begun_ms + *call->evaluation->left_ms;
    enum evaluation_end end = EVALUATION_NOT_STARTED;
    if (request.overflow) {
        error_set(call->error, ERROR_TRANSIENT, "the input of jq is too large");
    } else {
        end = converse(call, text_span(&request), &sound);
    }
    *call->evaluation->left_ms -= clock_monotonic_ms() - begun_ms;
    text_fini(&request);
    bool keep = sound && ++call->helper.uses < LIMIT_EXPRESSION_USES;
    if (!keep) {
        drop(call->evaluator, &call->helper);
    }
    give_back(call, keep);
    return end;
}

enum evaluation_end evaluator_run(struct evaluator *evaluator, const struct evaluation *evaluation, char **values,
                                  struct error *error)
{
    assert(evaluation->count > 0);
    struct call call = {.evaluator = evaluator, .evaluation = evaluation, .values = values, .error = error};
    memset(values, 0, evaluation->count * sizeof *values);
    enum evaluation_end end = obtain(&call);
    if (end == EVALUATION_DONE) {
        end = ask(&call);
    }
    for (size_t i = 0; end != EVALUATION_DONE && i < evaluation->count; i++) {
        free(values[i]);
        values[i] = NULL;
    }
    return end;
}

/* ---------------------------------------------------------------- life */

struct evaluator *evaluator_new(struct guard *guard)
{
    assert(evaluator_process_is_linked);
    struct evaluator *evaluator = calloc(1, sizeof *evaluator);
    if (evaluator == NULL) {
        return NULL;
    }
    evaluator->guard = guard;
    pthread_mutex_init(&evaluator->mutex, NULL);
    clock_condition_init(&evaluator->freed);
    return evaluator;
}

void evaluator_free(struct evaluator *evaluator)
{
    if (evaluator == NULL) {
        return;
    }
    assert(evaluator->busy_count == 0);
    while (evaluator->idle_count > 0) {
        drop(evaluator, &evaluator->idle[--evaluator->idle_count]);
    }
    pthread_cond_destroy(&evaluator->freed);
    pthread_mutex_destroy(&evaluator->mutex);
    free(evaluator);
}
