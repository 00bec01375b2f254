/* SPDX-License-Identifier: Apache-2.0 */
/* Garbage that may be another's to copy. What a replay meets is kept until our own claim is read, and copied then. What stands before an
 * earlier claim is forgotten once a record of that claim's owner proves that it came to act: it copied what stood before its claim first.
 * What the workers topic brings is likewise kept by whoever has not partition 0, since he may be given it; there the proof is a record that
 * an owner causes or writes only after it has read that topic. */
#include "common/log.h"
#include "coordinator/service/service_internal.h"

#include <stdlib.h>
#include <utlist.h>

#define LETTERS_MAX 1000 /* at once: the newest; what is dropped for them is said in the log */

struct letter {
    struct letter *prev, *next; /* as they stand */
    const char *topic;
    int32_t partition;
    int64_t offset, time_ms;
    size_t key_size, value_size;
    char reason[256];
    char bytes[];
};

static void drop(struct letters *letters, struct letter *letter)
{
    DL_DELETE(letters->first, letter);
    letters->count--;
    free(letter);
}

static void drop_oldest(struct letters *letters)
{
    const struct letter *letter = letters->first;
    log_event(LOG_WARN, "dead_letter_not_kept", "topic=%s partition=%d offset=%lld", letter->topic, (int)letter->partition,
              (long long)letter->offset);
    drop(letters, letters->first);
}

void letters_keep(struct letters *letters, const struct bus_event *record, const char *reason)
{
    struct span key = record->key, value = record->value;
    struct letter *letter = calloc(1, sizeof *letter + key.size + value.size);
    if (letter == NULL) {
        abort();
    }
    letter->topic = record->topic;
    letter->partition = record->partition;
    letter->offset = record->offset;
    letter->time_ms = record->time_ms;
    letter->key_size = key.size;
    letter->value_size = value.size;
    strncpy(letter->reason, reason, sizeof letter->reason - 1);
    if (key.size > 0) {
        memcpy(letter->bytes, key.bytes, key.size);
    }
    if (value.size > 0) {
        memcpy(letter->bytes + key.size, value.bytes, value.size);
    }
    if (letters->count == LETTERS_MAX) {
        drop_oldest(letters);
    }
    DL_APPEND(letters->first, letter);
    letters->count++;
}

void letters_send(struct service *service, struct letters *letters, int64_t since_ms)
{
    const struct letter *letter;
    DL_FOREACH (letters->first, letter) {
        if (letter->time_ms == 0 || letter->time_ms >= since_ms) {
            publish_letter(service, letter->topic, letter->partition, letter->offset, (struct span){letter->bytes, letter->key_size},
                           (struct span){letter->bytes + letter->key_size, letter->value_size}, letter->reason);
        }
    }
    letters_drop(letters, INT64_MAX);
}

void letters_drop(struct letters *letters, int64_t before)
{
    struct letter *letter, *next;
    DL_FOREACH_SAFE (letters->first, letter, next) {
        if (letter->offset < before) {
            drop(letters, letter);
        }
    }
}

void letters_forget(struct letters *letters, struct span key)
{
    struct letter *letter, *next;
    DL_FOREACH_SAFE (letters->first, letter, next) {
        if (span_equal((struct span){letter->bytes, letter->key_size}, key)) {
            drop(letters, letter);
        }
    }
}
