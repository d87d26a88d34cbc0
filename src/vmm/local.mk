# SPDX-License-Identifier: Apache-2.0
# lodge-vmm, the hypervisor of type hpc. The core is libvmm.la so that unit tests and
# fuzz targets link the same objects; devices and PCI are in dev.mk.
include src/vmm/dev.mk
noinst_LTLIBRARIES += src/vmm/libvmm.la
src_vmm_libvmm_la_SOURCES = $(vmm_dev_sources) \
    src/vmm/aml.h src/vmm/config.h src/vmm/device.h src/vmm/layout.h \
    src/vmm/state.c src/vmm/state.h
