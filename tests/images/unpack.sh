# Run in a build, by each of the Dockerfiles beside it that take Debian's packages: unpack /packages/*.deb into /tree, which goes into the
# image. /usr is merged, as in the layer below; manuals and translations are left out. No maintainer script is run.
set -e
for name in bin sbin lib lib64; do
    mkdir -p "/tree/usr/$name"
    ln -s "usr/$name" "/tree/$name"
done
for package in /packages/*.deb; do
    dpkg-deb --fsys-tarfile "$package" > /unpacking.tar
    tar --extract --file=/unpacking.tar --directory=/tree --keep-directory-symlink \
        --wildcards --exclude-from=/unwanted --exclude='__pycache__'
done
rm /tree/bin /tree/sbin /tree/lib /tree/lib64
