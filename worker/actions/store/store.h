/* SPDX-License-Identifier: Apache-2.0 */
/* Where files are put: a directory, an HTTP server, an S3-compatible store. One interface, three implementations.
 *
 * Nothing that is in the store is ever overwritten, and what is removed is only what put() made: each implementation has a *proof* by
 * which it knows its own object again, and says it to `note` before or as soon as the object can be seen by others. A store is used by one
 * thread; several may be open on the same target. */
#ifndef STORE_H
#define STORE_H

#include "common/error.h"
#include "worker/actions/digest.h"

#include <stdbool.h>
#include <stdint.h>

struct store_options {
    const char *target; /* a path, file:///path, http://..., https://..., s3://BUCKET[/PREFIX] */
    const char *owner; /* RUN/JOB: whose the objects are */
    const char *endpoint, *region; /* S3 */
    int64_t stall_ms; /* a transfer that moves nothing for so long has failed */
    bool verify; /* read back what the store says no checksum of */
    /* Asked often, from the store's thread; true: stop now. */
    bool (*stop)(void *state);
    void *state;
};

struct store_object {
    bool exists;
    uint64_t size;
    char tag[160]; /* the store's own mark of this content; "": it has none */
    char owner[160]; /* S3: who put it, where that was us */
    char sha256[SHA256_HEX_BYTES]; /* "": the store does not say */
};

/* What is known of an object from earlier attempts. */
struct store_memory {
    bool begun; /* it was absent, and a put was begun */
    char *proof; /* NULL: none was noted */
    char *parts; /* what put() noted to go on by; NULL: nothing */
};

enum store_note { STORE_BEGUN, STORE_PROOF, STORE_PARTS, STORE_DIRECTORY };

struct store_put {
    const char *key; /* any bytes but NUL; '/' separates */
    const char *stage; /* a short name that no other object of this run has */
    int fd; /* read with pread() */
    const struct content *content;
    const struct store_memory *memory;
    /* Remember; durable when it returns. Called on the store's thread. */
    bool (*note)(void *state, enum store_note kind, const char *text, struct error *error);
    void (*sent)(void *state, int64_t bytes); /* less than nothing: what was sent counts no more */
    void *state;
};

struct store;
struct store_operations {
    uint64_t (*part_bytes)(const struct store *store, uint64_t size); /* NULL: a file is one part */
    bool (*check_key)(const struct store *store, const char *key, struct error *error);
    bool (*look)(struct store *store, const char *key, struct store_object *object, struct error *error);
    bool (*is_ours)(struct store *store, const char *key, const struct store_object *object, const struct store_memory *memory,
                    const char *sha256, bool *ours, struct error *error);
    bool (*same)(struct store *store, const char *key, const struct store_object *object, const char *sha256, bool *same,
                 struct error *error);
    bool (*put)(struct store *store, const struct store_put *put, struct error *error);
    bool (*remove)(struct store *store, const char *key, struct error *error);
    /* NULL: there is nothing of that kind. */
    bool (*forget)(struct store *store, const char *key, const char *stage, const struct store_memory *memory, struct error *error);
    bool (*remove_directory)(struct store *store, const char *path, struct error *error);
    bool (*settle)(struct store *store, struct error *error);
    void (*close)(struct store *store);
};
struct store {
    const struct store_operations *operations; /* first member of each implementation */
    struct store_options options;
};

/* NULL: INVALID the target is none. Opens no connection and makes nothing. Caller owes store_close(); the options' strings are borrowed. */
struct store *store_open(const struct store_options *options, struct error *error);
/* The target for people and logs: refuses, as store_open() does, what holds a password. */
bool store_check(const struct store_options *options, struct error *error);

/* Parts by which content_read() is to cut a file of `size` bytes. */
static inline uint64_t store_part_bytes(const struct store *store, uint64_t size)
{
    return store->operations->part_bytes == NULL ? UINT64_MAX : store->operations->part_bytes(store, size);
}

/* INVALID: the store cannot have an object of that name. */
static inline bool store_check_key(const struct store *store, const char *key, struct error *error)
{
    return store->operations->check_key(store, key, error);
}

static inline bool store_look(struct store *store, const char *key, struct store_object *object, struct error *error)
{
    return store->operations->look(store, key, object, error);
}

/* Is the object the one that this run put there? `sha256` of what was to be put: for stores that cannot tell otherwise. */
static inline bool store_is_ours(struct store *store, const char *key, const struct store_object *object,
                                 const struct store_memory *memory, const char *sha256, bool *ours, struct error *error)
{
    return store->operations->is_ours(store, key, object, memory, sha256, ours, error);
}

/* Does the object hold what `sha256` is of? Reads it, where the store does not say. */
static inline bool store_same(struct store *store, const char *key, const struct store_object *object, const char *sha256,
                              bool *same, struct error *error)
{
    return store->operations->same(store, key, object, sha256, same, error);
}

/* Put it where nothing is, send only what the store has not got yet, and verify. TRANSIENT: again may help; REJECTED: something is there,
 * which is left alone; INVALID: it never will. */
static inline bool store_put(struct store *store, const struct store_put *put, struct error *error)
{
    return store->operations->put(store, put, error);
}

/* Remove an object that is_ours(). It being gone is fine. */
static inline bool store_remove(struct store *store, const char *key, struct error *error)
{
    return store->operations->remove(store, key, error);
}

/* Remove what a put that did not end has left behind, out of sight. */
static inline bool store_forget(struct store *store, const char *key, const char *stage, const struct store_memory *memory,
                                struct error *error)
{
    return store->operations->forget == NULL || store->operations->forget(store, key, stage, memory, error);
}

/* A directory that put() noted; one that is not empty stays. */
static inline bool store_remove_directory(struct store *store, const char *path, struct error *error)
{
    return store->operations->remove_directory == NULL || store->operations->remove_directory(store, path, error);
}

/* The run is over, one way or the other: nothing but its objects is left. */
static inline bool store_settle(struct store *store, struct error *error)
{
    return store->operations->settle == NULL || store->operations->settle(store, error);
}

static inline void store_close(struct store *store)
{
    if (store != NULL) {
        store->operations->close(store);
    }
}

/* For check_key() of the stores with URLs: INVALID a part of the key is empty, "." or "..", which servers resolve. */
bool store_check_url_key(const char *key, struct error *error);

/* The three. `target` as in the options. */
struct store *store_directory_open(const struct store_options *options, const char *path, struct error *error);
struct store *store_http_open(const struct store_options *options, struct error *error);
struct store *store_s3_open(const struct store_options *options, struct error *error);

#endif
