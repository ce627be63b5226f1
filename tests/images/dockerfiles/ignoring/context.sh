mkdir -p docs/more a/temporary sub kept-below/deep/er kept-below/other a/only-at-the-top
for f in x.log important.log sub/x.log docs/README docs/README-secret docs/more/README docs/manual only-at-the-top a/only-at-the-top/file \
    a/temporary/file a/stays kept-below/deep/er/file kept-below/deep/file kept-below/other/file spaces-around; do echo "$f" > "$f"; done
chmod 700 kept-below/deep
