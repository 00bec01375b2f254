/* SPDX-License-Identifier: Apache-2.0 */
/* The rules that protect a run from what dies, freezes and wakes late, by name. A test takes away one at a time, to see that its oracle
 * notices (tests/simulation/masks_test.c, on virtual time; tests/chaos, on a real broker). In what is shipped nothing can be taken away: there rule_holds() is the constant 1. */
#ifndef RULES_H
#define RULES_H

enum rule {
    RULE_FENCE, /* a worker obeys only the epoch that it answered with Holding */
    RULE_HANDSHAKE, /* a new owner ends a ticket only after everybody has said what he holds */
    RULE_MARK, /* a worker is lost only by a mark that was read back with no newer heartbeat before it */
    RULE_TICKETS, /* what is said about an earlier ticket changes nothing */
    RULE_CONFIRM, /* after a silent loss, and for what must never begin twice, a task asks for leave before it begins */
    RULE_AHEAD_OPENED, /* what was sent ahead may have begun once the Done before it stands in the log, also where the run has stopped */
    RULE_AHEAD_WAITS, /* a worker begins what was sent ahead only when that Done is acknowledged */
    RULE_AHEAD_INHERITED, /* a new owner ends what was perhaps sent ahead only after everybody has said what he holds */
    RULE_GUARD, /* the guard ends what still runs when the lease is over */
    RULES,
};

#ifdef BACKSTEP_RULES_CAN_BE_TAKEN_AWAY
_Bool rule_holds(enum rule rule);
#else
#define rule_holds(rule) 1
#endif

#endif
