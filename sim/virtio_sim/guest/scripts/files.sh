# Every file of the root file system has its checksum, from the device and not from a cache.
. /checks/common.sh
cd /
echo 3 >/proc/sys/vm/drop_caches
mark begin
sha256sum -c sums >/tmp/sums 2>&1 || { grep -v ': OK$' /tmp/sums; fail "files are not as they were made"; }
mark end
fact files "$(grep -c ': OK$' /tmp/sums)"
rm /tmp/sums
