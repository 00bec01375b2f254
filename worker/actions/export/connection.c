/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/actions/export/connection.h"

#include "common/file.h"
#include "common/names.h"
#include "worker/actions/formatted.h"

#include <stdlib.h>
#include <string.h>

#define BROKERS "bootstrap.servers"

static char *trim(char *text)
{
    text += strspn(text, " \t\r");
    for (size_t size = strlen(text); size > 0 && strchr(" \t\r", text[size - 1]) != NULL; size--) {
        text[size - 1] = '\0';
    }
    return text;
}

/* "name = value" becomes "name=value" where it stands. */
static bool take_line(struct connection *connection, char *line, struct error *error)
{
    line = trim(line);
    if (line[0] == '\0' || line[0] == '#') {
        return true;
    }
    char *equals = strchr(line, '=');
    if (equals == NULL || equals == line) {
        return error_set(error, ERROR_INVALID, "expected NAME = VALUE");
    }
    *equals = '\0';
    const char *name = trim(line), *value = trim(equals + 1);
    if (strcmp(name, BROKERS) == 0) {
        connection->brokers = value;
        return true;
    }
    if (connection->property_count == LIMIT_CONNECTION_PROPERTIES) {
        return error_set(error, ERROR_INVALID, "more than %d properties", LIMIT_CONNECTION_PROPERTIES);
    }
    size_t name_size = strlen(name), value_size = strlen(value);
    memmove(line, name, name_size);
    line[name_size] = '=';
    memmove(line + name_size + 1, value, value_size + 1);
    connection->properties[connection->property_count++] = line;
    return true;
}

static bool take_lines(struct connection *connection, struct error *error)
{
    int number = 0;
    text_string(&connection->text); /* ends it with a zero */
    for (char *line, *at = connection->text.bytes; (line = strsep(&at, "\n")) != NULL;) {
        number++;
        if (!take_line(connection, line, error)) {
            return error_prefix(error, "line %d", number);
        }
    }
    return connection->brokers != NULL || error_set(error, ERROR_INVALID, "has no " BROKERS);
}

bool connection_read(struct connection *connection, const char *name, struct error *error)
{
    const char *directory = getenv("BACKSTEP_KAFKA_CONNECTIONS");
    *connection = (struct connection){0};
    text_init(&connection->text, 2 * LIMIT_CONNECTION_BYTES);
    if (!identifier_check(span_of(name), error)) {
        return error_prefix(error, "param 'connection'");
    }
    if (directory == NULL || directory[0] == '\0') {
        return error_set(error, ERROR_INVALID,
                         "param 'connection': the worker has none: BACKSTEP_KAFKA_CONNECTIONS names no directory of them");
    }
    char *path = formatted("%s/%s.conf", directory, name);
    bool ok = file_read(path, &connection->text, LIMIT_CONNECTION_BYTES, error);
    if (ok && connection->text.size > LIMIT_CONNECTION_BYTES) {
        ok = error_set(error, ERROR_INVALID, "is larger than %d KiB", LIMIT_CONNECTION_BYTES / 1024);
    }
    ok = ok && take_lines(connection, error);
    ok = ok || error_prefix(error, "param 'connection': %s", path);
    free(path);
    return ok;
}

void connection_fini(struct connection *connection)
{
    if (connection->text.bytes != NULL) {
        explicit_bzero(connection->text.bytes, connection->text.size);
    }
    text_fini(&connection->text);
}
