/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/actions/upload/send.h"

#include "common/clock.h"
#include "worker/actions/encoding.h"
#include "worker/actions/upload/send_journal.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TELL_MS 100 /* how often the step's own thread looks */
#define FIRST_PAUSE_MS 200 /* between two tries of a file; doubles */

/* What the threads of one job share. */
struct sending {
    struct send_job *job;
    struct journal journal;
    pthread_mutex_t mutex;
    pthread_cond_t moved;
    atomic_bool stop;
    atomic_size_t next, success, failed, skipped;
    atomic_uint_least64_t told; /* bytes of files, as progress counts them */
    atomic_uint_least64_t bytes_sent;
    size_t running; /* threads; under the mutex, like `error` */
    struct error error;
};

/* One thread at one file. */
struct sender {
    struct sending *sending;
    struct store *store;
    size_t index;
    int64_t counted; /* of this file, in `told` */
    const char *sha256;
};

static bool is_stopped(void *state)
{
    return atomic_load(&((struct sending *)state)->stop);
}

static void on_sent(void *state, int64_t bytes)
{
    struct sender *sender = state;
    sender->counted += bytes;
    atomic_fetch_add(&sender->sending->told, (uint64_t)bytes);
    if (bytes > 0) {
        atomic_fetch_add(&sender->sending->bytes_sent, (uint64_t)bytes);
    }
}

/* The file counts whole, or not at all. */
static void settle_count(struct sender *sender, int64_t bytes)
{
    atomic_fetch_add(&sender->sending->told, (uint64_t)(bytes - sender->counted));
    sender->counted = bytes;
}

static bool on_note(void *state, enum store_note kind, const char *text, struct error *error)
{
    static const char letters[] = {[STORE_BEGUN] = 'b', [STORE_PROOF] = 'p', [STORE_PARTS] = 'm', [STORE_DIRECTORY] = 'k'};
    struct sender *sender = state;
    struct send_file *file = &sender->sending->job->files[sender->index];
    char *encoded = percent_encode(text, true);
    if (encoded == NULL) {
        return error_set(error, ERROR_TRANSIENT, "out of memory");
    }
    const char *noted = kind == STORE_BEGUN ? sender->sha256 : kind == STORE_PARTS ? text : encoded;
    bool ok = send_journal_note(&sender->sending->journal, letters[kind], sender->index, noted, error);
    if (kind == STORE_BEGUN) {
        file->memory.begun = true;
    } else if (kind == STORE_PARTS) {
        free(file->memory.parts);
        file->memory.parts = strdup(text);
    } else if (kind == STORE_PROOF) {
        free(file->memory.proof);
        file->memory.proof = strdup(text);
    }
    free(encoded);
    return ok;
}

/* ---------------------------------------------------------------- one file */

static bool is_as_listed(const struct send_file *file, int fd, struct error *error)
{
    struct stat status;
    if (fstat(fd, &status) != 0) {
        return error_set(error, ERROR_TRANSIENT, "%s", strerror(errno));
    }
    int64_t mtime_ns = (int64_t)status.st_mtim.tv_sec * 1000000000 + status.st_mtim.tv_nsec;
    if (!S_ISREG(status.st_mode)) {
        return error_set(error, ERROR_INVALID, "is no file any more");
    }
    if ((uint64_t)status.st_size != file->size || mtime_ns != file->mtime_ns) {
        return error_set(error, ERROR_INVALID, "changed since it was listed");
    }
    return true;
}

static bool mark_done(struct sender *sender, char kind, struct error *error)
{
    struct send_file *file = &sender->sending->job->files[sender->index];
    return send_journal_note(&sender->sending->journal, kind, sender->index, sender->sha256, error) &&
           (kind == 'd' ? (file->done = true) : (file->was_there = true));
}

/* Something is there. Ours, from an attempt of which nobody heard the end; or somebody's. `*put`: it has to be put still. */
static bool on_existing(struct sender *sender, const struct store_object *object, const char *sha256, bool *put,
                        struct error *error)
{
    const struct send_job *job = sender->sending->job;
    struct send_file *file = &job->files[sender->index];
    bool ours = false, same = false;
    if (!store_is_ours(sender->store, file->key, object, &file->memory, sha256, &ours, error)) {
        return false;
    }
    if ((ours || job->existing == SEND_SAME) && !store_same(sender->store, file->key, object, sha256, &same, error)) {
        return false;
    }
    if (ours && !same) {
        *put = true;
        return store_remove(sender->store, file->key, error);
    }
    if (ours) {
        return mark_done(sender, 'd', error);
    }
    return same ? mark_done(sender, 's', error) : error_set(error, ERROR_REJECTED, "is in the store already");
}

static bool put_content(struct sender *sender, int fd, const struct content *content, struct error *error)
{
    const struct send_job *job = sender->sending->job;
    struct send_file *file = &job->files[sender->index];
    struct store_object object;
    char stage[24];
    bool put = false;
    sender->sha256 = content->sha256;
    if (!store_look(sender->store, file->key, &object, error)) {
        return false;
    }
    if (object.exists && !on_existing(sender, &object, content->sha256, &put, error)) {
        return false;
    }
    if (object.exists && !put) {
        return true;
    }
    snprintf(stage, sizeof stage, "%zu", sender->index);
    struct store_put request = {.key = file->key,
                                .stage = stage,
                                .fd = fd,
                                .content = content,
                                .memory = &file->memory,
                                .note = on_note,
                                .sent = on_sent,
                                .state = sender};
    return store_put(sender->store, &request, error) && is_as_listed(file, fd, error) && mark_done(sender, 'd', error);
}

static bool try_file(struct sender *sender, struct error *error)
{
    struct send_file *file = &sender->sending->job->files[sender->index];
    struct content content;
    int fd = open(file->path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        return error_set(error, errno == ENOENT ? ERROR_INVALID : ERROR_TRANSIENT, "%s",
                         errno == ENOENT ? "vanished since it was listed" : strerror(errno));
    }
    bool ok = is_as_listed(file, fd, error) &&
              content_read(&content, fd, store_part_bytes(sender->store, file->size), is_stopped, sender->sending, error);
    if (ok) {
        ok = content.size == file->size || error_set(error, ERROR_INVALID, "changed while it was read");
        ok = ok && put_content(sender, fd, &content, error);
        content_fini(&content);
    }
    close(fd);
    return ok;
}

/* Wait, unless the job is stopped meanwhile. */
static void pause_for(struct sending *sending, int64_t pause_ms)
{
    struct timespec until = clock_deadline(pause_ms);
    pthread_mutex_lock(&sending->mutex);
    while (!is_stopped(sending) && pthread_cond_timedwait(&sending->moved, &sending->mutex, &until) != ETIMEDOUT) {
    }
    pthread_mutex_unlock(&sending->mutex);
}

static bool send_file(struct sender *sender, struct error *error)
{
    struct sending *sending = sender->sending;
    for (uint32_t attempt = 1;; attempt++) {
        if (try_file(sender, error)) {
            return true;
        }
        settle_count(sender, 0);
        if (error->kind != ERROR_TRANSIENT || attempt >= sending->job->tries || is_stopped(sending)) {
            return false;
        }
        pause_for(sending, FIRST_PAUSE_MS << (attempt < 6 ? attempt - 1 : 5));
    }
}

/* ---------------------------------------------------------------- all of them */

static void keep_error(struct sending *sending, const struct error *error)
{
    pthread_mutex_lock(&sending->mutex);
    bool first = sending->error.kind == ERROR_NONE && !is_stopped(sending);
    if (first) {
        sending->error = *error;
    }
    atomic_store(&sending->stop, true);
    pthread_cond_broadcast(&sending->moved);
    pthread_mutex_unlock(&sending->mutex);
}

static void send_next(struct sender *sender)
{
    struct sending *sending = sender->sending;
    struct send_file *file = &sending->job->files[sender->index];
    struct error error = {0};
    sender->counted = 0;
    bool ok = file->done || file->was_there || send_file(sender, &error);
    if (!ok) {
        atomic_fetch_add(&sending->failed, !is_stopped(sending));
        error_prefix(&error, "%s", file->name);
        keep_error(sending, &error);
        return;
    }
    settle_count(sender, (int64_t)file->size);
    atomic_fetch_add(file->was_there ? &sending->skipped : &sending->success, 1);
}

static void *run_sender(void *state)
{
    struct sending *sending = state;
    struct error error = {0};
    struct sender sender = {.sending = sending, .store = store_open(&sending->job->store, &error)};
    if (sender.store == NULL) {
        keep_error(sending, &error);
    }
    while (sender.store != NULL && !is_stopped(sending) &&
           (sender.index = atomic_fetch_add(&sending->next, 1)) < sending->job->count) {
        send_next(&sender);
    }
    store_close(sender.store);
    pthread_mutex_lock(&sending->mutex);
    sending->running--;
    pthread_cond_broadcast(&sending->moved);
    pthread_mutex_unlock(&sending->mutex);
    return NULL;
}

static void count(struct sending *sending, struct send_counts *counts)
{
    *counts = (struct send_counts){.success = atomic_load(&sending->success),
                                   .failed = atomic_load(&sending->failed),
                                   .skipped = atomic_load(&sending->skipped),
                                   .bytes_sent = atomic_load(&sending->bytes_sent)};
    counts->stand_by = sending->job->count - counts->success - counts->failed - counts->skipped;
}

/* A file counts for its bytes and one more, so that empty ones count too. */
static void tell(struct sending *sending, uint64_t total, struct send_counts *told)
{
    struct send_counts counts;
    count(sending, &counts);
    uint64_t current = atomic_load(&sending->told) + counts.success + counts.skipped;
    backstep_set_progress(sending->job->context, (int64_t)(current < total ? current : total), (int64_t)total);
    if (memcmp(&counts, told, sizeof counts) != 0) {
        backstep_set_metrics(sending->job->context,
                             "{\"stand_by\":%zu,\"success\":%zu,\"failed\":%zu,\"skipped\":%zu,\"bytes_sent\":%" PRIu64 "}",
                             counts.stand_by, counts.success, counts.failed, counts.skipped, counts.bytes_sent);
        *told = counts;
    }
}

static bool is_running(struct sending *sending)
{
    struct timespec until = clock_deadline(TELL_MS);
    pthread_mutex_lock(&sending->mutex);
    if (sending->running > 0) {
        pthread_cond_timedwait(&sending->moved, &sending->mutex, &until);
    }
    bool running = sending->running > 0;
    if (backstep_cancelled(sending->job->context)) {
        atomic_store(&sending->stop, true);
        pthread_cond_broadcast(&sending->moved);
    }
    pthread_mutex_unlock(&sending->mutex);
    return running;
}

static void run_threads(struct sending *sending, uint64_t total)
{
    struct send_job *job = sending->job;
    struct send_counts told = {.stand_by = SIZE_MAX};
    size_t wanted = job->count < job->parallel ? job->count : job->parallel;
    pthread_t threads[wanted + 1];
    size_t started = 0;
    pthread_mutex_lock(&sending->mutex);
    while (started < wanted && pthread_create(&threads[started], NULL, run_sender, sending) == 0) {
        started++;
    }
    sending->running = started;
    pthread_mutex_unlock(&sending->mutex);
    if (started == 0 && wanted > 0) {
        keep_error(sending, &(struct error){.kind = ERROR_TRANSIENT, .message = "no thread could be made"});
    }
    do {
        tell(sending, total, &told);
    } while (is_running(sending));
    for (size_t i = 0; i < started; i++) {
        pthread_join(threads[i], NULL);
    }
    tell(sending, total, &told);
}

static uint64_t total_of(const struct send_job *job)
{
    uint64_t total = job->count > 0 ? job->count : 1;
    for (size_t i = 0; i < job->count; i++) {
        total += job->files[i].size;
    }
    return total;
}

bool send_run(struct send_job *job, struct send_counts *counts, struct error *error)
{
    struct sending sending = {.job = job};
    struct send_directories directories;
    assert(job->parallel > 0 && job->tries > 0);
    bool ok = send_journal_read(job, &directories, error);
    send_directories_fini(&directories);
    if (!ok || !journal_open(&sending.journal, job->workspace, job->journal, error)) {
        return false;
    }
    pthread_mutex_init(&sending.mutex, NULL);
    clock_condition_init(&sending.moved);
    job->store.stop = is_stopped;
    job->store.state = &sending;
    run_threads(&sending, total_of(job));
    count(&sending, counts);
    journal_close(&sending.journal);
    pthread_cond_destroy(&sending.moved);
    pthread_mutex_destroy(&sending.mutex);
    if (sending.error.kind != ERROR_NONE) {
        *error = sending.error;
        return false;
    }
    return counts->stand_by + counts->failed == 0 || error_set(error, ERROR_TRANSIENT, "it was cancelled");
}

/* ---------------------------------------------------------------- taking back */

/* A rollback is asked to stop when its worker leaves. */
static bool is_cancelled(void *state)
{
    return backstep_cancelled(state);
}

static bool undo_file(struct store *store, size_t index, const struct send_file *file, struct send_undone *undone,
                      struct error *error)
{
    struct store_object object;
    char stage[24];
    bool ours = false;
    snprintf(stage, sizeof stage, "%zu", index);
    if (file->was_there || !(file->memory.begun || file->memory.proof != NULL || file->memory.parts != NULL)) {
        return store_forget(store, file->key, stage, &file->memory, error);
    }
    const char *sha256 = file->sha256 != NULL ? file->sha256 : "";
    if (!store_forget(store, file->key, stage, &file->memory, error) || !store_look(store, file->key, &object, error) ||
        (object.exists && !store_is_ours(store, file->key, &object, &file->memory, sha256, &ours, error))) {
        return false;
    }
    undone->left_alone += object.exists && !ours;
    undone->removed += ours;
    return !ours || store_remove(store, file->key, error);
}

static bool undo_files(struct send_job *job, struct store *store, struct send_undone *undone, struct error *error)
{
    bool ok = true;
    for (size_t i = job->count; i > 0; i--) {
        struct error one = {0};
        if (!undo_file(store, i - 1, &job->files[i - 1], undone, &one) && ok) {
            error_prefix(&one, "%s", job->files[i - 1].name);
            *error = one;
            ok = false;
        }
        backstep_set_progress(job->context, (int64_t)(job->count - i + 1), (int64_t)job->count);
    }
    return ok;
}

static bool undo_directories(struct store *store, const struct send_directories *directories, struct error *error)
{
    bool ok = store_settle(store, error); /* what is hidden keeps its parents from being empty */
    for (size_t i = directories->count; i > 0 && ok; i--) {
        ok = store_remove_directory(store, directories->paths[i - 1], error);
    }
    return ok;
}

bool send_undo(struct send_job *job, struct send_undone *undone, struct error *error)
{
    struct send_directories directories;
    *undone = (struct send_undone){0};
    job->store.stop = is_cancelled;
    job->store.state = job->context;
    struct store *store = NULL;
    bool ok = send_journal_read(job, &directories, error) && (store = store_open(&job->store, error)) != NULL;
    ok = ok && undo_files(job, store, undone, error);
    ok = ok && undo_directories(store, &directories, error);
    store_close(store);
    send_directories_fini(&directories);
    return ok;
}

bool send_settle(struct send_job *job, struct error *error)
{
    job->store.stop = is_cancelled;
    job->store.state = job->context;
    struct store *store = store_open(&job->store, error);
    bool ok = store != NULL && store_settle(store, error);
    store_close(store);
    return ok;
}

void send_files_free(struct send_file *files, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(files[i].path);
        free(files[i].key);
        free(files[i].name);
        free(files[i].memory.proof);
        free(files[i].memory.parts);
        free(files[i].sha256);
    }
    free(files);
}
