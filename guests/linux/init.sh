#!/bin/sh
# The first process of the Linux guest: mounts what a shell wants, loads the disk's drivers, and gives a shell on COM1.
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
if grep -q disk=1 /proc/cmdline; then
  while read -r module; do
    insmod "/modules/$module.ko"
  done </modules/order
fi
stty -echo </dev/ttyS0
echo "guest-ready $(cut -d' ' -f1 /proc/uptime)"
while true; do
  PS1='' setsid sh -c 'exec sh -i </dev/ttyS0 >/dev/ttyS0 2>&1'
done
