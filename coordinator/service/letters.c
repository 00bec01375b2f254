/* SPDX-License-Identifier: Apache-2.0 */
/* Garbage met while replaying: nobody may have copied it yet. It is kept until our own claim is read, and copied then. What stands before an
 * earlier claim is forgotten once a record of that claim's owner proves that it came to act: it copied what stood before its claim first. */
#include "common/log.h"
#include "coordinator/service/service_internal.h"

#include <stdlib.h>

#define LETTERS_MAX 1000 /* of one replay; more is counted in the log, not copied */

struct letter {
    struct letter *next;
    int64_t offset;
    size_t key_size, value_size;
    char reason[256];
    char bytes[];
};

void letters_keep(struct owned *owned, int64_t offset, struct span key, struct span value, const char *reason)
{
    struct letter *letter = owned->letter_count < LETTERS_MAX ? malloc(sizeof *letter + key.size + value.size) : NULL;
    if (letter == NULL) {
        log_event(LOG_WARN, "dead_letter_not_kept", "partition=%d offset=%lld", (int)owned->partition, (long long)offset);
        return;
    }
    *letter = (struct letter){.next = owned->letters, .offset = offset, .key_size = key.size, .value_size = value.size};
    strncpy(letter->reason, reason, sizeof letter->reason - 1);
    if (key.size > 0) {
        memcpy(letter->bytes, key.bytes, key.size);
    }
    if (value.size > 0) {
        memcpy(letter->bytes + key.size, value.bytes, value.size);
    }
    owned->letters = letter;
    owned->letter_count++;
}

void letters_send(struct owned *owned)
{
    for (const struct letter *letter = owned->letters; letter != NULL; letter = letter->next) {
        publish_letter(owned->service, owned->service->progress_topic, owned->partition, letter->offset,
                       (struct span){letter->bytes, letter->key_size}, (struct span){letter->bytes + letter->key_size, letter->value_size},
                       letter->reason);
    }
    letters_drop(owned, INT64_MAX);
}

void letters_drop(struct owned *owned, int64_t before)
{
    for (struct letter **link = &owned->letters; *link != NULL;) {
        struct letter *letter = *link;
        if (letter->offset >= before) {
            link = &letter->next;
            continue;
        }
        *link = letter->next;
        owned->letter_count--;
        free(letter);
    }
}

void letters_forget(struct owned *owned, struct span key)
{
    for (struct letter **link = &owned->letters; *link != NULL;) {
        struct letter *letter = *link;
        if (!span_equal((struct span){letter->bytes, letter->key_size}, key)) {
            link = &letter->next;
            continue;
        }
        *link = letter->next;
        owned->letter_count--;
        free(letter);
    }
}
