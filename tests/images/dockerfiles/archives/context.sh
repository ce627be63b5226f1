chmod 750 tree/below
chown -R 5:6 tree/below
ln tree/file tree/hard
ln -s below/file tree/soft
set -- --sort=name --numeric-owner --format=posix -C tree .
tar -cf plain.tar "$@"
tar -czf by-gzip.tar.gz "$@"
tar -cJf by-xz.tar.xz "$@"
tar -cjf by-bzip2.tar.bz2 "$@"
cp by-gzip.tar.gz misnamed.txt
gzip -n < text.tar > only.gz
cp plain.tar directory/inside.tar
ln -s plain.tar to-archive
rm -r tree
