for mode in 0000:nothing 4755:setuid 2755:setgid 1777:all 0666:everybody; do echo x > tree/${mode#*:}; chmod ${mode%:*} tree/${mode#*:}; done
mkdir tree/sticky tree/shut tree/group
chmod 1777 tree/sticky; chmod 0700 tree/shut; chmod 2770 tree/group
echo inside > tree/shut/inside
echo x > "$(printf 'tree/uml\303\244ut \n line')"
echo x > "tree/long-$(printf 'n%.0s' $(seq 150))"
: > tree/empty
truncate -s 100000 tree/sparse
python3 -c "import os; os.setxattr('tree/plain', 'user.note', b'kept')"
