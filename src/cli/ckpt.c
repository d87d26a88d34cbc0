/* SPDX-License-Identifier: Apache-2.0 */
/* lodge ckpt: checkpoints as directories, looked at without an agent. */
#include "cli/ckpt.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "ckpt/ckpt.h"
#include "cli/nouns.h"
#include "cli/vm.h"

static const struct cli_column columns[] = {
    {"name", CLI_TEXT, .help = "the directory's name"},
    {"state", CLI_STATE, .help = "whole, writing, left over, or what is wrong"},
    {"vm", CLI_TEXT, .help = "the machine it is of"},
    {"type", CLI_TEXT, .help = "virtualization"},
    {"image", CLI_TEXT, .help = "what the machine booted"},
    {"stored_bytes", CLI_BYTES, .help = "what it takes on disk"},
    {"downtime_ms", CLI_MS, .help = "how long the machine stood still"},
    {"created", CLI_TIME, .help = "when it was made"},
    {"parent", CLI_TEXT, true, "the checkpoint it needs"},
    {"disks", CLI_TEXT, true, "the disks that were cut"},
    {"memory_mib", CLI_NUM, true, "the machine's memory"},
    {"vcpus", CLI_NUM, true, "the machine's CPUs"},
    {"features", CLI_TEXT, true, "what a reader must know"},
    {"id", CLI_TEXT, true, "names it for ever"},
    {"path", CLI_TEXT, true, "where it is"},
    {0},
};

/* --- looking ---------------------------------------------------------------------------- */

/* Of all its files, also of one level below. */
static json_int_t stored(int dir, int depth)
{
    json_int_t sum = 0;
    int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    if (!d && fd >= 0)
        close(fd);
    for (struct dirent *e; d && (e = readdir(d));) {
        struct stat st;
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..") ||
            fstatat(dir, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        if (S_ISREG(st.st_mode))
            sum += st.st_blocks * 512;
        if (!S_ISDIR(st.st_mode) || depth)
            continue;
        AUTO_FD sub =
            openat(dir, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (sub >= 0)
            sum += stored(sub, depth + 1);
    }
    if (d)
        closedir(d);
    return sum;
}

enum look { LOOK_NONE, LOOK_WRITING, LOOK_LEFT, LOOK_WHOLE };

/* What a directory is: a checkpoint, one under way, what a failure left, or none. */
static enum look look_at(int dir)
{
    if (faccessat(dir, CKPT_MANIFEST, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
        return LOOK_WHOLE;
    AUTO_FD lock = openat(dir, "lodge.writing", O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    if (lock < 0)
        return errno == ENOENT ? LOOK_NONE : LOOK_WRITING;
    return flock(lock, LOCK_EX | LOCK_NB) == 0 ? LOOK_LEFT : LOOK_WRITING;
}

static json_t *joined(const json_t *list, const char *key)
{
    AUTO_BUF b = {0};
    size_t i;
    json_t *one;
    json_array_foreach ((json_t *)list, i, one) {
        const char *s = json_string_value(key ? json_object_get(one, key) : one);
        str_buf_printf(&b, "%s%s", i ? "," : "", s ? s : "?");
    }
    return json_string(b.data ? b.data : "");
}

static const char *text_of(const json_t *m, const char *a, const char *b)
{
    return json_string_value(json_object_get(json_object_get(m, a), b));
}

static void dress(json_t *row, const json_t *m)
{
    json_int_t down = json_integer_value(json_object_get(m, "downtime_us"));
    json_t *machine = json_object_get(m, "machine");
    json_t *rest = json_pack(
        "{s:s*, s:s*, s:s*, s:I, s:O*, s:s*, s:o, s:O*, s:O*, s:o, s:O*}", "vm",
        text_of(m, "vm", "name"), "type", text_of(m, "vm", "type"), "image",
        text_of(m, "image", "name"), "downtime_ms", (json_int_t)((down + 999) / 1000),
        "created", json_object_get(m, "created_ms"), "parent",
        text_of(m, "parent", "name"), "disks",
        joined(json_object_get(m, "disks"), "id"), "memory_mib",
        json_object_get(machine, "memory_mib"), "vcpus",
        json_object_get(machine, "vcpus"), "features",
        joined(json_object_get(m, "features"), NULL), "id", json_object_get(m, "id"));
    json_object_update_new(row, rest);
}

/* NULL: nothing of ours. */
static json_t *row_of(const char *path)
{
    struct err why;
    AUTO_JSON manifest = NULL;
    AUTO_FD dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    enum look look = dir >= 0 ? look_at(dir) : LOOK_NONE;
    if (look == LOOK_NONE)
        return NULL;
    const char *leaf = strrchr(path, '/');
    const char *state = look == LOOK_WHOLE  ? "whole"
                        : look == LOOK_LEFT ? "left over"
                                            : "writing";
    if (look == LOOK_WHOLE && ckpt_manifest_read(dir, &manifest, &why) < 0)
        state = why.text;
    json_t *row =
        json_pack("{s:s, s:s, s:s, s:I}", "name", leaf ? leaf + 1 : path, "state",
                  state, "path", path, "stored_bytes", stored(dir, 0));
    if (row && manifest)
        dress(row, manifest);
    return row;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Rows of all checkpoints in a directory, by name. */
static int rows_of(const char *dir, json_t *rows, struct err *err)
{
    DIR *d = opendir(dir);
    char **names = NULL;
    size_t n = 0;
    int ret = 0;
    if (!d)
        return err_sys(err, "'%s'", dir);
    for (struct dirent *e; ret == 0 && (e = readdir(d));) {
        char **more =
            *e->d_name == '.' ? NULL : realloc(names, (n + 1) * sizeof *names);
        if (!more)
            continue;
        names = more;
        names[n] = str_printf("%s/%s", dir, e->d_name);
        if (!names[n++])
            ret = err_oom(err);
    }
    closedir(d);
    if (n)
        qsort(names, n, sizeof *names, by_name);
    for (size_t i = 0; i < n; i++) {
        json_t *row = ret == 0 ? row_of(names[i]) : NULL;
        if (row)
            json_array_append_new(rows, row);
        free(names[i]);
    }
    free(names);
    return ret;
}

static int all_rows(int nargs, char **args, json_t *rows, struct err *err)
{
    AUTO_STR home = ckpt_home();
    if (!home)
        return err_oom(err);
    if (!nargs) /* it is made with the first checkpoint */
        return access(home, F_OK) < 0 && errno == ENOENT ? 0 : rows_of(home, rows, err);
    for (int i = 0; i < nargs; i++)
        if (rows_of(args[i], rows, err) < 0)
            return -1;
    return 0;
}

static int run_list(struct cli *cli, int nargs, char **args, struct err *err)
{
    AUTO_JSON rows = json_array();
    if (all_rows(nargs, args, rows, err) < 0)
        return -1;
    return cli_table(cli, columns, rows, err);
}

void ckpt_offer(const char *start)
{
    AUTO_STR home = ckpt_home();
    DIR *d = home ? opendir(home) : NULL;
    for (struct dirent *e; d && (e = readdir(d));)
        if (*e->d_name != '.' && str_starts(e->d_name, start))
            puts(e->d_name);
    if (d)
        closedir(d);
}

static int no_checkpoint(const char *path, struct err *err)
{
    if (access(path, F_OK) < 0 && errno != ENOENT)
        return err_sys(err, "checkpoint '%s'", path);
    if (access(path, F_OK) < 0)
        return err_set(err, E_NOENT,
                       "no checkpoint '%s'; 'lodge ckpt list' shows what there is",
                       path);
    return err_set(err, E_NOENT, "'%s' is not a checkpoint: it has no manifest", path);
}

static int run_show(struct cli *cli, int nargs, char **args, struct err *err)
{
    AUTO_STR path = ckpt_path(args[0]);
    AUTO_JSON row = path ? row_of(path) : NULL;
    if (!path)
        return err_oom(err);
    if (!row)
        return no_checkpoint(path, err);
    return cli_show(cli, columns, row, err);
}

static int run_verify(struct cli *cli, int nargs, char **args, struct err *err)
{
    for (int i = 0; i < nargs; i++) {
        AUTO_STR path = ckpt_path(args[i]);
        struct err why = {0};
        uint64_t bytes = 0;
        char size[32];
        if (!path)
            return err_oom(err);
        if (ckpt_check(path, &bytes, &why) < 0) {
            err_at(&why, "checkpoint '%s'", args[i]);
            cli_error(cli, &why);
        } else {
            cli_say(cli, "checkpoint '%s' is whole (%s read)", args[i],
                    str_from_bytes(bytes, size, sizeof size));
        }
    }
    return 0;
}

/* --- prune ----------------------------------------------------------------------------------- */

static struct prune_input {
    const char *keep;
} prune_input;
enum { KEY_KEEP = 0x2400 };
static const struct argp_option prune_options[] = {
    {"keep", KEY_KEEP, "COUNT", 0,
     "keep only the newest COUNT of each machine, and what they need; without it only "
     "what failures left goes"},
    {0},
};

static error_t prune_parse(int key, char *arg, struct argp_state *state)
{
    struct prune_input *p = state->input;
    if (key != KEY_KEEP)
        return ARGP_ERR_UNKNOWN;
    p->keep = arg;
    return 0;
}

static const char *field(const json_t *row, const char *key)
{
    const char *s = json_string_value(json_object_get(row, key));
    return s ? s : "";
}

static bool is_newer(const json_t *a, const json_t *b)
{
    return json_integer_value(json_object_get(a, "created")) >
           json_integer_value(json_object_get(b, "created"));
}

/* Is it among the newest `keep` of its machine? */
static bool is_kept(const json_t *rows, const json_t *row, uint64_t keep)
{
    size_t i;
    json_t *other;
    uint64_t newer = 0;
    json_array_foreach ((json_t *)rows, i, other)
        newer += other != row && !strcmp(field(other, "state"), "whole") &&
                 !strcmp(field(other, "vm"), field(row, "vm")) && is_newer(other, row);
    return newer < keep;
}

/* Mark what stays: the newest, and all that they need. */
static void mark(json_t *rows, uint64_t keep)
{
    size_t i, k;
    json_t *row, *other;
    bool more = true;
    json_array_foreach (rows, i, row)
        if (is_kept(rows, row, keep))
            json_object_set_new(row, "stays", json_true());
    while (more) {
        more = false;
        json_array_foreach (rows, i, row) {
            if (!json_object_get(row, "stays") || !*field(row, "parent"))
                continue;
            json_array_foreach (rows, k, other) {
                if (json_object_get(other, "stays") ||
                    strcmp(field(other, "name"), field(row, "parent")))
                    continue;
                json_object_set_new(other, "stays", json_true());
                more = true;
            }
        }
    }
}

static int run_prune(struct cli *cli, int nargs, char **args, struct err *err)
{
    const struct prune_input *p = cli->verb->input;
    AUTO_JSON rows = json_array();
    uint64_t keep = UINT64_MAX;
    size_t i, gone = 0;
    json_t *row;
    if (p->keep && !str_to_u64(p->keep, &keep))
        return err_set(err, E_USAGE, "--keep: '%s' is not a number", p->keep);
    if (all_rows(nargs, args, rows, err) < 0)
        return -1;
    mark(rows, keep);
    json_array_foreach (rows, i, row) {
        const char *state = field(row, "state"), *path = field(row, "path");
        bool left = !strcmp(state, "left over");
        struct err why = {0};
        if (!left && (strcmp(state, "whole") || json_object_get(row, "stays")))
            continue;
        if (!left && !cli_confirm(cli, "remove checkpoint '%s'?", field(row, "name")))
            continue;
        if (cli->dry_run) {
            cli_say(cli, "would: remove '%s' (%s)", path, state);
            continue;
        }
        if (fd_remove_tree(path, &why) < 0)
            cli_error(cli, &why);
        else
            cli_say(cli, "'%s' removed (%s)", path, state), gone++;
    }
    if (!gone && !cli->dry_run)
        cli_say(cli, "nothing to remove");
    return 0;
}

static const struct cli_verb verbs[] = {
    {"list", "[DIR...]", "list checkpoints, of a directory or where they are kept", 0,
     CLI_ANY, NULL, NULL, NULL, run_list},
    {"show", "CKPT", "show one checkpoint", 1, 1, NULL, NULL, NULL, run_show},
    {"verify", "CKPT...", "read checkpoints whole and say what is wrong where", 1,
     CLI_ANY, NULL, NULL, NULL, run_verify},
    {"prune", "[DIR...]", "remove what failed checkpoints left, and old ones", 0,
     CLI_ANY, prune_options, prune_parse, &prune_input, run_prune},
    {0},
};

const struct cli_noun cli_noun_ckpt = {"ckpt", "checkpoints of machines", verbs};
