# SPDX-License-Identifier: Apache-2.0
# Sourced in L1 with --iommu. vfio_nvme: hand the emulated NVMe disk over to vfio-pci and print
# its address; vfio_class CLASS: the same for the first device of a PCI class (0x020000: e1000e).
vfio_class() {
    modprobe vfio-pci || return
    for d in /sys/bus/pci/devices/*; do
        [ "$(cat "$d/class")" = "$1" ] && [ ! -e "$d/virtio0" ] || continue
        case $(cat "$d/vendor") in 0x1af4) continue ;; esac
        echo vfio-pci >"$d/driver_override" || return
        [ ! -e "$d/driver" ] || echo "${d##*/}" >"$d/driver/unbind" || return
        echo "${d##*/}" >/sys/bus/pci/drivers_probe || return
        [ "$(basename "$(readlink "$d/driver")")" = vfio-pci ] || return
        echo "${d##*/}"
        return
    done
    echo "no PCI device of class $1" >&2
    return 1
}

vfio_nvme() {
    vfio_class 0x010802
}
