/* SPDX-License-Identifier: Apache-2.0 */
/* docs/ACTIONS.md has a row for each param of each action: its unit, default, limits and meaning, as the program has them. */
#include "worker/actions/action.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static void append_escaped(struct text *row, const char *text)
{
    for (const char *at = text; *at != '\0'; at++) {
        text_append_string(row, *at == '|' ? "\\|" : (const char[]){*at, '\0'});
    }
}

static void append_limits(struct text *row, const struct action_param *param)
{
    switch (param->kind) {
    case PARAM_TEXT: break;
    case PARAM_LIST: text_append_string(row, "a list, or a,b,c"); break;
    case PARAM_BOOL: text_append_string(row, "true, false"); break;
    case PARAM_CHOICE: append_escaped(row, param->choices); break;
    case PARAM_NUMBER: text_format(row, "%g to %g", param->number_least, param->number_most); break;
    case PARAM_INTEGER:
    case PARAM_SIZE:
    case PARAM_DURATION: text_format(row, "%" PRId64 " to %" PRId64, param->least, param->most); break;
    }
}

static void append_row(struct text *row, const struct action_param *param)
{
    text_format(row, "| `%s` | %s | %s | ", param->name, param->unit != NULL ? param->unit : "",
                param->required           ? "required"
                : param->fallback != NULL ? param->fallback
                                          : "none");
    append_limits(row, param);
    text_append_string(row, " | ");
    append_escaped(row, param->help);
    text_append_string(row, " |\n");
}

static char *read_page(void)
{
    const char *source = getenv("BACKSTEP_SOURCE");
    char path[4096];
    snprintf(path, sizeof path, "%s/docs/ACTIONS.md", source != NULL ? source : ".");
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    struct text page;
    text_init(&page, 1 << 20);
    char bytes[4096];
    for (size_t got; (got = fread(bytes, 1, sizeof bytes, file)) > 0;) {
        text_append(&page, bytes, got);
    }
    fclose(file);
    return text_take(&page);
}

/* The part of the page that is about one action. */
static char *section_of(const char *page, const char *action)
{
    char heading[64];
    snprintf(heading, sizeof heading, "\n### Params of %s\n", action);
    const char *begin = strstr(page, heading);
    assert_non_null(begin);
    const char *end = strstr(begin + strlen(heading), "\n#");
    return strndup(begin, end != NULL ? (size_t)(end - begin) : strlen(begin));
}

static void every_param_stands_on_the_page_as_the_program_has_it(void **state)
{
    (void)state;
    const struct action *const actions[] = {&upload_action, &export_action, &train_action};
    char *page = read_page();
    int missing = 0, rows = 0;
    for (size_t i = 0; i < 3; i++) {
        char *section = section_of(page, actions[i]->name);
        const struct action_param *param = actions[i]->parts[0].params;
        for (rows = 0; param[rows].name != NULL; rows++) {
            struct text row;
            text_init(&row, 4096);
            append_row(&row, &param[rows]);
            if (strstr(section, text_string(&row)) == NULL) {
                print_message("%s lacks: %s", actions[i]->name, text_string(&row));
                missing++;
            }
            text_fini(&row);
        }
        for (const char *at = section; (at = strstr(at, "\n| `")) != NULL; at++) {
            rows--;
        }
        assert_int_equal(rows, 0); /* none that the program has not */
        free(section);
    }
    free(page);
    assert_int_equal(missing, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_param_stands_on_the_page_as_the_program_has_it)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
