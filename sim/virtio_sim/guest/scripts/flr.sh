# Function level reset through sysfs, without a driver, then with one that is at rest.
. /checks/common.sh
kind=$(kind)
case " $(cat "$function/reset_method") " in
*" flr "*) echo flr >"$function/reset_method" ;;
*) fail "the kernel sees no function level reset, only: $(cat "$function/reset_method")" ;;
esac
echo "$address" >/sys/bus/pci/drivers/virtio-pci/unbind
for _ in 1 2 3; do echo 1 >"$function/reset"; done
echo "$address" >/sys/bus/pci/drivers/virtio-pci/bind
await 'ready "$kind"'
touch_device "$kind" || fail "the device cannot be read after a function level reset"
