/* SPDX-License-Identifier: Apache-2.0 */
/* Order here is order in --help. The first row of a name within a command's sets is the one that counts. */
#include "common/defaults.h"

#include "common/limits.h"

static const char *const outputs[] = {"text", "json", NULL};
static const char *const levels[] = {"debug", "info", "warn", "error", "none", NULL};
static const char *const line_levels[] = {"debug", "info", "warn", "error", NULL};
static const char *const statuses[] = {"pending",   "running",     "paused",    "rolling_back",
                                       "succeeded", "rolled_back", "cancelled", "rollback_incomplete",
                                       NULL};

static const char *const if_exists[] = {"fail", "return", "new", NULL};

/* Properties of librdkafka that nobody but the process itself may see. */
static const char *const secret_properties[] = {"sasl.password",        "ssl.key.password", "ssl.keystore.password", "ssl.key.pem",
                                                "sasl.oauthbearer.client.secret", "sasl.oauthbearer.config", NULL};

#define DAY_MS (24ll * 3600 * 1000)

const struct option_spec default_options[] = {
    /* where */
    {.name = "brokers", .letter = 'b', .sets = OPTIONS_CLUSTER, .kind = OPTION_TEXT, .value = "HOST:PORT", .environment = true,
     .fallback = DEFAULT_BROKERS, .help = "Kafka brokers, separated by commas."},
    {.name = "prefix", .sets = OPTIONS_CLUSTER | OPTIONS_DEV, .kind = OPTION_IDENTIFIER, .value = "PREFIX", .environment = true,
     .fallback = DEFAULT_PREFIX, .help = "What the names of all topics begin with; a prefix is a system of its own."},

    /* what is run */
    {.name = "steps", .sets = OPTIONS_PROGRAMS, .kind = OPTION_TEXT, .value = "DIR",
     .help = "Directory of step programs: each executable serves the handler of its name."},
    {.name = "steps", .sets = OPTIONS_CHECK, .kind = OPTION_TEXT, .value = "DIR",
     .help = "Look also whether this directory has a program for every step."},
    {.name = "steps", .sets = OPTIONS_DEV, .kind = OPTION_TEXT, .value = "DIR",
     .help = "Directory of step programs for a worker; without it there is none."},
    {.name = "steps", .sets = OPTIONS_STEPS, .kind = OPTION_TEXT, .value = "DIR",
     .help = "Directory of step programs; by default 'steps' beside the file."},
    {.name = "param", .letter = 'p', .sets = OPTIONS_JOB, .kind = OPTION_PAIR, .value = "KEY=VALUE", .repeatable = true,
     .help = "A parameter; VALUE is JSON if it parses, else a string. May be repeated."},
    {.name = "params", .sets = OPTIONS_JOB, .kind = OPTION_TEXT, .value = "FILE", .help = "Parameters from a JSON object in a file."},
    {.name = "id", .sets = OPTIONS_JOB, .kind = OPTION_IDENTIFIER, .value = "ID",
     .help = "Id of the run; by default one is made of the pipeline's name and the time."},
    {.name = "wait", .sets = OPTIONS_START, .kind = OPTION_FLAG, .help = "Follow the run to its end."},
    {.name = "if-exists", .sets = OPTIONS_JOB, .kind = OPTION_CHOICE, .value = "fail|return|new", .choices = if_exists, .fallback = "fail",
     .help = "Where a run of that id exists: fail, return that one, or make a new id and start."},
    {.name = "concurrency", .sets = OPTIONS_SLOTS, .kind = OPTION_NUMBER, .value = "N", .least = 1, .most = LIMIT_CONCURRENCY,
     .fallback = DEFAULT_CONCURRENCY, .help = "Steps that run at once in one worker."},

    /* what is shown */
    {.name = "status", .sets = OPTIONS_LIST, .kind = OPTION_CHOICE, .value = "STATUS", .choices = statuses,
     .help = "Only runs of this status."},
    {.name = "limit", .sets = OPTIONS_LIST, .kind = OPTION_NUMBER, .value = "N", .least = 1, .most = 1000000, .fallback = DEFAULT_LIST_LIMIT,
     .help = "At most so many runs, the newest."},
    {.name = "from-beginning", .sets = OPTIONS_EVENTS, .kind = OPTION_FLAG, .help = "Begin with the oldest event that is kept."},
    {.name = "all", .sets = OPTIONS_EVENTS, .kind = OPTION_FLAG, .help = "Show the machinery's own records too."},
    {.name = "logs", .sets = OPTIONS_SHOW_LOGS, .kind = OPTION_FLAG, .help = "Show also what the steps log."},
    {.name = "step", .sets = OPTIONS_LOGS, .kind = OPTION_TEXT, .value = "STEP", .help = "Only what this step has logged."},
    {.name = "level", .sets = OPTIONS_LOGS, .kind = OPTION_CHOICE, .value = "LEVEL", .choices = line_levels, .fallback = "debug",
     .help = "Only lines of this level and above: debug, info, warn or error."},
    {.name = "follow", .letter = 'f', .sets = OPTIONS_LOGS, .kind = OPTION_FLAG, .help = "Go on until the run ends."},
    {.name = "reason", .sets = OPTIONS_CONTROL, .kind = OPTION_TEXT, .value = "TEXT", .help = "Why; it is kept with the run."},
    {.name = "wait", .sets = OPTIONS_CONTROL, .kind = OPTION_FLAG,
     .help = "Follow the run from there to its end, or until nothing of it runs."},
    {.name = "done", .sets = OPTIONS_RESOLVE, .kind = OPTION_FLAG, .help = "The step counts as executed, with --data as its result."},
    {.name = "undone", .sets = OPTIONS_RESOLVE, .kind = OPTION_FLAG, .help = "The step counts as never begun, or as rolled back."},
    {.name = "data", .sets = OPTIONS_RESOLVE, .kind = OPTION_TEXT, .value = "JSON", .help = "What later steps see as its result."},
    {.name = "instance", .sets = OPTIONS_RESOLVE, .kind = OPTION_NUMBER, .value = "N", .least = 1, .most = LIMIT_ELEMENTS,
     .help = "Which element of a step that fans out, counted from 1."},
    {.name = "address-file", .sets = OPTIONS_DEV, .kind = OPTION_TEXT, .value = "FILE",
     .help = "Write the broker's address there once all is up."},

    /* coordinators and topics */
    {.name = "own", .sets = OPTIONS_SERVE, .kind = OPTION_TEXT, .value = "FIRST-LAST",
     .help = "Progress partitions to own; by default all."},
    {.name = "progress-partitions", .sets = OPTIONS_TOPICS | OPTIONS_SERVE, .kind = OPTION_NUMBER, .value = "N", .least = 1,
     .most = LIMIT_PARTITIONS, .fallback = DEFAULT_PROGRESS_PARTITIONS,
     .help = "Partitions of the progress topic, where it has to be created; fixed from then on."},
    {.name = "task-partitions", .sets = OPTIONS_TOPICS, .kind = OPTION_NUMBER, .value = "N", .least = 1, .most = LIMIT_PARTITIONS,
     .fallback = DEFAULT_TASK_PARTITIONS, .help = "Partitions of a task topic, where it has to be created."},
    {.name = "replication", .sets = OPTIONS_TOPICS, .kind = OPTION_NUMBER, .value = "N", .least = -1, .most = 100, .fallback = DEFAULT_REPLICATION,
     .help = "Replicas of what has to be created; -1 leaves it to the broker."},
    {.name = "topic-config", .sets = OPTIONS_TOPICS, .kind = OPTION_PAIR, .value = "NAME=VALUE", .repeatable = true,
     .help = "A setting of topics that have to be created. May be repeated."},

    /* workers */
    {.name = "queue", .sets = OPTIONS_WORKER, .kind = OPTION_IDENTIFIER, .value = "QUEUE", .fallback = DEFAULT_QUEUE,
     .help = "Serve the steps of this queue."},
    {.name = "id", .sets = OPTIONS_WORKER, .kind = OPTION_IDENTIFIER, .value = "NAME",
     .help = "What it is called; by default after host and process."},
    {.name = "lease", .sets = OPTIONS_WORKER, .kind = OPTION_DURATION, .value = "TIME", .least = LIMIT_LEASE_MIN_MS,
     .most = LIMIT_LEASE_MAX_MS, .fallback = DEFAULT_LEASE,
     .help = "How long it is believed alive without a sign of life; longer than a broker's restart."},
    {.name = "drain-timeout", .sets = OPTIONS_WORKER, .kind = OPTION_DURATION, .value = "TIME", .least = 0, .most = DAY_MS,
     .fallback = DEFAULT_DRAIN_TIMEOUT, .help = "How long steps may take to finish once it is asked to stop (SIGTERM)."},
    {.name = "max-tasks", .sets = OPTIONS_WORKER, .kind = OPTION_NUMBER, .value = "N", .least = 1, .most = UINT32_MAX,
     .help = "Take so many tasks, end them, and leave; by default it stays."},
    {.name = "cancel-grace", .sets = OPTIONS_WORKER | OPTIONS_PROGRAMS, .kind = OPTION_DURATION, .value = "TIME", .least = 0,
     .most = DAY_MS, .fallback = DEFAULT_CANCEL_GRACE, .help = "From SIGTERM to SIGKILL for a step that is cancelled."},

    /* everywhere */
    {.name = "output", .letter = 'o', .sets = OPTIONS_OUTPUT, .kind = OPTION_CHOICE, .value = "text|json", .choices = outputs,
     .fallback = "text", .help = "Form of what goes to standard output."},
    {.name = "timeout", .sets = OPTIONS_CLUSTER | OPTIONS_DEV, .kind = OPTION_DURATION, .value = "TIME", .least = 1, .most = DAY_MS,
     .fallback = DEFAULT_TIMEOUT, .environment = true, .help = "How long brokers and coordinators may take to answer."},
    {.name = "property", .letter = 'X', .sets = OPTIONS_CLUSTER, .kind = OPTION_PAIR, .value = "NAME=VALUE", .repeatable = true,
     .environment = true, .secrets = secret_properties,
     .help = "Any librdkafka property but a secret. May be repeated; 'X.NAME = VALUE' in a configuration file."},
    {.name = "kafka-config", .sets = OPTIONS_CLUSTER, .kind = OPTION_TEXT, .value = "FILE", .environment = true, .fills = "property",
     .help = "Librdkafka properties, lines 'name = value': addresses of keys and certificates, user and password."},
    {.name = "config", .letter = 'F', .sets = OPTIONS_COMMON, .kind = OPTION_TEXT, .value = "FILE", .environment = true,
     .help = "Configuration file: lines 'long-option = value'."},
    {.name = "log-level", .sets = OPTIONS_SERVE | OPTIONS_WORKER, .kind = OPTION_CHOICE, .value = "LEVEL", .choices = levels,
     .fallback = "info", .help = "debug, info, warn, error or none."},
    {.name = "log-level", .sets = OPTIONS_COMMON, .kind = OPTION_CHOICE, .value = "LEVEL", .choices = levels, .fallback = "warn",
     .help = "debug, info, warn, error or none."},
    {.name = "quiet", .letter = 'q', .sets = OPTIONS_COMMON, .kind = OPTION_FLAG, .help = "Say nothing but results and errors."},
    {.name = NULL},
};
