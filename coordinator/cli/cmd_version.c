/* SPDX-License-Identifier: Apache-2.0 */
#include "common/bus_kafka.h"
#include "coordinator/cli/command.h"

#include <stdio.h>

int cmd_version(struct call *call)
{
    const char *form = call->json ? "{\"version\":\"%s\",\"librdkafka\":\"%s\"}\n" : "backstep %s (librdkafka %s)\n";
    printf(form, BACKSTEP_VERSION, bus_kafka_library_version());
    return EXIT_DONE;
}
