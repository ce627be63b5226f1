mkdir -p sub/empty
chmod 750 sub
chmod 2775 sub/inner
chmod 600 two.txt
touch -d 2001-02-03T04:05:06Z one.txt sub
