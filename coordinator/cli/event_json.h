/* SPDX-License-Identifier: Apache-2.0 */
/* One record of the progress topic as one JSON object. Pure. */
#ifndef EVENT_JSON_H
#define EVENT_JSON_H

#include "common/text.h"
#include "coordinator/cli/reader.h"

/* {"time","run_id","type","partition","offset", … what the record says}; without a newline. */
void event_json(const struct reader_record *record, struct text *out);
/* Is this a record of the machinery (claims, holdings, announcements, withdrawn tickets), which only `events --all` shows? */
bool event_is_machinery(const struct reader_record *record);

#endif
