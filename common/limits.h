/* SPDX-License-Identifier: Apache-2.0 */
/* Every bound, each with its reason. Checked where the thing enters; the message names the limit and the value. */
#ifndef LIMITS_H
#define LIMITS_H

#define KIB 1024
#define MIB (1024 * 1024)

/* ---- names */
#define LIMIT_NAME_BYTES 200       /* pipeline and step names: fits a screen line, is part of every error */
#define LIMIT_IDENTIFIER_BYTES 100 /* handlers, queues, run ids, worker ids, prefix: prefix + queue must stay under Kafka's 249 */
#define LIMIT_DESCRIPTION_BYTES (4 * KIB)

/* ---- pipelines */
#define LIMIT_PIPELINE_FILE_BYTES (256 * KIB) /* a file a person wrote; the plan made of it fits one record */
#define LIMIT_STEPS 1000                      /* a plan fits one record, and one scan over a run stays short */
#define LIMIT_NEEDS (LIMIT_STEPS - 1)
#define LIMIT_PARAMS 1000
#define LIMIT_ELEMENTS 10000                  /* instances of one step: a scan over all of them stays short */
#define LIMIT_EXPRESSION_BYTES (16 * KIB)     /* one jq expression: a person wrote it */
#define LIMIT_EXPRESSION_MEMORY_BYTES (256 * MIB) /* of the process that evaluates: one expression must not starve the worker */
#define LIMIT_EXPRESSION_MS 10000             /* all expressions of one attempt together: they are for decisions, not for work */
#define LIMIT_EXPRESSION_HELPERS 4            /* processes of one worker that evaluate: each has its own programs compiled */
#define LIMIT_EXPRESSION_USES 1000            /* evaluations of one such process; then it makes room for a fresh one */
#define LIMIT_WRAPPERS 16                     /* around one step: each is a call on the stack */
#define LIMIT_PIPELINE_DEPTH 8                /* pipelines in pipelines and includes in includes: who needs more has made a mistake */
#define LIMIT_YAML_DEPTH 64                   /* the reader recurses */
#define LIMIT_JSON_DEPTH 128                  /* so does jansson (its own limit is 2048) */
#define LIMIT_JSON_WRAPPING 16                /* and what we put around such a value: result.steps[].data, context.steps.outer.inner */
#define LIMIT_WEIGHT 1000000000u              /* weights of a plan sum up to this: ×10^6 ppm fits 64 bits */
#define LIMIT_ATTEMPTS 1000
#define LIMIT_LOSSES 1000
#define LIMIT_DURATION_MS (366ll * 24 * 3600 * 1000) /* a year: nobody means more, and sums of two fit easily */
#define LIMIT_MULTIPLIER 100

/* ---- data */
#define LIMIT_RESULT_BYTES (64 * KIB)   /* data + rollback_data + set of one attempt */
#define LIMIT_CONTEXT_BYTES (512 * KIB) /* params + results + set of one run: a task carries it all, and fits one record */
#define LIMIT_MESSAGE_BYTES (4 * KIB)   /* an error or reason: read by people */
#define LIMIT_METRICS_BYTES (4 * KIB)   /* travels with each progress event */
#define LIMIT_METRICS_KEYS 64
#define LIMIT_RECORD_BYTES (4 * MIB)    /* max.message.bytes on progress and tasks: context, plan and input with room to spare */
#define LIMIT_REQUESTS_PER_RUN 64       /* remembered answers; the oldest answered one is forgotten */

/* ---- recovery */
#define LIMIT_FINISHED_IDS 4096     /* of one FinishedIds: 32 KiB, and few enough to be looked through */
#define LIMIT_SNAPSHOT_STEPS 50000  /* steps and instances of one snapshot: bounds what decoding takes; a larger run is replayed instead */

#define LIMIT_RETENTION_MIN_MS (25ll * 3600 * 1000) /* of the log: FinishedIds of the last 24 h are read in a recovery, brokers' clocks may jump */

/* ---- workers */
#define LIMIT_REGISTRY_BYTES (16 * MIB) /* steps a registry makes itself: a thousand, wrapped many times over */
#define LIMIT_MEMORY_BYTES (4 * LIMIT_RESULT_BYTES) /* what `once` remembers of a step: its result, escaped */
#define LIMIT_WRAPS 64             /* wrappers around one step: each is a few stack frames */
#define LIMIT_HANDLERS 1000        /* of one worker: its hello fits a record */
#define LIMIT_ACTION_NAME_BYTES 40            /* of an action in a pipeline: "ACTION.STEP" is a handler, an identifier too */
#define LIMIT_HANDLERS_SAID (LIMIT_HANDLERS + 2) /* with those every worker of ours serves */
#define LIMIT_CONCURRENCY 256      /* threads, and programs of one guard */
#define LIMIT_AHEAD_RESULT_BYTES (16 * KIB) /* data + set of a step, for a task sent ahead to go on behind it: 8 of them fit half a context */
#define LIMIT_WINDOW 65536         /* tasks one worker takes in advance */
#define LIMIT_WORKERS 100000       /* known to one coordinator */
#define LIMIT_LEASE_MIN_MS 2000    /* a heartbeat each quarter must survive a busy machine */
#define LIMIT_LEASE_MAX_MS 600000  /* .workers is read from two of the longest lease ago */
/* What the brokers' clock may jump, as where another one leads a partition, without a worker's being believed dead for it. */
#define LIMIT_CLOCK_JUMP_MS 600000
#define LIMIT_PROGRAM_LINE_BYTES (64 * KIB + 16 * KIB) /* one line of a step program: a full result, and its JSON around it */
#define LIMIT_PROGRAM_LOG_LINE_BYTES (64 * KIB)        /* beyond it a line is cut */
#define LIMIT_PROGRAM_LOG_BYTES (1 * MIB)              /* an attempt; beyond it text is dropped and counted */
#define LIMIT_LOG_RECORD_LINES 4096 /* lines of one record on the logs topic: read at once, shown one by one */
#define LIMIT_LOG_RECORD_BYTES (128 * KIB) /* their bytes, a longest line included: any broker takes it (1 MiB by default) */
#define LIMIT_LOG_EVENT_BYTES 100          /* the name of what is logged: a word or two */
#define LIMIT_LOG_QUEUE_BYTES (8 * MIB)    /* waiting to be sent by one worker; beyond it lines are dropped and counted */
#define LIMIT_HOLDING 65536        /* tickets named by one Holding: all that a worker has, what waits ahead included */

/* ---- coordinators */
#define LIMIT_SESSION_MIN_MS 2000   /* a few heartbeats of 300 ms must survive a busy machine; brokers refuse less than 6 s by default */
#define LIMIT_SESSION_MAX_MS 300000 /* librdkafka's max.poll.interval.ms by default, which must not be less */

/* ---- any process that speaks to brokers */
#define LIMIT_DESCRIPTORS_MIN 64 /* connections, pipes, topics: thirty or so; with fewer librdkafka only says that no broker is there */

/* ---- clients */
#define LIMIT_ADDRESS_BYTES 300          /* of a broker: a name has 253 at most, and a protocol and a port may stand around it */
#define LIMIT_ADDRESSES_BYTES (4 * KIB)  /* a dozen of the longest: one that answers tells of all others */
#define LIMIT_PARAM_BYTES (64 * KIB)
#define LIMIT_CONFIG_FILE_BYTES (64 * KIB)
#define LIMIT_PROPERTIES_BYTES (96 * KIB) /* all of librdkafka's properties: Linux passes 128 KiB on in one variable */
#define LIMIT_PARTITIONS 1024

/* ---- faults of the embedded broker */
#define LIMIT_FAULTS 16            /* rows of a timetable that a person can follow */
#define LIMIT_FAULT_REQUESTS 1000  /* that fail at one time: each is an entry in the broker's memory */
#define LIMIT_FAULT_MS 600000      /* the longest lease: what lasts longer is no fault any more but the rule */
#define LIMIT_FAULT_DELAY_MS 60000 /* clients give a request up after a minute */
#define LIMIT_FAULT_EVERY_MS 100   /* the broker is told in its own time, and each time is logged */

#endif
