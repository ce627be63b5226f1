chown -R 77:88 tree
chmod 640 tree/file
ln -s file tree/link
