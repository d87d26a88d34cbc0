/* SPDX-License-Identifier: Apache-2.0 */
/* Import, export and a look inside; see the header. An import is a build whose
 * definition is made here; the rest unpacks a root in the sandbox. */
#include "image/port.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/proc.h"
#include "base/str.h"
#include "image/files.h"
#include "image/hash.h"
#include "image/keep.h"
#include "image/manifest.h"
#include "image/oci.h"
#include "image/put.h"
#include "image/sandbox.h"
#include "image/steps.h"

OWN_CLEANUP(json_t, json_decref)

/* ---- import ---------------------------------------------------------------------- */

static const struct source {
    const char *prefix;
    enum image_from from;
} sources[] = {{"oci:", FROM_OCI},  {"docker-archive:", FROM_DOCKER},
               {"tar:", FROM_TAR},  {"dir:", FROM_DIR},
               {"raw:", FROM_DISK}, {"qcow2:", FROM_QCOW2}};

static const struct source *find_source(const char *s, struct err *err)
{
    for (size_t i = 0; i < ARRAY_SIZE(sources); i++)
        if (str_starts(s, sources[i].prefix))
            return &sources[i];
    err_set(err, E_USAGE,
            "'%s' is none of oci:DIR[:TAG], docker-archive:FILE, tar:FILE, dir:DIR, "
            "qcow2:FILE, raw:FILE",
            s);
    return NULL;
}

/* Absolute, with the tag of an OCI layout kept. */
static char *absolute(const struct source *s, const char *path, struct err *err)
{
    const char *tag = s->from == FROM_OCI ? strchr(path, ':') : NULL;
    AUTO_STR plain = tag ? strndup(path, tag - path) : strdup(path);
    if (!plain) {
        err_oom(err);
        return NULL;
    }
    AUTO_STR real = realpath(plain, NULL);
    if (!real) {
        err_sys(err, "'%s'", plain);
        return NULL;
    }
    char *all = str_printf("%s%s", real, tag ? tag : "");
    if (!all)
        err_oom(err);
    return all;
}

static int split_words(const char *text, struct words *w)
{
    for (const char *p = text; *p;) {
        size_t n = strcspn(p, " ");
        char **item = realloc(w->item, (w->count + 2) * sizeof *item);
        if (!item)
            return -1;
        w->item = item;
        if (!(item[w->count] = strndup(p, n)))
            return -1;
        item[++w->count] = NULL;
        p += n + (p[n] == ' ');
    }
    return 0;
}

static int make_def(const struct port_import *what, struct image_def **out,
                    struct err *err)
{
    const struct source *s = find_source(what->source, err);
    AUTO(image_def) d = calloc(1, sizeof *d);
    if (!s)
        return -1;
    if (!d)
        return err_oom(err);
    const char *init = what->init ? what->init : "/usr/lib/lodge/lodge-guest";
    const char *mode = what->mode ? what->mode : "tmpfs";
    if (!(d->source = absolute(s, what->source + strlen(s->prefix), err)))
        return -1;
    d->from = s->from;
    d->path = strdup(what->source);
    d->name = strdup(what->name);
    d->version = strdup(what->version);
    d->suite = strdup("bookworm");
    d->components = strdup("main");
    d->kernel = strdup(what->kernel ? what->kernel : "linux-image-cloud-amd64");
    d->append = strdup("quiet");
    d->root_format = strdup(strcmp(mode, "plain") ? "erofs" : "ext4");
    d->root_mode = strdup(mode);
    d->init = strdup(init);
    d->marker = strdup("lodge-guest: ready");
    bool ok = d->path && d->name && d->version && d->suite && d->components &&
              d->kernel && d->append && d->root_format && d->root_mode && d->init &&
              d->marker;
    if (!ok ||
        split_words(strcmp(mode, "plain") ? "virtio_pci virtio_blk erofs"
                                          : "virtio_pci virtio_blk ext4",
                    &d->initramfs) < 0 ||
        split_words("overlay virtio_console virtio_net virtio_rng virtiofs", &d->load) <
            0 ||
        split_words("virtio_balloon ext4 fuse af_packet autofs4", &d->modules) < 0)
        return err_oom(err);
    *out = move(d);
    return 0;
}

/* A disk as it is: one blob. */
static int keep_disk(struct build *b, struct build_result *out, struct err *err)
{
    AUTO_STR raw = str_printf("%s/raw", b->out);
    char hex[HASH_HEX_SIZE];
    if (!raw)
        return err_oom(err);
    bool qcow2 = b->def->from == FROM_QCOW2;
    if ((qcow2 && unpack_check_qcow2(b, b->def->source, err) < 0) ||
        RUN(&b->run, err, "qemu-img", "convert", "-f", qcow2 ? "qcow2" : "raw", "-O",
            "raw", b->def->source, raw) < 0)
        return -1;
    AUTO_FD lock = put_lock(b->store, false, err);
    if (lock < 0 || put_blob(b->store, raw, hex, &out->root_bytes, err) < 0)
        return -1;
    AUTO_T(json_t)
    m = json_pack("{s:i, s:{s:s, s:s, s:s, s:s, s:s, s:[], s:{s:{s:s, s:I}}}, s:{s:s}}",
                  "schema", 1, "content", "name", b->def->name, "version",
                  b->def->version, "kind", "disk", "root_mode", "plain", "root_format",
                  "raw", "packages", "outputs", "raw", "sha256", hex, "size",
                  (json_int_t)out->root_bytes, "build", "imported", b->def->path);
    if (!m)
        return err_oom(err);
    if (put_manifest(b->store, m, b->def->version, &out->version, &out->same, err) < 0)
        return -1;
    return (out->digest = manifest_digest(m)) ? 0 : err_oom(err);
}

int port_import(const struct port_import *what, const struct build_options *opt,
                struct build_result *out, struct err *err)
{
    AUTO(image_def) def = NULL;
    AUTO(build) b = NULL;
    if (!str_is_name(what->name) || !str_is_name(what->version))
        return err_set(err, E_USAGE, "'%s@%s' is not a name and a version", what->name,
                       what->version);
    if (make_def(what, &def, err) < 0)
        return -1;
    if (!what->as_is)
        return image_build(def, opt, out, err);
    *out = (struct build_result){0};
    if (def->from != FROM_DISK && def->from != FROM_QCOW2)
        return err_set(err, E_USAGE, "--as-is is for disks: qcow2:FILE or raw:FILE");
    if (build_open(def, opt, &b, err) < 0 || keep_disk(b, out, err) < 0)
        return err_at(err, "import '%s'", what->name);
    return 0;
}

/* ---- a root to work with --------------------------------------------------------- */

struct inside {
    struct build *b;
    const char *format; /* export: what to make */
    const char *const *argv;
    int *status; /* shared with the sandbox */
};

/* A definition that unpacks the root of an image. */
static int def_of_image(const char *ref, struct image_def **out, struct image **image,
                        struct err *err)
{
    AUTO(image) img = NULL;
    AUTO(image_def) d = calloc(1, sizeof *d);
    if (!d)
        return err_oom(err);
    if (image_find(ref, &img, err) < 0)
        return -1;
    bool disk = img->kind == IMAGE_DISK;
    if (!img->root)
        return err_set(err, E_INPUT, "image '%s' has no root", ref);
    d->from = !disk                                ? FROM_IMAGE
              : !strcmp(img->root_format, "qcow2") ? FROM_QCOW2
                                                   : FROM_DISK;
    d->path = strdup(ref);
    d->name = strdup(img->name);
    d->version = strdup(img->version ? img->version : "1");
    d->root_format = strdup(img->root_format);
    d->source = strdup(img->root);
    if (!d->path || !d->name || !d->version || !d->root_format || !d->source)
        return err_oom(err);
    *out = move(d);
    *image = move(img);
    return 0;
}

static int run_inside(struct inside *in, int (*work)(void *, struct err *),
                      bool rootless, struct err *err)
{
    struct build *b = in->b;
    if (!(b->layer = strdup(b->def->source)))
        return err_oom(err);
    struct err e = {0};
    if (b->def->from == FROM_IMAGE &&
        keep_output(b->def->path, "files", &b->list, &e) < 0 && e.code != E_NOENT)
        return err_set(err, e.code, "%s", e.text);
    const struct sandbox_spec spec = {
        .rootless = rootless, .dir = b->fs, .work = work, .arg = in};
    return sandbox_run(&spec, err);
}

/* ---- export ---------------------------------------------------------------------- */

static int export_inside(void *arg, struct err *err)
{
    struct inside *in = arg;
    struct build *b = in->b;
    if (step_unpack(b, err) < 0)
        return -1;
    if (!strcmp(in->format, "dir")) {
        AUTO_STR to = str_printf("%s/dir", b->out);
        if (!to)
            return err_oom(err);
        return RUN(&b->run, err, "cp", "-a", "-T", "--", b->root, to);
    }
    if (!strcmp(in->format, "oci"))
        return output_make(b, "tar", err);
    return output_make(b, !strcmp(in->format, "raw") ? "ext4" : in->format, err);
}

static const char *const targets[] = {
    "tar:", "dir:", "oci:", "erofs:", "squashfs:", "ext4:", "raw:", "qcow2:"};

/* Put what was made where the user wants it: whole, or not at all. */
static int place(struct build *b, const char *format, const char *path, struct err *err)
{
    if (!strcmp(format, "oci")) {
        AUTO_STR tar = str_printf("%s/tar", b->out);
        return tar ? oci_write(tar, path, b->def->version, err) : err_oom(err);
    }
    AUTO_STR made =
        str_printf("%s/%s", b->out, strcmp(format, "raw") ? format : "ext4");
    AUTO_STR beside = str_printf("%s.new.%d", path, (int)getpid());
    if (!made || !beside)
        return err_oom(err);
    int r = RUN(&b->run, err, "cp", "-a", "--sparse=always", "--reflink=auto", "-T",
                "--", made, beside);
    if (r == 0 && rename(beside, path) < 0)
        r = err_sys(err, "'%s'", path);
    if (r < 0)
        fd_remove_tree(beside, NULL);
    return r;
}

int port_export(const char *ref, const char *target, bool rootless, struct err *err)
{
    AUTO(image_def) def = NULL;
    AUTO(image) img = NULL;
    AUTO(build) b = NULL;
    const struct build_options opt = {.rootless = rootless};
    size_t i = 0;
    while (i < ARRAY_SIZE(targets) && !str_starts(target, targets[i]))
        i++;
    if (i == ARRAY_SIZE(targets) || !target[strlen(targets[i])])
        return err_set(err, E_USAGE,
                       "'%s' is none of tar:, dir:, oci:, erofs:, squashfs:, ext4:, "
                       "raw:, qcow2: and a path",
                       target);
    AUTO_STR format = strndup(target, strlen(targets[i]) - 1);
    const char *path = target + strlen(targets[i]);
    struct stat st;
    if (!format)
        return err_oom(err);
    if (lstat(path, &st) == 0 && (S_ISDIR(st.st_mode) || !strcmp(format, "dir")))
        return err_set(err, E_EXISTS, "'%s' is there already", path);
    if (def_of_image(ref, &def, &img, err) < 0 || build_open(def, &opt, &b, err) < 0)
        return -1;
    struct inside in = {.b = b, .format = format};
    if (run_inside(&in, export_inside, rootless, err) < 0 ||
        place(b, format, path, err) < 0)
        return err_at(err, "export '%s'", ref);
    return 0;
}

/* ---- exec ------------------------------------------------------------------------ */

static int mount_for_exec(struct build *b, struct err *err)
{
    static const struct {
        const char *from, *to, *type;
        unsigned long flags;
    } mounts[] = {{"proc", "proc", "proc", 0},
                  {"/dev", "dev", NULL, MS_BIND | MS_REC},
                  {"tmpfs", "tmp", "tmpfs", 0},
                  {"tmpfs", "run", "tmpfs", 0}};
    for (size_t i = 0; i < ARRAY_SIZE(mounts); i++) {
        AUTO_STR to = str_printf("/%s", mounts[i].to);
        AUTO_STR at = NULL;
        if (!to)
            return err_oom(err);
        if (root_path(b, to, true, &at, err) < 0)
            return -1;
        mkdir(at, 0755);
        if (mount(mounts[i].from, at, mounts[i].type, mounts[i].flags, NULL) < 0)
            return err_sys(err, "mount %s", to);
    }
    return 0;
}

static int exec_inside(void *arg, struct err *err)
{
    struct inside *in = arg;
    struct build *b = in->b;
    const char *argv[256] = {"chroot", b->root};
    size_t n = 2;
    for (const char *const *a = in->argv; *a; a++) {
        if (n + 1 >= ARRAY_SIZE(argv))
            return err_set(err, E_USAGE, "more than %zu arguments", ARRAY_SIZE(argv));
        argv[n++] = *a;
    }
    if (step_unpack(b, err) < 0 || mount_for_exec(b, err) < 0)
        return -1;
    const char *term = getenv("TERM");
    AUTO_STR set = str_printf("TERM=%s", term ? term : "dumb");
    if (!set)
        return err_oom(err);
    const char *const env[] = {
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME=/root", "LC_ALL=C.UTF-8", set, NULL};
    const struct proc_spec spec = {.argv = argv, .env = env};
    AUTO_FD pidfd = -1;
    if (proc_spawn(&spec, &pidfd, NULL, err) < 0)
        return -1;
    return proc_wait(pidfd, -1, in->status, err);
}

int port_exec(const char *ref, const char *const *argv, bool rootless, int *status,
              struct err *err)
{
    AUTO(image_def) def = NULL;
    AUTO(image) img = NULL;
    AUTO(build) b = NULL;
    const struct build_options opt = {.rootless = rootless};
    int *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE,
                       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        return err_sys(err, "mmap");
    int r = -1;
    if (def_of_image(ref, &def, &img, err) == 0 &&
        build_open(def, &opt, &b, err) == 0) {
        struct inside in = {.b = b, .argv = argv, .status = shared};
        r = run_inside(&in, exec_inside, rootless, err);
    }
    int s = *shared;
    munmap(shared, sizeof *shared);
    *status = WIFSIGNALED(s) ? 128 + WTERMSIG(s) : WEXITSTATUS(s);
    return r < 0 ? err_at(err, "image '%s'", ref) : 0;
}

/* ---- copy, sign ------------------------------------------------------------------ */

static int copy_blobs(const json_t *m, const char *from, const char *to,
                      const char *work, struct err *err)
{
    json_t *outputs = json_object_get(json_object_get(m, "content"), "outputs"), *o;
    const char *name;
    json_object_foreach (outputs, name, o) {
        const char *sum = json_string_value(json_object_get(o, "sha256"));
        AUTO_STR source = files_blob(from, sum);
        AUTO_STR target = files_blob(to, sum);
        char hex[HASH_HEX_SIZE];
        if (!source || !target)
            return err_oom(err);
        if (access(target, R_OK) == 0)
            continue;
        if (put_copy(to, source, work, hex, NULL, err) < 0)
            return -1;
        if (strcmp(hex, sum)) {
            AUTO_STR wrong = files_blob(to, hex);
            if (wrong)
                unlink(wrong);
            return err_set(err, E_IO, "'%s' was changed: its SHA256 is %s", source,
                           hex);
        }
    }
    return 0;
}

int port_copy(const char *ref, const char *dir, struct err *err)
{
    AUTO_STR from = NULL;
    AUTO_STR path = NULL;
    AUTO_T(json_t) m = NULL;
    AUTO_STR work = NULL;
    AUTO_STR version = NULL;
    AUTO_FD lock = -1;
    AUTO_FD wlock = -1;
    bool same;
    if (files_resolve(ref, &from, &path, err) < 0 || manifest_load(path, &m, err) < 0 ||
        put_make(dir, err) < 0)
        return -1;
    AUTO_STR parent = str_printf("%s/work", dir);
    if (!parent)
        return err_oom(err);
    if ((lock = put_lock(dir, false, err)) < 0 ||
        put_work(parent, &work, &wlock, err) < 0)
        return -1;
    int r = copy_blobs(m, from, dir, work, err);
    if (r == 0)
        r = put_manifest(dir, m, manifest_text(m, "version"), &version, &same, err);
    close(move_fd(wlock));
    put_sweep(parent, NULL);
    return r < 0 ? err_at(err, "copy '%s'", ref) : 0;
}

/* The digest of what ref names in a file of a private directory. */
static int digest_file(const char *ref, char *dir, char **file, char **sig,
                       struct err *err)
{
    AUTO_STR store = NULL;
    AUTO_STR path = NULL;
    AUTO_T(json_t) m = NULL;
    if (files_resolve(ref, &store, &path, err) < 0 || manifest_load(path, &m, err) < 0)
        return -1;
    AUTO_STR digest = manifest_digest(m);
    *sig = str_printf("%s.sig", path);
    if (!digest || !*sig)
        return err_oom(err);
    if (!mkdtemp(dir))
        return err_sys(err, "'%s'", dir);
    *file = str_printf("%s/digest", dir);
    return *file ? fd_replace_file(*file, digest, strlen(digest), 0600, err)
                 : err_oom(err);
}

#define SIGN_SPACE "lodge-image"

int port_sign(const char *ref, const char *key, struct err *err)
{
    char dir[] = "/tmp/lodge-sign.XXXXXX";
    AUTO_STR file = NULL;
    AUTO_STR sig = NULL;
    AUTO_STR text = NULL;
    size_t len;
    int r = digest_file(ref, dir, &file, &sig, err);
    AUTO_STR made = str_printf("%s.sig", file ? file : "");
    if (r == 0 && made) {
        const char *const argv[] = {"ssh-keygen", "-Y", "sign", "-n", SIGN_SPACE,
                                    "-f",         key,  file,   NULL};
        const struct proc_spec spec = {.argv = argv, .die_with_us = true};
        r = proc_run(&spec, 60000, NULL, err);
        if (r == 0)
            r = fd_read_file(made, 1 << 16, &text, &len, err);
        if (r == 0)
            r = fd_replace_file(sig, text, len, 0644, err);
    }
    fd_remove_tree(dir, NULL);
    return r < 0 ? err_at(err, "sign '%s'", ref) : 0;
}

int port_check_signature(const char *ref, const char *signers, const char *who,
                         struct err *err)
{
    char dir[] = "/tmp/lodge-sign.XXXXXX";
    AUTO_STR file = NULL;
    AUTO_STR sig = NULL;
    int r = digest_file(ref, dir, &file, &sig, err);
    if (r == 0 && access(sig, R_OK) < 0)
        r = err_set(err, E_PERM, "nobody has signed it; 'lodge image sign' does");
    if (r == 0) {
        AUTO_FD in = open(file, O_RDONLY | O_CLOEXEC);
        const char *const argv[] = {"ssh-keygen", "-Y", "verify", "-n",
                                    SIGN_SPACE,   "-f", signers,  "-I",
                                    who,          "-s", sig,      NULL};
        const struct proc_spec spec = {
            .argv = argv, .fds = &in, .nfds = 1, .die_with_us = true};
        r = in < 0 ? err_sys(err, "'%s'", file) : proc_run(&spec, 60000, NULL, err);
        if (r < 0)
            r = err_set(err, E_PERM, "the signature is not of '%s' over this digest",
                        who);
    }
    fd_remove_tree(dir, NULL);
    return r < 0 ? err_at(err, "image '%s'", ref) : 0;
}
