/* SPDX-License-Identifier: Apache-2.0 */
/* Which task goes to whom, and who is lost. */
#include "coordinator/dispatch/dispatch.h"

#include "tests/unit/saga_fixture.h"

#define LEASE_MS 10000

static struct dispatch_item items[64];

static struct dispatch *new_dispatch(void)
{
    memset(items, 0, sizeof items);
    return dispatch_new(1, 1);
}

static struct presence presence_of(unsigned char id, uint32_t slots, uint32_t window)
{
    static const struct span handlers[] = {S("h"), S("other")};
    return (struct presence){.worker = S("w"), .incarnation = {{id}}, .queue = S("q"), .handlers = handlers, .handler_count = 2,
                             .slots = slots, .window = window, .lease_ms = LEASE_MS};
}

static struct dispatch_worker *hear(struct dispatch *dispatch, const struct presence *presence, bool hello, int64_t now_ms)
{
    bool is_new;
    return dispatch_hear(dispatch, presence, hello, now_ms, &is_new);
}

/* Heard, welcomed, and it has answered for partition 0. */
static struct dispatch_worker *join(struct dispatch *dispatch, unsigned char id, uint32_t slots, uint32_t window)
{
    struct presence presence = presence_of(id, slots, window);
    struct dispatch_worker *worker = hear(dispatch, &presence, true, 0);
    assert_non_null(worker);
    dispatch_set_holding(dispatch, worker, 0);
    return worker;
}

static void offer(struct dispatch *dispatch, size_t index, uint32_t partition, const char *handler)
{
    dispatch_offer(dispatch, &items[index], partition, (struct span)S("q"), span_of(handler));
}

static void offer_many(struct dispatch *dispatch, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        offer(dispatch, i, 0, "h");
    }
}

static uint32_t place_all(struct dispatch *dispatch)
{
    uint32_t count = 0;
    while (dispatch_next_placed(dispatch) != NULL) {
        count++;
    }
    return count;
}

static uint32_t placed_with(const struct dispatch_worker *worker)
{
    uint32_t count = 0;
    for (size_t i = 0; i < COUNT(items); i++) {
        count += items[i].state == ITEM_PLACED && items[i].worker == worker;
    }
    return count;
}

static void nothing_is_placed_before_the_worker_has_answered_the_welcome(void **state)
{
    (void)state;
    struct dispatch *dispatch = new_dispatch();
    struct presence presence = presence_of(1, 1, 1);
    struct dispatch_worker *worker = hear(dispatch, &presence, true, 0);
    offer(dispatch, 0, 0, "h");
    assert_int_equal(place_all(dispatch), 0);
    assert_false(dispatch_has_holding(worker, 0));
    dispatch_set_holding(dispatch, worker, 0);
    assert_ptr_equal(dispatch_next_placed(dispatch), &items[0]);
    assert_ptr_equal(items[0].worker, worker);
    assert_null(dispatch_next_placed(dispatch));
    dispatch_free(dispatch);
}

static void a_window_bounds_what_a_worker_is_given_until_something_ends(void **state)
{
    (void)state;
    struct dispatch *dispatch = new_dispatch();
    struct dispatch_worker *worker = join(dispatch, 1, 1, 3);
    offer_many(dispatch, 5);
    assert_int_equal(place_all(dispatch), 3);
    assert_int_equal(place_all(dispatch), 0);
    dispatch_end(dispatch, &items[0]);
    assert_int_equal(items[0].state, ITEM_IDLE);
    assert_ptr_equal(dispatch_next_placed(dispatch), &items[3]); /* in the order of offering */
    assert_int_equal(placed_with(worker), 3);
    dispatch_free(dispatch);
}

static void who_takes_many_in_advance_is_given_more_when_a_quarter_is_free(void **state)
{
    (void)state;
    struct dispatch *dispatch = new_dispatch();
    struct dispatch_worker *worker = join(dispatch, 1, 2, 16);
    offer_many(dispatch, 32);
    assert_int_equal(place_all(dispatch), 16); /* all at once where it had little */
    for (size_t i = 0; i < 3; i++) {
        dispatch_end(dispatch, &items[i]);
        assert_int_equal(place_all(dispatch), 0);
    }
    dispatch_end(dispatch, &items[3]);
    assert_int_equal(place_all(dispatch), 4);
    assert_int_equal(placed_with(worker), 16);
    struct dispatch_worker *idle = join(dispatch, 2, 2, 16);
    assert_int_equal(place_all(dispatch), 12); /* who has little is given what there is */
    assert_int_equal(placed_with(idle), 12);
    dispatch_free(dispatch);
}

static void an_owner_uses_its_share_of_a_window_but_at_least_one(void **state)
{
    (void)state;
    static const struct {
        uint32_t window, owned, total, placed;
    } rows[] = {{8, 4, 4, 8}, {8, 1, 4, 2}, {8, 3, 4, 6}, {1, 1, 4, 1}, {0, 1, 1, 1}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        dispatch_free(new_dispatch());
        struct dispatch *dispatch = dispatch_new(rows[i].owned, rows[i].total);
        join(dispatch, 1, 1, rows[i].window);
        offer_many(dispatch, 20);
        assert_int_equal(place_all(dispatch), rows[i].placed);
        dispatch_free(dispatch);
    }
}

static void the_least_loaded_worker_is_picked_by_load_per_slot(void **state)
{
    (void)state;
    struct dispatch *dispatch = new_dispatch();
    struct dispatch_worker *small = join(dispatch, 1, 1, 100), *large = join(dispatch, 2, 3, 100);
    offer_many(dispatch, 20);
    assert_int_equal(place_all(dispatch), 20);
    assert_int_equal(placed_with(small), 5);
    assert_int_equal(placed_with(large), 15);
    dispatch_free(dispatch);
}

static void who_is_busy_gets_nothing_until_a_heartbeat_or_an_end(void **state)
{
    (void)state;
    struct dispatch *dispatch = new_dispatch();
    struct dispatch_worker *worker = join(dispatch, 1, 1, 10);
    struct presence presence = presence_of(1, 1, 10);
    offer_many(dispatch, 2);
    assert_int_equal(place_all(dispatch), 2);
    dispatch_refused(dispatch, worker, REFUSED_BUSY, (struct span)S("q"), (struct span)S("h"));
    offer(dispatch, 2, 0, "h");
    assert_int_equal(place_all(dispatch), 0);
    hear(dispatch, &presence, false, 1);
    assert_int_equal(place_all(dispatch), 1);
    dispatch_refused(dispatch, worker, REFUSED_BUSY, (struct span)S("q"), (struct span)S("h"));
    offer(dispatch, 3, 0, "h");
    assert_int_equal(place_all(dispatch), 0);
    dispatch_end(dispatch, &items[0]);
    assert_int_equal(place_all(dispatch), 1);
    dispatch_free(dispatch);
}

static void a_handler_refused_as_unknown_is_not_offered_again_until_the_next_hello(void **state)
{
    (void)state;
    struct dispatch *dispatch = new_dispatch();
    struct dispatch_worker *worker = join(dispatch, 1, 4, 10);
    struct presence presence = presence_of(1, 4, 10);
    dispatch_refused(dispatch, worker, REFUSED_UNKNOWN, (struct span)S("q"), (struct span)S("h"));
    offer(dispatch, 0, 0, "h");
    offer(dispatch, 1, 0, "other");
    assert_ptr_equal(dispatch_next_placed(dispatch), &items[1]);
    hear(dispatch, &presence, false, 1);
    assert_null(dispatch_next_placed(dispatch));
    hear(dispatch, &presence, true, 2);
    assert_ptr_equal(dispatch_next_placed(dispatch), &items[0]);
    dispatch_free(dispatch);
}

static void who_drains_gets_nothing(void **state)
{
    (void)state;
    struct dispatch *dispatch = new_dispatch();
    join(dispatch, 1, 4, 10);
    struct presence presence = presence_of(1, 4, 10);
    presence.draining = true;
    hear(dispatch, &presence, false, 1);
    offer(dispatch, 0, 0, "h");
    assert_int_equal(place_all(dispatch), 0);
    dispatch_free(dispatch);
}

static void lanes_take_turns_so_that_one_run_of_tasks_does_not_starve_another(void **state)
{
    (void)state;
    memset(items, 0, sizeof items);
    struct dispatch *dispatch = dispatch_new(2, 2);
    struct dispatch_worker *worker = join(dispatch, 1, 4, 4);
    dispatch_set_holding(dispatch, worker, 1);
    for (size_t i = 0; i < 10; i++) {
        offer(dispatch, i, 0, "h");
    }
    offer(dispatch, 10, 1, "h");
    offer(dispatch, 11, 0, "other");
    assert_int_equal(place_all(dispatch), 4);
    assert_int_equal(items[10].state, ITEM_PLACED);
    assert_int_equal(items[11].state, ITEM_PLACED);
    dispatch_free(dispatch);
}

static void what_nobody_serves_waits_and_says_so(void **state)
{
    (void)state;
    struct dispatch *dispatch = new_dispatch();
    join(dispatch, 1, 1, 1);
    offer(dispatch, 0, 0, "nobody");
    offer(dispatch, 1, 0, "h");
    assert_int_equal(place_all(dispatch), 1);
    assert_false(dispatch_is_served(&items[0]));
    assert_true(dispatch_is_served(&items[1]));
    assert_true(span_equal(dispatch_item_handler(&items[0]), (struct span)S("nobody")));
    assert_true(span_equal(dispatch_item_queue(&items[0]), (struct span)S("q")));
    dispatch_free(dispatch);
}

static void an_item_may_stop_waiting(void **state)
{
    (void)state;
    struct dispatch *dispatch = new_dispatch();
    offer_many(dispatch, 3);
    dispatch_end(dispatch, &items[1]);
    join(dispatch, 1, 9, 9);
    assert_ptr_equal(dispatch_next_placed(dispatch), &items[0]);
    assert_ptr_equal(dispatch_next_placed(dispatch), &items[2]);
    assert_null(dispatch_next_placed(dispatch));
    dispatch_free(dispatch);
}

static void an_inherited_item_is_adopted_and_uses_credit(void **state)
{
    (void)state;
    struct dispatch *dispatch = new_dispatch();
    struct dispatch_worker *worker = join(dispatch, 1, 1, 1);
    items[5].state = ITEM_INHERITED;
    dispatch_adopt(dispatch, &items[5], worker);
    assert_ptr_equal(items[5].worker, worker);
    offer(dispatch, 0, 0, "h");
    assert_int_equal(place_all(dispatch), 0);
    dispatch_end(dispatch, &items[5]);
    assert_int_equal(place_all(dispatch), 1);
    dispatch_free(dispatch);
}

static void whoever_is_known_at_a_takeover_is_awaited_until_he_answers_or_is_over(void **state)
{
    (void)state;
    struct dispatch *dispatch = new_dispatch();
    struct presence one = presence_of(1, 1, 1), two = presence_of(2, 1, 1), later = presence_of(3, 1, 1);
    struct dispatch_worker *first = hear(dispatch, &one, true, 0), *second = hear(dispatch, &two, true, 0);
    dispatch_await_all(dispatch, 0);
    hear(dispatch, &later, true, 0);
    assert_int_equal(dispatch_awaited(dispatch, 0), 2);
    dispatch_set_holding(dispatch, first, 0);
    assert_int_equal(dispatch_awaited(dispatch, 0), 1);
    dispatch_forget(dispatch, second);
    assert_int_equal(dispatch_awaited(dispatch, 0), 0);
    dispatch_free(dispatch);
}

static void a_worker_is_silent_a_lease_and_a_quarter_after_it_was_heard(void **state)
{
    (void)state;
    struct dispatch *dispatch = new_dispatch();
    assert_int_equal(dispatch_next_ms(dispatch), INT64_MAX);
    struct dispatch_worker *worker = join(dispatch, 1, 1, 1);
    struct presence presence = presence_of(1, 1, 1);
    assert_int_equal(dispatch_next_ms(dispatch), LEASE_MS * 5 / 4);
    assert_null(dispatch_next_silent(dispatch, LEASE_MS * 5 / 4 - 1));
    hear(dispatch, &presence, false, 1000);
    assert_null(dispatch_next_silent(dispatch, LEASE_MS * 5 / 4));
    assert_int_equal(dispatch_next_ms(dispatch), 1000 + LEASE_MS * 5 / 4);
    assert_ptr_equal(dispatch_next_silent(dispatch, 1000 + LEASE_MS * 5 / 4), worker);
    dispatch_free(dispatch);
}

static void who_is_heard_in_time_is_never_silent(void **state)
{
    (void)state;
    struct dispatch *dispatch = new_dispatch();
    join(dispatch, 1, 1, 1);
    struct presence presence = presence_of(1, 1, 1);
    for (int64_t at = 0; at < 3 * 3600 * 1000; at += LEASE_MS) { /* three of four heartbeats may come late or not at all */
        assert_null(dispatch_next_silent(dispatch, at));
        hear(dispatch, &presence, false, at);
    }
    dispatch_free(dispatch);
}

static const unsigned char nonce[16] = {7}, other_nonce[16] = {8};

static void a_mark_proves_the_end_unless_the_worker_was_heard_of_since(void **state)
{
    (void)state;
    struct dispatch *dispatch = new_dispatch();
    struct dispatch_worker *worker = join(dispatch, 1, 1, 1);
    struct presence presence = presence_of(1, 1, 1);
    assert_false(dispatch_mark_proves(worker, nonce));
    dispatch_mark_sent(worker, nonce);
    assert_null(dispatch_next_silent(dispatch, 10 * LEASE_MS)); /* one mark is enough */
    assert_true(dispatch_mark_proves(worker, nonce));
    assert_false(dispatch_mark_proves(worker, other_nonce));
    offer(dispatch, 0, 0, "h");
    assert_int_equal(place_all(dispatch), 0); /* nothing more to someone who may be gone */
    hear(dispatch, &presence, false, 10 * LEASE_MS);
    assert_false(dispatch_mark_proves(worker, nonce));
    assert_int_equal(place_all(dispatch), 1);
    dispatch_free(dispatch);
}

static void who_is_over_gives_up_all_it_had_and_is_never_used_again(void **state)
{
    (void)state;
    struct dispatch *dispatch = new_dispatch();
    struct dispatch_worker *worker = join(dispatch, 1, 3, 3);
    struct presence presence = presence_of(1, 3, 3), next_life = presence_of(2, 3, 3);
    offer_many(dispatch, 3);
    assert_int_equal(place_all(dispatch), 3);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(dispatch_take_from(dispatch, worker)->state, ITEM_IDLE);
    }
    assert_null(dispatch_take_from(dispatch, worker));
    dispatch_forget(dispatch, worker);
    assert_int_equal(dispatch_worker_count(dispatch), 0);
    assert_null(hear(dispatch, &presence, false, 5)); /* a late heartbeat */
    assert_null(hear(dispatch, &presence, true, 5));
    assert_non_null(hear(dispatch, &next_life, true, 5));
    dispatch_free(dispatch);
}

static void a_hello_may_change_what_is_served(void **state)
{
    (void)state;
    struct dispatch *dispatch = new_dispatch();
    join(dispatch, 1, 4, 4);
    static const struct span handlers[] = {S("new")};
    struct presence presence = presence_of(1, 4, 4);
    presence.handlers = handlers;
    presence.handler_count = 1;
    hear(dispatch, &presence, true, 1);
    offer(dispatch, 0, 0, "h");
    offer(dispatch, 1, 0, "new");
    assert_ptr_equal(dispatch_next_placed(dispatch), &items[1]);
    assert_null(dispatch_next_placed(dispatch));
    assert_false(dispatch_is_served(&items[0]));
    dispatch_free(dispatch);
}

static void who_refused_a_handler_as_unknown_does_not_serve_it(void **state)
{
    (void)state;
    struct dispatch *dispatch = new_dispatch();
    struct dispatch_worker *liar = join(dispatch, 1, 4, 4);
    offer(dispatch, 0, 0, "h");
    assert_ptr_equal(dispatch_next_placed(dispatch), &items[0]);
    dispatch_end(dispatch, &items[0]);
    dispatch_refused(dispatch, liar, REFUSED_UNKNOWN, (struct span)S("q"), (struct span)S("h"));
    offer(dispatch, 0, 0, "h");
    assert_null(dispatch_next_placed(dispatch));
    assert_false(dispatch_is_served(&items[0]));
    join(dispatch, 2, 4, 4);
    assert_ptr_equal(dispatch_next_placed(dispatch), &items[0]);
    dispatch_free(dispatch);
}

/* Of one slot and that window, and it takes tasks ahead. */
static struct dispatch_worker *join_ahead(struct dispatch *dispatch, unsigned char id, uint32_t window)
{
    struct dispatch_worker *worker = join(dispatch, id, 1, window);
    struct presence presence = presence_of(id, 1, window);
    presence.takes_ahead = true;
    assert_ptr_equal(hear(dispatch, &presence, true, 0), worker);
    return worker;
}

static bool takes(struct dispatch *dispatch, const struct dispatch_worker *worker, const char *queue, const char *handler, uint32_t times)
{
    return dispatch_takes_ahead(dispatch, worker, span_of(queue), span_of(handler), times);
}

static void ahead_goes_to_who_takes_it_and_is_quick(void **state)
{
    (void)state;
    struct dispatch *dispatch = new_dispatch();
    struct dispatch_worker *worker = join_ahead(dispatch, 1, 8);
    assert_true(takes(dispatch, worker, "q", "h", 1));
    assert_true(takes(dispatch, worker, "q", "h", 8));
    assert_false(takes(dispatch, worker, "q", "h", 9));
    struct dispatch_worker *older = join(dispatch, 2, 1, 8), *wide = join(dispatch, 3, 2, 16);
    assert_false(takes(dispatch, older, "q", "h", 1)); /* it says nothing of it */
    struct presence presence = presence_of(3, 2, 15);
    presence.takes_ahead = true;
    hear(dispatch, &presence, false, 1);
    assert_true(takes(dispatch, wide, "q", "h", 7)); /* for each of its slots */
    assert_false(takes(dispatch, wide, "q", "h", 8));
    dispatch_free(dispatch);
}

static void ahead_goes_to_nobody_with_a_queue(void **state)
{
    (void)state;
    struct dispatch *dispatch = new_dispatch();
    struct dispatch_worker *worker = join_ahead(dispatch, 1, 64);
    struct dispatch_item tasks[3] = {0};
    dispatch_set_holding(dispatch, worker, 0);
    for (uint32_t i = 0; i < 3; i++) {
        tasks[i].number = i + 1;
        dispatch_offer(dispatch, &tasks[i], 0, span_of("q"), span_of("h"));
        assert_ptr_equal(dispatch_next_placed(dispatch), &tasks[i]);
        assert_int_equal(takes(dispatch, worker, "q", "h", 8), i < 2); /* two are a 32nd of its window */
        assert_true(takes(dispatch, worker, "q", "h", 1));
    }
    dispatch_end(dispatch, &tasks[0]);
    assert_true(takes(dispatch, worker, "q", "h", 8));
    struct dispatch_worker *narrow = join_ahead(dispatch, 2, 8);
    dispatch_set_holding(dispatch, narrow, 0);
    assert_true(takes(dispatch, narrow, "q", "h", 8)); /* what fills its slots is no queue */
    dispatch_free(dispatch);
}

static void ahead_goes_only_to_who_serves_the_handler(void **state)
{
    (void)state;
    struct dispatch *dispatch = new_dispatch();
    struct dispatch_worker *worker = join_ahead(dispatch, 1, 8);
    assert_true(takes(dispatch, worker, "q", "other", 1));
    assert_false(takes(dispatch, worker, "q", "nobody", 1));
    assert_false(takes(dispatch, worker, "another", "h", 1));
    dispatch_refused(dispatch, worker, REFUSED_UNKNOWN, (struct span)S("q"), (struct span)S("h"));
    assert_false(takes(dispatch, worker, "q", "h", 1));
    assert_true(takes(dispatch, worker, "q", "other", 1));
    dispatch_free(dispatch);
}

static void ahead_goes_to_nobody_who_drains_or_may_be_gone(void **state)
{
    (void)state;
    struct dispatch *dispatch = new_dispatch();
    struct dispatch_worker *worker = join_ahead(dispatch, 1, 8), *silent = join_ahead(dispatch, 2, 8);
    struct presence presence = presence_of(1, 1, 8);
    presence.takes_ahead = presence.draining = true;
    hear(dispatch, &presence, false, 1);
    assert_false(takes(dispatch, worker, "q", "h", 1));
    dispatch_mark_sent(silent, nonce);
    assert_false(takes(dispatch, silent, "q", "h", 1));
    dispatch_free(dispatch);
}

static void what_is_ahead_takes_no_credit_until_its_step_is_ready(void **state)
{
    (void)state;
    struct dispatch *dispatch = new_dispatch();
    struct dispatch_worker *worker = join_ahead(dispatch, 1, 2);
    offer(dispatch, 0, 0, "h");
    assert_int_equal(place_all(dispatch), 1);
    dispatch_place_ahead(&items[1], worker);
    dispatch_place_ahead(&items[2], worker);
    assert_true(items[1].ahead && items[1].state == ITEM_PLACED && items[1].worker == worker);
    offer(dispatch, 3, 0, "h");
    offer(dispatch, 4, 0, "h");
    assert_int_equal(place_all(dispatch), 1); /* the second of two */
    dispatch_end(dispatch, &items[0]);
    dispatch_catch_up(&items[1]); /* it takes the place of the one it was behind */
    assert_false(items[1].ahead);
    assert_int_equal(place_all(dispatch), 0);
    dispatch_catch_up(&items[1]); /* once */
    dispatch_end(dispatch, &items[1]);
    assert_int_equal(place_all(dispatch), 1);
    dispatch_free(dispatch);
}

static void the_end_of_what_is_ahead_gives_no_credit_back(void **state)
{
    (void)state;
    struct dispatch *dispatch = new_dispatch();
    struct dispatch_worker *worker = join_ahead(dispatch, 1, 2);
    offer_many(dispatch, 3);
    assert_int_equal(place_all(dispatch), 2);
    dispatch_place_ahead(&items[5], worker);
    dispatch_end(dispatch, &items[5]);
    assert_int_equal(items[5].state, ITEM_IDLE);
    assert_int_equal(place_all(dispatch), 0);
    dispatch_end(dispatch, &items[0]);
    assert_int_equal(place_all(dispatch), 1);
    assert_int_equal(placed_with(worker), 2);
    dispatch_free(dispatch);
}

static void who_is_busy_is_so_though_what_was_ahead_ends(void **state)
{
    (void)state;
    struct dispatch *dispatch = new_dispatch();
    struct dispatch_worker *worker = join_ahead(dispatch, 1, 4);
    dispatch_place_ahead(&items[5], worker);
    dispatch_refused(dispatch, worker, REFUSED_BUSY, (struct span)S("q"), (struct span)S("h"));
    offer(dispatch, 0, 0, "h");
    dispatch_end(dispatch, &items[5]);
    assert_int_equal(place_all(dispatch), 0);
    dispatch_free(dispatch);
}

static void who_is_over_gives_up_what_is_ahead_too(void **state)
{
    (void)state;
    struct dispatch *dispatch = new_dispatch();
    struct dispatch_worker *worker = join_ahead(dispatch, 1, 2);
    dispatch_place_ahead(&items[5], worker);
    assert_ptr_equal(dispatch_take_from(dispatch, worker), &items[5]);
    assert_true(items[5].ahead && items[5].state == ITEM_IDLE); /* an orphan: it is lost if it is open later */
    assert_null(dispatch_take_from(dispatch, worker));
    dispatch_forget(dispatch, worker);
    dispatch_catch_up(&items[5]);
    assert_false(items[5].ahead);
    dispatch_free(dispatch);
}

static void what_is_behind_an_inherited_ticket_is_inherited_and_so_on(void **state)
{
    (void)state;
    struct dispatch *dispatch = new_dispatch();
    struct dispatch_worker *worker = join_ahead(dispatch, 1, 2);
    assert_int_equal(dispatch_behind_of(&items[5]), BEHIND_UNSENT);
    items[5].state = ITEM_INHERITED;
    assert_int_equal(dispatch_behind_of(&items[5]), BEHIND_INHERITED);
    dispatch_adopt(dispatch, &items[5], worker);
    assert_int_equal(dispatch_behind_of(&items[5]), BEHIND_UNSENT);
    items[5].more_behind = true; /* as its Holding says */
    assert_int_equal(dispatch_behind_of(&items[5]), BEHIND_DROPPED);
    dispatch_free(dispatch);
}

static void what_is_known_of_a_worker_is_a_copy(void **state)
{
    (void)state;
    struct dispatch *dispatch = new_dispatch();
    char name[] = "w17";
    struct presence presence = presence_of(1, 4, 4);
    presence.worker = span_of(name);
    struct dispatch_worker *worker = hear(dispatch, &presence, true, 1);
    name[0] = 'x';
    assert_true(span_equal(dispatch_presence(worker)->worker, (struct span)S("w17")));
    assert_int_equal(dispatch_presence(worker)->handler_count, 2);
    assert_ptr_equal(dispatch_find(dispatch, &presence.incarnation), worker);
    assert_ptr_equal(dispatch_next_worker(dispatch, NULL), worker);
    assert_null(dispatch_next_worker(dispatch, worker));
    dispatch_free(dispatch);
    dispatch_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_placed_before_the_worker_has_answered_the_welcome),
        cmocka_unit_test(a_window_bounds_what_a_worker_is_given_until_something_ends),
        cmocka_unit_test(who_takes_many_in_advance_is_given_more_when_a_quarter_is_free),
        cmocka_unit_test(an_owner_uses_its_share_of_a_window_but_at_least_one),
        cmocka_unit_test(the_least_loaded_worker_is_picked_by_load_per_slot),
        cmocka_unit_test(who_is_busy_gets_nothing_until_a_heartbeat_or_an_end),
        cmocka_unit_test(a_handler_refused_as_unknown_is_not_offered_again_until_the_next_hello),
        cmocka_unit_test(who_drains_gets_nothing),
        cmocka_unit_test(lanes_take_turns_so_that_one_run_of_tasks_does_not_starve_another),
        cmocka_unit_test(what_nobody_serves_waits_and_says_so),
        cmocka_unit_test(an_item_may_stop_waiting),
        cmocka_unit_test(an_inherited_item_is_adopted_and_uses_credit),
        cmocka_unit_test(whoever_is_known_at_a_takeover_is_awaited_until_he_answers_or_is_over),
        cmocka_unit_test(a_worker_is_silent_a_lease_and_a_quarter_after_it_was_heard),
        cmocka_unit_test(who_is_heard_in_time_is_never_silent),
        cmocka_unit_test(a_mark_proves_the_end_unless_the_worker_was_heard_of_since),
        cmocka_unit_test(who_is_over_gives_up_all_it_had_and_is_never_used_again),
        cmocka_unit_test(a_hello_may_change_what_is_served),
        cmocka_unit_test(who_refused_a_handler_as_unknown_does_not_serve_it),
        cmocka_unit_test(ahead_goes_to_who_takes_it_and_is_quick),
        cmocka_unit_test(ahead_goes_to_nobody_with_a_queue),
        cmocka_unit_test(ahead_goes_only_to_who_serves_the_handler),
        cmocka_unit_test(ahead_goes_to_nobody_who_drains_or_may_be_gone),
        cmocka_unit_test(what_is_ahead_takes_no_credit_until_its_step_is_ready),
        cmocka_unit_test(the_end_of_what_is_ahead_gives_no_credit_back),
        cmocka_unit_test(who_is_busy_is_so_though_what_was_ahead_ends),
        cmocka_unit_test(who_is_over_gives_up_what_is_ahead_too),
        cmocka_unit_test(what_is_behind_an_inherited_ticket_is_inherited_and_so_on),
        cmocka_unit_test(what_is_known_of_a_worker_is_a_copy),
    };
    return cmocka_run_group_tests_name("dispatch", tests, NULL, NULL);
}
