ln -s file to-file
ln -s tree to-directory
ln tree/one tree/two
mkdir tree/directory
ln tree/one tree/directory/three
ln -s one tree/relative
ln -s /etc/passwd tree/absolute
ln -s nowhere tree/dangling
ln -s ../../../../etc tree/out
