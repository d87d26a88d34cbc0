/* SPDX-License-Identifier: Apache-2.0 */
/* Definitions of images: what is taken has what a build relies on, and a plan. */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "image/def.h"

const char fuzz_name[] = "image_def";
const char *const fuzz_seeds[] = {"test/data/image", "images", NULL};

/* A path goes into the root: it must not lead out of it. */
static void check_path(const char *p)
{
    if (!p || *p != '/' || strstr(p, "/../") || str_ends(p, "/..") || strstr(p, "//"))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct image_def *d = NULL;
    struct err err = {0};
    if (image_def_parse((const char *)data, size, "fuzz", &d, &err) < 0) {
        if (!err.text[0] || d)
            abort();
        return 0;
    }
    if (!str_is_name(d->name) || !str_is_name(d->version) || !d->root_format ||
        !d->root_mode || !d->marker || (!d->suite && !d->source))
        abort();
    check_path(d->init);
    for (size_t i = 0; i < d->nfiles; i++)
        check_path(d->files[i].path);
    for (size_t i = 0; i < d->packages.count; i++) /* becomes an argument */
        if (*d->packages.item[i] == '-')
            abort();
    image_def_free(d);
    return 0;
}
