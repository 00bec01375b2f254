/* SPDX-License-Identifier: Apache-2.0 */
/* Takes away the rule that BACKSTEP_SABOTAGE names, in the programs that tests/chaos runs with --sabotage. */
#include "common/rules.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    enum rule rule;
} sabotage[] = {
    {"worker-epoch", RULE_FENCE},
    {"handshake", RULE_HANDSHAKE},
    {"guard", RULE_GUARD},
    {"mark", RULE_MARK},
    {"confirm", RULE_CONFIRM},
    {"ahead-opened", RULE_AHEAD_OPENED},
    {"ahead-waits", RULE_AHEAD_WAITS},
    {"ahead-inherited", RULE_AHEAD_INHERITED},
};

static int taken_away = -1;

/* Before any thread: the answer never changes. */
__attribute__((constructor)) static void read_environment(void)
{
    const char *name = getenv("BACKSTEP_SABOTAGE");
    if (name == NULL) {
        return;
    }
    for (size_t i = 0; i < sizeof sabotage / sizeof sabotage[0]; i++) {
        if (strcmp(name, sabotage[i].name) == 0) {
            taken_away = (int)sabotage[i].rule;
            return;
        }
    }
    fprintf(stderr, "BACKSTEP_SABOTAGE: no rule '%s'\n", name);
    exit(2);
}

_Bool rule_holds(enum rule rule)
{
    return (int)rule != taken_away;
}
