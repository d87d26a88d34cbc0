# SPDX-License-Identifier: Apache-2.0
# lodge-vmm, the hypervisor of type hpc. The machine is libvmm.la, which takes PCI and the
# devices (libvmmdev.la, dev.mk) into itself, so that unit tests and fuzz targets link the
# same objects; tests of devices link libvmmdev.la and a machine of their own.
include src/vmm/dev.mk
noinst_LTLIBRARIES += src/vmm/libvmm.la src/vmm/libvmmdev.la
src_vmm_libvmmdev_la_SOURCES = $(vmm_dev_sources) \
    src/vmm/aml.c src/vmm/aml.h src/vmm/device.h src/vmm/layout.h
src_vmm_libvmmdev_la_LIBADD = $(vmm_dev_libs) src/ckpt/libckpt.la
src_vmm_libvmm_la_SOURCES = \
    src/vmm/acpi.c \
    src/vmm/boot.c src/vmm/boot_bzimage.c src/vmm/boot_elf.c \
    src/vmm/bus.c \
    src/vmm/ckpt.c src/vmm/ckpt.h \
    src/vmm/config.c src/vmm/config.h \
    src/vmm/control.c src/vmm/control.h src/vmm/control_ckpt.c \
    src/vmm/cpuid.c \
    src/vmm/dma.c \
    src/vmm/exits.c \
    src/vmm/io.c \
    src/vmm/irq.c \
    src/vmm/memory.c src/vmm/memory_fill.c src/vmm/memory_pool.c src/vmm/memory_report.c \
    src/vmm/power.c \
    src/vmm/sandbox.c src/vmm/sandbox.h \
    src/vmm/save.c src/vmm/thaw.c \
    src/vmm/stats.c \
    src/vmm/uffd.c src/vmm/uffd.h \
    src/vmm/vcpu.c src/vmm/vcpu_state.c \
    src/vmm/vm.c src/vmm/vm.h \
    src/vmm/vm_state.c
src_vmm_libvmm_la_LIBADD = src/vmm/libvmmdev.la

pkglibexec_PROGRAMS += lodge-vmm
lodge_vmm_SOURCES = src/vmm/main.c
lodge_vmm_LDADD = src/vmm/libvmm.la src/proto/libproto.la src/base/libbase.la \
    $(JANSSON_LIBS) $(SECCOMP_LIBS) $(CAPNG_LIBS) -lpthread
