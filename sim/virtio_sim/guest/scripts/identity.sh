# Who is there: identifiers, driver, status, features, kind of interrupt.
. /checks/common.sh
await 'virtio >/dev/null'
for name in vendor device class revision subsystem_vendor subsystem_device; do fact "$name" "$(cat "$function/$name")"; done
name=$(virtio)
await '[ -e "/sys/bus/virtio/devices/$name/driver" ]'
await 'ready "$(kind)"'
fact pci_driver "$(basename "$(readlink "$function/driver")")"
fact virtio_driver "$(driver)"
fact status "$(cat "/sys/bus/virtio/devices/$name/status")"
fact features "$(cat "/sys/bus/virtio/devices/$name/features")"
fact interrupts "$(grep "$name" /proc/interrupts | head -n 1 | tr -s ' ')"
fact reset_method "$(cat "$function/reset_method" 2>/dev/null || echo unknown)"
