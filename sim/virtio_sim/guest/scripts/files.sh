# Every file of the root file system has its checksum, from the device and not from a cache.
. /checks/common.sh
cd /
echo 3 >/proc/sys/vm/drop_caches
mark begin
sha256sum -c sums >/tmp/sums 2>&1 || fail "not as they were made: $(grep -v ': OK$' /tmp/sums | head -n 5 | tr '\n' ' ')"
mark end
fact files "$(grep -c ': OK$' /tmp/sums)"
rm /tmp/sums
