/* SPDX-License-Identifier: Apache-2.0 */
/* The log is kept for as long as people may ask for what stands there, and for as long as a recovery needs it. What is beyond both, the
 * owner deletes: the broker could not know. */
#include "common/log.h"
#include "coordinator/service/service_internal.h"

#define LOOK_EVERY_MS (10ll * 60 * 1000)
#define LOOKS 16 /* or so often while a record grows as old as that */
#define ASK_MS 1000 /* for an answer of the broker, which has others to give meanwhile */

/* Below what may records go? K counts as the broker has it: a commit of ours may have failed, and a recovery begins at that one. */
static bool find_limit(const struct owned *owned, int64_t *limit)
{
    struct service *service = owned->service;
    char metadata[BUS_METADATA_BYTES];
    struct error error;
    int64_t committed, young;
    if (!bus_committed(service->bus, service->group, service->progress_topic, owned->partition, &committed, metadata, ASK_MS, &error) ||
        !bus_offset_at(service->bus, service->progress_topic, owned->partition, log_now_ms(owned) - service->options.retention_ms, &young,
                       ASK_MS, &error)) {
        log_event(LOG_DEBUG, "old_records_not_found", "partition=%d error=%s", (int)owned->partition, LOG_QUOTED(error.message));
        return false;
    }
    *limit = young < committed ? young : committed;
    return true;
}

static void trim(struct owned *owned)
{
    struct service *service = owned->service;
    int64_t limit;
    if (!find_limit(owned, &limit) || limit <= owned->first_offset) {
        return;
    }
    log_event(LOG_INFO, "deleting_old_records", "partition=%d below=%lld", (int)owned->partition, (long long)limit);
    bus_delete_before(service->bus, service->progress_topic, owned->partition, limit);
    owned->first_offset = limit;
}

static int64_t look_every_ms(const struct service *service)
{
    int64_t often_ms = service->options.retention_ms / LOOKS;
    return often_ms < LOOK_EVERY_MS ? often_ms : LOOK_EVERY_MS;
}

/* One partition at a time: the broker is asked, and waited for. */
void retention_tick(struct service *service)
{
    if (service->options.retention_ms == 0 || bus_embedded(service->bus)) {
        return;
    }
    for (struct owned *owned = owned_next(service, NULL); owned != NULL; owned = owned_next(service, owned)) {
        bool due = owned->epoch >= 0 && service->now_ms - owned->trimmed_at_ms >= look_every_ms(service);
        if (due && service->state == SERVICE_WORKING) {
            owned->trimmed_at_ms = service->now_ms;
            trim(owned);
            return;
        }
    }
}
