/* SPDX-License-Identifier: Apache-2.0 */
/* The build: a table of steps, done in order; see build.h. What is chosen (packages,
 * kernel) happens outside the sandbox, what is made inside, what is kept outside. */
#include "image/build.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/dirs.h"
#include "base/fd.h"
#include "base/str.h"
#include "config.h"
#include "image/boot.h"
#include "image/describe.h"
#include "image/files.h"
#include "image/hash.h"
#include "image/list.h"
#include "image/manifest.h"
#include "image/put.h"
#include "image/sandbox.h"
#include "image/steps.h"

OWN_CLEANUP(json_t, json_decref)

enum { LAYER_FORMAT = 1 }; /* count up when the bootstrap changes what it makes */

void build_close(struct build *b)
{
    if (!b)
        return;
    AUTO_STR parent = b->work ? strdup(b->work) : NULL;
    AUTO_STR cparent = b->ctmp ? strdup(b->ctmp) : NULL;
    if (b->wlock >= 0)
        close(b->wlock);
    if (b->clock >= 0)
        close(b->clock);
    char *const below[] = {parent, cparent};
    for (size_t i = 0; i < ARRAY_SIZE(below); i++)
        if (below[i]) {
            *strrchr(below[i], '/') = '\0';
            put_sweep(below[i], NULL);
        }
    char *owned[] = {b->store, b->cache, b->ctmp,  b->work,   b->fs,
                     b->root,  b->out,   b->layer, b->verity, b->list};
    for (size_t i = 0; i < ARRAY_SIZE(owned); i++)
        free(owned[i]);
    if (b->run.log >= 0)
        close(b->run.log);
    pkgs_free(b->pkgs);
    kernel_free(b->kernel);
    free(b);
}

void build_result_done(struct build_result *r)
{
    free(r->version);
    free(r->digest);
    *r = (struct build_result){0};
}

/* ---- steps outside the sandbox --------------------------------------------------- */

static int step_resolve(struct build *b, struct err *err)
{
    if (b->def->from != FROM_DEBIAN && !b->def->kernel)
        return 0;
    AUTO_STR path = str_printf("%s.lock", b->def->path);
    AUTO_STR text = NULL;
    if (!path)
        return err_oom(err);
    if (!b->opt->update_lock && access(path, F_OK) == 0)
        return fd_read_file(path, 16 << 20, &text, NULL, err) < 0
                   ? -1
                   : pkgs_parse(text, path, &b->pkgs, err);
    if (pkgs_resolve(b->def, b->cache, b->opt->offline, &b->run, &b->pkgs, err) < 0)
        return -1;
    if (!b->opt->update_lock)
        return 0;
    AUTO_STR lock = pkgs_format(b->pkgs);
    return lock ? fd_replace_file(path, lock, strlen(lock), 0644, err) : err_oom(err);
}

static int step_fetch(struct build *b, struct err *err)
{
    if (!b->pkgs)
        return 0;
    return pkgs_fetch(b->pkgs, b->cache, b->ctmp, b->opt->offline, &b->run, err);
}

static int step_kernel(struct build *b, struct err *err)
{
    if (!b->pkgs || !b->pkgs->kernel.name)
        return 0;
    return kernel_open(&b->pkgs->kernel, b->cache, b->ctmp, &b->run, &b->kernel, err);
}

/* ---- the table ------------------------------------------------------------------- */

/* What steps have made, to be told; 0 if it cannot be known. */
static uint64_t bytes_of(const char *path)
{
    struct stat st;
    return path && stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
}

static uint64_t bytes_packages(const struct build *b)
{
    uint64_t n = b->pkgs ? b->pkgs->kernel.size : 0;
    for (size_t i = 0; b->pkgs && i < b->pkgs->count; i++)
        n += b->pkgs->item[i].size;
    return n;
}

static uint64_t bytes_kernel(const struct build *b)
{
    AUTO_STR path = b->kernel ? str_printf("%s/vmlinux", b->kernel->dir) : NULL;
    return bytes_of(path);
}

static uint64_t bytes_layer(const struct build *b)
{
    return bytes_of(b->def->from == FROM_DEBIAN ? b->layer : NULL);
}

/* The tmpfs of the sandbox has little else. */
static uint64_t bytes_tree(const struct build *b)
{
    struct statvfs fs;
    return statvfs(b->fs, &fs) < 0 ? 0
                                   : (fs.f_blocks - fs.f_bfree) * (uint64_t)fs.f_frsize;
}

static uint64_t bytes_initramfs(const struct build *b)
{
    AUTO_STR path = str_printf("%s/initramfs", b->out);
    return bytes_of(path);
}

static uint64_t bytes_root(const struct build *b)
{
    AUTO_STR path = str_printf("%s/%s", b->out, b->def->root_format);
    return bytes_of(path);
}

static uint64_t bytes_outputs(const struct build *b)
{
    uint64_t n = 0;
    for (size_t i = 0; i < b->def->outputs.count; i++) {
        AUTO_STR path = str_printf("%s/%s", b->out, b->def->outputs.item[i]);
        n += bytes_of(path);
    }
    return n;
}

static const struct step {
    const char *name;
    int (*run)(struct build *b, struct err *err);
    uint64_t (*bytes)(const struct build *b);
    bool inside;
    const char *what; /* for the plan */
} steps[] = {
    {"resolve", step_resolve, bytes_packages, false,
     "choose packages: the lock, or apt"},
    {"fetch", step_fetch, bytes_packages, false,
     "bring missing packages into the cache, by SHA256"},
    {"kernel", step_kernel, bytes_kernel, false,
     "take vmlinux and modules out of the package"},
    {"bootstrap", step_bootstrap, bytes_layer, true,
     "install the packages into a layer"},
    {"unpack", step_unpack, bytes_tree, true, "unpack the layer"},
    {"modules", step_modules, bytes_tree, true, "copy kernel modules"},
    {"files", step_files, bytes_tree, true, "write files and links"},
    {"units", step_units, NULL, true, "enable, disable and mask units"},
    {"run", step_run, bytes_tree, true, "run programs in the root"},
    {"guest", step_guest, bytes_tree, true, "put lodge-guest into the root"},
    {"prune", step_prune, bytes_tree, true, "remove what is not needed or secret"},
    {"secrets", step_secrets, NULL, true, "check that no secret is left"},
    {"list", step_list, NULL, true, "list every file with its hash"},
    {"initramfs", step_initramfs, bytes_initramfs, true,
     "stage-1 and the first modules"},
    {"root", step_root, bytes_root, true, "write the root file system"},
    {"outputs", step_outputs, bytes_outputs, true, "write other formats"},
};

static int run_steps(struct build *b, bool inside, struct err *err)
{
    for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
        if (steps[i].inside != inside)
            continue;
        uint64_t start = clock_ms();
        if (b->opt->progress)
            b->opt->progress(b->opt->arg, steps[i].name, false, 0, 0);
        run_note(&b->run, "== %s: %s", steps[i].name, steps[i].what);
        if (steps[i].run(b, err) < 0) {
            run_note(&b->run, "== %s failed", steps[i].name);
            return err_at(err, "step '%s'", steps[i].name);
        }
        if (b->opt->progress)
            b->opt->progress(b->opt->arg, steps[i].name, true, clock_ms() - start,
                             steps[i].bytes ? steps[i].bytes(b) : 0);
    }
    return 0;
}

static int work_inside(void *arg, struct err *err)
{
    return run_steps(arg, true, err);
}

static void plan_words(struct str_buf *b, const char *what, const struct words *w)
{
    if (!w->count)
        return;
    str_buf_printf(b, "    %s:", what);
    for (size_t i = 0; i < w->count; i++)
        str_buf_printf(b, " %s", w->item[i]);
    str_buf_puts(b, "\n");
}

int image_plan(const struct image_def *def, char **out, struct err *err)
{
    AUTO_BUF b = {0};
    for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
        str_buf_printf(&b, "%-10s %s\n", steps[i].name, steps[i].what);
        if (steps[i].run == step_resolve) {
            str_buf_printf(&b, "    from: %s\n",
                           def->source ? def->source : def->suite);
            plan_words(&b, "packages", &def->packages);
        } else if (steps[i].run == step_kernel && def->kernel) {
            str_buf_printf(&b, "    package: %s\n", def->kernel);
        } else if (steps[i].run == step_modules) {
            plan_words(&b, "loaded from the root", &def->load);
            plan_words(&b, "there for the asking", &def->modules);
        } else if (steps[i].run == step_files) {
            for (size_t n = 0; n < def->nfiles; n++)
                str_buf_printf(&b, "    %s\n", def->files[n].path);
        } else if (steps[i].run == step_units) {
            plan_words(&b, "enable", &def->enable);
            plan_words(&b, "disable", &def->disable);
            plan_words(&b, "mask", &def->mask);
        } else if (steps[i].run == step_run) {
            for (size_t n = 0; n < def->nrun; n++)
                plan_words(&b, "run", &def->run[n]);
        } else if (steps[i].run == step_prune) {
            plan_words(&b, "classes", &def->prune);
        } else if (steps[i].run == step_initramfs) {
            plan_words(&b, "modules", &def->initramfs);
        } else if (steps[i].run == step_root) {
            str_buf_printf(&b, "    %s, mode %s, verity %s\n", def->root_format,
                           def->root_mode, def->verity ? def->verity : "no");
        } else if (steps[i].run == step_outputs) {
            plan_words(&b, "formats", &def->outputs);
        }
    }
    return (*out = str_buf_take(&b)) ? 0 : err_oom(err);
}

/* ---- preparing ------------------------------------------------------------------- */

static int make_uuid(struct build *b, struct err *err)
{
    char hex[HASH_HEX_SIZE];
    AUTO_STR text = str_printf("lodge image %s %s", b->def->name, b->def->version);
    if (!text)
        return err_oom(err);
    hash_bytes(text, strlen(text), hex);
    snprintf(b->uuid, sizeof b->uuid, "%.8s-%.4s-4%.3s-8%.3s-%.12s", hex, hex + 8,
             hex + 13, hex + 17, hex + 20);
    return 0;
}

/* After the packages are known: the name of the layer they make. */
static int name_layer(struct build *b, struct err *err)
{
    if (b->def->from != FROM_DEBIAN) {
        const char *slash = strrchr(b->def->path, '/');
        const char *s = b->def->source;
        b->layer =
            *s == '/' || !slash
                ? strdup(s)
                : str_printf("%.*s/%s", (int)(slash - b->def->path), b->def->path, s);
        return b->layer ? 0 : err_oom(err);
    }
    AUTO_BUF key = {0};
    str_buf_printf(&key, "%d %s\n", LAYER_FORMAT, b->def->suite);
    for (size_t i = 0; i < b->pkgs->count; i++)
        str_buf_printf(&key, "%s\n", b->pkgs->item[i].sha256);
    char hex[HASH_HEX_SIZE];
    if (key.failed)
        return err_oom(err);
    hash_bytes(key.data, key.len, hex);
    AUTO_STR dir = str_printf("%s/layers", b->cache);
    if (!dir || !(b->layer = str_printf("%s/%s.tar", dir, hex)))
        return err_oom(err);
    if (fd_mkdirs(dir, 0755, err) < 0)
        return -1;
    if (b->opt->no_cache && unlink(b->layer) < 0 && errno != ENOENT)
        return err_sys(err, "'%s'", b->layer);
    return 0;
}

static int prepare(struct build *b, struct err *err)
{
    AUTO_STR parent = str_printf("%s/work", b->store);
    if (!(b->cache = dirs_path(DIRS_CACHE, "images")) || !parent)
        return err_oom(err);
    AUTO_STR cparent = str_printf("%s/work", b->cache);
    if (!cparent)
        return err_oom(err);
    if (dirs_make(DIRS_CACHE, err) < 0 || fd_mkdirs(cparent, 0755, err) < 0 ||
        put_sweep(parent, err) < 0 || put_sweep(cparent, err) < 0 ||
        put_work(parent, &b->work, &b->wlock, err) < 0 ||
        put_work(cparent, &b->ctmp, &b->clock, err) < 0)
        return -1;
    AUTO_STR log = str_printf("%s/log", b->work);
    if (!(b->fs = str_printf("%s/fs", b->work)) ||
        !(b->root = str_printf("%s/root", b->fs)) ||
        !(b->out = str_printf("%s/out", b->work)) || !log)
        return err_oom(err);
    if (mkdir(b->fs, 0755) < 0 || mkdir(b->out, 0755) < 0)
        return err_sys(err, "'%s'", b->work);
    b->run.log = open(log, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    return b->run.log < 0 ? err_sys(err, "'%s'", log) : make_uuid(b, err);
}

int build_open(const struct image_def *def, const struct build_options *opt,
               struct build **out, struct err *err)
{
    AUTO(build) b = calloc(1, sizeof *b);
    if (!b)
        return err_oom(err);
    b->def = def;
    b->opt = opt;
    b->run.log = b->wlock = b->clock = -1;
    if (put_open(&b->store, err) < 0 || prepare(b, err) < 0)
        return -1;
    *out = move(b);
    return 0;
}

/* ---- keeping --------------------------------------------------------------------- */

static int note_output(json_t *outputs, const char *name, const char *hex,
                       uint64_t size, struct err *err)
{
    json_t *o = json_pack("{s:s, s:I}", "sha256", hex, "size", (json_int_t)size);
    return !o || json_object_set_new(outputs, name, o) < 0 ? err_oom(err) : 0;
}

static const char *const output_names[] = {"erofs", "squashfs", "ext4",  "qcow2",
                                           "tar",   "oci",      "files", "initramfs"};

static int keep_outputs(struct build *b, const char *store, json_t *outputs,
                        struct err *err)
{
    for (size_t i = 0; i < ARRAY_SIZE(output_names); i++) {
        AUTO_STR path = str_printf("%s/%s", b->out, output_names[i]);
        char hex[HASH_HEX_SIZE];
        uint64_t size;
        if (!path)
            return err_oom(err);
        if (access(path, F_OK) < 0)
            continue;
        if (put_blob(store, path, hex, &size, err) < 0 ||
            note_output(outputs, output_names[i], hex, size, err) < 0)
            return -1;
    }
    return 0;
}

/* The kernel's files are in the cache, and hashed once. */
static int keep_kernel(struct build *b, const char *store, json_t *outputs,
                       struct err *err)
{
    static const char *const names[] = {"vmlinux", "vmlinuz"};
    for (size_t i = 0; b->kernel && i < ARRAY_SIZE(names); i++) {
        AUTO_STR path = str_printf("%s/%s", b->kernel->dir, names[i]);
        AUTO_STR sum_path = str_printf("%s/%s.sha256", b->kernel->dir, names[i]);
        AUTO_STR sum = NULL;
        struct stat st;
        if (!path || !sum_path)
            return err_oom(err);
        if (stat(path, &st) < 0)
            return err_sys(err, "'%s'", path);
        char hex[HASH_HEX_SIZE] = "";
        uint64_t size = st.st_size;
        if (fd_read_file(sum_path, 64, &sum, NULL, NULL) == 0 && strlen(sum) == 64)
            memcpy(hex, sum, sizeof hex);
        AUTO_STR blob = *hex ? files_blob(store, hex) : NULL;
        if (!blob || access(blob, R_OK) < 0) {
            if (put_copy(store, path, b->work, hex, &size, err) < 0 ||
                fd_replace_file(sum_path, hex, 64, 0644, err) < 0)
                return -1;
        }
        if (note_output(outputs, names[i], hex, size, err) < 0)
            return -1;
    }
    return 0;
}

static int read_verity(struct build *b, struct err *err)
{
    AUTO_STR path = str_printf("%s/verity", b->work);
    if (!path)
        return err_oom(err);
    return b->def->verity && !b->verity ? fd_read_file(path, 256, &b->verity, NULL, err)
                                        : 0;
}

static int keep(struct build *b, const char *store, struct build_result *out,
                struct err *err)
{
    AUTO_T(json_t) outputs = json_object();
    AUTO_FD lock = put_lock(store, false, err);
    if (!outputs)
        return err_oom(err);
    if (lock < 0 || read_verity(b, err) < 0 ||
        keep_outputs(b, store, outputs, err) < 0 ||
        keep_kernel(b, store, outputs, err) < 0)
        return -1;
    AUTO_T(json_t) m = describe_manifest(b, outputs);
    if (!m)
        return err_oom(err);
    if (put_manifest(store, m, b->def->version, &out->version, &out->same, err) < 0)
        return -1;
    const json_t *root = json_object_get(outputs, b->def->root_format);
    out->root_bytes = json_integer_value(json_object_get(root, "size"));
    root = json_object_get(outputs, "initramfs");
    out->initramfs_bytes = json_integer_value(json_object_get(root, "size"));
    return (out->digest = manifest_digest(m)) ? 0 : err_oom(err);
}

static void keep_log(struct build *b)
{
    AUTO_STR from = str_printf("%s/log", b->work);
    AUTO_STR dir = str_printf("%s/logs", b->store);
    AUTO_STR to = dir ? str_printf("%s/%s.log", dir, b->def->name) : NULL;
    if (from && to && fd_mkdirs(dir, 0755, NULL) == 0)
        rename(from, to);
}

static int make_all(struct build *b, struct err *err)
{
    const struct sandbox_spec sandbox = {
        .rootless = b->opt->rootless, .dir = b->fs, .work = work_inside, .arg = b};
    return run_steps(b, false, err) < 0 || name_layer(b, err) < 0
               ? -1
               : sandbox_run(&sandbox, err);
}

/* Make it once more from scratch, and compare file by file. */
static int check_again(const struct build *first, struct err *err)
{
    struct build_options opt = *first->opt;
    opt.no_cache = true;
    opt.update_lock = false;
    AUTO(build) b = NULL;
    AUTO_STR x = NULL;
    AUTO_STR y = NULL;
    AUTO_T(json_t) rows = NULL;
    if (build_open(first->def, &opt, &b, err) < 0 || make_all(b, err) < 0)
        return err_at(err, "second build");
    AUTO_STR xp = str_printf("%s/files", first->out);
    AUTO_STR yp = str_printf("%s/files", b->out);
    if (!xp || !yp)
        return err_oom(err);
    if (fd_read_file(xp, 256 << 20, &x, NULL, err) < 0 ||
        fd_read_file(yp, 256 << 20, &y, NULL, err) < 0 ||
        list_diff(x, y, &rows, err) < 0)
        return -1;
    json_t *row = json_array_get(rows, 0);
    if (row)
        return err_set(err, E_FAIL,
                       "not reproducible: '%s' %s in the second build (%zu files "
                       "differ); a <run> step or a package's script makes it anew "
                       "each time",
                       json_string_value(json_object_get(row, "path")),
                       json_string_value(json_object_get(row, "change")),
                       json_array_size(rows));
    for (size_t i = 0; i < ARRAY_SIZE(output_names); i++) {
        AUTO_STR p = str_printf("%s/%s", first->out, output_names[i]);
        AUTO_STR q = str_printf("%s/%s", b->out, output_names[i]);
        char a[HASH_HEX_SIZE], c[HASH_HEX_SIZE];
        if (!p || !q)
            return err_oom(err);
        if (access(p, F_OK) < 0)
            continue;
        if (hash_file(p, a, NULL, err) < 0 || hash_file(q, c, NULL, err) < 0)
            return -1;
        if (strcmp(a, c))
            return err_set(err, E_FAIL,
                           "not reproducible: all files are the same, but the output "
                           "'%s' differs",
                           output_names[i]);
    }
    return 0;
}

/* Boot what is not yet kept. */
static int check_boot(struct build *b, struct err *err)
{
    const struct image_def *d = b->def;
    if (!b->kernel)
        return err_set(err, E_INPUT,
                       "<check boot=\"yes\"> needs a <kernel>: there is none to boot");
    if (read_verity(b, err) < 0)
        return -1;
    const struct boot_options opt = {.timeout_ms = 600000, .memory_mib = 768};
    AUTO_STR append = describe_append(b);
    AUTO_STR kernel = str_printf("%s/vmlinux", b->kernel->dir);
    AUTO_STR bzimage = str_printf("%s/vmlinuz", b->kernel->dir);
    AUTO_STR initrd = str_printf("%s/initramfs", b->out);
    AUTO_STR root = str_printf("%s/%s", b->out, d->root_format);
    bool has_root = strcmp(d->root_format, "none") != 0;
    unsigned ms;
    if (!append || !kernel || !bzimage || !initrd || !root)
        return err_oom(err);
    const struct image img = {.name = d->name,
                              .version = d->version,
                              .kind = d->kind,
                              .kernel = kernel,
                              .bzimage = bzimage,
                              .initrd = initrd,
                              .root = has_root ? root : NULL,
                              .root_format = d->root_format,
                              .append = append,
                              .init = d->init,
                              .root_mode = d->root_mode,
                              .guest_marker = d->marker};
    return image_boot(&img, &opt, &ms, err);
}

int image_build(const struct image_def *def, const struct build_options *opt,
                struct build_result *out, struct err *err)
{
    AUTO(build) b = NULL;
    *out = (struct build_result){0};
    if (build_open(def, opt, &b, err) < 0)
        return err_at(err, "build '%s'", def->name);
    int r = make_all(b, err);
    if (r == 0 && (opt->check || def->reproducible))
        r = check_again(b, err);
    if (r == 0 && def->boot)
        r = check_boot(b, err);
    if (r == 0)
        r = keep(b, b->store, out, err) < 0 ? err_at(err, "step 'keep'") : 0;
    keep_log(b);
    if (r < 0)
        build_result_done(out);
    return r < 0 ? err_at(err, "build '%s'", def->name) : 0;
}
