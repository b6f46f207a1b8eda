#!/bin/sh
# Runs what the host asks for over the second serial port, one script after the other.
export PATH=/bin
exec </dev/ttyS1 >/dev/ttyS1 2>&1
mount -t tmpfs tmpfs /tmp
stty -F /dev/ttyS1 raw -echo
echo "@up root $1 release $(uname -r)"
last=
while read -r mark length order; do
	# A loaded machine loses characters of a serial port now and then.
	if [ "$mark" != @run ] || [ "${#order}" != "$length" ]; then
		echo "@again"
		continue
	fi
	set -- $order
	number=$1 script=$2
	shift 2
	[ "$number" != "$last" ] || continue
	last=$number
	echo "@begin $number"
	sh -eu "/checks/$script.sh" "$@" </dev/null
	echo "@end $number $?"
done
poweroff -f
