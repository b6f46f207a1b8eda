# Using the device raises interrupts.
. /checks/common.sh
before=$(interrupts)
touch_device "$(kind)" || fail "the device cannot be read"
after=$(interrupts)
fact before "$before"
fact after "$after"
fact line "$(grep "$(virtio)" /proc/interrupts | tail -n 1 | tr -s ' ')"
[ "$after" -gt "$before" ] || fail "no interrupt came: $before before, $after after"
