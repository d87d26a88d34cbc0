/* SPDX-License-Identifier: Apache-2.0 */
/* Decoding of the machine's configuration: strict, pure, one function an object. Devices
 * decode their own members by their rows. */
#include "vmm/config.h"

#include "base/str.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

static int unpack_err(struct err *err, const char *what, const json_error_t *je)
{
    return err_set(err, E_CONFIG, "%s: %s", what, je->text);
}

/* jansson's "i" cuts a number down to an int without a word, so what does not fit one is
 * refused beforehand, wherever it is. Ids are larger and decoded as such. */
static int check_integers(json_t *in, const char *name, struct err *err)
{
    const char *key;
    json_t *value;
    size_t i;
    if (json_is_integer(in)) {
        json_int_t n = json_integer_value(in);
        bool id = strcmp(name, "uid") == 0 || strcmp(name, "gid") == 0;
        if (!id && (n < INT_MIN || n > INT_MAX))
            return err_set(err, E_CONFIG, "%s: %lld is out of range", name,
                           (long long)n);
    }
    json_array_foreach (in, i, value)
        if (check_integers(value, name, err) < 0)
            return -1;
    json_object_foreach (in, key, value)
        if (check_integers(value, key, err) < 0)
            return -1;
    return 0;
}

int config_file(json_t *in, const char *what, struct device_file *f, char **keep,
                struct err *err)
{
    const char *path = NULL;
    int fd = -1;
    json_error_t je;
    if (json_is_string(in))
        path = json_string_value(in);
    else if (json_unpack_ex(in, &je, 0, "{s?s, s?i !}", "path", &path, "fd", &fd) < 0)
        return unpack_err(err, what, &je);
    if (!path == (fd < 0))
        return err_set(err, E_CONFIG,
                       "%s: give a path, or {\"path\": ...}, or {\"fd\": number}",
                       what);
    *f = (struct device_file){.path = NULL, .fd = fd};
    if (path) {
        if (!*path || !(*keep = strdup(path)))
            return err_set(err, E_CONFIG, "%s: empty path", what);
        f->path = *keep;
    }
    return 0;
}

static int decode_page(const char *page, uint64_t *out, struct err *err)
{
    if (strcmp(page, "4K") == 0)
        *out = 4 * KIB;
    else if (strcmp(page, "2M") == 0)
        *out = 2 * MIB;
    else if (strcmp(page, "1G") == 0)
        *out = GIB;
    else
        return err_set(err, E_CONFIG, "memory: page '%s': choose 4K, 2M or 1G", page);
    return 0;
}

/* A list of CPU or vCPU numbers below max, or one number, into set. */
static int decode_cpus(json_t *in, const char *what, unsigned max, cpu_set_t *set,
                       struct err *err)
{
    CPU_ZERO(set);
    size_t n = json_is_array(in) ? json_array_size(in) : 1;
    for (size_t i = 0; i < n; i++) {
        json_t *v = json_is_array(in) ? json_array_get(in, i) : in;
        json_int_t c = json_is_integer(v) ? json_integer_value(v) : -1;
        if (c < 0 || c >= (json_int_t)max)
            return err_set(err, E_CONFIG, "%s: wants numbers from 0 to %u", what,
                           max - 1);
        CPU_SET((int)c, set);
    }
    return 0;
}

static int decode_node(struct config *c, unsigned i, unsigned count, json_t *in,
                       struct err *err)
{
    struct config_node *n = &c->memory.nodes[i];
    json_int_t mib = 0;
    json_t *vcpus = NULL, *distances = NULL;
    json_error_t je;
    n->host_node = -1;
    if (json_unpack_ex(in, &je, 0, "{s:I, s?i, s?o, s?o !}", "size_mib", &mib,
                       "host_node", &n->host_node, "vcpus", &vcpus, "distances",
                       &distances) < 0)
        return unpack_err(err, "memory: nodes", &je);
    if (mib <= 0 || mib > 1 << 26 || n->host_node < -1 || n->host_node > 1023)
        return err_set(err, E_CONFIG,
                       "memory: nodes: size_mib or host_node out of range");
    n->size = (uint64_t)mib * MIB;
    cpu_set_t set;
    unsigned max = c->vcpus < CPU_SETSIZE ? c->vcpus : CPU_SETSIZE;
    if (vcpus && decode_cpus(vcpus, "memory: nodes: vcpus", max, &set, err) < 0)
        return -1;
    for (unsigned v = 0; vcpus && v < max; v++)
        if (CPU_ISSET((int)v, &set)) {
            if (c->cpu.node[v] != 0xff)
                return err_set(err, E_CONFIG, "memory: nodes: vCPU %u is in two nodes",
                               v);
            c->cpu.node[v] = (uint8_t)i;
        }
    if (!distances)
        return 0;
    if (!json_is_array(distances) || json_array_size(distances) != count)
        return err_set(err, E_CONFIG, "memory: nodes: distances: wants %u numbers",
                       count);
    for (unsigned j = 0; j < count; j++) {
        json_int_t d = json_integer_value(json_array_get(distances, j));
        if (d < 10 || d > 254 || (j == i && d != 10))
            return err_set(
                err, E_CONFIG,
                "memory: nodes: distances: 10 for itself, 10 to 254 for others");
        n->distances[j] = (uint8_t)d;
    }
    return 0;
}

static int decode_nodes(struct config *c, json_t *nodes, struct err *err)
{
    size_t n = json_array_size(nodes);
    if (!json_is_array(nodes) || n == 0 || n > CONFIG_NODES_MAX)
        return err_set(err, E_CONFIG, "memory: nodes: wants 1 to %d nodes",
                       CONFIG_NODES_MAX);
    memset(c->cpu.node, 0xff, c->vcpus);
    uint64_t sum = 0;
    for (unsigned i = 0; i < n; i++) {
        if (decode_node(c, i, (unsigned)n, json_array_get(nodes, i), err) < 0)
            return -1;
        if (c->memory.nodes[i].size % c->memory.page)
            return err_set(err, E_CONFIG, "memory: nodes: a node is not whole pages");
        sum += c->memory.nodes[i].size;
    }
    c->memory.nnodes = (unsigned)n;
    for (unsigned v = 0; v < c->vcpus; v++)
        if (c->cpu.node[v] == 0xff)
            c->cpu.node[v] = (uint8_t)(v * n / c->vcpus);
    if (c->memory.size == 0)
        c->memory.size = sum;
    if (sum != c->memory.size)
        return err_set(err, E_CONFIG, "memory: size_mib is %llu, its nodes have %llu",
                       (unsigned long long)(c->memory.size / MIB),
                       (unsigned long long)(sum / MIB));
    return 0;
}

static int decode_memory(struct config *c, json_t *in, struct err *err)
{
    json_int_t mib = 0;
    int prealloc = -1, thp = 0;
    const char *page = "4K";
    json_t *nodes = NULL;
    json_error_t je;
    if (json_unpack_ex(in, &je, 0, "{s?I, s?s, s?b, s?b, s?o !}", "size_mib", &mib,
                       "page", &page, "prealloc", &prealloc, "thp", &thp, "nodes",
                       &nodes) < 0)
        return unpack_err(err, "memory", &je);
    if (decode_page(page, &c->memory.page, err) < 0)
        return -1;
    if (mib < 0 || mib > 1 << 26 || (mib == 0 && !nodes))
        return err_set(err, E_CONFIG, "memory: size_mib: wants 1 to %d", 1 << 26);
    c->memory.size = (uint64_t)mib * MIB;
    c->memory.prealloc = prealloc < 0 ? c->memory.page > 4 * KIB : prealloc;
    c->memory.thp = thp;
    if (thp && c->memory.page > 4 * KIB)
        return err_set(err, E_CONFIG, "memory: thp goes with page 4K only");
    c->memory.nnodes = 1;
    c->memory.nodes[0].host_node = -1;
    if (nodes && decode_nodes(c, nodes, err) < 0)
        return -1;
    if (!nodes)
        c->memory.nodes[0].size = c->memory.size;
    if (c->memory.size % c->memory.page || c->memory.size < 2 * MIB)
        return err_set(err, E_CONFIG, "memory: %llu MiB are not whole pages of %s",
                       (unsigned long long)(c->memory.size / MIB), page);
    return 0;
}

static int decode_exits(json_t *list, unsigned *out, struct err *err)
{
    static const struct {
        const char *name;
        unsigned bit;
    } names[] = {{"mwait", CONFIG_EXIT_MWAIT},
                 {"hlt", CONFIG_EXIT_HLT},
                 {"pause", CONFIG_EXIT_PAUSE},
                 {"cstate", CONFIG_EXIT_CSTATE}};
    if (!json_is_array(list))
        return err_set(err, E_CONFIG, "cpu: disable_exits: wants a list");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *s = json_string_value(json_array_get(list, i));
        size_t j = 0;
        while (j < ARRAY_SIZE(names) && (!s || strcmp(s, names[j].name) != 0))
            j++;
        if (j == ARRAY_SIZE(names))
            return err_set(
                err, E_CONFIG,
                "cpu: disable_exits: '%s': choose hlt, pause, mwait or cstate",
                s ? s : "(not a string)");
        *out |= names[j].bit;
    }
    return 0;
}

static int decode_cpu(struct config *c, json_t *in, struct err *err)
{
    json_t *pin = NULL, *io_pin = NULL, *exits = NULL;
    json_int_t poll = -1;
    int require = 0;
    json_error_t je;
    if (json_unpack_ex(in, &je, 0, "{s?o, s?o, s?o, s?I, s?b !}", "pin", &pin, "io_pin",
                       &io_pin, "disable_exits", &exits, "halt_poll_ns", &poll,
                       "require_exits_disabled", &require) < 0)
        return unpack_err(err, "cpu", &je);
    if (poll < -1 || poll > 1000000000)
        return err_set(err, E_CONFIG, "cpu: halt_poll_ns: wants 0 to 1000000000");
    c->cpu.halt_poll_ns = poll;
    c->cpu.require_exits_disabled = require;
    if (exits && decode_exits(exits, &c->cpu.disable_exits, err) < 0)
        return -1;
    if (io_pin &&
        decode_cpus(io_pin, "cpu: io_pin", CPU_SETSIZE, &c->cpu.io_pin, err) < 0)
        return -1;
    if (!pin)
        return 0;
    if (!json_is_array(pin) || json_array_size(pin) != c->vcpus)
        return err_set(err, E_CONFIG, "cpu: pin: wants %u entries, one a vCPU",
                       c->vcpus);
    c->cpu.pin = calloc(c->vcpus, sizeof *c->cpu.pin);
    if (!c->cpu.pin)
        return err_oom(err);
    for (unsigned i = 0; i < c->vcpus; i++)
        if (decode_cpus(json_array_get(pin, i), "cpu: pin", CPU_SETSIZE, &c->cpu.pin[i],
                        err) < 0)
            return -1;
    return 0;
}

static int decode_sandbox(struct config *c, json_t *in, struct err *err)
{
    int enable = 1;
    json_int_t uid = -1, gid = -1;
    json_error_t je;
    if (json_unpack_ex(in, &je, 0, "{s?b, s?I, s?I !}", "enable", &enable, "uid", &uid,
                       "gid", &gid) < 0)
        return unpack_err(err, "sandbox", &je);
    if ((uid < 0) != (gid < 0) || uid > 0xfffffffe || gid > 0xfffffffe)
        return err_set(err, E_CONFIG, "sandbox: give both uid and gid, or none");
    c->sandbox.enable = enable;
    c->sandbox.set_ids = uid >= 0;
    c->sandbox.uid = (uid_t)uid;
    c->sandbox.gid = (gid_t)gid;
    return 0;
}

static int decode_restore(struct config *c, json_t *in, struct err *err)
{
    static const char *const modes[] = {[CONFIG_RESTORE_NONE] = "",
                                        [CONFIG_RESTORE_READ] = "read",
                                        [CONFIG_RESTORE_MAP] = "map",
                                        [CONFIG_RESTORE_UFFD] = "uffd"};
    const char *mode = "read";
    int verify = 1;
    json_error_t je;
    c->restore.dir.fd = -1;
    if (json_unpack_ex(in, &je, 0, "{s?s, s?i, s?s, s?b !}", "path",
                       &c->restore.dir.path, "fd", &c->restore.dir.fd, "mode", &mode,
                       "verify", &verify) < 0)
        return unpack_err(err, "restore", &je);
    if ((c->restore.dir.path != NULL) == (c->restore.dir.fd >= 0))
        return err_set(err, E_CONFIG, "restore: give one of \"path\" and \"fd\"");
    for (size_t i = CONFIG_RESTORE_READ; i < ARRAY_SIZE(modes); i++)
        if (strcmp(mode, modes[i]) == 0)
            c->restore.mode = (enum config_restore_mode)i;
    if (c->restore.mode == CONFIG_RESTORE_NONE)
        return err_set(err, E_CONFIG, "restore: mode: '%s' is not read, map or uffd",
                       mode);
    if (c->restore.mode == CONFIG_RESTORE_MAP && c->memory.page != 4096)
        return err_set(
            err, E_CONFIG,
            "restore: mode 'map' needs pages of 4K; 'uffd' starts early with "
            "2M");
    if (c->restore.mode == CONFIG_RESTORE_UFFD && c->memory.page > 2 << 20)
        return err_set(err, E_CONFIG,
                       "restore: mode 'uffd' needs pages of 4K or 2M; use 'read'");
    c->restore.verify = verify;
    if (c->restore.dir.path) {
        c->restore.path = strdup(c->restore.dir.path);
        c->restore.dir.path = c->restore.path;
        if (!c->restore.path)
            return err_oom(err);
    }
    return 0;
}

static bool id_taken(const struct config *c, const char *id)
{
    for (size_t i = 0; i < c->ndevices; i++)
        if (strcmp(c->devices[i].id, id) == 0)
            return true;
    return false;
}

static unsigned count_type(const struct config *c, const struct device_ops *ops)
{
    unsigned n = 0;
    for (size_t i = 0; i < c->ndevices; i++)
        n += c->devices[i].ops == ops;
    return n;
}

/* Let the row look at its members now, so that a wrong one is told before anything is
 * opened. */
static int try_decode(const struct device_ops *ops, char *id, json_t *in,
                      struct err *err)
{
    struct device d = {.ops = ops, .id = id, .state = calloc(1, ops->state_size + 1)};
    if (!d.state)
        return err_oom(err);
    int r = ops->decode ? ops->decode(&d, in, err) : 0;
    free(d.state);
    return r < 0 ? err_at(err, "device '%s'", id) : 0;
}

static int decode_device(struct config *c, json_t *in, struct err *err)
{
    const char *type = json_string_value(json_object_get(in, "type"));
    const char *id = json_string_value(json_object_get(in, "id"));
    if (!json_is_object(in) || !type)
        return err_set(err, E_CONFIG, "devices: each wants a \"type\"");
    const struct device_ops *ops = device_type(type);
    if (!ops)
        return err_set(err, E_CONFIG,
                       "devices: type '%s' is not in this build; see lodge-vmm --help",
                       type);
    if (c->ndevices == CONFIG_DEVICES_MAX)
        return err_set(err, E_CONFIG, "devices: more than %d", CONFIG_DEVICES_MAX);
    if (json_object_get(in, "id") && (!id || !str_is_name(id) || id_taken(c, id)))
        return err_set(err, E_CONFIG, "devices: id '%s' is wrong or there twice",
                       id ? id : "(not a string)");
    unsigned nth = count_type(c, ops);
    if (ops->max && nth >= ops->max)
        return err_set(err, E_CONFIG, "devices: at most %u of type '%s'", ops->max,
                       type);
    struct config_device *d = &c->devices[c->ndevices];
    d->id = id ? strdup(id) : str_printf("%s%u", type, nth);
    d->in = json_copy(in);
    d->ops = ops;
    if (!d->id || !d->in)
        return err_oom(err);
    if (!id && id_taken(c, d->id))
        return err_set(err, E_CONFIG, "devices: id '%s' is there twice", d->id);
    c->ndevices++;
    json_object_del(d->in, "type");
    json_object_del(d->in, "id");
    return try_decode(ops, d->id, d->in, err);
}

static int decode_top(struct config *c, json_t *root, struct err *err)
{
    const char *name = "vm", *cmdline = NULL;
    int vcpus = 1, io_threads = 1, paused = 0;
    json_t *memory = NULL, *kernel = NULL, *initrd = NULL, *cpu = NULL, *devices = NULL,
           *control = NULL, *sandbox = NULL, *restore = NULL;
    json_error_t je;
    if (json_unpack_ex(root, &je, 0,
                       "{s?s, s?i, s?i, s:o, s?o, s?o, s?s, s?o, s?o, s?o, s?o, s?b, "
                       "s?o !}",
                       "name", &name, "vcpus", &vcpus, "io_threads", &io_threads,
                       "memory", &memory, "kernel", &kernel, "initrd", &initrd,
                       "cmdline", &cmdline, "cpu", &cpu, "devices", &devices, "control",
                       &control, "sandbox", &sandbox, "paused", &paused, "restore",
                       &restore) < 0)
        return err_set(err, E_CONFIG, "%s", je.text);
    if (!kernel && !restore)
        return err_set(err, E_CONFIG, "\"kernel\" is missing");
    if (!str_is_name(name))
        return err_set(err, E_CONFIG, "name: '%s' is not a name", name);
    if (vcpus < 1 || vcpus > CONFIG_VCPUS_MAX)
        return err_set(err, E_CONFIG, "vcpus: wants 1 to %d", CONFIG_VCPUS_MAX);
    if (io_threads < 1 || io_threads > 16)
        return err_set(err, E_CONFIG, "io_threads: wants 1 to 16");
    c->vcpus = (unsigned)vcpus;
    c->io_threads = (unsigned)io_threads;
    c->paused = paused;
    c->name = strdup(name);
    c->cmdline = cmdline ? strdup(cmdline) : NULL;
    c->cpu.node = calloc(c->vcpus, 1);
    if (!c->name || !c->cpu.node || (cmdline && !c->cmdline))
        return err_oom(err);
    if (decode_memory(c, memory, err) < 0 ||
        (restore && decode_restore(c, restore, err) < 0) ||
        (kernel &&
         config_file(kernel, "kernel", &c->kernel, &c->kernel_path, err) < 0) ||
        (initrd &&
         config_file(initrd, "initrd", &c->initrd, &c->initrd_path, err) < 0) ||
        (cpu && decode_cpu(c, cpu, err) < 0) ||
        (sandbox && decode_sandbox(c, sandbox, err) < 0))
        return -1;
    struct device_file f = {.fd = -1};
    if (control && config_file(control, "control", &f, &c->control_path, err) < 0)
        return -1;
    c->control_fd = f.fd;
    if (devices && !json_is_array(devices))
        return err_set(err, E_CONFIG, "devices: wants a list");
    for (size_t i = 0; i < json_array_size(devices); i++)
        if (decode_device(c, json_array_get(devices, i), err) < 0)
            return -1;
    return 0;
}

int config_parse(const char *text, size_t len, const char *name, struct config **out,
                 struct err *err)
{
    json_error_t je;
    json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &je);
    if (!root)
        return err_set(err, E_CONFIG, "%s: line %d: %s", name, je.line, je.text);
    AUTO(config) c = calloc(1, sizeof *c);
    if (!c) {
        json_decref(root);
        return err_oom(err);
    }
    c->initrd.fd = c->kernel.fd = c->control_fd = -1;
    c->cpu.halt_poll_ns = -1;
    c->sandbox.enable = true;
    int r = json_is_object(root) ? check_integers(root, "", err)
                                 : err_set(err, E_CONFIG, "not an object");
    if (r == 0)
        r = decode_top(c, root, err);
    json_decref(root);
    if (r < 0)
        return err_at(err, "%s", name);
    *out = move(c);
    return 0;
}

void config_free(struct config *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < ARRAY_SIZE(c->devices); i++) {
        free(c->devices[i].id);
        json_decref(c->devices[i].in);
    }
    free(c->name);
    free(c->kernel_path);
    free(c->initrd_path);
    free(c->cmdline);
    free(c->control_path);
    free(c->restore.path);
    free(c->cpu.pin);
    free(c->cpu.node);
    free(c);
}
