/* SPDX-License-Identifier: Apache-2.0 */
/* What a worker has to say and does not know to be in the log yet. It outlives incarnations and buses: what had finished is
 * delivered whatever happens. */
#ifndef OUTBOX_H
#define OUTBOX_H

#include "common/bus.h"
#include "common/text.h"

enum parcel_kind {
    PARCEL_EVENT,    /* of this incarnation: worthless after its end */
    PARCEL_CONFIRM,  /* the same; somebody waits for its acknowledgement */
    PARCEL_PRESENCE, /* the same; its acknowledgement renews the lease */
    PARCEL_FINISHED, /* a Done: delivered whatever happens */
    PARCEL_LETTER,   /* for the dead-letter topic: likewise */
};

struct parcel {
    enum parcel_kind kind;
    uint64_t about;    /* the caller's: CONFIRM the id of its task, FINISHED of the one that waits for its acknowledgement; 0: nobody does */
    int64_t posted_ms; /* as the caller gave it */
    struct bus_send send;
};

struct outbox;
struct outbox *outbox_new(void); /* caller owes outbox_free() */
void outbox_free(struct outbox *outbox);

/* Take a copy of `parcel` with all that it points to, but the names of topic and headers, which must outlive the outbox. Nothing is sent yet. */
void outbox_post(struct outbox *outbox, const struct parcel *parcel);

/* Send what was posted and not sent, in order. TRANSIENT: the bus is full, poll it and try again. FATAL: the bus is done for. */
bool outbox_flush(struct outbox *outbox, struct bus *bus, struct error *error);

/* The bus says that `cookie` is in the log: `parcel` is what it was (its contents are gone). false: nobody's, or no longer of interest. */
bool outbox_acknowledge(struct outbox *outbox, uint64_t cookie, struct parcel *parcel);

/* When the oldest of what is not acknowledged was posted, presence and letters aside; INT64_MAX: all is. */
int64_t outbox_oldest_ms(const struct outbox *outbox);

size_t outbox_count(const struct outbox *outbox);

/* An incarnation is over: only what had finished, and the letters, stay; they count as posted at `now_ms`. */
void outbox_end_incarnation(struct outbox *outbox, int64_t now_ms);
/* The bus is gone: whatever it had not acknowledged has to be sent again. */
void outbox_unsend(struct outbox *outbox);

#endif
