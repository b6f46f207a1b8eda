# $1 times: take the driver of the function (pci) or of the virtio device away, and give it back.
. /checks/common.sh
kind=$(kind)
for _ in $(seq "$1"); do
	touch_device "$kind" || fail "the device cannot be read before"
	if [ "$2" = pci ]; then
		echo "$address" >/sys/bus/pci/drivers/virtio-pci/unbind
		virtio >/dev/null && fail "the virtio device outlived its driver"
		echo "$address" >/sys/bus/pci/drivers/virtio-pci/bind
	else
		name=$(virtio)
		path=/sys/bus/virtio/drivers/$(driver)
		echo "$name" >"$path/unbind"
		ready "$kind" && fail "the device is still there without its driver"
		echo "$name" >"$path/bind"
	fi
	await 'ready "$kind"'
	touch_device "$kind" || fail "the device cannot be read afterwards"
done
