/* SPDX-License-Identifier: Apache-2.0 */
/* The bus over librdkafka. bus_kafka.c is the only file that knows librdkafka. */
#ifndef BUS_KAFKA_H
#define BUS_KAFKA_H

#include "common/bus.h"

struct bus_kafka_options {
    const char *brokers;            /* host:port[,host:port...] */
    const char *client_id;          /* this and the properties must stay as long as the bus is open */
    const char *const *properties;  /* "name=value" librdkafka properties given by the user (-X), count of them */
    size_t property_count;
    int timeout_ms;                 /* for the first contact */
    bool only_reads; /* nothing is ever sent: needs no leave to write */
};

/* Connect: returns only once a broker has answered (its cluster id is known). NULL: TRANSIENT nobody answered within timeout_ms
 * ("no broker answered on HOST:PORT within 10 s", "no broker of HOST:PORT let us in: ..."); INVALID a property is unknown or ill-typed (named). Caller owes bus_close(). */
struct bus *bus_kafka_open(const struct bus_kafka_options *options, struct error *error);

/* librdkafka's mock cluster in this process, on loopback ports of its own choice. A development broker: it lives and dies with the process. */
struct embedded_broker;
struct embedded_broker *embedded_broker_start(struct error *error); /* caller owes embedded_broker_stop() */
void embedded_broker_stop(struct embedded_broker *broker);
const char *embedded_broker_address(const struct embedded_broker *broker); /* borrowed */
bool embedded_broker_create_topic(struct embedded_broker *broker, const char *topic, int partitions, struct error *error);
/* Fault injection. Down: connections are closed and refused until it is up again. Errors: the next `count` produce requests are answered so. */
void embedded_broker_set_down(struct embedded_broker *broker, bool down);
void embedded_broker_set_round_trip_ms(struct embedded_broker *broker, int milliseconds);
void embedded_broker_fail_produce(struct embedded_broker *broker, int error_code, int count);

const char *bus_kafka_library_version(void);

#endif
