/* SPDX-License-Identifier: Apache-2.0 */
/* An action is changed from outside: `setup_steps` takes its steps, puts a validation before one, a wrapper around it and another step after
 * it. `fetch` is skipped where its result is cached.
 *
 *     audited run -p city=Oslo                       fetches, reports, and says who did what
 *     audited run -p city=Oslo -p cached='"12 C"'    the fetch is skipped
 *     audited run -p city=Atlantis                   the validation lets it not pass
 *     audited plan | backstep start - -b BROKERS     beside: audited worker -b BROKERS */
#include <backstep.h>

#include <string.h>

/* ---- the action, as somebody else wrote it */

static const struct backstep_param_spec params[] = {
    {.name = "city", .description = "whose weather is wanted", .required = true},
    {.name = "cached", .description = "what is known already"},
    {0},
};

static bool is_cached(struct backstep_context *context)
{
    return backstep_param(context, "cached") != NULL;
}

static enum backstep_outcome fetch(struct backstep_context *context, struct backstep_result *result)
{
    const char *city = backstep_json_string(backstep_param(context, "city"), "");
    backstep_context_set(context, "weather", "\"%d C\"", (int)strlen(city));
    return backstep_succeed(result, NULL);
}

static enum backstep_outcome report(struct backstep_context *context, struct backstep_result *result)
{
    const struct backstep_json *weather = backstep_context_get(context, "weather");
    weather = weather != NULL ? weather : backstep_param(context, "cached");
    return backstep_succeed(result, "{\"report\": %s}", backstep_quote(context, backstep_json_string(weather, "none")));
}

static const struct backstep_step fetch_step = {.name = "fetch", .weight = 90, .execute = fetch, .can_skip = is_cached};
static const struct backstep_step report_step = {.name = "report", .weight = 10, .execute = report};

static void weather_steps(const struct backstep_action *action, struct backstep_registry *registry,
                          const struct backstep_json *given)
{
    (void)action, (void)given;
    backstep_register(registry, &fetch_step);
    backstep_register(registry, &report_step);
}

/* ---- what we make of it */

/* A wrapper of one's own. */
static enum backstep_outcome audit(struct backstep_call *call, struct backstep_context *context, struct backstep_result *result)
{
    enum backstep_outcome outcome = backstep_proceed(call);
    backstep_log_event(context, BACKSTEP_WARN, "audit", "{\"step\": %s, \"by\": %s, \"success\": %s}",
                       backstep_quote(context, backstep_call_step(call)->name), backstep_quote(context, backstep_call_state(call)),
                       backstep_result_success(result) ? "true" : "false");
    return outcome;
}

static char auditor[] = "the weather desk";
static const struct backstep_wrapper audited = {.prefix = "audited_", .around = audit, .state = auditor};

static const char *city_is_real(struct backstep_context *context)
{
    const char *city = backstep_json_string(backstep_param(context, "city"), "");
    return strcmp(city, "Atlantis") == 0 ? backstep_format(context, "%s is under water", city) : NULL;
}

static const struct backstep_validation city_check = {.name = "check_city", .weight = 1, .validate = city_is_real};

static enum backstep_outcome file_away(struct backstep_context *context, struct backstep_result *result)
{
    const char *text =
        backstep_json_string(backstep_json_member(backstep_step_data(context, "audited_timed_report"), "report"), "");
    return backstep_succeed(result, "{\"filed\": %s}", backstep_quote(context, text));
}

static const struct backstep_step file_step = {.name = "file", .weight = 1, .execute = file_away};

static void setup(const struct backstep_action *action, struct backstep_registry *registry, const struct backstep_json *given)
{
    action->default_steps(action, registry, given);
    backstep_insert_before(registry, "fetch", backstep_validating(registry, &city_check));
    backstep_insert_after(registry, "report", &file_step);
    backstep_replace(registry, "report", backstep_wrap(registry, &audited, backstep_timing(registry, &report_step)));
}

static const struct backstep_action weather = {.name = "weather",
                                               .description = "Says what the weather is.",
                                               .params = params,
                                               .default_steps = weather_steps,
                                               .setup_steps = setup};

int main(int argc, char **argv)
{
    return backstep_action_main(argc, argv, &weather);
}
