/* SPDX-License-Identifier: Apache-2.0 */
/* What a command ends with. Documented in docs/OPERATIONS.md, "Exit codes"; scripts rest on the numbers. */
#ifndef EXIT_CODES_H
#define EXIT_CODES_H

enum exit_code {
    EXIT_DONE = 0, /* the run succeeded; of other commands: they did what was asked */
    EXIT_ROLLED_BACK = 1, /* failed, and rolled back */
    EXIT_USAGE = 2, /* wrong usage or input, no such run */
    EXIT_INCOMPLETE = 3, /* something stays undone */
    EXIT_CANCELLED = 4,
    EXIT_UNREACHABLE = 5, /* broker or coordinator; or a wait ran out */
    EXIT_PAUSED = 6, /* it waits for a person */
    EXIT_REFUSED = 7, /* by the run's coordinator */
    EXIT_EXISTS = 8, /* a run of that id exists, and --if-exists is fail */
    EXIT_LOG_GONE = 9, /* records that a recovery needs are not there any more */
};

#endif
