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
    bool skips_ends; /* BUS_END need not come, and wakes nobody: for who reads on for ever */
    bool patient; /* as skips_ends; and short records that can wait are heard of with others, BUS_PATIENCE_MS later at most (PROTOCOL.md) */
    bool only_reads; /* nothing is ever sent: needs no leave to write */
    /* Asked now and then while an answer of the cluster is waited for, here and in all that a bus asks. true: it is not wanted any more,
     * and whoever waits gets TRANSIENT. NULL: it always is. On the thread that waits; bus_poll() and bus_flush() do not ask it. */
    bool (*gives_up)(void *state);
    void *gives_up_state;
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

/* Fault injection. Down: connections are closed and refused until it is up again; what was appended is answered before, for it would be
 * appended twice (not where the answer takes more than half a second: this call waits for it). The round trip: each answer takes so much longer. */
void embedded_broker_set_down(struct embedded_broker *broker, bool down);
void embedded_broker_set_round_trip_ms(struct embedded_broker *broker, int milliseconds);

/* The next `count` requests of a kind are answered so, `delay_ms` later than they would be. Where some are to fail already that nobody
 * has asked yet, they count: a broker that is idle must not gather failures. */
struct embedded_failure {
    int request;    /* the protocol's number; see embedded_request_find() */
    int error_code; /* likewise; 0: as if nothing were wrong */
    int delay_ms;
    int count;
};
void embedded_broker_fail(struct embedded_broker *broker, const struct embedded_failure *failure);

/* By name: "produce", "list_offsets", ...; NULL-terminated, for whoever wants to say which there are. -1: there is none of that name. */
extern const char *const embedded_requests[];
int embedded_request_find(const char *name);
/* By the protocol's name, "NOT_LEADER_FOR_PARTITION"; "none"; "disconnect": the connection is closed instead. false: there is none. */
bool embedded_error_find(const char *name, int *code);

const char *bus_kafka_library_version(void);

#endif
