/* SPDX-License-Identifier: Apache-2.0 */
/* Open addressing, 16 bytes an entry: there may be millions. */
#include "common/runs_ended.h"

#include <stdlib.h>

#define ROOM_MIN 64

struct ended_slot {
    uint64_t hash; /* 0: empty; a hash of 0 is kept as 1 */
    int64_t number;
};

void ended_fini(struct ended *ended)
{
    free(ended->slots);
    *ended = (struct ended){0};
}

static struct ended_slot *slot_of(const struct ended *ended, uint64_t hash)
{
    size_t at = (size_t)(hash * 0x9e3779b97f4a7c15u) & (ended->room - 1);
    while (ended->slots[at].hash != 0 && ended->slots[at].hash != hash) {
        at = (at + 1) & (ended->room - 1);
    }
    return &ended->slots[at];
}

static void rebuild(struct ended *ended, size_t room, int64_t least)
{
    struct ended old = *ended;
    *ended = (struct ended){.slots = calloc(room, sizeof *ended->slots), .room = room};
    if (ended->slots == NULL) {
        abort();
    }
    for (size_t i = 0; i < old.room; i++) {
        if (old.slots[i].hash != 0 && old.slots[i].number >= least) {
            *slot_of(ended, old.slots[i].hash) = old.slots[i];
            ended->used++;
        }
    }
    free(old.slots);
}

void ended_put(struct ended *ended, uint64_t hash, int64_t number)
{
    hash = hash != 0 ? hash : 1;
    if (ended->used * 4 >= ended->room * 3) {
        rebuild(ended, ended->room > 0 ? ended->room * 2 : ROOM_MIN, INT64_MIN);
    }
    struct ended_slot *slot = slot_of(ended, hash);
    if (slot->hash == 0) {
        *slot = (struct ended_slot){hash, number};
        ended->used++;
    } else if (number > slot->number) {
        slot->number = number;
    }
}

bool ended_get(const struct ended *ended, uint64_t hash, int64_t *number)
{
    const struct ended_slot *slot = ended->room > 0 ? slot_of(ended, hash != 0 ? hash : 1) : NULL;
    if (slot == NULL || slot->hash == 0) {
        return false;
    }
    *number = slot->number;
    return true;
}

void ended_prune(struct ended *ended, int64_t least)
{
    size_t stay = 0;
    for (size_t i = 0; i < ended->room; i++) {
        stay += ended->slots[i].hash != 0 && ended->slots[i].number >= least;
    }
    if (stay == 0) {
        ended_fini(ended);
    } else if (stay < ended->used) {
        size_t room = ROOM_MIN;
        while (stay * 4 >= room * 3) {
            room *= 2;
        }
        rebuild(ended, room, least);
    }
}
