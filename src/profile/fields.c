/* SPDX-License-Identifier: Apache-2.0 */
/* The table of fields and what walks it one value at a time. Defaults of the whole
 * profile language are the column `def` and nowhere else. */
#include "profile/fields.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/str.h"

#define X(value, word) [value] = word,
const char *const profile_type_names[] = {PROFILE_TYPES(X) NULL};
const char *const profile_numa_names[] = {PROFILE_NUMA_POLICIES(X) NULL};
const char *const profile_nic_type_names[] = {PROFILE_NIC_TYPES(X) NULL};
const char *const profile_disk_format_names[] = {PROFILE_DISK_FORMATS(X) NULL};
const char *const profile_console_names[] = {PROFILE_CONSOLES(X) NULL};
const char *const profile_checkpoint_names[] = {PROFILE_CHECKPOINTS(X) NULL};
const char *const profile_ckpt_shares_names[] = {PROFILE_CKPT_SHARES(X) NULL};
const char *const profile_on_failure_names[] = {PROFILE_ON_FAILURES(X) NULL};
#undef X

enum { TEXT_MAX = 4095, APPEND_MAX = 2047, ITEMS_MAX = 256, CPUS_MAX = 4096 };
#define TIB    (UINT64_C(1) << 40)
#define MS_MAX (UINT64_C(366) * 24 * 3600 * 1000)

#define AT(type, member) .offset = offsetof(struct type, member)

const struct profile_field profile_disk_fields[] = {
    {"id", FIELD_NAME, AT(profile_disk, id), .max = 20,
     .help = "serial number the guest finds it by"},
    {"path", FIELD_PATH, AT(profile_disk, path), .max = TEXT_MAX,
     .help = "file or block device on the host"},
    {"size_bytes", FIELD_BYTES, AT(profile_disk, size_bytes), .max = 1024 * TIB,
     .def = "0", .help = "size of a new disk"},
    {"format", FIELD_ENUM, AT(profile_disk, format), .def = "raw",
     .help = "raw or qcow2", .words = profile_disk_format_names},
    {"readonly", FIELD_BOOL, AT(profile_disk, readonly), .def = "no",
     .help = "the guest may not write"},
    {"shared", FIELD_BOOL, AT(profile_disk, shared), .def = "no",
     .help = "several VMs have it at once"},
    {0},
};

static const struct profile_field nic_fields[] = {
    {"type", FIELD_ENUM, AT(profile_nic, type), .def = "user",
     .help = "how it is connected", .words = profile_nic_type_names},
    {"option", FIELD_STR, AT(profile_nic, option), .max = 63,
     .help = "bridge, or number of the VLAN"},
    {"network", FIELD_NAME, AT(profile_nic, network), .max = 63,
     .help = "network by name"},
    {"mac", FIELD_MAC, AT(profile_nic, mac), .max = 17, .help = "hardware address"},
    {"queues", FIELD_U32, AT(profile_nic, queues), .min = 1, .max = 256, .def = "1",
     .help = "pairs of queues"},
    {0},
};

static const struct profile_field share_fields[] = {
    {"tag", FIELD_NAME, AT(profile_share, tag), .max = 35, .help = "virtio-fs tag"},
    {"source", FIELD_PATH, AT(profile_share, source), .max = TEXT_MAX,
     .help = "directory on the host"},
    {"target", FIELD_PATH, AT(profile_share, target), .max = TEXT_MAX,
     .help = "mount point in the guest"},
    {"readonly", FIELD_BOOL, AT(profile_share, readonly), .def = "no",
     .help = "the guest may not write"},
    {0},
};

static const struct profile_field device_fields[] = {
    {"address", FIELD_STR, AT(profile_device, address), .max = 16,
     .help = "PCI address"},
    {"class", FIELD_STR, AT(profile_device, class), .max = 16,
     .help = "any free device of this class"},
    {0},
};

#define LIST(member, count, table, type)                                               \
    FIELD_LIST, AT(profile, member), .max = ITEMS_MAX, .fields = table,                \
                                     .count_offset = offsetof(struct profile, count),  \
                                     .item_size = sizeof(struct type)

const struct profile_field profile_fields[] = {
    {"name", FIELD_NAME, AT(profile, name), .max = 63, .help = "of the profile"},
    {"description", FIELD_STR, AT(profile, description), .max = 1023,
     .help = "one line for people"},
    {"version", FIELD_U32, AT(profile, version), .max = UINT32_MAX, .def = "0",
     .help = "of the row in the store"},
    {"type", FIELD_ENUM, AT(profile, type), .def = "auto", .help = "virtualization",
     .words = profile_type_names},
    {"vcpus", FIELD_U32, AT(profile, vcpus), .min = 1, .max = CPUS_MAX, .def = "1",
     .help = "virtual CPUs"},
    {"cpu_pin", FIELD_U32S, AT(profile, cpu_pin), .max = CPUS_MAX,
     .help = "host CPU of each virtual CPU"},
    {"cpu_share", FIELD_U32, AT(profile, cpu_share), .min = 1, .max = 10000,
     .def = "100", .help = "weight against other VMs"},
    {"cpu_features", FIELD_STRS, AT(profile, cpu_features), .max = ITEMS_MAX,
     .help = "+feature or -feature"},
    {"memory_bytes", FIELD_BYTES, AT(profile, memory_bytes), .min = UINT64_C(16) << 20,
     .max = 64 * TIB, .def = "512M", .help = "memory"},
    {"page_bytes", FIELD_BYTES, AT(profile, page_bytes), .max = UINT64_C(1) << 30,
     .def = "0", .help = "page size; 0: ordinary pages"},
    {"prealloc", FIELD_BOOL, AT(profile, prealloc), .def = "no",
     .help = "take all memory before booting"},
    {"numa_policy", FIELD_ENUM, AT(profile, numa_policy), .def = "none",
     .help = "where the memory comes from", .words = profile_numa_names},
    {"numa_nodes", FIELD_U32S, AT(profile, numa_nodes), .max = 1024,
     .help = "host NUMA nodes"},
    {"image", FIELD_IMAGE, AT(profile, image), .max = TEXT_MAX,
     .help = "image by NAME[@VERSION] or path"},
    {"image_size_bytes", FIELD_BYTES, AT(profile, image_size_bytes), .max = 1024 * TIB,
     .def = "0", .help = "size of an image file that is made"},
    {"kernel", FIELD_PATH, AT(profile, kernel), .max = TEXT_MAX,
     .help = "kernel in place of the image's"},
    {"initrd", FIELD_PATH, AT(profile, initrd), .max = TEXT_MAX,
     .help = "initrd in place of the image's"},
    {"append", FIELD_STR, AT(profile, append), .max = APPEND_MAX,
     .help = "added to the kernel's command line"},
    {"init", FIELD_PATH, AT(profile, init), .max = TEXT_MAX,
     .help = "first program in the guest"},
    {"disks", LIST(disks, disk_count, profile_disk_fields, profile_disk),
     .help = "more disks"},
    {"cdrom", FIELD_PATH, AT(profile, cdrom), .max = TEXT_MAX, .help = "ISO file"},
    {"nics", LIST(nics, nic_count, nic_fields, profile_nic), .help = "network cards"},
    {"shares", LIST(shares, share_count, share_fields, profile_share),
     .help = "host directories"},
    {"devices", LIST(devices, device_count, device_fields, profile_device),
     .help = "devices passed through"},
    {"console", FIELD_ENUM, AT(profile, console), .def = "auto",
     .help = "kind of console", .words = profile_console_names},
    {"checkpoint", FIELD_ENUM, AT(profile, checkpoint), .def = "none",
     .help = "when to checkpoint", .words = profile_checkpoint_names},
    {"checkpoint_ms", FIELD_MS, AT(profile, checkpoint_ms), .max = MS_MAX, .def = "0",
     .help = "time between checkpoints"},
    {"checkpoint_keep", FIELD_U32, AT(profile, checkpoint_keep), .min = 1, .max = 1000,
     .def = "1", .help = "checkpoints kept"},
    {"checkpoint_shares", FIELD_ENUM, AT(profile, checkpoint_shares), .def = "refuse",
     .help = "host directories at a checkpoint", .words = profile_ckpt_shares_names},
    {"on_failure", FIELD_ENUM, AT(profile, on_failure), .def = "stop",
     .help = "when the VM or its node fails", .words = profile_on_failure_names},
    {"time_ms", FIELD_MS, AT(profile, time_ms), .max = MS_MAX, .def = "0",
     .help = "life of the VM; 0: no limit"},
    {"scratch_bytes", FIELD_BYTES, AT(profile, scratch_bytes), .max = 1024 * TIB,
     .def = "0", .help = "scratch disk; 0: writes go to memory"},
    {"ready_ms", FIELD_MS, AT(profile, ready_ms), .min = 1000, .max = MS_MAX,
     .def = "120s", .help = "the guest must answer within"},
    {0},
};

int profile_word(const char *const *names, const char *word)
{
    for (int i = 0; names[i]; i++)
        if (!strcasecmp(names[i], word))
            return i;
    return -1;
}

static int bad(struct err *err, const char *what, const char *text, const char *want)
{
    return err_set(err, E_INPUT, "%s: '%.80s' is not %s", what, text, want);
}

static bool is_clean(const char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s < ' ' || *s == 0x7f)
            return false;
    return true;
}

static bool is_image(const char *s)
{
    if (*s == '/')
        return true;
    AUTO_STR copy = strdup(s);
    if (!copy)
        return false;
    char *at = strchr(copy, '@');
    if (at)
        *at++ = '\0';
    if (!str_is_name(copy))
        return false;
    if (at && str_starts(at, "sha256:"))
        return at[7] && strlen(at + 7) <= 64 &&
               strspn(at + 7, "0123456789abcdef") == strlen(at + 7);
    return !at || str_is_name(at);
}

/* Small letters into out (18 bytes); false if it is no hardware address of one card. */
static bool mac_parse(const char *s, char *out)
{
    unsigned b[6];
    int end = 0;
    if (sscanf(s, "%2x:%2x:%2x:%2x:%2x:%2x%n", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5],
               &end) != 6 ||
        s[end] || end != 17 || strspn(s, "0123456789abcdefABCDEF:") != 17)
        return false;
    snprintf(out, 18, "%02x:%02x:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3], b[4],
             b[5]);
    return true;
}

static int set_text(const struct profile_field *f, char **at, const char *text,
                    const char *what, struct err *err)
{
    char mac[18];
    if (strlen(text) > f->max)
        return err_set(err, E_INPUT, "%s: longer than %" PRIu64 " characters", what,
                       f->max);
    if (!is_clean(text))
        return err_set(err, E_INPUT, "%s: contains a control character", what);
    if (f->kind == FIELD_NAME && !str_is_name(text))
        return bad(err, what, text,
                   "a name (letters, digits, '.', '_', '-'; first a "
                   "letter or digit)");
    if (f->kind == FIELD_PATH && *text != '/')
        return bad(err, what, text, "an absolute path");
    if (f->kind == FIELD_IMAGE && !is_image(text))
        return bad(err, what, text, "NAME, NAME@VERSION or an absolute path");
    if (f->kind == FIELD_MAC) {
        if (!mac_parse(text, mac))
            return bad(err, what, text, "a hardware address like 52:54:00:12:34:56");
        text = mac;
    }
    char *copy = strdup(text);
    if (!copy)
        return err_oom(err);
    free(*at);
    *at = copy;
    return 0;
}

static char *ms_text(uint64_t ms)
{
    static const struct {
        uint64_t ms;
        const char *unit;
    } units[] = {{86400000, "d"}, {3600000, "h"}, {60000, "m"}, {1000, "s"}};
    for (size_t i = 0; i < ARRAY_SIZE(units); i++)
        if (ms && ms % units[i].ms == 0)
            return str_printf("%" PRIu64 "%s", ms / units[i].ms, units[i].unit);
    return ms ? str_printf("%" PRIu64 "ms", ms) : str_printf("0");
}

static int set_number(const struct profile_field *f, void *at, const char *text,
                      const char *what, struct err *err)
{
    uint64_t n;
    bool ok = f->kind == FIELD_BYTES ? str_to_bytes(text, !strcmp(text, "0"), &n)
              : f->kind == FIELD_MS  ? str_to_ms(text, &n)
                                     : str_to_u64(text, &n);
    if (!ok)
        return bad(err, what, text,
                   f->kind == FIELD_BYTES ? "a size with its unit, like 512M or 2G"
                   : f->kind == FIELD_MS  ? "a time, like 90s, 15m or 2h"
                                          : "a number");
    if (n < f->min || n > f->max) {
        char lo[32], hi[32];
        if (f->kind == FIELD_BYTES) {
            str_from_bytes(f->min, lo, sizeof lo);
            str_from_bytes(f->max, hi, sizeof hi);
        } else if (f->kind == FIELD_MS) {
            AUTO_STR least = ms_text(f->min);
            AUTO_STR most = ms_text(f->max);
            snprintf(lo, sizeof lo, "%s", least ? least : "");
            snprintf(hi, sizeof hi, "%s", most ? most : "");
        } else {
            snprintf(lo, sizeof lo, "%" PRIu64, f->min);
            snprintf(hi, sizeof hi, "%" PRIu64, f->max);
        }
        return err_set(err, E_INPUT, "%s: '%s' is out of bounds: %s to %s", what, text,
                       lo, hi);
    }
    if (f->kind == FIELD_U32)
        *(uint32_t *)at = (uint32_t)n;
    else
        *(uint64_t *)at = n;
    return 0;
}

/* "0-3,8": numbers and ranges. */
static int set_u32s(const struct profile_field *f, struct profile_u32s *list,
                    const char *text, const char *what, struct err *err)
{
    struct profile_u32s got = {0};
    for (const char *s = text; *s;) {
        char word[32];
        size_t n = strcspn(s, ",");
        uint64_t lo, hi;
        snprintf(word, sizeof word, "%.*s", (int)(n < 31 ? n : 31), s);
        char *dash = strchr(word, '-');
        if (dash)
            *dash++ = '\0';
        bool ok = str_to_u64(word, &lo) && (dash ? str_to_u64(dash, &hi) : true);
        if (!dash)
            hi = lo;
        if (!ok || hi < lo || hi > 65535 || got.count + (hi - lo) + 1 > f->max) {
            free(got.at);
            return bad(err, what, text, "a list of numbers, like 0-3,8");
        }
        uint32_t *at = realloc(got.at, (got.count + hi - lo + 1) * sizeof *at);
        if (!at) {
            free(got.at);
            return err_oom(err);
        }
        got.at = at;
        for (; lo <= hi; lo++)
            got.at[got.count++] = (uint32_t)lo;
        s += n + (s[n] == ',' && s[n + 1]);
        if (*s == ',') {
            free(got.at);
            return bad(err, what, text, "a list of numbers, like 0-3,8");
        }
    }
    free(list->at);
    *list = got;
    return 0;
}

static void strs_done(struct profile_strs *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->at[i]);
    free(list->at);
    *list = (struct profile_strs){0};
}

/* Words with blanks or commas between. */
static int set_strs(const struct profile_field *f, struct profile_strs *list,
                    const char *text, const char *what, struct err *err)
{
    struct profile_strs got = {0};
    if (!is_clean(text))
        return err_set(err, E_INPUT, "%s: contains a control character", what);
    for (const char *s = text + strspn(text, " ,"); *s; s += strspn(s, " ,")) {
        size_t n = strcspn(s, " ,");
        if (got.count >= f->max || n > 63) {
            strs_done(&got);
            return err_set(err, E_INPUT, "%s: too many or too long words", what);
        }
        char **at = realloc(got.at, (got.count + 1) * sizeof *at);
        if (at)
            got.at = at;
        if (!at || !(at[got.count] = strndup(s, n))) {
            strs_done(&got);
            return err_oom(err);
        }
        got.count++;
        s += n;
    }
    strs_done(list);
    *list = got;
    return 0;
}

static int set_bool(bool *at, const char *text, const char *what, struct err *err)
{
    static const char *const words[] = {"no", "yes", "false", "true", "0",
                                        "1",  "off", "on",    NULL};
    int i = profile_word(words, text);
    if (i < 0)
        return bad(err, what, text, "yes or no");
    *at = i % 2;
    return 0;
}

static int set_enum(const struct profile_field *f, int *at, const char *text,
                    const char *what, struct err *err)
{
    int i = profile_word(f->words, text);
    if (i >= 0) {
        *at = i;
        return 0;
    }
    AUTO_BUF all = {0};
    for (int k = 0; f->words[k]; k++)
        str_buf_printf(&all, "%s%s", k ? ", " : "", f->words[k]);
    const char *near = str_nearest(text, f->words);
    if (near)
        return err_set(err, E_INPUT,
                       "%s: '%.80s' is unknown; did you mean '%s'? (one of %s)", what,
                       text, near, all.data ? all.data : "");
    return err_set(err, E_INPUT, "%s: '%.80s' is unknown; use one of %s", what, text,
                   all.data ? all.data : "");
}

int profile_field_set(const struct profile_field *f, void *base, const char *text,
                      const char *what, struct err *err)
{
    void *at = (char *)base + f->offset;
    switch (f->kind) {
    case FIELD_STR:
    case FIELD_NAME:
    case FIELD_PATH:
    case FIELD_IMAGE:
    case FIELD_MAC:
        return set_text(f, at, text, what, err);
    case FIELD_U32:
    case FIELD_U64:
    case FIELD_BYTES:
    case FIELD_MS:
        return set_number(f, at, text, what, err);
    case FIELD_BOOL:
        return set_bool(at, text, what, err);
    case FIELD_ENUM:
        return set_enum(f, at, text, what, err);
    case FIELD_U32S:
        return set_u32s(f, at, text, what, err);
    case FIELD_STRS:
        return set_strs(f, at, text, what, err);
    case FIELD_LIST:
        break;
    }
    return err_set(err, E_BUG, "%s: a list of structures has no text", what);
}

static char *bytes_text(uint64_t n)
{
    static const char units[] = "TGMK";
    for (int i = 0; units[i]; i++) {
        uint64_t unit = UINT64_C(1) << (40 - 10 * i);
        if (n && n % unit == 0)
            return str_printf("%" PRIu64 "%c", n / unit, units[i]);
    }
    return n ? str_printf("%" PRIu64 "B", n) : str_printf("0");
}

char *profile_field_text(const struct profile_field *f, const void *base)
{
    const void *at = (const char *)base + f->offset;
    AUTO_BUF b = {0};
    switch (f->kind) {
    case FIELD_STR:
    case FIELD_NAME:
    case FIELD_PATH:
    case FIELD_IMAGE:
    case FIELD_MAC: {
        const char *s = *(char *const *)at;
        return str_printf("%s", s ? s : "");
    }
    case FIELD_U32:
        return str_printf("%" PRIu32, *(const uint32_t *)at);
    case FIELD_U64:
        return str_printf("%" PRIu64, *(const uint64_t *)at);
    case FIELD_BYTES:
        return bytes_text(*(const uint64_t *)at);
    case FIELD_MS:
        return ms_text(*(const uint64_t *)at);
    case FIELD_BOOL:
        return str_printf("%s", *(const bool *)at ? "yes" : "no");
    case FIELD_ENUM:
        return str_printf("%s", f->words[*(const int *)at]);
    case FIELD_U32S: {
        const struct profile_u32s *l = at;
        for (size_t i = 0; i < l->count; i++)
            str_buf_printf(&b, "%s%" PRIu32, i ? "," : "", l->at[i]);
        return str_buf_take(&b);
    }
    case FIELD_STRS: {
        const struct profile_strs *l = at;
        for (size_t i = 0; i < l->count; i++)
            str_buf_printf(&b, "%s%s", i ? " " : "", l->at[i]);
        return str_buf_take(&b);
    }
    case FIELD_LIST:
        break;
    }
    return NULL;
}

void profile_fields_done(const struct profile_field *fields, void *base)
{
    for (const struct profile_field *f = fields; f->name; f++) {
        void *at = (char *)base + f->offset;
        if (f->kind <= FIELD_MAC) {
            free(*(char **)at);
            *(char **)at = NULL;
        } else if (f->kind == FIELD_U32S) {
            free(((struct profile_u32s *)at)->at);
            *(struct profile_u32s *)at = (struct profile_u32s){0};
        } else if (f->kind == FIELD_STRS) {
            strs_done(at);
        } else if (f->kind == FIELD_LIST) {
            size_t *count = (size_t *)((char *)base + f->count_offset);
            for (size_t i = 0; i < *count; i++)
                profile_fields_done(f->fields, *(char **)at + i * f->item_size);
            free(*(void **)at);
            *(void **)at = NULL;
            *count = 0;
        }
    }
}

int profile_fields_init(const struct profile_field *fields, void *base)
{
    for (const struct profile_field *f = fields; f->name; f++)
        if (f->def && profile_field_set(f, base, f->def, f->name, NULL) < 0)
            return -1;
    return 0;
}

void *profile_list_grow(const struct profile_field *f, void *base)
{
    char **at = (char **)((char *)base + f->offset);
    size_t *count = (size_t *)((char *)base + f->count_offset);
    if (*count >= f->max)
        return NULL;
    char *grown = realloc(*at, (*count + 1) * f->item_size);
    if (!grown)
        return NULL;
    *at = grown;
    void *item = grown + *count * f->item_size;
    memset(item, 0, f->item_size);
    ++*count;
    if (profile_fields_init(f->fields, item) < 0) {
        profile_fields_done(f->fields, item);
        --*count;
        return NULL;
    }
    return item;
}
