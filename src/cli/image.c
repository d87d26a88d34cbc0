/* SPDX-License-Identifier: Apache-2.0 */
/* lodge image: build, look at and keep images. */
#include "cli/nouns.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/dirs.h"
#include "base/own.h"
#include "base/str.h"
#include "image/build.h"
#include "image/store.h"

OWN_CLEANUP(json_t, json_decref)

/* ---- build ----------------------------------------------------------------------- */

static struct build_options build_input;

enum { KEY_OFFLINE = 0x2000, KEY_LOCK, KEY_CHECK, KEY_NO_CACHE, KEY_ROOTLESS };

static const struct argp_option build_argp[] = {
    {"offline", KEY_OFFLINE, 0, 0, "use only what the cache has"},
    {"update-lock", KEY_LOCK, 0, 0,
     "choose packages anew and write them to DEFINITION.lock"},
    {"check", KEY_CHECK, 0, 0, "build twice and name the first file that differs"},
    {"no-cache", KEY_NO_CACHE, 0, 0, "build every layer anew (packages are kept)"},
    {"rootless", KEY_ROOTLESS, 0, 0,
     "build in a user namespace, as it is always done without root"},
    {0}};

static error_t build_parse(int key, char *arg, struct argp_state *state)
{
    struct build_options *o = state->input;
    switch (key) {
    case KEY_OFFLINE:
        return o->offline = true, 0;
    case KEY_LOCK:
        return o->update_lock = true, 0;
    case KEY_CHECK:
        return o->check = true, 0;
    case KEY_NO_CACHE:
        return o->no_cache = true, 0;
    case KEY_ROOTLESS:
        return o->rootless = true, 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* A file, or the name of a definition that Lodge or the site ships. */
static int find_definition(const char *arg, char **out, struct err *err)
{
    if (strchr(arg, '/') || access(arg, R_OK) == 0)
        return (*out = strdup(arg)) ? 0 : err_oom(err);
    static const enum dirs_kind kinds[] = {DIRS_CONFIG, DIRS_DATA};
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        AUTO_STR path = dirs_path(kinds[i], "images/%s.xml", arg);
        if (!path)
            return err_oom(err);
        if (access(path, R_OK) == 0)
            return *out = move(path), 0;
    }
    return err_set(err, E_NOENT,
                   "no definition '%s': give a file, or put images/%s.xml into the "
                   "configuration directory",
                   arg, arg);
}

static void show_progress(void *arg, const char *step, bool end, uint64_t ms)
{
    if (end)
        fprintf(stderr, "\r%-10s %6.1f s\n", step, ms / 1000.0);
    else
        fprintf(stderr, "%-10s ...", step);
    fflush(stderr);
}

static int run_build(struct cli *cli, int nargs, char **args, struct err *err)
{
    AUTO_STR path = NULL;
    AUTO(image_def) def = NULL;
    if (find_definition(args[0], &path, err) < 0 || image_def_load(path, &def, err) < 0)
        return -1;
    if (cli->dry_run) {
        AUTO_STR plan = NULL;
        if (image_plan(def, &plan, err) < 0)
            return -1;
        fputs(plan, stdout);
        return 0;
    }
    if (isatty(STDERR_FILENO))
        build_input.progress = show_progress;
    build_input.rootless |= geteuid() != 0;
    struct build_result r;
    if (image_build(def, &build_input, &r, err) < 0)
        return -1;
    char root[16], initramfs[16];
    cli_say(cli, "image '%s@%s' %s: root %s, initramfs %s, %s", def->name, r.version,
            r.same ? "is the same as before" : "built",
            str_from_bytes(r.root_bytes, root, sizeof root),
            str_from_bytes(r.initramfs_bytes, initramfs, sizeof initramfs), r.digest);
    build_result_done(&r);
    return 0;
}

static const struct cli_verb verbs[] = {
    {"build", "FILE", "make an image from its definition", 1, 1, build_argp,
     build_parse, &build_input, run_build},
    {0},
};

const struct cli_noun cli_noun_image = {"image",
                                        "the disks that virtual machines start "
                                        "from",
                                        verbs};
