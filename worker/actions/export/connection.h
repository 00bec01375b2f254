/* SPDX-License-Identifier: Apache-2.0 */
/* A connection to Kafka that the operator made ready: the addresses, certificates, user and password of a cluster, in a file of the
 * worker's machine. A run names it, and never sees what is in it. */
#ifndef EXPORT_CONNECTION_H
#define EXPORT_CONNECTION_H

#include "common/error.h"
#include "common/text.h"

#include <stdbool.h>
#include <stddef.h>

#define LIMIT_CONNECTION_BYTES (64 * 1024) /* of its file: certificates may stand in it */
#define LIMIT_CONNECTION_PROPERTIES 64 /* more than librdkafka has for TLS and SASL together */

struct connection {
    const char *brokers;
    const char *properties[LIMIT_CONNECTION_PROPERTIES]; /* "name=value" */
    size_t property_count;
    struct text text; /* holds them */
};

/* Read $BACKSTEP_KAFKA_CONNECTIONS/NAME.conf: lines "name = value" of librdkafka's properties; '#' begins a comment. INVALID names the
 * file and the line, never a value. Caller owes connection_fini(), also after a failure. */
bool connection_read(struct connection *connection, const char *name, struct error *error);
void connection_fini(struct connection *connection);

#endif
