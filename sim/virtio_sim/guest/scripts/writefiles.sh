# Write files of every kind, sync, remount, and read them back with empty caches.
. /checks/common.sh
cd /
mount -o remount,rw /
mkdir -p work/many
cat files/*.bin >work/joined
dd if=files/0100003.bin of=work/copied bs=511 2>/dev/null
cp files/0262144.bin work/patched
dd if=files/0004097.bin of=work/patched bs=1 seek=5000 conv=notrunc 2>/dev/null
cp files/0065536.bin work/shortened
truncate -s 777 work/shortened
for number in $(seq 50); do echo "file $number" >"work/many/$number"; done
cp files/1048577.bin work/gone
sync
rm work/gone
mv work/many/50 work/many/last
before=$(find work -type f | sort | xargs sha256sum)
sync
mount -o remount,ro /
echo 3 >/proc/sys/vm/drop_caches
after=$(find work -type f | sort | xargs sha256sum)
[ "$before" = "$after" ] || fail "files are not the same after the remount"
mount -o remount,rw /
echo again >work/again
sync
fact files "$(find work -type f | wc -l)"
