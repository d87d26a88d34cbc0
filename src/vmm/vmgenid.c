/* SPDX-License-Identifier: Apache-2.0 */
/* The VM generation id: 16 bytes in a page of the guest that change when the machine
 * becomes a copy of another (a frozen image thawed twice, a restored checkpoint), so
 * that the guest mixes its entropy anew. Told by an ACPI event. */
#include "vmm/aml.h"
#include "vmm/devices.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>

enum { PAGE = 4096, GUID = 16 };

struct vmgenid {
    const char *text; /* as configured; NULL: a random one */
    uint8_t guid[GUID];
    void *page;
};

/* "01234567-89ab-cdef-0123-456789abcdef" to its little-endian form in memory. */
static int parse(const char *text, uint8_t *out, struct err *err)
{
    static const char shape[] = "XXXXXXXX-XXXX-XXXX-XXXX-XXXXXXXXXXXX";
    static const uint8_t place[GUID] = {3, 2, 1,  0,  5,  4,  7,  6,
                                        8, 9, 10, 11, 12, 13, 14, 15};
    unsigned n = 0;
    bool good = strlen(text) == sizeof shape - 1;
    for (size_t i = 0; good && shape[i]; i++) {
        if (shape[i] == '-') {
            good = text[i] == '-';
            continue;
        }
        const char *hex = "0123456789abcdef", *at = strchr(hex, text[i] | 0x20);
        good = text[i] != ' ' && at && *at;
        unsigned digit = good ? (unsigned)(at - hex) : 0;
        uint8_t *p = &out[place[n / 2]];
        *p = n % 2 ? *p | digit : digit << 4;
        n++;
    }
    if (!good)
        return err_set(err, E_CONFIG, "\"guid\" '%s' is not of the form %s", text,
                       shape);
    return 0;
}

static int fresh(struct vmgenid *g, const char *text, struct err *err)
{
    uint8_t guid[GUID];
    if (text) {
        if (parse(text, guid, err) < 0)
            return -1;
    } else if (getrandom(guid, sizeof guid, 0) != sizeof guid) {
        return err_sys(err, "getrandom");
    }
    memcpy(g->guid, guid, sizeof guid);
    if (g->page)
        memcpy(g->page, guid, sizeof guid);
    return 0;
}

static int decode(struct device *dev, json_t *in, struct err *err)
{
    struct vmgenid *g = dev->state;
    json_error_t je;
    if (json_unpack_ex(in, &je, 0, "{s?s !}", "guid", &g->text) < 0)
        return err_set(err, E_CONFIG, "%s: %s", dev->id, je.text);
    return fresh(g, g->text, err);
}

static int init(struct device *dev, struct err *err)
{
    struct vmgenid *g = dev->state;
    void *p =
        mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return err_sys(err, "%s: page", dev->id);
    g->page = p;
    memcpy(g->page, g->guid, sizeof g->guid);
    return vm_memory_add(dev->vm, LAYOUT_VMGENID_BASE, PAGE, g->page, -1, 0, true, err);
}

static void acpi(struct device *dev, struct aml *a)
{
    aml_device(a, "VGEN");
    aml_name(a, "_HID");
    aml_string(a, "LDGE0001");
    /* Microsoft's name and the one Linux looks for. */
    aml_name(a, "_CID");
    aml_package(a, 2);
    aml_string(a, "VM_Gen_Counter");
    aml_string(a, "VMGENCTR");
    aml_end(a);
    aml_name(a, "_DDN");
    aml_string(a, "VM_Gen_Counter");
    aml_name(a, "ADDR");
    aml_package(a, 2);
    aml_int(a, (uint32_t)LAYOUT_VMGENID_BASE);
    aml_int(a, LAYOUT_VMGENID_BASE >> 32);
    aml_end(a);
    aml_end(a);
}

static int set(struct device *dev, json_t *params, struct err *err)
{
    struct vmgenid *g = dev->state;
    json_error_t je;
    const char *text = NULL;
    if (json_unpack_ex(params, &je, 0, "{s?s !}", "guid", &text) < 0)
        return err_set(err, E_INPUT, "%s", je.text);
    if (fresh(g, text, err) < 0)
        return -1;
    vm_ged_raise(dev->vm, LAYOUT_GED_VMGENID);
    return 0;
}

static void save(struct device *dev, struct state_writer *w)
{
    struct vmgenid *g = dev->state;
    state_put(w, 1, g->guid, sizeof g->guid);
}

/* Ours is another than the saved one, unless it was configured to be the same (the
 * machine moves and there will be no second one): then there is nothing to tell. */
static int restore(struct device *dev, const struct state_reader *r, struct err *err)
{
    struct vmgenid *g = dev->state;
    uint8_t was[GUID];
    if (state_get(r, 1, was, sizeof was, err) < 0)
        return -1;
    if (memcmp(was, g->guid, sizeof was))
        vm_ged_raise(dev->vm, LAYOUT_GED_VMGENID);
    return 0;
}

static json_t *stats(struct device *dev)
{
    struct vmgenid *g = dev->state;
    char hex[2 * GUID + 1];
    for (unsigned i = 0; i < GUID; i++)
        snprintf(hex + 2 * i, 3, "%02x", g->guid[i]);
    return json_pack("{s:s}", "bytes", hex);
}

static void done(struct device *dev)
{
    struct vmgenid *g = dev->state;
    if (g->page)
        munmap(g->page, PAGE);
    g->page = NULL;
}

const struct device_ops device_vmgenid = {
    .name = "vmgenid",
    .help = "guid (default: a random one)",
    .state_size = sizeof(struct vmgenid),
    .max = 1,
    .decode = decode,
    .init = init,
    .acpi = acpi,
    .save = save,
    .restore = restore,
    .set = set,
    .stats = stats,
    .done = done,
};
