/* SPDX-License-Identifier: Apache-2.0 */
/* The machine's last words and its event device: ACPI sleep and reset registers, a panic
 * register (ACPI id QEMU0001, so that Linux's own pvpanic driver finds it: a write of
 * bit 0 is a panic, of bit 1 a crash kernel taking over), and the generic event device
 * by which we press the power button and tell of a new generation id. */
#include "vmm/aml.h"
#include "vmm/vm.h"

#include <string.h>

enum {
    SLEEP_ENABLE = 0x20,
    SLEEP_TYPE_SHIFT = 2,
    SLEEP_S5 = 5,
    PANIC_PANICKED = 1,
    PANIC_CRASH_LOADED = 2,
    TAG_GED = 1,
    TAG_PANIC = 2,
};

static uint64_t sleep_read(void *arg, uint64_t offset, unsigned len)
{
    return 0;
}

static void sleep_write(void *arg, uint64_t offset, unsigned len, uint64_t value)
{
    if (offset == 0 && value & SLEEP_ENABLE &&
        (value >> SLEEP_TYPE_SHIFT & 7) == SLEEP_S5)
        vm_end(arg, VM_END_POWEROFF);
}

static uint64_t zero_read(void *arg, uint64_t offset, unsigned len)
{
    return 0;
}

static void reset_write(void *arg, uint64_t offset, unsigned len, uint64_t value)
{
    if (offset == 0 && (value & 0xff) == LAYOUT_RESET_VALUE)
        vm_end(arg, VM_END_REBOOT);
}

/* The keyboard controller that is not there: never busy, and its pulse on the reset line
 * works, since kernels try it (each poll of a busy one would be an exit). */
static void keyboard_write(void *arg, uint64_t offset, unsigned len, uint64_t value)
{
    if ((value & 0xff) == 0xfe)
        vm_end(arg, VM_END_REBOOT);
}

static uint64_t panic_read(void *arg, uint64_t offset, unsigned len)
{
    return PANIC_PANICKED | PANIC_CRASH_LOADED; /* what we understand */
}

static void panic_write(void *arg, uint64_t offset, unsigned len, uint64_t value)
{
    struct vm *vm = arg;
    vm->power.panic_events |= value & (PANIC_PANICKED | PANIC_CRASH_LOADED);
    if (value & PANIC_PANICKED)
        vm_end(vm, VM_END_PANIC);
}

static uint64_t ged_read(void *arg, uint64_t offset, unsigned len)
{
    struct vm *vm = arg;
    return offset == 0 ? atomic_exchange(&vm->power.ged_pending, 0) : 0;
}

void vm_ged_raise(struct vm *vm, uint32_t bits)
{
    atomic_fetch_or(&vm->power.ged_pending, bits);
    vm_pin_pulse(vm, LAYOUT_PIN_GED);
}

int power_init(struct vm *vm, struct err *err)
{
    struct power *p = &vm->power;
    p->sleep = (struct bus_range){.base = LAYOUT_PORT_SLEEP,
                                  .size = 2,
                                  .pio = true,
                                  .name = "sleep control",
                                  .read = sleep_read,
                                  .write = sleep_write,
                                  .arg = vm};
    p->reset = (struct bus_range){.base = LAYOUT_PORT_RESET,
                                  .size = 1,
                                  .pio = true,
                                  .name = "reset",
                                  .read = zero_read,
                                  .write = reset_write,
                                  .arg = vm};
    p->keyboard = (struct bus_range){.base = LAYOUT_PORT_KEYBOARD,
                                     .size = 1,
                                     .pio = true,
                                     .name = "keyboard reset",
                                     .read = zero_read,
                                     .write = keyboard_write,
                                     .arg = vm};
    p->panic = (struct bus_range){.base = LAYOUT_PORT_PANIC,
                                  .size = 1,
                                  .pio = true,
                                  .name = "panic",
                                  .read = panic_read,
                                  .write = panic_write,
                                  .arg = vm};
    p->ged = (struct bus_range){.base = LAYOUT_PORT_GED,
                                .size = 4,
                                .pio = true,
                                .name = "event device",
                                .read = ged_read,
                                .arg = vm};
    if (bus_add(vm, &p->sleep, err) < 0 || bus_add(vm, &p->reset, err) < 0 ||
        bus_add(vm, &p->keyboard, err) < 0 || bus_add(vm, &p->panic, err) < 0 ||
        bus_add(vm, &p->ged, err) < 0)
        return -1;
    return 0;
}

/* Button, event device (its method reads which events are pending and notifies), panic
 * register. */
void power_acpi(struct vm *vm, struct aml *aml)
{
    bool vmgenid = false;
    for (size_t i = 0; i < vm->ndevices; i++)
        vmgenid |= strcmp(vm->devices[i].ops->name, "vmgenid") == 0;

    aml_device(aml, "PWRB");
    aml_name(aml, "_HID");
    aml_eisaid(aml, "PNP0C0C");
    aml_end(aml);

    aml_device(aml, "GED_");
    aml_name(aml, "_HID");
    aml_string(aml, "ACPI0013");
    aml_name(aml, "_CRS");
    aml_resources(aml);
    aml_irq_edge(aml, LAYOUT_PIN_GED);
    aml_resources_end(aml);
    aml_region(aml, "GEDR", true, LAYOUT_PORT_GED, 4);
    aml_field(aml, "GEDR", 32, "GEDS");
    aml_method(aml, "_EVT", 1, true);
    aml_store_path_to_local(aml, "GEDS", 0);
    aml_if_local_and(aml, 0, LAYOUT_GED_POWER_BUTTON);
    aml_notify(aml, "\\_SB_.PWRB", 0x80);
    aml_end(aml);
    if (vmgenid) {
        aml_if_local_and(aml, 0, LAYOUT_GED_VMGENID);
        aml_notify(aml, "\\_SB_.VGEN", 0x80);
        aml_end(aml);
    }
    aml_end(aml);
    aml_end(aml);

    aml_device(aml, "PANC");
    aml_name(aml, "_HID");
    aml_string(aml, "QEMU0001");
    aml_name(aml, "_CRS");
    aml_resources(aml);
    aml_io(aml, LAYOUT_PORT_PANIC, 1);
    aml_resources_end(aml);
    aml_name(aml, "_STA");
    aml_int(aml, 0xf);
    aml_end(aml);
}

void power_save(struct vm *vm, struct state_writer *w)
{
    state_begin(w, "power", 1);
    state_put_u64(w, TAG_GED, atomic_load(&vm->power.ged_pending));
    state_put_u64(w, TAG_PANIC, vm->power.panic_events);
    state_end(w);
}

int power_restore(struct vm *vm, struct state_reader *r, struct err *err)
{
    uint64_t ged, panic;
    if (state_find(r, "power", err) < 0 || state_get_u64(r, TAG_GED, &ged, err) < 0 ||
        state_get_u64(r, TAG_PANIC, &panic, err) < 0)
        return -1;
    atomic_store(&vm->power.ged_pending, (unsigned)ged);
    vm->power.panic_events = (uint8_t)panic;
    return 0;
}
