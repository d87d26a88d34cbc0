/* SPDX-License-Identifier: Apache-2.0 */
/* SPANK does not tell a plugin how much memory and how many CPUs a job asks for. So
 * look where the user wrote it: command line, #SBATCH lines, environment, in Slurm's
 * order of precedence. What is not found is not checked here; the node checks again. */
#include "plugin.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/own.h"
#include "base/str.h"

enum what {
    W_MEM,
    W_MEM_CPU,
    W_CPUS_TASK,
    W_TASKS_NODE,
    W_TASKS,
    W_NODES,
    W_ARRAY,
    W_COUNT
};
static const struct {
    const char *name;
    char letter;
    const char *env; /* behind SBATCH_, SALLOC_ or SLURM_ */
} known[W_COUNT] = {
    [W_MEM] = {"mem", 0, "MEM_PER_NODE"},
    [W_MEM_CPU] = {"mem-per-cpu", 0, "MEM_PER_CPU"},
    [W_CPUS_TASK] = {"cpus-per-task", 'c', "CPUS_PER_TASK"},
    [W_TASKS_NODE] = {"ntasks-per-node", 0, "NTASKS_PER_NODE"},
    [W_TASKS] = {"ntasks", 'n', "NTASKS"},
    [W_NODES] = {"nodes", 'N', "NNODES"},
    [W_ARRAY] = {"array", 'a', "ARRAY_INX"},
};
/* Short options of sbatch, salloc and srun that take a value, to know what is a value; W
 * does only in srun. */
static const char letters_with_value[] = "AaBbcCdDeFGiJLmMnNopPqrStTwx";

static bool takes_value(char letter)
{
    return strchr(letters_with_value, letter) ||
           (letter == 'W' && !strcmp(program_invocation_short_name, "srun"));
}

struct found {
    char *value[W_COUNT];
};

static void keep(struct found *f, enum what w, const char *value)
{
    if (f->value[w] || str_empty(value))
        return; /* the first place looked at wins; within one the last does, see below
                 */
    f->value[w] = strdup(value);
}

static void take_word(struct found *f, char *const *argv, int *i)
{
    const char *a = argv[*i];

    for (int w = 0; w < W_COUNT; w++) {
        size_t len = strlen(known[w].name);
        if (!strncmp(a, "--", 2) && !strncmp(a + 2, known[w].name, len)) {
            if (a[2 + len] == '=')
                keep(f, w, a + 3 + len);
            else if (!a[2 + len] && argv[*i + 1])
                keep(f, w, argv[++*i]);
            else
                continue;
            return;
        }
        if (known[w].letter && a[0] == '-' && a[1] != '-' && a[1] == known[w].letter) {
            keep(f, w, a[2] ? a + 2 : argv[*i + 1] ? argv[++*i] : "");
            return;
        }
    }
    if (a[0] == '-' && a[1] != '-' && a[1] && !a[2] && takes_value(a[1]) &&
        argv[*i + 1])
        ++*i;
}

/* All options of the words; where they end is the script, or NULL. */
static const char *take_words(struct found *f, char *const *argv)
{
    int i;

    for (i = 0; argv[i]; i++) {
        if (argv[i][0] != '-' || !strcmp(argv[i], "--"))
            break;
        take_word(f, argv, &i);
    }
    return argv[i];
}

static void take_script(struct found *f, const char *script)
{
    enum { WORDS_MAX = 64 };

    for (const char *l = script; *l;) {
        size_t len = strcspn(l, "\n");
        if (str_starts(l, "#SBATCH")) {
            AUTO_STR line = strndup(l + 7, len - 7);
            char *words[WORDS_MAX + 1] = {NULL};
            int n = 0;
            for (char *p = line; p && *p && n < WORDS_MAX;) {
                while (isspace((unsigned char)*p))
                    *p++ = '\0';
                if (!*p || *p == '#')
                    break;
                words[n++] = p;
                while (*p && !isspace((unsigned char)*p))
                    p++;
            }
            take_words(f, words);
        } else if (len && *l != '#') {
            return; /* Slurm, too, stops at the first command */
        }
        l += len + (l[len] == '\n');
    }
}

static void take_env(struct found *f)
{
    static const char *const tools[][2] = {
        {"sbatch", "SBATCH"}, {"salloc", "SALLOC"}, {"srun", "SLURM"}};
    char name[64];

    for (size_t t = 0; t < ARRAY_SIZE(tools); t++)
        for (int w = 0; w < W_COUNT; w++)
            if (!strcmp(program_invocation_short_name, tools[t][0])) {
                snprintf(name, sizeof name, "%s_%s", tools[t][1], known[w].env);
                keep(f, w, getenv(name));
            }
}

static uint64_t mib(const char *text)
{
    uint64_t bytes;

    return text && str_to_bytes(text, 1 << 20, &bytes) ? bytes >> 20 : 0;
}

static unsigned number(const char *text)
{
    char *end;
    unsigned long n = text ? strtoul(text, &end, 10) : 0;

    return n > 0 && n < 1000000 && (!*end || *end == '-') ? (unsigned)n : 0;
}

static void conclude(struct found *f, struct plugin_request *out)
{
    unsigned per_task = number(f->value[W_CPUS_TASK]);
    unsigned tasks = number(f->value[W_TASKS_NODE]);
    unsigned all = number(f->value[W_TASKS]), nodes = number(f->value[W_NODES]);

    /* n tasks on N nodes are at least n/N on one, at most all: take what is sure. */
    if (!tasks && all && nodes)
        tasks = (all + nodes - 1) / nodes;
    else if (!tasks && all && !nodes)
        tasks = 0;
    *out = (struct plugin_request){.memory_mib = mib(f->value[W_MEM]),
                                   .nodes = nodes,
                                   .array = f->value[W_ARRAY] != NULL};
    if (per_task && (tasks || !all))
        out->cpus = per_task * (tasks ? tasks : 1);
    else if (tasks)
        out->cpus = tasks;
    if (!out->memory_mib && out->cpus)
        out->memory_mib = mib(f->value[W_MEM_CPU]) * out->cpus;
    for (int w = 0; w < W_COUNT; w++)
        free(f->value[w]);
}

void plugin_request_parse(char *const *argv, const char *script,
                          struct plugin_request *out)
{
    struct found f = {0};

    take_words(&f, argv);
    if (script)
        take_script(&f, script);
    conclude(&f, out);
}

void plugin_request_get(struct plugin_request *out)
{
    enum { TEXT_MAX = 4 << 20, WORDS_MAX = 4096 };
    AUTO_STR line = NULL;
    AUTO_STR script = NULL;
    struct found f = {0};
    size_t len;

    *out = (struct plugin_request){0};
    if (fd_read_file("/proc/self/cmdline", TEXT_MAX, &line, &len, NULL) < 0)
        return;
    char **argv = calloc(WORDS_MAX + 1, sizeof *argv);
    if (!argv)
        return;
    int n = 0;
    for (size_t i = 0; i < len && n < WORDS_MAX; i += strlen(line + i) + 1)
        argv[n++] = line + i;
    const char *rest = n ? take_words(&f, argv + 1) : NULL;
    take_env(&f);
    if (rest && !strcmp(program_invocation_short_name, "sbatch") &&
        fd_read_file(rest, TEXT_MAX, &script, NULL, NULL) == 0)
        take_script(&f, script);
    free(argv);
    conclude(&f, out);
}
