# SPDX-License-Identifier: Apache-2.0
# PCI, virtio and devices of lodge-vmm: added to libvmm.la. Each device can be left out
# by configure --disable-virtio-NAME (--disable-vfio, --disable-serial,
# --disable-vmgenid).
vmm_dev_sources = \
    src/vmm/devices.c src/vmm/devices.h \
    src/vmm/pci.c src/vmm/pci.h \
    src/vmm/virtio_pci.c src/vmm/virtio_save.c src/vmm/virtio.h \
    src/vmm/virtq.c src/vmm/virtq.h \
    src/vmm/chardev.c src/vmm/chardev.h
vmm_dev_libs =
if WITH_VMM_BLK
vmm_dev_sources += src/vmm/blk.c
vmm_dev_libs += $(URING_LIBS)
endif
if WITH_VMM_NET
vmm_dev_sources += src/vmm/net.c src/vmm/net.h src/vmm/net_vhost.c
endif
if WITH_VMM_FS
vmm_dev_sources += src/vmm/fs.c
endif
if WITH_VMM_BALLOON
vmm_dev_sources += src/vmm/balloon.c
endif
if WITH_VMM_PMEM
vmm_dev_sources += src/vmm/pmem.c
endif
if WITH_VMM_CONSOLE
vmm_dev_sources += src/vmm/console.c
endif
if WITH_VMM_RNG
vmm_dev_sources += src/vmm/rng.c
endif
if WITH_VMM_VFIO
vmm_dev_sources += src/vmm/vfio.c src/vmm/vfio_irq.c src/vmm/vfio_irq.h
endif
if WITH_VMM_SERIAL
vmm_dev_sources += src/vmm/serial.c
endif
if WITH_VMM_VMGENID
vmm_dev_sources += src/vmm/vmgenid.c
endif
