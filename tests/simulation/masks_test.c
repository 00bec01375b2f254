/* SPDX-License-Identifier: Apache-2.0 */
/* How we know that the oracle sees anything: each rule that protects a run is taken away alone, and the oracle must then find a promise
 * broken, in a world in which nothing is broken while the rule holds. It looks from a seed on at which it once did (what a seed means
 * changes with what is drawn), and says where it found it.
 *
 * Search by hand, from a seed on: SIM_RULE=fence SIM_FROM=1 build/dev/tests/simulation_masks */
#define BACKSTEP_RULES_CAN_BE_TAKEN_AWAY
#include "common/rules.h"
#include "tests/simulation/drawn.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define SEARCH_MAX 2000
#define GUARD RULE_GUARD /* it is no pure module: the world's guard is told to look away */
#define LONG_MS 8000 /* a lease and what it takes to see that it is over */

/* ---- the trouble against which each rule stands */

static void set_faults(struct world *world, const struct memory_faults *faults)
{
    memory_cluster_set_faults(world_cluster(world), faults);
}

/* What an owner sent arrives after it has frozen, another has taken over, and has given the ticket to somebody else. */
static void tasks_come_late(struct world *world)
{
    world_add_worker(world);
    world_advance_until(world, 300 + below(4000));
    set_faults(world, &(struct memory_faults){.send_delay_ms = 2500});
    world_advance_until(world, world_now_ms(world) + 100 + below(400));
    world_freeze_coordinator(world, 4000);
    world_add_coordinator(world);
    set_faults(world, &(struct memory_faults){.send_delay_ms = 20});
}

static void owners_change(struct world *world)
{
    for (int i = 0; i < 3; i++) {
        world_advance_until(world, world_now_ms(world) + 100 + below(2500));
        world_kill_coordinator(world);
    }
}

static void workers_freeze(struct world *world)
{
    world_add_worker(world);
    for (uint32_t i = 0; i < 2; i++) {
        world_advance_until(world, world_now_ms(world) + 500 + below(4000));
        world_freeze_worker(world, i, 2 * LONG_MS);
    }
}

/* The group gives them to another, and back. */
static void partitions_move(struct world *world)
{
    for (int i = 0; i < 5; i++) {
        world_advance_until(world, world_now_ms(world) + 100 + below(2500));
        world_move(world, draw());
    }
}

static void owners_read_late(struct world *world)
{
    world_add_worker(world);
}

/* Of a cancel the worker hears when it has done the next step. */
static void words_come_late(struct world *world)
{
    world_advance_until(world, 300 + below(2000));
    set_faults(world, &(struct memory_faults){.send_delay_ms = 300});
}

static void answers_come_twice(struct world *world)
{
    for (int i = 0; i < 30; i++) {
        world_advance_until(world, world_now_ms(world) + 50 + below(400));
        world_duplicate(world, draw() * 4 + 1); /* one on a progress partition */
    }
}

static void workers_die(struct world *world)
{
    for (int i = 0; i < 6; i++) {
        world_advance_until(world, world_now_ms(world) + 20 + below(1500));
        world_kill_worker(world, below(WORLD_WORKERS_MAX));
    }
}

static const struct mask {
    const char *name;
    int rule;
    uint64_t seed; /* where the search begins */
    void (*trouble)(struct world *world);
    int64_t execute_ms;
    uint32_t fails;
    struct memory_faults faults;
    bool group, ahead;
} masks[] = {
    {"fence", RULE_FENCE, 274, tasks_come_late, 2000, 0, {0}, false, false},
    {"handshake", RULE_HANDSHAKE, 1, owners_change, 2000, 0, {0}, false, false},
    {"handshake_in_a_group", RULE_HANDSHAKE, 1, partitions_move, 2000, 0, {0}, true, false},
    {"guard", GUARD, 1, workers_freeze, LONG_MS, 0, {0}, false, false},
    {"mark", RULE_MARK, 1, owners_read_late, 4 * LONG_MS, 0, {.read_delay_ms = 7000}, false, false},
    {"tickets", RULE_TICKETS, 337, answers_come_twice, 600, 2, {0}, false, false},
    {"confirm", RULE_CONFIRM, 32, workers_die, 300, 0, {0}, false, false},
    {"ahead_opened", RULE_AHEAD_OPENED, 14, words_come_late, 300, 0, {0}, false, true},
    {"ahead_waits", RULE_AHEAD_WAITS, 197, workers_die, 300, 0, {.send_delay_ms = 400}, false, true},
    {"ahead_inherited", RULE_AHEAD_INHERITED, 93, partitions_move, 300, 0, {.read_delay_ms = 700}, true, true},
};

static int taken_away = -1;

bool rule_holds(enum rule rule)
{
    return (int)rule != taken_away;
}

static void play_in_child(uint64_t seed, const struct mask *mask, bool away, int output)
{
    struct drawn_world drawn;
    taken_away = away ? mask->rule : -1;
    dup2(output, STDERR_FILENO);
    drawn_world(seed, NULL, &drawn);
    drawn.options.faults = mask->faults;
    drawn.options.group = mask->group;
    drawn.options.ahead_from = mask->ahead ? SERVICE_AHEAD_ALWAYS : 0;
    for (uint32_t i = 0; i < DRAWN_RUNS; i++) {
        drawn.options.runs[i].may_end_bits = UINT32_MAX; /* how it ends is not what is asked here */
    }
    drawn.options.unguarded = taken_away == GUARD;
    if (mask->ahead) { /* a stop is where what was sent ahead matters */
        for (uint32_t i = 0; i < DRAWN_RUNS; i++) {
            drawn.options.controls[i] = (struct world_control){.kind = MESSAGE_CANCEL, .run = i, .at_ms = 1000 + below(8000)};
        }
        drawn.options.controls[DRAWN_RUNS].kind = MESSAGE_NONE;
    }
    drawn_slow_down(mask->execute_ms, mask->fails);
    struct world *world = world_new(&drawn.options);
    mask->trouble(world);
    while (world_advance(world)) {
    }
    world_expect_end(world, true);
    world_free(world);
    _exit(0);
}

/* What the oracle said; empty: nothing was broken. A process of its own, since the oracle aborts. */
static void find_broken(uint64_t seed, const struct mask *mask, bool away, char *said, size_t room)
{
    int ends[2], status;
    assert_int_equal(pipe(ends), 0);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        play_in_child(seed, mask, away, ends[1]);
    }
    close(ends[1]);
    size_t size = 0;
    for (ssize_t got; size < room - 1 && (got = read(ends[0], said + size, room - 1 - size)) > 0;) {
        size += (size_t)got;
    }
    said[size] = '\0';
    close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    const char *broken = strstr(said, "BROKEN: ");
    memmove(said, broken != NULL ? broken : "", broken != NULL ? strlen(broken) + 1 : 1);
    said[strcspn(said, "\n")] = '\0';
    if (WIFSIGNALED(status) && broken == NULL) {
        snprintf(said, room, "BROKEN: an assert");
    }
}

static bool is_found(uint64_t seed, const struct mask *mask, char *said, size_t room)
{
    char nothing[4096];
    find_broken(seed, mask, true, said, room);
    if (said[0] == '\0' || strstr(said, "an assert") != NULL || strstr(said, "have not ended") != NULL) {
        return false;
    }
    find_broken(seed, mask, false, nothing, sizeof nothing);
    if (nothing[0] != '\0') {
        fail_msg("with all rules seed %" PRIu64 " is %s", seed, nothing);
    }
    return true;
}

static void without_it_a_promise_is_broken(void **state)
{
    const struct mask *mask = *state;
    const char *only = getenv("SIM_RULE"), *from = getenv("SIM_FROM");
    char said[4096];
    if (only != NULL && strcmp(only, mask->name) != 0) {
        skip();
    }
    uint64_t first = from != NULL ? strtoull(from, NULL, 10) : mask->seed;
    for (uint64_t seed = first; seed < first + SEARCH_MAX; seed++) {
        if ((!mask->ahead || seed % 8 >= 5) && is_found(seed, mask, said, sizeof said)) {
            printf("note: without '%s' seed %" PRIu64 " is %s\n", mask->name, seed, said);
            return;
        }
    }
    fail_msg("without '%s' nothing is broken in %d seeds from %" PRIu64 " on", mask->name, SEARCH_MAX, first);
}

int main(void)
{
    struct CMUnitTest tests[sizeof masks / sizeof *masks];
    for (size_t i = 0; i < sizeof masks / sizeof *masks; i++) {
        tests[i] = (struct CMUnitTest){
            .name = masks[i].name, .test_func = without_it_a_promise_is_broken, .initial_state = (void *)(size_t)&masks[i]};
    }
    return cmocka_run_group_tests_name("without a rule a promise is broken", tests, NULL, NULL);
}
