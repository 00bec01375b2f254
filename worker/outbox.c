/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/outbox.h"

#include "common/log.h"

#include <stdlib.h>
#include <uthash.h>
#include <utlist.h>

struct entry {
    struct parcel parcel;
    bool sent;
    struct entry *prev, *next;
    UT_hash_handle hh;
    char bytes[];
};

struct outbox {
    struct entry *entries; /* in the order of posting */
    struct entry *by_cookie;
    struct entry *unsent;  /* the first that was not sent; all after it were not either */
    uint64_t last_cookie;
    size_t count;
};

static void *allocate(size_t size)
{
    void *memory = malloc(size);
    if (memory == NULL) {
        abort(); /* the log has everything that is acknowledged; another process will take over */
    }
    return memory;
}

struct outbox *outbox_new(void)
{
    struct outbox *outbox = allocate(sizeof *outbox);
    *outbox = (struct outbox){0};
    return outbox;
}

static void drop(struct outbox *outbox, struct entry *entry)
{
    if (outbox->unsent == entry) {
        outbox->unsent = entry->next;
    }
    DL_DELETE(outbox->entries, entry);
    HASH_DELETE(hh, outbox->by_cookie, entry);
    outbox->count--;
    free(entry);
}

void outbox_free(struct outbox *outbox)
{
    if (outbox == NULL) {
        return;
    }
    while (outbox->entries != NULL) {
        drop(outbox, outbox->entries);
    }
    free(outbox);
}

static size_t size_of(const struct bus_send *send)
{
    size_t size = send->key.size + send->value.size;
    for (size_t i = 0; i < send->header_count; i++) {
        size += send->headers[i].value.size;
    }
    return size;
}

void outbox_post(struct outbox *outbox, const struct parcel *parcel)
{
    struct entry *entry = allocate(sizeof *entry + size_of(&parcel->send));
    char *to = entry->bytes;
    *entry = (struct entry){.parcel = *parcel};
    struct bus_send *send = &entry->parcel.send;
    send->key = span_copy_to(&to, send->key);
    send->value = span_copy_to(&to, send->value);
    for (size_t i = 0; i < send->header_count; i++) {
        send->headers[i].value = span_copy_to(&to, send->headers[i].value);
    }
    send->cookie = ++outbox->last_cookie;
    DL_APPEND(outbox->entries, entry);
    HASH_ADD_KEYPTR(hh, outbox->by_cookie, &send->cookie, sizeof send->cookie, entry);
    outbox->count++;
    if (outbox->unsent == NULL) {
        outbox->unsent = entry;
    }
}

bool outbox_flush(struct outbox *outbox, struct bus *bus, struct error *error)
{
    while (outbox->unsent != NULL) {
        struct entry *entry = outbox->unsent;
        if (bus_send(bus, &entry->parcel.send, error)) {
            entry->sent = true;
            outbox->unsent = entry->next;
        } else if (error->kind == ERROR_INVALID) {
            log_event(LOG_ERROR, "record_refused", "topic=%s error=%s", entry->parcel.send.topic, LOG_QUOTED(error->message));
            drop(outbox, entry);
        } else {
            return false;
        }
    }
    return true;
}

bool outbox_acknowledge(struct outbox *outbox, uint64_t cookie, struct parcel *parcel)
{
    struct entry *entry = NULL;
    HASH_FIND(hh, outbox->by_cookie, &cookie, sizeof cookie, entry);
    if (entry == NULL) {
        return false;
    }
    *parcel = entry->parcel;
    drop(outbox, entry);
    return true;
}

int64_t outbox_oldest_ms(const struct outbox *outbox)
{
    const struct entry *entry = outbox->entries;
    while (entry != NULL && (entry->parcel.kind == PARCEL_PRESENCE || entry->parcel.kind == PARCEL_LETTER)) {
        entry = entry->next;
    }
    return entry != NULL ? entry->parcel.posted_ms : INT64_MAX;
}

size_t outbox_count(const struct outbox *outbox)
{
    return outbox->count;
}

void outbox_end_incarnation(struct outbox *outbox, int64_t now_ms)
{
    struct entry *entry, *next;
    DL_FOREACH_SAFE(outbox->entries, entry, next) {
        if (entry->parcel.kind == PARCEL_FINISHED || entry->parcel.kind == PARCEL_LETTER) {
            entry->parcel.posted_ms = now_ms;
        } else {
            drop(outbox, entry);
        }
    }
}

void outbox_unsend(struct outbox *outbox)
{
    struct entry *entry;
    DL_FOREACH(outbox->entries, entry) {
        entry->sent = false;
    }
    outbox->unsent = outbox->entries;
}
