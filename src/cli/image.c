/* SPDX-License-Identifier: Apache-2.0 */
/* lodge image: build, look at and keep images. */
#include "cli/image.h"
#include "cli/nouns.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/dirs.h"
#include "base/fd.h"
#include "base/own.h"
#include "base/str.h"
#include "image/boot.h"
#include "image/build.h"
#include "image/keep.h"
#include "image/list.h"
#include "image/manifest.h"
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

static void show_progress(void *arg, const char *step, bool end, uint64_t ms,
                          uint64_t bytes)
{
    char size[16] = "";
    if (end)
        fprintf(stderr, "\r%-10s %6.1f s %8s\n", step, ms / 1000.0,
                bytes ? str_from_bytes(bytes, size, sizeof size) : "");
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

/* ---- list, show, diff, log ------------------------------------------------------- */

static const struct cli_column list_columns[] = {
    {"name", CLI_TEXT, .help = "the image"},
    {"version", CLI_TEXT, .help = "of its definition, and which build of it"},
    {"tags", CLI_TEXT, .help = "names for this version"},
    {"kind", CLI_TEXT, .help = "guest, host or disk"},
    {"root", CLI_TEXT, .help = "format of the root"},
    {"size", CLI_BYTES, .help = "of everything the image has"},
    {"built", CLI_TEXT, .help = "when"},
    {"digest", CLI_TEXT, true, "SHA256 of what the image is"},
    {"store", CLI_TEXT, true, "the directory it is in"},
    {0}};

static bool is_same(const json_t *a, const json_t *b)
{
    static const char *const keys[] = {"name", "version", "digest"};
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
        if (!json_equal(json_object_get(a, keys[i]), json_object_get(b, keys[i])))
            return false;
    return true;
}

/* Ours, and what only the controller has: on a submit host its store is elsewhere. */
static int add_site(struct cli *cli, json_t *rows, struct err *err)
{
    AUTO_T(json_t) site = NULL;
    size_t i, k;
    json_t *row, *own;
    if (cli_call(cli, "image.list", NULL, &site, err) < 0)
        return -1;
    size_t before = json_array_size(rows);
    json_array_foreach (site, i, row) {
        bool known = false;
        json_array_foreach (rows, k, own)
            known |= k < before && is_same(own, row);
        if (!known && json_array_append(rows, row) < 0)
            return err_oom(err);
    }
    return 0;
}

static int run_list(struct cli *cli, int nargs, char **args, struct err *err)
{
    AUTO_T(json_t) rows = NULL;
    return keep_list(&rows, err) < 0 || add_site(cli, rows, err) < 0
               ? -1
               : cli_table(cli, list_columns, rows, err);
}

static int run_show(struct cli *cli, int nargs, char **args, struct err *err)
{
    AUTO_T(json_t) m = NULL;
    struct err e = {0};
    if (keep_manifest(args[0], &m, &e) < 0 &&
        (e.code != E_NOENT ||
         cli_call(cli, "image.show", json_pack("{s:s}", "name", args[0]), &m, NULL) <
             0))
        return err_set(err, e.code, "%s", e.text);
    json_dumpf(m, stdout, JSON_INDENT(2) | JSON_SORT_KEYS);
    putchar('\n');
    return 0;
}

static const struct cli_column diff_columns[] = {
    {"change", CLI_TEXT, .help = "added, removed or changed"},
    {"package", CLI_TEXT, .help = "name of a package"},
    {"old", CLI_TEXT, .help = "its version in the first image"},
    {"new", CLI_TEXT, .help = "its version in the second"},
    {"path", CLI_TEXT, .help = "a file"},
    {0}};

static int file_list(const char *ref, char **out, struct err *err)
{
    AUTO_STR path = NULL;
    if (keep_output(ref, "files", &path, err) < 0)
        return -1;
    return fd_read_file(path, 256 << 20, out, NULL, err);
}

/* 0: the same, 1: different, as diff(1). */
static int run_diff(struct cli *cli, int nargs, char **args, struct err *err)
{
    AUTO_T(json_t) a = NULL;
    AUTO_T(json_t) b = NULL;
    AUTO_T(json_t) packages = NULL;
    AUTO_T(json_t) files = NULL;
    AUTO_STR x = NULL;
    AUTO_STR y = NULL;
    if (keep_manifest(args[0], &a, err) < 0 || keep_manifest(args[1], &b, err) < 0 ||
        list_diff_packages(a, b, &packages, err) < 0 ||
        file_list(args[0], &x, err) < 0 || file_list(args[1], &y, err) < 0 ||
        list_diff(x, y, &files, err) < 0 || json_array_extend(packages, files) < 0 ||
        cli_table(cli, diff_columns, packages, err) < 0)
        return -1;
    return json_array_size(packages) ? 1 : 0;
}

static int run_log(struct cli *cli, int nargs, char **args, struct err *err)
{
    AUTO_STR text = NULL;
    if (!str_is_name(args[0]))
        return err_set(err, E_USAGE, "'%s' is not an image's name", args[0]);
    AUTO_STR path = dirs_path(DIRS_STATE, "images/logs/%s.log", args[0]);
    if (!path)
        return err_oom(err);
    if (fd_read_file(path, 64 << 20, &text, NULL, err) < 0)
        return err_at(err, "log of the last build");
    fputs(text, stdout);
    return 0;
}

/* ---- keeping --------------------------------------------------------------------- */

static const struct cli_column verify_columns[] = {
    {"what", CLI_TEXT, .help = "image and output, tag or file"},
    {"problem", CLI_TEXT, .help = "what is wrong with it"},
    {0}};

static bool verify_rebuild;
enum {
    KEY_REBUILD = 0x2100,
    KEY_DAYS,
    KEY_TIMEOUT,
    KEY_CONSOLE,
    KEY_MEMORY,
    KEY_KVM,
    KEY_VMM
};

static const struct argp_option verify_argp[] = {
    {"rebuild", KEY_REBUILD, 0, 0,
     "build it again from its definition and compare digests"},
    {0}};

static error_t verify_parse(int key, char *arg, struct argp_state *state)
{
    if (key != KEY_REBUILD)
        return ARGP_ERR_UNKNOWN;
    verify_rebuild = true;
    return 0;
}

/* The definition is where it was when the image was built. */
static int rebuild(struct cli *cli, const char *ref, struct err *err)
{
    AUTO_T(json_t) m = NULL;
    if (keep_manifest(ref, &m, err) < 0)
        return -1;
    const char *path =
        json_string_value(json_object_get(json_object_get(m, "build"), "path"));
    if (!path)
        return err_set(err, E_INPUT, "image '%s' was imported, not built", ref);
    AUTO_STR want = manifest_digest(m);
    AUTO(image_def) def = NULL;
    if (!want)
        return err_oom(err);
    if (image_def_load(path, &def, err) < 0)
        return -1;
    const struct build_options opt = {.no_cache = true, .rootless = geteuid() != 0};
    struct build_result r;
    if (image_build(def, &opt, &r, err) < 0)
        return -1;
    bool equal = !strcmp(r.digest, want);
    AUTO_STR got = move(r.digest);
    AUTO_STR version = move(r.version);
    if (!equal)
        return err_set(
            err, E_FAIL,
            "'%s' has digest %s, built again %s: '%s@%s'; 'lodge image diff' "
            "shows what differs",
            ref, want, got, def->name, version);
    cli_say(cli, "image '%s': built again with the same digest", ref);
    return 0;
}

static int run_verify(struct cli *cli, int nargs, char **args, struct err *err)
{
    AUTO_T(json_t) rows = NULL;
    if (keep_verify(nargs ? args[0] : NULL, &rows, err) < 0)
        return -1;
    size_t n = json_array_size(rows);
    if (n && cli_table(cli, verify_columns, rows, err) < 0)
        return -1;
    if (n)
        return err_set(err, E_IO, "%zu problem%s found; build or import it again", n,
                       n == 1 ? "" : "s");
    if (verify_rebuild && !nargs)
        return err_set(err, E_USAGE, "--rebuild needs the image's name");
    if (verify_rebuild)
        return rebuild(cli, args[0], err);
    cli_say(cli, nargs ? "image '%s' is whole" : "the store is whole",
            nargs ? args[0] : "");
    return 0;
}

/* Profiles of the store that name the image. */
static int check_unused(struct cli *cli, const char *ref, struct err *err)
{
    AUTO_T(json_t) result = NULL;
    struct err e = {0};
    size_t i;
    json_t *row;
    if (strchr(ref, '@') || cli_call(cli, "profile.list", NULL, &result, &e) < 0)
        return 0; /* no store, no profiles */
    json_t *list = json_is_array(result) ? result : json_object_get(result, "profiles");
    json_array_foreach (list, i, row) {
        const char *image = json_string_value(json_object_get(row, "image"));
        const char *name = json_string_value(json_object_get(row, "name"));
        if (image && name && !strcmp(image, ref))
            return err_set(err, E_BUSY,
                           "image '%s' is used by profile '%s'; -f removes it "
                           "all the same",
                           ref, name);
    }
    return 0;
}

static int run_rm(struct cli *cli, int nargs, char **args, struct err *err)
{
    for (int i = 0; i < nargs; i++) {
        if (!cli->force && check_unused(cli, args[i], err) < 0)
            return -1;
        if (cli->dry_run) {
            AUTO_T(json_t) m = NULL;
            if (keep_manifest(args[i], &m, err) < 0)
                return -1;
            cli_say(cli, "image '%s' would be removed", args[i]);
            continue;
        }
        if (keep_remove(args[i], err) < 0)
            return -1;
        cli_say(cli, "image '%s' removed; 'lodge image gc' frees its space", args[i]);
    }
    return 0;
}

static unsigned gc_days = 30;
static const struct argp_option gc_argp[] = {
    {"layers-older", KEY_DAYS, "DAYS", 0,
     "drop layers of the cache that nobody used for so long (30)"},
    {0}};

static error_t gc_parse(int key, char *arg, struct argp_state *state)
{
    uint64_t days;
    if (key != KEY_DAYS)
        return ARGP_ERR_UNKNOWN;
    if (!str_to_u64(arg, &days) || days > 36500)
        cli_wrong_option("--layers-older: '%s' is not a number of days", arg);
    gc_days = (unsigned)days;
    return 0;
}

static int run_gc(struct cli *cli, int nargs, char **args, struct err *err)
{
    struct keep_freed f;
    char bytes[16];
    if (keep_gc(cli->dry_run, gc_days, &f, err) < 0)
        return -1;
    cli_say(cli, "%s%s in %u blobs and %u layers; %u unfinished builds",
            cli->dry_run ? "would free " : "freed ",
            str_from_bytes(f.bytes, bytes, sizeof bytes), f.blobs, f.layers, f.works);
    return 0;
}

static int run_tag(struct cli *cli, int nargs, char **args, struct err *err)
{
    if (keep_tag(args[0], args[1], err) < 0)
        return -1;
    cli_say(cli, "image '%s' is tagged '%s'", args[0], args[1]);
    return 0;
}

static int run_rollback(struct cli *cli, int nargs, char **args, struct err *err)
{
    AUTO_STR version = NULL;
    if (keep_rollback(args[0], &version, err) < 0)
        return -1;
    cli_say(cli, "image '%s' is '%s@%s' again", args[0], args[0], version);
    return 0;
}

/* ---- boot ------------------------------------------------------------------------ */

static struct boot_options boot_input = {.timeout_ms = 180000, .memory_mib = 768};

static const struct argp_option boot_argp[] = {
    {"timeout", KEY_TIMEOUT, "TIME", 0, "how long to wait for the marker (180s)"},
    {"memory", KEY_MEMORY, "SIZE", 0, "the machine's memory (768M)"},
    {"console", KEY_CONSOLE, 0, 0, "show the console"},
    {"kvm", KEY_KVM, 0, 0, "use /dev/kvm; without it the processor is emulated"},
    {"vmm", KEY_VMM, 0, 0, "under lodge-vmm, which needs a KVM, in place of QEMU"},
    {0}};

static error_t boot_parse(int key, char *arg, struct argp_state *state)
{
    struct boot_options *o = state->input;
    uint64_t v;
    switch (key) {
    case KEY_TIMEOUT:
        if (!str_to_ms(arg, &v) || !v || v > 86400000)
            cli_wrong_option("--timeout: '%s' is not a time like 90s", arg);
        o->timeout_ms = (int)v;
        return 0;
    case KEY_MEMORY:
        if (!str_to_bytes(arg, 1 << 20, &v) || v < 64 << 20 || v >> 20 > 1 << 20)
            cli_wrong_option("--memory: '%s' is not a size of 64M or more", arg);
        o->memory_mib = (unsigned)(v >> 20);
        return 0;
    case KEY_CONSOLE:
        return o->show = true, 0;
    case KEY_KVM:
        return o->accel = true, 0;
    case KEY_VMM:
        return o->vmm = true, 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static int run_boot(struct cli *cli, int nargs, char **args, struct err *err)
{
    AUTO(image) img = NULL;
    AUTO_FD hold = -1;
    unsigned ms;
    if (image_find(args[0], &img, err) < 0)
        return -1;
    if (args[0][0] != '/' && (hold = image_hold(args[0], err)) < 0)
        return -1;
    if (image_boot(img, &boot_input, &ms, err) < 0)
        return -1;
    cli_say(cli, "image '%s@%s' is up after %u.%u s: %s", img->name,
            img->version ? img->version : "-", ms / 1000, ms % 1000 / 100,
            img->guest_marker);
    return 0;
}

static const struct cli_verb verbs[] = {
    {"build", "FILE", "make an image from its definition", 1, 1, build_argp,
     build_parse, &build_input, run_build},
    {"list", "", "all images and versions", 0, 0, .run = run_list},
    {"show", "IMAGE", "everything known of an image, as JSON", 1, 1, .run = run_show},
    {"log", "IMAGE", "what the last build said", 1, 1, .run = run_log},
    {"diff", "IMAGE IMAGE", "packages and files that differ", 2, 2, .run = run_diff},
    {"verify", "[IMAGE]", "check an image, or the store, against its hashes", 0, 1,
     verify_argp, verify_parse, NULL, run_verify},
    {"freeze", "IMAGE", "boot it once and keep the machine as it is when it is ready",
     1, 1, cli_image_freeze_argp, cli_image_freeze_parse, NULL, cli_image_freeze},
    {"boot", "IMAGE", "try it: boot it until it says that it is up", 1, 1, boot_argp,
     boot_parse, &boot_input, run_boot},
    {"import", "NAME SOURCE",
     "make an image of oci:DIR[:TAG], docker-archive:, tar:, dir:, qcow2: or raw:", 2,
     2, cli_image_import_argp, cli_image_import_parse, NULL, cli_image_import},
    {"export", "IMAGE TARGET",
     "write its root to tar:, dir:, oci:, erofs:, squashfs:, ext4:, raw: or qcow2:", 2,
     2, .run = cli_image_export},
    {"exec", "IMAGE COMMAND...", "run a command in a copy of its root", 2, CLI_COMMAND,
     .run = cli_image_exec},
    {"shell", "IMAGE", "a shell in a copy of its root", 1, 1, .run = cli_image_shell},
    {"copy", "IMAGE DIR", "copy it into another store", 2, 2, .run = cli_image_copy},
    {"push", "IMAGE NODES", "send it to nodes: only what they lack", 2, CLI_ANY,
     .run = cli_image_push},
    {"sign", "IMAGE", "sign its digest with an SSH key, or check that", 1, 1,
     cli_image_sign_argp, cli_image_sign_parse, NULL, cli_image_sign},
    {"tag", "IMAGE TAG", "name a version", 2, 2, .run = run_tag},
    {"rollback", "IMAGE", "make the version before this one the latest", 1, 1,
     .run = run_rollback},
    {"rm", "IMAGE...", "remove versions", 1, CLI_ANY, .run = run_rm},
    {"gc", "", "free what nothing uses and what killed builds left", 0, 0, gc_argp,
     gc_parse, NULL, run_gc},
    {0},
};

const struct cli_noun cli_noun_image = {"image",
                                        "the disks that virtual machines start "
                                        "from",
                                        verbs};
