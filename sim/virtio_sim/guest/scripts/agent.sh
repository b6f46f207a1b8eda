#!/bin/sh
# Runs what the host asks for over the second serial port, one script after the other.
export PATH=/bin
exec </dev/ttyS1 >/dev/ttyS1 2>&1
mount -t tmpfs tmpfs /tmp
stty -F /dev/ttyS1 raw -echo
echo "@up root $1 release $(uname -r)"
while read -r number script arguments; do
	echo "@begin $number"
	sh -eu "/checks/$script.sh" $arguments </dev/null
	echo "@end $number $?"
done
poweroff -f
