/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/settings.h"

#include "common/defaults.h"
#include "common/log.h"

#include <stdio.h>

void settings_log(const struct options *options)
{
    enum log_level level = LOG_WARN;
    if (log_level_parse(option_text(options, "log-level"), &level)) {
        log_set_level(option_flag(options, "quiet") && level < LOG_ERROR ? LOG_ERROR : level);
    }
}

void settings_of(const struct options *options, struct serve_options *serve)
{
    serve->brokers = option_text(options, "brokers");
    serve->prefix = option_text(options, "prefix");
    serve->queue = option_text(options, "queue");
    serve->id = option_text(options, "id");
    serve->properties = option_list(options, "property", &serve->property_count);
    serve->slots = (uint32_t)option_number(options, "concurrency");
    serve->lease_ms = (uint32_t)option_duration_ms(options, "lease");
    serve->drain_timeout_ms = (uint32_t)option_duration_ms(options, "drain-timeout");
    serve->cancel_grace_ms = (uint32_t)option_duration_ms(options, "cancel-grace");
    serve->max_tasks = (uint32_t)option_number(options, "max-tasks");
    serve->timeout_ms = (int)option_duration_ms(options, "timeout");
}

int settings_serve(const char *program, const struct serve_options *serve)
{
    struct error error = {0};
    int code = serve_run(serve, &error);
    if (code != 0) {
        fprintf(stderr, "%s: %s\n", program, error.message);
    }
    return code;
}
