/* SPDX-License-Identifier: Apache-2.0 */
/* The interrupts of a passed-through device on their way from the host to the guest: each
 * an eventfd that VFIO signals and KVM takes. */
#pragma once
#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct vm_irq;
struct vfio_irq_set;

struct vfio_irqs {
    int device; /* VFIO's descriptor of it, the caller's */
    struct vm_irq *irq;
    unsigned count;
    struct vfio_irq_set *set; /* made ready: bus callbacks do not allocate */
    bool connected;
};

/* Of kind `index` (VFIO_PCI_*_IRQ_INDEX). Tried once, while it can still be refused. */
int vfio_irqs_init(struct vfio_irqs *q, int device, uint32_t index, struct vm_irq *irq,
                   unsigned count, struct err *err);
/* Switch them on or off; -1: the host refused, they are off. For bus callbacks. */
int vfio_irqs_put(struct vfio_irqs *q, bool on);
/* They are off by now. */
void vfio_irqs_done(struct vfio_irqs *q);

/* Let `fd` tell of the one interrupt of kind `index`; -1: the device has none. */
int vfio_irq_tell(int device, uint32_t index, int fd);
