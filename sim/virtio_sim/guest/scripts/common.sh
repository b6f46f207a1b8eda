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

# Driver of the virtio device: rng, blk or net.
driver() { basename "$(readlink "/sys/bus/virtio/devices/$(virtio)/driver")"; }

kind() { case $(cat "/sys/bus/virtio/devices/$(virtio)/device") in 0x0004) echo rng ;; 0x0002) echo blk ;; 0x0001) echo net ;; esac; }

# The disk that a function has.
disk() { for path in "$1"/virtio*/block/*; do echo "/dev/${path##*/}"; done; }

node() { case $1 in rng) echo /dev/hwrng ;; blk) echo /dev/vda ;; esac; }

ready() {
	case $1 in
	rng) grep -q virtio_rng /sys/class/misc/hw_random/rng_current 2>/dev/null ;;
	blk) [ -b /dev/vda ] ;;
	net) [ -n "$(interface "$function")" ] ;;
	esac
}

# The network interface that a function has, unless it is in the other namespace.
interface() { for path in "$1"/virtio*/net/*; do [ -e "$path" ] && echo "${path##*/}"; done; return 0; }

# The peer of a network device lives in a network namespace of its own, so that nothing takes a short cut.
HERE=10.86.0.1 THERE=10.86.0.2
there() { nsenter -t "$(cat /tmp/there)" -n "$@"; }

# Bring both ends up: also again, after one has gone and come back.
connect() {
	if [ ! -e /tmp/there ]; then
		unshare -n sleep 1000000 >/dev/null 2>&1 &
		echo $! >/tmp/there
		sleep 0.5
	fi
	other=$(interface "$peer")
	if [ -n "$other" ]; then
		ip link set dev "$other" netns "$(cat /tmp/there)"
		there ip link set dev "$other" address 02:56:00:00:00:02
		there ip address add "$THERE/24" dev "$other"
		there ip link set dev "$other" up
	fi
	own=$(interface "$function")
	ip address show dev "$own" | grep -q "$HERE" || ip address add "$HERE/24" dev "$own"
	ip link set dev "$own" up
	await '[ "$(cat "/sys/class/net/$own/carrier" 2>/dev/null)" = 1 ]'
}

# Read something from the device, past all caches.
touch_device() {
	case $1 in
	rng) timeout 60 dd if=/dev/hwrng of=/dev/null bs=64 count=4 2>/dev/null ;;
	blk) timeout 60 dd if=/dev/vda of=/dev/null bs=4096 count=4 iflag=direct 2>/dev/null ;;
	net) connect && timeout 60 ping -q -c 4 -i 0.1 -W 20 "$THERE" >/dev/null ;;
	esac
}
