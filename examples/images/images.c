/* SPDX-License-Identifier: Apache-2.0 */
/* Make pictures smaller, and say after each how many are done. The pictures are real PNG files, drawn by the first step.
 * pkg-config: libpng
 *
 *     images run -p directory=/tmp/pictures -p count=8
 *     images run -p directory=/tmp/other -p least=1000      too small for what is wanted: all of them are taken away again */
#define _POSIX_C_SOURCE 200809L
#include <backstep.h>

#include <errno.h>
#include <png.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { WIDTH = 320, HEIGHT = 200, CHANNELS = 3, FACTOR = 4, MOST = 10000 };

static int count_of(struct backstep_context *context)
{
    return (int)backstep_json_integer(backstep_param(context, "count"), 0);
}

/* The run's id is in each name: what a rollback takes away is the run's own, whatever else is in the directory. */
static const char *path_of(struct backstep_context *context, const char *kind, int number)
{
    const char *directory = backstep_json_string(backstep_param(context, "directory"), ".");
    return backstep_format(context, "%s/%s-%s-%03d.png", directory, kind, backstep_run_id(context), number);
}

/* ---- pictures: libpng's simple interface, three bytes a pixel */

static bool write_picture(const char *path, unsigned width, unsigned height, const png_byte *pixels)
{
    png_image image = {.version = PNG_IMAGE_VERSION, .width = width, .height = height, .format = PNG_FORMAT_RGB};
    return png_image_write_to_file(&image, path, 0, pixels, 0, NULL) != 0;
}

/* The caller owes free(); NULL: no picture. */
static png_byte *read_picture(const char *path, unsigned *width, unsigned *height)
{
    png_image image = {.version = PNG_IMAGE_VERSION};
    if (!png_image_begin_read_from_file(&image, path)) {
        return NULL;
    }
    image.format = PNG_FORMAT_RGB;
    png_byte *pixels = malloc(PNG_IMAGE_SIZE(image));
    if (pixels == NULL || !png_image_finish_read(&image, NULL, pixels, 0, NULL)) {
        png_image_free(&image);
        free(pixels);
        return NULL;
    }
    *width = image.width;
    *height = image.height;
    return pixels;
}

/* One channel of one pixel of the smaller picture: the mean of the square it stands for. */
static png_byte mean_of(const png_byte *pixels, unsigned width, unsigned x, unsigned y, unsigned channel)
{
    unsigned sum = 0;
    for (unsigned i = 0; i < FACTOR * FACTOR; i++) {
        size_t at = (size_t)(y * FACTOR + i / FACTOR) * width + x * FACTOR + i % FACTOR;
        sum += pixels[at * CHANNELS + channel];
    }
    return (png_byte)(sum / (FACTOR * FACTOR));
}

static bool shrink(const char *from, const char *to)
{
    unsigned width = 0, height = 0;
    png_byte *pixels = read_picture(from, &width, &height);
    unsigned narrow = width / FACTOR, low = height / FACTOR;
    png_byte *small = pixels != NULL && narrow > 0 && low > 0 ? malloc((size_t)narrow * low * CHANNELS) : NULL;
    for (size_t i = 0; small != NULL && i < (size_t)narrow * low * CHANNELS; i++) {
        size_t pixel = i / CHANNELS;
        small[i] = mean_of(pixels, width, (unsigned)(pixel % narrow), (unsigned)(pixel / narrow), (unsigned)(i % CHANNELS));
    }
    bool well = small != NULL && write_picture(to, narrow, low, small);
    free(small);
    free(pixels);
    return well;
}

/* ---- the steps */

static enum backstep_outcome draw(struct backstep_context *context, struct backstep_result *result)
{
    const char *directory = backstep_json_string(backstep_param(context, "directory"), ".");
    int count = count_of(context);
    if (count < 1 || count > MOST) {
        return backstep_fail_permanently(result, "count must be between 1 and %d, got %d", MOST, count);
    }
    if (mkdir(directory, 0755) != 0 && errno != EEXIST) {
        return backstep_fail(result, "%s: %s", directory, strerror(errno));
    }
    for (int number = 0; number < count; number++) {
        static _Thread_local png_byte pixels[WIDTH * HEIGHT * CHANNELS];
        for (unsigned i = 0; i < sizeof pixels; i++) { /* another pattern of stripes each time */
            pixels[i] = (png_byte)((i / CHANNELS % WIDTH * (unsigned)(number + 1) + i % CHANNELS * 80) % 256);
        }
        if (!write_picture(path_of(context, "picture", number), WIDTH, HEIGHT, pixels)) {
            return backstep_fail(result, "cannot write %s", path_of(context, "picture", number));
        }
        backstep_set_progress(context, number + 1, count);
    }
    return backstep_succeed(result, "{\"pictures\": %d}", count);
}

static enum backstep_outcome resize(struct backstep_context *context, struct backstep_result *result)
{
    int count = count_of(context);
    backstep_set_metrics(context, "{\"unit\": \"pictures\"}");
    for (int number = 0; number < count; number++) {
        if (backstep_cancelled(context)) {
            return backstep_fail(result, "cancelled after %d of %d pictures", number, count);
        }
        if (!shrink(path_of(context, "picture", number), path_of(context, "small", number))) {
            return backstep_fail(result, "cannot make %s of %s", path_of(context, "small", number),
                                 path_of(context, "picture", number));
        }
        backstep_set_progress(context, number + 1, count);
    }
    return backstep_succeed(result, "{\"resized\": %d}", count);
}

/* Looks at what was made, and not at what was said of it. */
static enum backstep_outcome check(struct backstep_context *context, struct backstep_result *result)
{
    unsigned width = 0, height = 0;
    for (int number = 0; number < count_of(context); number++) {
        const char *path = path_of(context, "small", number);
        png_byte *pixels = read_picture(path, &width, &height);
        if (pixels == NULL) {
            return backstep_fail_permanently(result, "%s is no picture", path);
        }
        free(pixels);
        if (width < (unsigned)backstep_json_integer(backstep_param(context, "least"), 0)) {
            return backstep_fail_permanently(result, "%s is only %u wide", path, width);
        }
    }
    return backstep_succeed(result, "{\"width\": %u, \"height\": %u}", width, height);
}

/* Undoes `draw` or `resize`: takes away what is there of what the step makes, as many as there are. */
static enum backstep_outcome take_away(struct backstep_context *context, const struct backstep_result *done,
                                       struct backstep_result *result)
{
    (void)done;
    const char *kind = strcmp(backstep_step_name(context), "draw") == 0 ? "picture" : "small";
    int count = count_of(context) <= MOST ? count_of(context) : 0;
    for (int number = 0; number < count; number++) {
        if (unlink(path_of(context, kind, number)) != 0 && errno != ENOENT) {
            return backstep_fail(result, "%s: %s", path_of(context, kind, number), strerror(errno));
        }
    }
    return backstep_succeed(result, NULL);
}

static const struct backstep_step steps[] = {
    {.name = "draw", .weight = 30, .execute = draw, .rollback = take_away},
    {.name = "resize", .weight = 60, .execute = resize, .rollback = take_away},
    {.name = "check", .weight = 10, .execute = check},
};

static void image_steps(const struct backstep_action *action, struct backstep_registry *registry, const struct backstep_json *given)
{
    (void)action, (void)given;
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        backstep_register(registry, &steps[i]);
    }
}

static const struct backstep_param_spec params[] = {
    {.name = "directory", .description = "where the pictures are", .required = true},
    {.name = "count", .description = "so many are drawn", .fallback = "4"},
    {.name = "least", .description = "what is made must be so wide", .fallback = "1"},
    {0},
};

static const struct backstep_action images = {
    .name = "images", .description = "Makes pictures smaller.", .params = params, .default_steps = image_steps};

int main(int argc, char **argv)
{
    return backstep_action_main(argc, argv, &images);
}
