chmod 755 rootfs/sbin/program
chmod 700 rootfs/data
