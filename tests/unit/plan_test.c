/* SPDX-License-Identifier: Apache-2.0 */
#include "common/limits.h"
#include "tests/unit/saga_fixture.h"

#define STEP(what, ...) {.name = S(what), .handler = S("h"), .queue = S("q"), __VA_ARGS__}
#define NEEDS(list) .needs = (list), .needs_count = COUNT(list)

static const uint32_t n0[] = {0}, n1[] = {1}, n2[] = {2}, n12[] = {1, 2};

struct row {
    const char *name;
    struct plan_step steps[5];
    uint32_t step_count;
    const char *problem; /* a part of it; NULL: none */
    uint32_t step;       /* the offender */
};

static const struct row rows[] = {
    {"a plan of one step is fine", {STEP("a", .weight = 1)}, 1, NULL, 0},
    {"a diamond is fine", {STEP("a", .weight = 1), STEP("b", NEEDS(n0)), STEP("c", NEEDS(n0)), STEP("d", NEEDS(n12))}, 4, NULL, 0},
    {"a step may need a later one", {STEP("a", NEEDS(n1)), STEP("b", .weight = 1)}, 2, NULL, 0},
    {"no steps are refused", {STEP("a", .weight = 1)}, 0, "no steps", 0},
    {"more than the limit are refused", {STEP("a", .weight = 1)}, LIMIT_STEPS + 1, "more than 1000", 0},
    {"a step without a name is refused", {STEP("a", .weight = 1), STEP("", .weight = 1)}, 2, "no name", 1},
    {"a step without a handler is refused", {{.name = S("a"), .queue = S("q")}}, 1, "no handler", 0},
    {"two of the same name are refused", {STEP("a", .weight = 1), STEP("b", .weight = 1), STEP("a", .weight = 1)}, 3, "same name", 2},
    {"a need that does not exist is refused", {STEP("a", .weight = 1), STEP("b", NEEDS(n2))}, 2, "needs one that does not exist", 1},
    {"a read that does not exist is refused", {STEP("a", .reads = n1, .reads_count = 1)}, 1, "reads one", 0},
    {"a step that needs itself is refused", {STEP("a", .weight = 1), STEP("b", NEEDS(n1))}, 2, "cycle", 1},
    {"a circle of three is refused", {STEP("a", NEEDS(n2)), STEP("b", NEEDS(n0)), STEP("c", NEEDS(n1)), STEP("d", .weight = 1)}, 4, "cycle", 1},
};

static void test_problem(void **state)
{
    const struct row *row = *state;
    uint32_t step = 77;
    const char *problem = plan_problem(&(struct plan){.name = S("p"), .steps = row->steps, .step_count = row->step_count}, &step);
    assert_int_equal(problem == NULL, row->problem == NULL);
    if (problem != NULL) {
        assert_non_null(strstr(problem, row->problem));
        assert_int_equal(step, row->step);
    }
}

static void a_copy_has_everything_and_needs_exactly_the_room_it_asked_for(void **state)
{
    (void)state;
    static const uint32_t needs[] = {0}, reads[] = {0, 1};
    static const struct plan_step steps[] = {
        STEP("a", .weight = 3),
        STEP("the second", NEEDS(n0), .input = S("{\"x\":1}"), .timeout_ms = 5, .rollback_none = true),
        {.name = S("c"), .handler = S("h"), .queue = S("q"), .needs = needs, .needs_count = 1, .reads = reads, .reads_count = 2, .reads_given = true}};
    const struct plan plan = {.name = S("a plan"), .description = S("said so"), .steps = steps, .step_count = COUNT(steps)};
    size_t size = plan_room(&plan);
    void *memory = malloc(size);
    const struct plan *copy = plan_copy(memory, &plan);
    assert_ptr_equal(copy, memory);
    assert_true(span_equal(copy->name, plan.name) && span_equal(copy->description, plan.description));
    for (uint32_t i = 0; i < COUNT(steps); i++) {
        const struct plan_step *step = &copy->steps[i];
        assert_true(span_equal(step->name, steps[i].name) && span_equal(step->handler, steps[i].handler));
        assert_true(span_equal(step->queue, steps[i].queue) && span_equal(step->input, steps[i].input));
        assert_ptr_not_equal(step->name.bytes, steps[i].name.bytes);
        assert_int_equal(step->needs_count, steps[i].needs_count);
        assert_int_equal(step->reads_count, steps[i].reads_count);
        assert_int_equal(step->timeout_ms, steps[i].timeout_ms);
        assert_int_equal(step->rollback_none, steps[i].rollback_none);
    }
    assert_int_equal(copy->steps[2].reads[1], 1);
    free(memory);
}

static void needs_are_marked_through_others_and_each_once(void **state)
{
    (void)state;
    static const struct plan_step steps[] = {STEP("a", .weight = 1), STEP("b", NEEDS(n0)), STEP("c", NEEDS(n0)), STEP("d", NEEDS(n12)),
                                             STEP("e", .weight = 1)};
    const struct plan plan = {.name = S("p"), .steps = steps, .step_count = COUNT(steps)};
    bool marks[5] = {false};
    plan_mark_needs(&plan, 3, marks);
    assert_true(marks[0] && marks[1] && marks[2] && !marks[3] && !marks[4]);
}

/* The most there may be, each needing all before it: no recursion, no stack that overflows. */
static void the_largest_plan_is_judged_and_marked(void **state)
{
    (void)state;
    static struct plan_step steps[LIMIT_STEPS];
    static uint32_t all[LIMIT_STEPS];
    static char names[LIMIT_STEPS][12];
    static bool marks[LIMIT_STEPS];
    for (uint32_t i = 0; i < LIMIT_STEPS; i++) {
        all[i] = i;
        snprintf(names[i], sizeof names[i], "%u", i);
        steps[i] = (struct plan_step){.name = span_of(names[i]), .handler = S("h"), .queue = S("q"), .needs = all, .needs_count = i};
    }
    const struct plan plan = {.name = S("p"), .steps = steps, .step_count = LIMIT_STEPS};
    uint32_t step;
    assert_null(plan_problem(&plan, &step));
    plan_mark_needs(&plan, LIMIT_STEPS - 1, marks);
    for (uint32_t i = 0; i + 1 < LIMIT_STEPS; i++) {
        assert_true(marks[i]);
    }
    steps[0].needs_count = LIMIT_STEPS;
    assert_non_null(plan_problem(&plan, &step));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_copy_has_everything_and_needs_exactly_the_room_it_asked_for),
        cmocka_unit_test(needs_are_marked_through_others_and_each_once),
        cmocka_unit_test(the_largest_plan_is_judged_and_marked),
    };
    return fixture_run_rows("problems", rows, COUNT(rows), sizeof *rows, test_problem) +
           cmocka_run_group_tests_name("plans", tests, NULL, NULL);
}
