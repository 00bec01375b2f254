/* SPDX-License-Identifier: Apache-2.0 */
#include "common/jq.h"

#include "common/limits.h"

#include <ctype.h>
#include <fcntl.h>
#include <jq.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED
#endif

#define NO_VALUE "it gives no value"
#define MANY_VALUES "it gives more than one value; for a list of them put it in [ ]"

extern char **environ;

struct jq_program {
    jq_state *state;
    struct span expression; /* while it is compiled */
    struct error *error; /* likewise: where the first message goes */
    bool told;
};

struct jq_input {
    jv value;
};

/* ---------------------------------------------------------------- the walls */

enum { STATM_SIZE, STATM_RESIDENT };

/* In bytes, or 0. Only calls that a signal handler may make. */
static size_t memory_bytes(int which, int fd)
{
    char text[128];
    ssize_t size = pread(fd, text, sizeof text - 1, 0);
    size_t pages[2] = {0, 0};
    for (ssize_t i = 0, field = 0; i < size && field < 2; i++) {
        if (text[i] == ' ') {
            field++;
        } else {
            pages[field] = pages[field] * 10 + (size_t)(text[i] - '0');
        }
    }
    return pages[which] * (size_t)sysconf(_SC_PAGESIZE);
}

static _Noreturn void out_of_memory(void *state)
{
    (void)state;
    _exit(JQ_EXIT_MEMORY);
}

#ifdef SANITIZED
/* A sanitizer's allocator has reserved its address space long ago, so that no limit on it is felt: look at what is really used. */
static int statm_fd;
static size_t resident_most_bytes;

static void on_look(int number)
{
    (void)number;
    if (memory_bytes(STATM_RESIDENT, statm_fd) > resident_most_bytes) {
        _exit(JQ_EXIT_MEMORY);
    }
}

static bool watch_memory(int fd)
{
    struct itimerval often = {.it_interval = {.tv_usec = 10000}, .it_value = {.tv_usec = 10000}};
    statm_fd = dup(fd);
    resident_most_bytes = memory_bytes(STATM_RESIDENT, fd) + LIMIT_EXPRESSION_MEMORY_BYTES;
    sigaction(SIGALRM, &(struct sigaction){.sa_handler = on_look, .sa_flags = SA_RESTART}, NULL);
    return statm_fd >= 0 && setitimer(ITIMER_REAL, &often, NULL) == 0;
}
#else
static bool watch_memory(int fd)
{
    (void)fd;
    return true;
}
#endif

/* Who was given less already may not ask for more. */
static bool limit(__rlimit_resource_t resource, size_t value)
{
    struct rlimit now;
    bool ok = getrlimit(resource, &now) == 0;
    rlim_t most = ok && now.rlim_max < value ? now.rlim_max : value;
    return ok && setrlimit(resource, &(struct rlimit){most, most}) == 0;
}

bool jq_confine(void)
{
    static char *nothing[] = {NULL};
    static const int deadly[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTERM, SIGINT, SIGHUP, SIGPIPE};
    environ = nothing;
    for (size_t i = 0; i < sizeof deadly / sizeof *deadly; i++) {
        signal(deadly[i], SIG_DFL);
    }
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    size_t used = fd >= 0 ? memory_bytes(STATM_SIZE, fd) : 0;
    bool ok = used > 0 && watch_memory(fd) && limit(RLIMIT_AS, used + LIMIT_EXPRESSION_MEMORY_BYTES) && limit(RLIMIT_CORE, 0) &&
              limit(RLIMIT_NOFILE, 0);
    if (fd >= 0) {
        close(fd);
    }
    return ok;
}

/* ---------------------------------------------------------------- what jq has against an expression */

static bool is_word(char character)
{
    return isalnum((unsigned char)character) || character == '_' || character == ':';
}

/* Where `word` stands on that line as a word of its own, from 1; 0: nowhere. */
static size_t column_of(struct span expression, long line, struct span word)
{
    size_t begin = 0;
    for (; line > 1 && begin < expression.size; begin++) {
        line -= expression.bytes[begin] == '\n';
    }
    for (size_t i = begin; i + word.size <= expression.size && expression.bytes[i] != '\n'; i++) {
        bool after = i > begin && is_word(expression.bytes[i - 1]);
        bool before = i + word.size < expression.size && is_word(expression.bytes[i + word.size]);
        if (!after && !before && memcmp(expression.bytes + i, word.bytes, word.size) == 0) {
            return i - begin + 1;
        }
    }
    return 0;
}

/* jq says the line, and of what is not defined its name: then we know the column too. */
static size_t column_of_undefined(struct span expression, long line, const char *reason)
{
    size_t size = strcspn(reason, "/ ");
    return strstr(reason, " is not defined") != NULL && size > 0 ? column_of(expression, line, (struct span){reason, size}) : 0;
}

/* The first `cut` in `text` goes, with `instead` in its place, which is not longer. */
static void replace(char *text, const char *cut, const char *instead)
{
    char *at = strstr(text, cut);
    if (at != NULL) {
        size_t size = strlen(instead);
        memcpy(at, instead, size);
        memmove(at + size, at + strlen(cut), strlen(at + strlen(cut)) + 1);
    }
}

static void on_error(void *state, jv message)
{
    static const char place[] = " at <top-level>, line ";
    struct jq_program *program = state;
    char *reason = strdup(jv_get_kind(message) == JV_KIND_STRING ? jv_string_value(message) : "?");
    jv_free(message);
    if (program->told || reason == NULL) {
        free(reason);
        return;
    }
    program->told = true;
    char *at = strstr(reason, place);
    long line = at != NULL ? strtol(at + sizeof place - 1, NULL, 10) : 1;
    reason[at != NULL ? (size_t)(at - reason) : strcspn(reason, "\n")] = '\0';
    replace(reason, "jq: error: ", "");
    replace(reason, " (Unix shell quoting issues?)", "");
    replace(reason, "$end", "end");
    size_t column = column_of_undefined(program->expression, line, reason);
    if (column > 0) {
        error_set(program->error, ERROR_INVALID, "line %ld, column %zu: %s", line, column, reason);
    } else {
        error_set(program->error, ERROR_INVALID, "line %ld: %s", line, reason);
    }
    free(reason);
}

static void ignore_error(void *state, jv message)
{
    (void)state;
    jv_free(message);
}

static jv no_input(jq_state *state, void *nothing)
{
    (void)state;
    (void)nothing;
    return jv_invalid();
}

static bool compile(struct jq_program *program, const char *text)
{
    jq_set_nomem_handler(program->state, out_of_memory, NULL);
    jq_set_error_cb(program->state, on_error, program);
    jq_set_input_cb(program->state, no_input, NULL);
    jq_set_attr(program->state, jv_string("JQ_LIBRARY_PATH"), jv_array()); /* without one, `import` ends the process */
    bool ok = jq_compile(program->state, text) != 0;
    jq_set_error_cb(program->state, ignore_error, NULL);
    program->error = NULL;
    return ok;
}

struct jq_program *jq_program_new(struct span expression, struct error *error)
{
    struct jq_program *program = calloc(1, sizeof *program);
    char *text = calloc(expression.size + 1, 1);
    if (program == NULL || text == NULL || (program->state = jq_init()) == NULL) {
        out_of_memory(NULL);
    }
    memcpy(text, expression.bytes, expression.size);
    program->expression = expression;
    program->error = error;
    error_set(error, ERROR_INVALID, "line 1: not understood");
    if (!compile(program, text)) {
        jq_program_free(program);
        program = NULL;
    }
    free(text);
    return program;
}

void jq_program_free(struct jq_program *program)
{
    if (program != NULL) {
        jq_teardown(&program->state);
        free(program);
    }
}

/* ---------------------------------------------------------------- running one */

struct jq_input *jq_input_new(struct span json, struct error *error)
{
    struct jq_input *input = calloc(1, sizeof *input);
    if (input == NULL) {
        out_of_memory(NULL);
    }
    input->value = jv_parse_sized(json.size > 0 ? json.bytes : "", (int)json.size);
    if (!jv_is_valid(input->value)) {
        error_set(error, ERROR_INVALID, "jq does not take its input for JSON");
        jq_input_free(input);
        return NULL;
    }
    return input;
}

void jq_input_free(struct jq_input *input)
{
    if (input != NULL) {
        jv_free(input->value);
        free(input);
    }
}

/* Takes `message`. A text as it is, anything else as JSON. */
static bool fail_with(jv message, struct error *error)
{
    jv text = jv_get_kind(message) == JV_KIND_STRING ? message : jv_dump_string(message, 0);
    error_set(error, ERROR_INVALID, "%s", jv_string_value(text));
    jv_free(text);
    return false;
}

/* Takes `end`: what came instead of a value. True: it has simply ended. */
static bool has_ended_well(struct jq_program *program, jv end, struct error *error)
{
    if (jq_halted(program->state)) {
        jv_free(end);
        return error_set(error, ERROR_INVALID, "halt and halt_error are for jq itself; use error(\"why\")");
    }
    if (jv_invalid_has_msg(jv_copy(end))) {
        return fail_with(jv_invalid_get_msg(end), error);
    }
    jv_free(end);
    return true;
}

static bool has_no_second(struct jq_program *program, struct error *error)
{
    jv second = jq_next(program->state);
    if (jv_is_valid(second)) {
        jv_free(second);
        return error_set(error, ERROR_INVALID, MANY_VALUES);
    }
    return has_ended_well(program, second, error);
}

/* Takes `value`. */
static bool print(jv value, struct text *output, struct error *error)
{
    jv text = jv_dump_string(value, 0);
    size_t size = (size_t)jv_string_length_bytes(jv_copy(text));
    text_append(output, jv_string_value(text), size);
    jv_free(text);
    return !output->overflow || error_set(error, ERROR_INVALID, "it gives %zu bytes; the most is %zu", size, output->max_bytes);
}

bool jq_program_run(struct jq_program *program, const struct jq_input *input, struct text *output, struct error *error)
{
    jq_start(program->state, jv_copy(input->value), 0);
    jv value = jq_next(program->state);
    if (!jv_is_valid(value)) {
        return has_ended_well(program, value, error) && error_set(error, ERROR_INVALID, NO_VALUE);
    }
    if (!has_no_second(program, error)) {
        jv_free(value);
        return false;
    }
    return print(value, output, error);
}

bool jq_program_run_all(struct jq_program *program, const struct jq_input *input, struct text *output, struct error *error)
{
    jq_start(program->state, jv_copy(input->value), 0);
    for (;;) {
        jv value = jq_next(program->state);
        if (!jv_is_valid(value)) {
            return has_ended_well(program, value, error);
        }
        if (!print(value, output, error)) {
            return false;
        }
        text_append_char(output, '\n');
    }
}

/* ---------------------------------------------------------------- running several in one program */

/* A list of what it gives, so that one that gives nothing does not leave its place to the next; a comment may end it. */
void jq_append_one(struct text *program, struct span expression)
{
    text_append_string(program, program->size > 0 ? ",[limit(2;(" : "[limit(2;(");
    text_append_span(program, expression);
    text_append_string(program, "\n))]");
}

bool jq_program_run_next(struct jq_program *program, const struct jq_input *input, struct text *output, struct error *error)
{
    if (input != NULL) {
        jq_start(program->state, jv_copy(input->value), 0);
    }
    jv given = jq_next(program->state);
    if (!jv_is_valid(given)) {
        return has_ended_well(program, given, error) && error_set(error, ERROR_INVALID, NO_VALUE);
    }
    int count = jv_array_length(jv_copy(given));
    if (count != 1) {
        jv_free(given);
        return error_set(error, ERROR_INVALID, "%s", count == 0 ? NO_VALUE : MANY_VALUES);
    }
    return print(jv_array_get(given, 0), output, error);
}
