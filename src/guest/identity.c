/* SPDX-License-Identifier: Apache-2.0 */
/* Applying an identity: one row a member, in the order that matters (names and
 * addresses before mounts, everything before the first command). */
#include "guest/identity.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/base64.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/proc.h"
#include "base/str.h"
#include "guest/hostkeys.h"
#include "guest/users.h"
#include "proto/rpc.h"

void identity_warn(json_t *warnings, const char *fmt, ...)
{
    enum { MAX = 100 };
    va_list ap;
    va_start(ap, fmt);
    AUTO_BUF b = {0};
    str_buf_vprintf(&b, fmt, ap);
    va_end(ap);
    if (!b.data)
        return;
    log_warn(NULL, "identity: %s", b.data);
    if (json_array_size(warnings) < MAX)
        json_array_append_new(warnings, json_string(b.data));
}

/* Replace a file; where its name is a mount of its own (a container's), its content. */
static void write_file(const char *path, const char *text, mode_t mode,
                       json_t *warnings)
{
    struct err err;
    if (fd_replace_file(path, text, strlen(text), mode, &err) == 0)
        return;
    AUTO_FD fd = open(path, O_WRONLY | O_TRUNC | O_CREAT | O_CLOEXEC, mode);
    if (fd < 0 || fd_write_all(fd, text, strlen(text), NULL) < 0)
        identity_warn(warnings, "%s", err.text);
}

/* Names that become lines of files must not hold what ends a word or a line. */
static bool is_word(const char *s)
{
    if (!s || !*s || strlen(s) > 255)
        return false;
    for (; *s; s++)
        if (!isgraph((unsigned char)*s) || *s == '#')
            return false;
    return true;
}

static void apply_clock(const json_t *v, const json_t *all, json_t *warnings)
{
    enum { NEAR_US = 10000 };
    int64_t want = json_integer_value(v);
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    int64_t off = want - ((int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000);
    if (want <= 0 || (off < NEAR_US && off > -NEAR_US))
        return;
    struct timespec set = {.tv_sec = want / 1000000, .tv_nsec = want % 1000000 * 1000};
    if (clock_settime(CLOCK_REALTIME, &set) < 0)
        identity_warn(warnings, "clock: %s", strerror(errno));
}

static void apply_entropy(const json_t *v, const json_t *all, json_t *warnings)
{
    enum { MAX = 1024 };
    struct {
        struct rand_pool_info info;
        char room[MAX];
    } pool;
    size_t len = 0;
    const char *text = json_string_value(v);
    AUTO_STR raw = text ? base64_decode(text, &len) : NULL;
    if (!raw || !len || len > MAX) {
        identity_warn(warnings, "entropy: not base64 of 1 to %d bytes", MAX);
        return;
    }
    pool.info.entropy_count = len * 8;
    pool.info.buf_size = len;
    memcpy(pool.info.buf, raw, len);
    AUTO_FD fd = open("/dev/urandom", O_WRONLY | O_CLOEXEC);
    if (fd < 0 || ioctl(fd, RNDADDENTROPY, &pool) < 0)
        identity_warn(warnings, "entropy: %s", strerror(errno));
    else
        ioctl(fd, RNDRESEEDCRNG); /* clones of one image must differ from now on */
}

static void apply_hostname(const json_t *v, const json_t *all, json_t *warnings)
{
    const char *name = json_string_value(v);
    if (!is_word(name) || strlen(name) > 64 || strchr(name, '/')) {
        identity_warn(warnings, "hostname: not a name");
        return;
    }
    AUTO_STR line = str_printf("%s\n", name);
    if (sethostname(name, strlen(name)) < 0)
        identity_warn(warnings, "hostname: %s", strerror(errno));
    if (line)
        write_file("/etc/hostname", line, 0644, warnings);
}

static void apply_machine_id(const json_t *v, const json_t *all, json_t *warnings)
{
    const char *id = json_string_value(v);
    size_t n = 0;
    while (id && isxdigit((unsigned char)id[n]))
        n++;
    if (n != 32 || id[n]) {
        identity_warn(warnings, "machine_id: not 32 hexadecimal digits");
        return;
    }
    AUTO_STR line = str_printf("%s\n", id);
    if (line)
        write_file("/etc/machine-id", line, 0444, warnings);
}

static void apply_time_zone(const json_t *v, const json_t *all, json_t *warnings)
{
    const char *zone = json_string_value(v);
    if (!is_word(zone) || *zone == '/' || strstr(zone, "..")) {
        identity_warn(warnings, "time_zone: not a name");
        return;
    }
    AUTO_STR file = str_printf("/usr/share/zoneinfo/%s", zone);
    AUTO_STR line = str_printf("%s\n", zone);
    if (!file || !line)
        return;
    if (access(file, R_OK) < 0) {
        identity_warn(warnings, "time_zone '%s' is not in the image", zone);
        return;
    }
    unlink("/etc/localtime.new");
    if (symlink(file, "/etc/localtime.new") < 0 ||
        rename("/etc/localtime.new", "/etc/localtime") < 0)
        identity_warn(warnings, "time_zone: %s", strerror(errno));
    write_file("/etc/timezone", line, 0644, warnings);
}

static bool is_address(const char *s)
{
    unsigned char raw[16];
    return s && (inet_pton(AF_INET, s, raw) == 1 || inet_pton(AF_INET6, s, raw) == 1);
}

static void apply_hosts(const json_t *v, const json_t *all, json_t *warnings)
{
    AUTO_BUF b = {0};
    size_t i, k;
    json_t *host, *name;
    const char *own = json_string_value(json_object_get(all, "hostname"));
    bool own_named = false;
    str_buf_puts(&b, "127.0.0.1 localhost\n::1 localhost ip6-localhost\n");
    json_array_foreach (v, i, host) {
        const char *address = json_string_value(json_object_get(host, "address"));
        if (!is_address(address)) {
            identity_warn(warnings, "hosts: entry %zu has no address", i + 1);
            continue;
        }
        str_buf_puts(&b, address);
        json_array_foreach (json_object_get(host, "names"), k, name)
            if (is_word(json_string_value(name))) {
                str_buf_printf(&b, " %s", json_string_value(name));
                own_named |= own && !strcmp(own, json_string_value(name));
            }
        str_buf_puts(&b, "\n");
    }
    if (is_word(own) && !own_named)
        str_buf_printf(&b, "127.0.1.1 %s\n", own);
    if (!b.failed)
        write_file("/etc/hosts", b.data, 0644, warnings);
}

static void apply_dns(const json_t *v, const json_t *all, json_t *warnings)
{
    AUTO_BUF b = {0};
    size_t i;
    json_t *entry;
    const json_t *search = json_object_get(all, "search");
    json_array_foreach (search, i, entry)
        if (is_word(json_string_value(entry)))
            str_buf_printf(&b, "%s %s", i ? "" : "search", json_string_value(entry));
    if (b.len)
        str_buf_puts(&b, "\n");
    json_array_foreach (v, i, entry) {
        if (is_address(json_string_value(entry)))
            str_buf_printf(&b, "nameserver %s\n", json_string_value(entry));
        else
            identity_warn(warnings, "dns: entry %zu is no address", i + 1);
    }
    if (!b.failed && b.data) {
        unlink("/etc/resolv.conf"); /* it may be a link to what no daemon writes here */
        write_file("/etc/resolv.conf", b.data, 0644, warnings);
    }
}

static void apply_host_keys(const json_t *v, const json_t *all, json_t *warnings)
{
    size_t i;
    json_t *key;
    struct err err;
    json_array_foreach (v, i, key) {
        const char *type = NULL, *private = NULL, *public = "";
        json_unpack(key, "{s:s, s:s, s?s}", "type", &type, "private", &private,
                    "public", &public);
        bool plain = type && *type && strlen(type) < 32;
        for (const char *p = type; plain && *p; p++)
            plain = isalnum((unsigned char)*p);
        if (!plain || !private) {
            identity_warn(warnings, "ssh_host_keys: entry %zu is wrong", i + 1);
            continue;
        }
        if (fd_mkdirs("/etc/ssh", 0755, &err) < 0) {
            identity_warn(warnings, "ssh_host_keys: %s", err.text);
            return;
        }
        AUTO_STR path = str_printf("/etc/ssh/ssh_host_%s_key", type);
        AUTO_STR pub = path ? str_printf("%s.pub", path) : NULL;
        if (!pub)
            return;
        write_file(path, private, 0600, warnings);
        if (*public)
            write_file(pub, public, 0644, warnings);
    }
}

/* It was another machine until now: nothing secret of that one's may stay. Keys that the
 * agent gave come after this. */
static void apply_clone(const json_t *v, const json_t *all, json_t *warnings)
{
    enum { KEYGEN_MS = 30000, SEED = 512 };
    static const char key[] = "/etc/ssh/ssh_host_ed25519_key";
    static const char *const kinds[] = {"rsa", "dsa", "ecdsa", "ed25519"};
    bool had = false;
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        AUTO_STR path = str_printf("/etc/ssh/ssh_host_%s_key", kinds[i]);
        AUTO_STR pub = path ? str_printf("%s.pub", path) : NULL;
        had |= path && unlink(path) == 0;
        if (pub)
            unlink(pub);
    }
    const char *const argv[] = {"ssh-keygen", "-q", "-t", "ed25519", "-N",
                                "",           "-f", key,  NULL};
    struct proc_spec spec = {.argv = argv};
    struct err err;
    if (had && proc_run(&spec, KEYGEN_MS, NULL, &err) < 0)
        identity_warn(warnings, "host key: %s", err.text);
    static const char seed_path[] = "/var/lib/systemd/random-seed";
    char seed[SEED];
    AUTO_FD fd = open(seed_path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd >= 0 && (getrandom(seed, sizeof seed, 0) != sizeof seed ||
                    pwrite(fd, seed, sizeof seed, 0) != sizeof seed))
        identity_warn(warnings, "random seed: %s", strerror(errno));
}

/* Is something of that source mounted there already? */
static bool is_mounted(const char *source, const char *target)
{
    AUTO_STR text = NULL;
    AUTO_STR want = str_printf("%s %s ", source, target);
    if (!want || fd_read_file("/proc/self/mounts", 4 << 20, &text, NULL, NULL) < 0)
        return false;
    for (const char *p = text; *p; p += strcspn(p, "\n"), p += *p == '\n')
        if (str_starts(p, want))
            return true;
    return false;
}

static void apply_mounts(const json_t *v, const json_t *all, json_t *warnings)
{
    size_t i;
    json_t *m;
    struct err err;
    json_array_foreach (v, i, m) {
        const char *tag = NULL, *target = NULL, *type = "virtiofs", *options = NULL;
        int readonly = 0;
        json_unpack(m, "{s:s, s:s, s?s, s?b, s?s}", "tag", &tag, "target", &target,
                    "type", &type, "readonly", &readonly, "options", &options);
        if (!tag || !target || *target != '/') {
            identity_warn(warnings, "mounts: entry %zu is wrong", i + 1);
            continue;
        }
        bool bind = !strcmp(type, "bind");
        unsigned long flags = MS_NODEV | MS_NOSUID | (readonly ? MS_RDONLY : 0);
        if (!bind && is_mounted(tag, target))
            continue;
        if (fd_mkdirs(target, 0755, &err) < 0)
            identity_warn(warnings, "mount at '%s': %s", target, err.text);
        else if (mount(tag, target, bind ? NULL : type, bind ? MS_BIND : flags,
                       options) < 0 ||
                 (bind &&
                  mount(NULL, target, NULL, MS_REMOUNT | MS_BIND | flags, NULL) < 0))
            identity_warn(warnings, "mount '%s' (%s) at '%s': %s", tag, type, target,
                          strerror(errno));
    }
}

int identity_unmount(const json_t *mounts, struct err *err)
{
    for (size_t i = json_array_size(mounts); i-- > 0;) {
        const char *tag = NULL, *target = NULL;
        json_unpack(json_array_get(mounts, i), "{s:s, s:s}", "tag", &tag, "target",
                    &target);
        if (!tag || !target || *target != '/')
            return err_set(err, E_PROTO, "unmount: entry %zu is wrong", i + 1);
        if (!is_mounted(tag, target) || umount2(target, UMOUNT_NOFOLLOW) == 0)
            continue;
        err_sys(err, "unmount '%.150s'", target);
        AUTO_JSON warnings = json_array();
        apply_mounts(mounts, NULL, warnings);
        return -1;
    }
    return 0;
}

static void apply_users(const json_t *v, const json_t *all, json_t *warnings)
{
    struct err err;
    if (users_apply(json_object_get(all, "groups"), json_object_get(all, "users"),
                    warnings, &err) < 0)
        identity_warn(warnings, "users: %s", err.text);
}

static void apply_groups(const json_t *v, const json_t *all, json_t *warnings)
{
    if (!json_object_get(all, "users"))
        apply_users(v, all, warnings);
}

static void apply_interfaces(const json_t *v, const json_t *all, json_t *warnings)
{
    net_apply(v, json_object_get(all, "routes"), warnings);
}

static void apply_nothing(const json_t *v, const json_t *all, json_t *warnings)
{
}

static const struct {
    const char *name;
    json_type type;
    void (*apply)(const json_t *v, const json_t *all, json_t *warnings);
} members[] = {
    {"entropy", JSON_STRING, apply_entropy},
    {"clock_us", JSON_INTEGER, apply_clock},
    {"clone", JSON_TRUE, apply_clone},
    {"hostname", JSON_STRING, apply_hostname},
    {"machine_id", JSON_STRING, apply_machine_id},
    {"time_zone", JSON_STRING, apply_time_zone},
    {"interfaces", JSON_ARRAY, apply_interfaces},
    {"routes", JSON_ARRAY, apply_nothing}, /* with the interfaces */
    {"hosts", JSON_ARRAY, apply_hosts},
    {"dns", JSON_ARRAY, apply_dns},
    {"search", JSON_ARRAY, apply_nothing}, /* with dns */
    {"ssh_host_keys", JSON_ARRAY, apply_host_keys},
    {"mounts", JSON_ARRAY, apply_mounts},
    {"groups", JSON_ARRAY, apply_groups},
    {"users", JSON_ARRAY, apply_users},
};

int identity_apply(const json_t *request, json_t *warnings, struct err *err)
{
    const char *name;
    json_t *value;
    json_object_foreach ((json_t *)request, name, value) {
        size_t i = 0;
        while (i < ARRAY_SIZE(members) && strcmp(members[i].name, name))
            i++;
        if (!strcmp(name, "op") || json_is_null(value))
            continue;
        if (i == ARRAY_SIZE(members))
            return err_set(err, E_PROTO, "identity: this guest knows no '%s'", name);
        if (json_typeof(value) != members[i].type)
            return err_set(err, E_PROTO, "identity: '%s' has the wrong type", name);
    }
    net_loopback(warnings);
    for (size_t i = 0; i < ARRAY_SIZE(members); i++) {
        json_t *v = json_object_get(request, members[i].name);
        if (v && !json_is_null(v))
            members[i].apply(v, request, warnings);
    }
    hostkeys_make(warnings);
    return 0;
}
