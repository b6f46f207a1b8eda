# $1 bytes of /dev/hwrng, and where they are from.
. /checks/common.sh
fact source "$(cat /sys/class/misc/hw_random/rng_current)"
mark begin
dd if=/dev/hwrng of=/tmp/entropy bs=250 count=$(($1 / 250)) iflag=fullblock 2>/dev/null || fail "/dev/hwrng cannot be read"
mark end
send entropy </tmp/entropy
rm /tmp/entropy
