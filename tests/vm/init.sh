#!/bin/busybox sh
# The guest's /init: the machine outside, read-only (UML's hostfs, or 9p), below an overlay on a scratch disk, becomes the root.
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
give_up() { echo "init: $*"; poweroff -f; }

for module in /modules/*.ko; do insmod "$module" || give_up "insmod $module"; done
tries=0
until [ -b /dev/vda ] || [ -b /dev/ubda ] || [ $tries -gt 100 ]; do sleep 0.05; tries=$((tries + 1)); done
if [ -b /dev/ubda ]; then
    disk=/dev/ubda
    mount -t hostfs -o ro none /host
else
    disk=/dev/vda
    mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=512000,cache=loose host /host
fi || give_up "cannot mount the machine outside"
mount -t ext4 -o noatime $disk /scratch || give_up "cannot mount the scratch disk"
mkdir -p /scratch/upper /scratch/work
mount -t overlay -o lowerdir=/host,upperdir=/scratch/upper,workdir=/scratch/work root /new || give_up "cannot mount the root"
mkdir -p /new/proc /new/sys /new/dev /new/run /new/scratch
for name in proc sys dev scratch; do mount --move /$name /new/$name; done
mount -t tmpfs -o mode=755,nosuid,nodev tmpfs /new/run
mkdir -p /new/run/vm/bin
cp -a /job/. /bin/busybox /new/run/vm/
chroot /new /run/vm/busybox --install -s /run/vm/bin
exec switch_root /new /run/vm/busybox sh /run/vm/main.sh
