#!/run/vm/busybox sh
# PID 1 of the guest: lays out a host whose controllers are all on cgroup v2, with groups as systemd makes them; runs
# /run/vm/job.sh as root, or as an ordinary user in a delegated group; hands out its output and its status; powers off.
. /run/vm/settings   # VM_USER (1: the ordinary user), VM_MODULES
export PATH=/run/vm/bin:/usr/sbin:/usr/bin:/sbin:/bin
uid=1000
groups=/sys/fs/cgroup

port() {   # port out|err|status: the device that leads outside
    case $1 in out) number=0 ;; err) number=1 ;; status) number=2 ;; esac
    [ ! -b /dev/ubda ] || { echo /dev/ttyS$number; return; }
    for port in /sys/class/virtio-ports/*; do [ "$(cat $port/name)" != vm.$1 ] || echo /dev/${port##*/}; done
}

raw() { [ ! -b /dev/ubda ] || for number in 0 1 2; do stty -F /dev/ttyS$number raw; done; }   # it waits until all is written, too

run() {   # run UID COMMAND...: to its end, then power off; its output goes through pipes that the user may open again by name
    raw
    mkfifo /run/vm/out /run/vm/err
    chown $1 /run/vm/out /run/vm/err
    shift
    cat /run/vm/out > $(port out) & out=$!
    cat /run/vm/err > $(port err) & err=$!
    "$@" < /dev/null > /run/vm/out 2> /run/vm/err
    status=$?
    wait $out $err
    echo $status > $(port status)
    sync
    raw
    poweroff -f
    sleep 60
}

pass_on() { for group; do sed 's/[^ ]*/+&/g' $group/cgroup.controllers > $group/cgroup.subtree_control; done; }

delegate() {   # what systemd's Delegate=yes gives away
    for group; do
        chown $uid:$uid $group
        for file in $(cat /sys/kernel/cgroup/delegate); do [ ! -e $group/$file ] || chown $uid:$uid $group/$file; done
    done
}

# ------------------------------------------------------------------------------------------------ what a booted Debian has

mkdir -p /dev/pts /dev/shm /dev/mqueue /dev/net
mount -t devpts -o mode=620,gid=5,ptmxmode=666 devpts /dev/pts
mount -t tmpfs -o mode=1777,nosuid,nodev shm /dev/shm
mount -t mqueue mqueue /dev/mqueue
mount -t cgroup2 -o nsdelegate,memory_recursiveprot cgroup2 $groups
ln -sf /proc/self/fd /dev/fd
for pair in 0:stdin 1:stdout 2:stderr; do ln -sf /proc/self/fd/${pair%:*} /dev/${pair#*:}; done
mkdir -p -m 1777 /scratch/tmp
mkdir -p /scratch/store /var/lib/cellhold
mount --bind /scratch/tmp /var/tmp   # real file systems: an overlay's upper directory cannot lie on the root, an overlay itself
mount --bind /scratch/store /var/lib/cellhold
mount --make-rshared /
chmod a+x /root   # where the checkout or the virtual environment may be; only the guest's overlay changes
hostname guest
ip link set lo up
ulimit -n 65536
mkdir -p /lib/modules
[ -d /lib/modules/$(uname -r) ] || ln -s $VM_MODULES/$(uname -r) /lib/modules/
modprobe -a loop fuse tun
[ -e /dev/fuse ] || mknod /dev/fuse c 10 229
[ -e /dev/net/tun ] || mknod /dev/net/tun c 10 200
(cd /dev; chmod 666 null zero full random urandom tty ptmx fuse net/tun)

# --------------------------------------------------------------------------------------------------------------- the job

mkdir -p $groups/init.scope
echo 1 > $groups/init.scope/cgroup.procs
if [ "$VM_USER" != 1 ]; then
    mkdir -p $groups/system.slice
    pass_on $groups $groups/system.slice
    mkdir $groups/system.slice/job.scope
    export HOME=/root
    run 0 sh -c "echo \$\$ > $groups/system.slice/job.scope/cgroup.procs; exec /run/vm/job.sh"
fi
slice=$groups/user.slice/user-$uid.slice
service=$slice/user@$uid.service
mkdir -p $service
pass_on $groups $groups/user.slice $slice $service
mkdir $service/job.scope
delegate $service $service/job.scope
mkdir -p -m 700 /scratch/home /run/user/$uid
chown $uid:$uid /scratch/home /run/user/$uid
grep -q "^[^:]*:[^:]*:$uid:" /etc/group || echo "tester:x:$uid:" >> /etc/group
grep -q "^[^:]*:[^:]*:$uid:" /etc/passwd || echo "tester:x:$uid:$uid::/scratch/home:/bin/bash" >> /etc/passwd
USER=$(awk -F: -v uid=$uid '$3 == uid { print $1; exit }' /etc/passwd)
for file in /etc/subuid /etc/subgid; do grep -q "^$USER:" $file 2> /dev/null || echo "$USER:100000:65536" >> $file; done
export USER LOGNAME=$USER HOME=/scratch/home XDG_RUNTIME_DIR=/run/user/$uid
run $uid sh -c "echo \$\$ > $service/job.scope/cgroup.procs
    exec /usr/bin/setpriv --reuid=$uid --regid=$uid --init-groups --inh-caps=-all /run/vm/job.sh"
