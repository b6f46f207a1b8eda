# What the checks share. The device under test stands behind the first root port, the peer, if any, behind the second.
fact() { echo "@fact $*"; }
mark() { echo "@mark $*"; }
fail() { echo "@fail $*"; exit 1; }
send() { echo "@data $1"; base64; echo "@done"; }

# Directories of the PCI functions, and the name of the first.
functions=$(for path in /sys/bus/pci/devices/*; do
	[ "$(cat "$path/vendor")" = 0x1af4 ] && echo "$path"
done)
function=$(echo "$functions" | head -n 1)
peer=$(echo "$functions" | sed -n 2p)
[ -n "$function" ] || fail "there is no virtio device on the PCI bus"
address=${function##*/}

# Name of the virtio device on it.
virtio() {
	for path in "$function"/virtio*; do [ -e "$path" ] && echo "${path##*/}" && return; done
	return 1
}

# Wait up to ten seconds of the guest's time for a condition.
await() {
	tries=0
	until eval "$1"; do
		tries=$((tries + 1))
		[ $tries -gt 100 ] && fail "waited in vain for: $1"
		sleep 0.1
	done
}

# Interrupts of the device so far.
interrupts() {
	grep "$(virtio)" /proc/interrupts | awk '{ for (i = 2; $i ~ /^[0-9]+$/; i++) n += $i } END { print n + 0 }'
}

# Driver of the virtio device: rng or blk.
driver() { basename "$(readlink "/sys/bus/virtio/devices/$(virtio)/driver")"; }

kind() { case $(cat "/sys/bus/virtio/devices/$(virtio)/device") in 0x0004) echo rng ;; 0x0002) echo blk ;; esac; }

# The disk that a function has.
disk() { for path in "$1"/virtio*/block/*; do echo "/dev/${path##*/}"; done; }

node() { case $1 in rng) echo /dev/hwrng ;; blk) echo /dev/vda ;; esac; }

ready() {
	case $1 in
	rng) grep -q virtio_rng /sys/class/misc/hw_random/rng_current 2>/dev/null ;;
	blk) [ -b /dev/vda ] ;;
	esac
}

# Read something from the device, past all caches.
touch_device() {
	case $1 in
	rng) timeout 60 dd if=/dev/hwrng of=/dev/null bs=64 count=4 2>/dev/null ;;
	blk) timeout 60 dd if=/dev/vda of=/dev/null bs=4096 count=4 iflag=direct 2>/dev/null ;;
	esac
}
