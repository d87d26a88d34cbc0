/* SPDX-License-Identifier: Apache-2.0 */
/* apt's part of a build: resolving with a private state directory, so that nothing of
 * this machine's packages is touched, and fetching, verified by hash. The machine's
 * apt configuration (proxies, certificates, mirrors) holds. */
#include "image/pkg.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "image/hash.h"

enum { OUTPUT_MAX = 32 << 20, FRESH_SECONDS = 24 * 3600, LISTS_ROOM = 96 << 20 };

#define KEYRING  "/usr/share/keyrings/debian-archive-keyring.gpg"
#define ARGS_MAX 4608

/* A growing argument vector; strings made here are kept in own. */
struct args {
    const char *v[ARGS_MAX];
    size_t n;
    char *own[ARGS_MAX];
    size_t nown;
    bool failed;
};

static void args_free(struct args *a)
{
    for (size_t i = 0; a && i < a->nown; i++)
        free(a->own[i]);
    free(a);
}
OWN_DEFINE(args)

static void add(struct args *a, const char *arg)
{
    if (!arg || a->n + 1 >= ARGS_MAX)
        a->failed = true;
    else
        a->v[a->n++] = arg;
}

static void add_own(struct args *a, char *arg)
{
    if (!arg || a->nown >= ARGS_MAX)
        a->failed = true;
    else
        add(a, a->own[a->nown++] = arg);
}

/* Options that give apt a state of its own below dir. */
static void add_options(struct args *a, const char *dir)
{
    static const char *const fixed[] = {"Dir::Etc::sourceparts=/dev/null",
                                        "Dir::Etc::preferences=/dev/null",
                                        "Dir::Etc::preferencesparts=/dev/null",
                                        "Dir::Cache::pkgcache=",
                                        "Dir::Cache::srcpkgcache=",
                                        "APT::Install-Recommends=false",
                                        "APT::Architecture=amd64",
                                        "APT::Architectures=amd64",
                                        "APT::Sandbox::User=root",
                                        "APT::Update::Post-Invoke-Success=",
                                        "Acquire::Languages=none",
                                        "Acquire::ForceHash=SHA256",
                                        "Debug::NoLocking=true"};
    static const char *const below[] = {
        "Dir::State=%s", "Dir::State::status=%s/status", "Dir::State::lists=%s/lists",
        "Dir::Cache=%s/cache", "Dir::Etc::sourcelist=%s/sources.list"};
    for (size_t i = 0; i < ARRAY_SIZE(fixed); i++) {
        add(a, "-o");
        add(a, fixed[i]);
    }
    for (size_t i = 0; i < ARRAY_SIZE(below); i++) {
        AUTO_BUF b = {0};
        const char *mark = strstr(below[i], "%s");
        str_buf_add(&b, below[i], mark - below[i]);
        str_buf_puts(&b, dir);
        str_buf_puts(&b, mark + 2);
        add(a, "-o");
        add_own(a, str_buf_take(&b));
    }
}

/* ---- mirrors ------------------------------------------------------------------- */

static bool has_word(const char *list, const char *word)
{
    size_t n = strlen(word);
    for (const char *p = list; (p = strstr(p, word)); p += n)
        if ((p == list || p[-1] == ' ') && (!p[n] || p[n] == ' '))
            return true;
    return false;
}

/* The lines of this machine's sources that serve the suite. */
static int host_sources(const struct image_def *def, const struct run *run,
                        struct str_buf *b, struct err *err)
{
    AUTO_STR all = NULL;
    static const char *const argv[] = {"apt-get",
                                       "indextargets",
                                       "--format",
                                       "$(REPO_URI)|$(RELEASE)|$(COMPONENT)",
                                       "Created-By: Packages",
                                       NULL};
    if (run_capture(run, argv, OUTPUT_MAX, &all, err) < 0)
        return -1;
    AUTO_STR updates = str_printf("%s-updates", def->suite);
    AUTO_STR security = str_printf("%s-security", def->suite);
    if (!updates || !security)
        return err_oom(err);
    char *rest = all;
    for (char *line; (line = strsep(&rest, "\n"));) {
        char *uri = strsep(&line, "|"), *release = strsep(&line, "|");
        if (!line || !has_word(def->components, line) ||
            (strcmp(release, def->suite) && strcmp(release, updates) &&
             strcmp(release, security)))
            continue;
        str_buf_printf(b, "deb [signed-by=" KEYRING "] %s %s %s\n", uri, release, line);
    }
    return 0;
}

static int sources(const struct image_def *def, const struct run *run, char **out,
                   struct err *err)
{
    AUTO_BUF b = {0};
    const char *c = def->components;
    if (def->mirror)
        str_buf_printf(&b, "deb [signed-by=" KEYRING "] %s %s %s\n", def->mirror,
                       def->suite, c);
    else if (host_sources(def, run, &b, err) < 0)
        return -1;
    if (!b.len) /* this machine is not a Debian of that suite */
        str_buf_printf(&b,
                       "deb [signed-by=" KEYRING
                       "] http://deb.debian.org/debian %s %s\n"
                       "deb [signed-by=" KEYRING "] http://deb.debian.org/"
                       "debian-security %s-security %s\n",
                       def->suite, c, def->suite, c);
    return (*out = str_buf_take(&b)) ? 0 : err_oom(err);
}

/* ---- resolving ----------------------------------------------------------------- */

/* "name_1%3a2-1_amd64.deb": the colon of an epoch is quoted. */
static bool split_file(const char *file, struct pkg *p)
{
    const char *a = strchr(file, '_'), *z = a ? strchr(a + 1, '_') : NULL;
    if (!z || !str_ends(z, ".deb"))
        return false;
    AUTO_BUF v = {0};
    for (const char *c = a + 1; c < z; c++) {
        bool colon = z - c > 3 && !strncasecmp(c, "%3a", 3);
        str_buf_add(&v, colon ? ":" : c, 1);
        c += colon ? 2 : 0;
    }
    p->name = strndup(file, a - file);
    p->version = str_buf_take(&v);
    p->arch = strndup(z + 1, strlen(z + 1) - 4);
    return p->name && p->version && p->arch;
}

/* 'URI' FILE SIZE SHA256:HEX, as --print-uris writes them, to lines of a lock. */
static int add_uris(struct str_buf *b, char *text, const char *lead, struct err *err)
{
    char *rest = text;
    for (char *line; (line = strsep(&rest, "\n"));) {
        if (*line != '\'')
            continue;
        line++;
        char *uri = strsep(&line, "'");
        if (line && *line == ' ')
            line++;
        char *file = strsep(&line, " "), *size = strsep(&line, " ");
        if (!file || !line || !str_starts(line, "SHA256:"))
            return err_set(err, E_FAIL, "apt gave no SHA256 for '%s'", uri);
        struct pkg p = {0};
        bool ok = split_file(file, &p);
        if (ok)
            str_buf_printf(b, "%s%s %s %s %s %s %s\n", lead, p.name, p.version, p.arch,
                           line + 7, size, uri);
        free(p.name);
        free(p.version);
        free(p.arch);
        if (!ok)
            return err_set(err, E_FAIL, "apt named a file '%s'", file);
    }
    return 0;
}

static int by_name(const void *a, const void *b)
{
    const struct pkg *x = a, *y = b;
    return strcmp(x->name, y->name);
}

/* The package that a meta-package of kernels (linux-image-amd64) stands for. */
static int real_kernel(const char *package, const char *dir, const struct run *run,
                       char **out, struct err *err)
{
    AUTO(args) a = calloc(1, sizeof *a);
    AUTO_STR text = NULL;
    if (!a)
        return err_oom(err);
    add(a, "apt-cache");
    add_options(a, dir);
    add(a, "depends");
    add(a, package);
    if (a->failed || run_capture(run, a->v, OUTPUT_MAX, &text, err) < 0)
        return a->failed ? err_oom(err) : -1;
    const char *found = strstr(text, "Depends: linux-image-");
    const char *name = found ? found + strlen("Depends: ") : package;
    return (*out = strndup(name, strcspn(name, "\n "))) ? 0 : err_oom(err);
}

static int ask(const char *dir, const char *verb, const char *const *names,
               const struct run *run, const char *lead, struct str_buf *b,
               struct err *err)
{
    AUTO(args) a = calloc(1, sizeof *a);
    AUTO_STR text = NULL;
    if (!a)
        return err_oom(err);
    add(a, "apt-get");
    add_options(a, dir);
    add(a, "--yes");
    add(a, "--print-uris");
    add(a, verb);
    for (; *names; names++)
        add(a, *names);
    if (a->failed)
        return err_oom(err);
    return run_capture(run, a->v, OUTPUT_MAX, &text, err) < 0
               ? -1
               : add_uris(b, text, lead, err);
}

/* apt-get update on a full disk may never come back: look before. */
static int check_room(const char *dir, struct err *err)
{
    struct statvfs v;
    if (statvfs(dir, &v) < 0)
        return err_sys(err, "'%s'", dir);
    uint64_t room = (uint64_t)v.f_bavail * v.f_frsize;
    return room >= LISTS_ROOM
               ? 0
               : err_set(
                     err, E_IO,
                     "no space left on device: '%s' has %llu MiB, lists of packages "
                     "need %d",
                     dir, (unsigned long long)(room >> 20), LISTS_ROOM >> 20);
}

static int update_lists(const char *dir, bool offline, const struct run *run,
                        struct err *err)
{
    AUTO_STR stamp = str_printf("%s/updated", dir);
    AUTO(args) a = calloc(1, sizeof *a);
    struct stat st;
    if (!stamp || !a)
        return err_oom(err);
    bool known = stat(stamp, &st) == 0;
    if (known && (offline || time(NULL) - st.st_mtime < FRESH_SECONDS))
        return 0;
    if (offline)
        return err_set(err, E_UNAVAIL,
                       "offline, and no package lists in the cache; build once with "
                       "the network, or give a lock");
    if (check_room(dir, err) < 0)
        return -1;
    add(a, "apt-get");
    add_options(a, dir);
    add(a, "--error-on=any");
    add(a, "update");
    if (a->failed)
        return err_oom(err);
    if (run_tool(run, -1, -1, a->v, err) < 0)
        return -1;
    return fd_replace_file(stamp, "", 0, 0644, err);
}

static int make_state(const char *dir, const char *list, struct err *err)
{
    static const char *const dirs[] = {"lists/partial", "cache/archives/partial"};
    for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
        AUTO_STR d = str_printf("%s/%s", dir, dirs[i]);
        if (!d)
            return err_oom(err);
        if (fd_mkdirs(d, 0755, err) < 0)
            return -1;
    }
    AUTO_STR status = str_printf("%s/status", dir);
    AUTO_STR file = str_printf("%s/sources.list", dir);
    if (!status || !file)
        return err_oom(err);
    return fd_replace_file(status, "", 0, 0644, err) < 0 ||
                   fd_replace_file(file, list, strlen(list), 0644, err) < 0
               ? -1
               : 0;
}

static int resolve_now(const struct image_def *def, const char *dir,
                       const struct run *run, char **out, struct err *err)
{
    AUTO_BUF b = {0};
    AUTO(args) names = calloc(1, sizeof *names);
    if (!names)
        return err_oom(err);
    add(names, "?and(?essential,?not(?exact-name(apt)))");
    add(names, "usr-is-merged");
    for (size_t i = 0; i < def->packages.count; i++)
        add(names, def->packages.item[i]);
    if (names->failed)
        return err_oom(err);
    if (def->from == FROM_DEBIAN && ask(dir, "install", names->v, run, "", &b, err) < 0)
        return -1;
    if (def->kernel) {
        AUTO_STR kernel = NULL;
        if (real_kernel(def->kernel, dir, run, &kernel, err) < 0 ||
            ask(dir, "download", (const char *[]){kernel, NULL}, run, "kernel ", &b,
                err) < 0)
            return -1;
    }
    return (*out = str_buf_take(&b)) ? 0 : err_oom(err);
}

/* Where the answer to this question is kept until the lists change. */
static char *answer_path(const struct image_def *def, const char *dir)
{
    AUTO_BUF b = {0};
    for (size_t i = 0; i < def->packages.count; i++)
        str_buf_printf(&b, "%s ", def->packages.item[i]);
    str_buf_printf(&b, "%d kernel %s", def->from, def->kernel ? def->kernel : "");
    char hex[HASH_HEX_SIZE];
    if (b.failed)
        return NULL;
    hash_bytes(b.data, b.len, hex);
    return str_printf("%s/answer-%.16s", dir, hex);
}

/* With the state directory locked. */
static int resolve_in(const struct image_def *def, const char *dir, bool offline,
                      const struct run *run, struct pkgs **out, struct err *err)
{
    AUTO_STR kept = answer_path(def, dir);
    AUTO_STR stamp = str_printf("%s/updated", dir);
    AUTO_STR text = NULL;
    struct stat lists, answer;
    if (!kept || !stamp)
        return err_oom(err);
    if (update_lists(dir, offline, run, err) < 0)
        return -1;
    if (stat(stamp, &lists) == 0 && stat(kept, &answer) == 0 &&
        answer.st_mtime >= lists.st_mtime)
        fd_read_file(kept, OUTPUT_MAX, &text, NULL, NULL);
    if (!text && (resolve_now(def, dir, run, &text, err) < 0 ||
                  fd_replace_file(kept, text, strlen(text), 0644, err) < 0))
        return -1;
    if (pkgs_parse(text, "apt's answer", out, err) < 0)
        return -1;
    if ((*out)->count)
        qsort((*out)->item, (*out)->count, sizeof *(*out)->item, by_name);
    return 0;
}

int pkgs_resolve(const struct image_def *def, const char *cache, bool offline,
                 const struct run *run, struct pkgs **out, struct err *err)
{
    AUTO_STR list = NULL;
    char hex[HASH_HEX_SIZE];
    if (sources(def, run, &list, err) < 0)
        return -1;
    hash_bytes(list, strlen(list), hex);
    hex[16] = '\0';
    AUTO_STR dir = str_printf("%s/apt/%s", cache, hex);
    AUTO_STR lock = dir ? str_printf("%s/lock", dir) : NULL;
    if (!lock)
        return err_oom(err);
    if (fd_mkdirs(dir, 0755, err) < 0)
        return -1;
    AUTO_FD held = fd_lock_file(lock, 0644, LOCK_EX, err);
    if (held < 0)
        return -1;
    if (make_state(dir, list, err) < 0)
        return -1;
    return resolve_in(def, dir, offline, run, out, err);
}

/* ---- fetching ------------------------------------------------------------------ */

/* Next to each package stands what it says of itself, for the repository's index. */
static int write_control(const struct pkg *p, const char *deb, const struct run *run,
                         struct err *err)
{
    AUTO_STR path = str_printf("%.*s.control", (int)strlen(deb) - 4, deb);
    AUTO_STR text = NULL;
    if (!path)
        return err_oom(err);
    if (access(path, F_OK) == 0)
        return 0;
    const char *const argv[] = {"dpkg-deb", "-f", deb, NULL};
    if (run_capture(run, argv, OUTPUT_MAX, &text, err) < 0)
        return -1;
    AUTO_STR all = str_printf("%sFilename: ./%s.deb\nSize: %llu\nSHA256: %s\n\n", text,
                              p->sha256, (unsigned long long)p->size, p->sha256);
    if (!all)
        return err_oom(err);
    return fd_replace_file(path, all, strlen(all), 0644, err);
}

int pkg_check(const struct pkg *p, const char *path, struct err *err)
{
    char hex[HASH_HEX_SIZE];
    if (hash_file(path, hex, NULL, err) < 0)
        return -1;
    if (strcmp(hex, p->sha256))
        return err_set(err, E_INPUT,
                       "package '%s %s', '%s': its SHA256 is %s; remove the file, it "
                       "is fetched again",
                       p->name, p->version, path, hex);
    return 0;
}

static int keep_one(const struct pkg *p, const char *cache, const char *got,
                    const struct run *run, struct err *err)
{
    AUTO_STR to = pkg_path(p, cache);
    if (!to)
        return err_oom(err);
    if (pkg_check(p, got, err) < 0 || chmod(got, 0644) < 0 || rename(got, to) < 0)
        return err && err->text[0] ? -1 : err_sys(err, "keep '%s'", to);
    return write_control(p, to, run, err);
}

int pkgs_fetch(const struct pkgs *p, const char *cache, const char *work, bool offline,
               const struct run *run, struct err *err)
{
    AUTO(args) a = calloc(1, sizeof *a);
    const struct pkg **missing = calloc(p->count + 1, sizeof *missing);
    __attribute__((cleanup(own_str_cleanup), unused)) char *release = (char *)missing;
    AUTO_STR debs = str_printf("%s/debs", cache);
    if (!a || !missing || !debs)
        return err_oom(err);
    if (fd_mkdirs(debs, 0755, err) < 0)
        return -1;
    size_t count = 0;
    add(a, "/usr/lib/apt/apt-helper");
    add(a, "-o");
    add(a, "APT::Sandbox::User=root");
    add(a, "download-file");
    for (size_t i = 0; i <= p->count; i++) {
        const struct pkg *one = i < p->count ? &p->item[i] : &p->kernel;
        if (!one->name)
            continue;
        AUTO_STR have = pkg_path(one, cache);
        if (!have)
            return err_oom(err);
        if (access(have, R_OK) == 0)
            continue;
        if (offline)
            return err_set(err, E_UNAVAIL,
                           "offline, and package '%s %s' is not in the cache",
                           one->name, one->version);
        missing[count++] = one;
        add(a, one->uri);
        add_own(a, str_printf("%s/%s", work, one->sha256));
        add_own(a, str_printf("SHA256:%s", one->sha256));
    }
    if (a->failed)
        return err_set(err, E_INPUT, "more than %d packages", ARGS_MAX / 3);
    if (count && run_tool(run, -1, -1, a->v, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        AUTO_STR got = str_printf("%s/%s", work, missing[i]->sha256);
        if (!got)
            return err_oom(err);
        if (keep_one(missing[i], cache, got, run, err) < 0)
            return -1;
    }
    return 0;
}

int pkgs_repo(const struct pkgs *p, const char *cache, const char *dir,
              const struct run *run, struct err *err)
{
    AUTO_BUF index = {0};
    if (fd_mkdirs(dir, 0755, err) < 0)
        return -1;
    for (size_t i = 0; i < p->count; i++) {
        const struct pkg *one = &p->item[i];
        AUTO_STR deb = pkg_path(one, cache);
        AUTO_STR to = str_printf("%s/%s.deb", dir, one->sha256);
        AUTO_STR about = str_printf("%s/debs/%s.control", cache, one->sha256);
        AUTO_STR text = NULL;
        if (!deb || !to || !about)
            return err_oom(err);
        if (pkg_check(one, deb, err) < 0 || write_control(one, deb, run, err) < 0 ||
            fd_read_file(about, 1 << 20, &text, NULL, err) < 0)
            return -1;
        if (symlink(deb, to) < 0)
            return err_sys(err, "link '%s'", to);
        str_buf_puts(&index, text);
    }
    AUTO_STR path = str_printf("%s/Packages", dir);
    if (!path || index.failed)
        return err_oom(err);
    AUTO_FD fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0)
        return err_sys(err, "'%s'", path);
    return fd_write_all(fd, index.data ? index.data : "", index.len, err);
}
