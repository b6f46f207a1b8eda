sync
mount -o remount,ro / 2>/dev/null || true
poweroff -f
