/* SPDX-License-Identifier: Apache-2.0 */
/* clone IMAGE [TIMES]: what a machine's own image costs: to find it, hold it, and open
 * what boots it, all read only; nothing is copied. Prints the median in microseconds.
 * For bench/image. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/own.h"
#include "base/str.h"
#include "image/store.h"

static double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static int clone_once(const char *ref, struct err *err)
{
    AUTO(image) img = NULL;
    if (image_find(ref, &img, err) < 0)
        return -1;
    AUTO_FD held = image_hold(ref, err);
    if (held < 0)
        return -1;
    const char *const parts[] = {img->kernel, img->initrd, img->root};
    int fds[ARRAY_SIZE(parts)];
    int r = 0;
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
        fds[i] = parts[i] ? open(parts[i], O_RDONLY | O_CLOEXEC) : -1;
        if (parts[i] && fds[i] < 0)
            r = err_sys(err, "'%s'", parts[i]);
    }
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
        if (fds[i] >= 0)
            close(fds[i]);
    return r;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    uint64_t times = 1001;
    struct err err = {0};
    if (argc < 2 ||
        (argc > 2 && (!str_to_u64(argv[2], &times) || !times || times > 1000000))) {
        fprintf(stderr, "usage: clone IMAGE [TIMES]\n");
        return 64;
    }
    double *took = calloc(times, sizeof *took);
    for (uint64_t i = 0; took && i < times; i++) {
        double start = now_us();
        if (clone_once(argv[1], &err) < 0) {
            fprintf(stderr, "clone: %s\n", err.text);
            free(took);
            return 1;
        }
        took[i] = now_us() - start;
    }
    if (!took)
        return 1;
    qsort(took, times, sizeof *took, by_size);
    printf("%.0f\n", took[times / 2]);
    free(took);
    return 0;
}
