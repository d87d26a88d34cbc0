/* SPDX-License-Identifier: Apache-2.0 */
/* image.*: what the controller's stores of images have. Who may look at a profile may
 * look at what it names: everybody. Only reading; images are built and removed by who
 * owns the store's directory, and pushed to nodes by lodged (push.c). */
#include "controller/handlers.h"

#include "image/keep.h"

static int image_list(const struct dispatch_call *c, json_t **result, struct err *err)
{
    static const char *const known[] = {NULL};
    return dispatch_only(c, known, err) < 0 ? -1 : keep_list(result, err);
}

static int image_show(const struct dispatch_call *c, json_t **result, struct err *err)
{
    static const char *const known[] = {"name", NULL};
    const char *name;
    if (dispatch_only(c, known, err) < 0 ||
        dispatch_text(c, "name", true, &name, err) < 0)
        return -1;
    return keep_manifest(name, result, err);
}

const struct dispatch_method dispatch_image[] = {
    {"image.list", image_list, .help = "all images and versions"},
    {"image.show", image_show, .help = "the whole manifest of an image"},
    {0},
};
