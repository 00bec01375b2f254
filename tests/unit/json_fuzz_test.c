/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as JSON through the public interface: what is JSON arrives as it was said, all else is refused with a reason, and nothing breaks.
 * FUZZ_SEED=N plays one seed, FUZZ_ROUNDS=N so many of them. */
#include "common/limits.h"
#include "worker/backstep.h"
#include "worker/backstep_test.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TEXT_BYTES 4096
#define ROUNDS 2000
#define DEEP "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[" /* 40 */

/* ---------------------------------------------------------------- chance */

static uint64_t chance;

static uint32_t below(uint32_t bound)
{
    chance = chance * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(chance >> 33) % bound;
}

static void add(char *text, const char *what)
{
    size_t size = strlen(text);
    snprintf(text + size, TEXT_BYTES - size, "%s", what);
}

static void add_value(char *text, int depth);

/* Members are numbered, so that a key comes twice only by a later change. */
static void add_members(char *text, int depth, bool keyed)
{
    uint32_t count = below(4);
    for (uint32_t i = 0; i < count; i++) {
        char key[16];
        snprintf(key, sizeof key, "%s\"k%u\": ", i > 0 ? ", " : "", i);
        add(text, keyed ? key : i > 0 ? "," : "");
        add_value(text, depth + 1);
    }
}

static void add_value(char *text, int depth)
{
    static const char *const plain[] = {
        "null",      "true",     "-0", "1.5e300", "9223372036854775807", "\"\"", "\"a\\u00e9\\n\"", "\"\\ud83d\\ude00\"", "{}",
        "\"%s %n\"", "\"${x}\"", "[]", "1e-400",  "\"\xc3\xa9\""};
    uint32_t kind = below(depth > 4 ? 2 : 4);
    if (kind < 2) {
        add(text, plain[below(sizeof plain / sizeof *plain)]);
        return;
    }
    add(text, kind == 2 ? "[" : "{");
    add_members(text, depth, kind == 3);
    add(text, kind == 2 ? "]" : "}");
}

static void add_nesting(char *text)
{
    size_t depth = below(TEXT_BYTES / 2 - 1);
    memset(text, '[', depth);
    memset(text + depth, ']', depth);
    text[2 * depth] = '\0';
}

/* One byte is another one, the text ends early, or a piece of it comes twice. */
static void damage(char *text)
{
    static const char bytes[] = "\"\\{}[]:,0e-\x01\x7f\x80\xc0\xed\xff u";
    size_t size = strlen(text);
    size_t at = below((uint32_t)size);
    switch (below(3)) {
    case 0: text[at] = bytes[below(sizeof bytes - 1)]; break;
    case 1: text[at > 0 ? at : 1] = '\0'; break;
    default:
        if (2 * size - at < TEXT_BYTES) {
            memmove(text + size, text + at, size - at);
            text[2 * size - at] = '\0';
        }
    }
}

static void make_text(char *text)
{
    memset(text, 0, TEXT_BYTES);
    uint32_t kind = below(10);
    if (kind == 0) {
        add_nesting(text);
    }
    if (text[0] == '\0') {
        add(text, "{");
        add_members(text, 0, true);
        add(text, "}");
    }
    for (uint32_t times = kind < 5 ? 0 : 1 + below(3); times > 0; times--) {
        damage(text);
    }
}

/* ---------------------------------------------------------------- what is done with a text */

struct play {
    char text[TEXT_BYTES];
    bool json, object;
    char *canonical; /* as the library writes it */
    int executed;
};

static void assert_is(const char *canonical, const struct backstep_json *value)
{
    char *text = backstep_json_text(value);
    assert_non_null(text);
    assert_string_equal(text, canonical);
    free(text);
}

static enum backstep_outcome say(struct backstep_context *context, struct backstep_result *result)
{
    struct play *play = backstep_state(context);
    play->executed++;
    assert_is(play->canonical != NULL && play->object ? play->canonical : "{}",
              backstep_json_member(backstep_input(context), "value"));
    bool logged = backstep_log_event(context, BACKSTEP_DEBUG, "said", "%s", play->text);
    assert_int_equal(logged, play->object);
    if (!play->object) {
        assert_false(backstep_set_metrics(context, "%s", play->text));
        assert_true(strlen(backstep_error(context)) > 0);
        assert_false(backstep_result_merge_data(result, "%s", play->text));
    }
    backstep_result_set_rollback_data(result, "{\"said\": %s}", backstep_quote(context, play->text));
    return backstep_succeed(result, "%s", play->text);
}

static enum backstep_outcome hear(struct backstep_context *context, struct backstep_result *result)
{
    struct play *play = backstep_state(context);
    play->executed++;
    assert_true(play->json);
    assert_is(play->canonical, backstep_step_data(context, "say"));
    return backstep_succeed(result, NULL);
}

/* Of JSON as the library writes it: how many lists and objects stand in each other. */
static int depth_of(const char *text)
{
    int depth = 0, most = 0;
    for (bool quoted = false; *text != '\0'; text++) {
        if (*text == '\\') {
            text++;
        } else if (*text == '"') {
            quoted = !quoted;
        } else if (!quoted && strchr("[{", *text) != NULL) {
            depth++;
            most = depth > most ? depth : most;
        } else if (!quoted && strchr("]}", *text) != NULL) {
            depth--;
        }
    }
    return most;
}

/* What the library wrote around a text may be read, so a text alone may be a little deeper than one that a step may say. */
static void read_alone(struct play *play)
{
    const struct backstep_json *json = backstep_json_parse(play->text);
    play->canonical = backstep_json_text(json);
    play->json = json != NULL && depth_of(play->canonical) <= LIMIT_JSON_DEPTH;
    play->object = play->json && play->canonical[0] == '{';
    if (json != NULL) {
        const struct backstep_json *again = backstep_json_parse(play->canonical);
        assert_is(play->canonical, again);
        backstep_json_free(again);
    }
    backstep_json_free(json);
}

/* What the library wrote is JSON. What stands in it may be nested as deep as JSON may be that is read: then it is itself a little deeper, and
 * is not read. */
static void assert_is_json(const char *text)
{
    const struct backstep_json *json = backstep_json_parse(text);
    if (strstr(text, DEEP) == NULL) {
        assert_non_null(json);
    }
    backstep_json_free(json);
}

static enum backstep_outcome nothing(struct backstep_context *context, struct backstep_result *result)
{
    (void)backstep_step_data(context, "say");
    (void)backstep_context_json(context);
    return backstep_succeed(result, NULL);
}

/* As the data of a step, and as the context of one that is called alone. */
static void run_steps(struct play *play)
{
    char with[TEXT_BYTES + 32];
    snprintf(with, sizeof with, "{\"value\": %s}", play->object ? play->text : "{}");
    const struct backstep_step steps[] = {{.name = "say", .execute = say, .state = play, .with = with},
                                          {.name = "hear", .execute = hear, .state = play}};
    const struct backstep_step plain = {.name = "plain", .execute = nothing};
    struct backstep_registry *registry = backstep_registry_new();
    assert_true(backstep_register(registry, &steps[0]) && backstep_register(registry, &steps[1]) &&
                backstep_register(registry, &plain));
    struct backstep_test *test = backstep_test_new(registry);
    assert_int_equal(backstep_test_run(test), play->json);
    assert_int_equal(play->executed, play->json ? 2 : 1);
    assert_true(play->json || strncmp(backstep_test_error(test), "Step 'say' failed: ", 19) == 0);
    assert_is_json(backstep_test_result(test));
    const char *said = backstep_test_step(test, "plain", play->text);
    assert_int_equal(said != NULL, play->object);
    if (said != NULL) {
        assert_is_json(said);
    }
    backstep_test_free(test);
    backstep_registry_free(registry);
}

/* As the input of a step, and as the parameters of a run. */
static void give_it(const struct play *play)
{
    const struct backstep_step step = {.name = "plain", .execute = nothing};
    const struct backstep_step given = {.name = "given", .execute = nothing, .with = play->text};
    struct backstep_registry *registry = backstep_registry_new();
    assert_true(backstep_register(registry, &step));
    struct backstep_orchestrator *orchestrator = backstep_orchestrator_new(registry);
    assert_int_equal(backstep_execute(orchestrator, "fuzzed", play->text), play->object);
    assert_int_equal(strlen(backstep_orchestrator_error(orchestrator)) == 0, play->object);
    assert_is_json(backstep_orchestrator_result(orchestrator));
    backstep_orchestrator_free(orchestrator);
    assert_int_equal(backstep_register(registry, &given), play->object);
    assert_int_equal(strlen(backstep_registry_error(registry)) == 0, play->object);
    backstep_registry_free(registry);
}

static volatile unsigned long playing;

void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

static void tell_seed(void)
{
    if (playing != 0) {
        fprintf(stderr, "replay: FUZZ_SEED=%lu\n", playing);
    }
}

static int tell_failed_seed(void **state)
{
    (void)state;
    tell_seed();
    return 0;
}

static void any_bytes_are_taken_as_json_or_refused_with_a_reason(void **state)
{
    (void)state;
    const char *one = getenv("FUZZ_SEED"), *many = getenv("FUZZ_ROUNDS");
    unsigned long first = one != NULL ? strtoul(one, NULL, 10) : 1;
    unsigned long count = one != NULL ? 1 : many != NULL ? strtoul(many, NULL, 10) : ROUNDS;
    unsigned long sound = 0;
    for (unsigned long seed = first; seed < first + count; seed++) {
        struct play play = {0};
        chance = seed * 0x9e3779b97f4a7c15u;
        make_text(play.text);
        playing = seed;
        read_alone(&play);
        run_steps(&play);
        give_it(&play);
        sound += play.json;
        free(play.canonical);
    }
    playing = 0;
    assert_true(one != NULL || (sound > count / 10 && sound < count * 9 / 10)); /* both kinds were met */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(any_bytes_are_taken_as_json_or_refused_with_a_reason, tell_failed_seed)};
    if (__sanitizer_set_death_callback != NULL) {
        __sanitizer_set_death_callback(tell_seed);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
