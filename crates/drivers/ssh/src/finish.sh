# Puts a file that put.sh kept in its place, or throws it away.
# $1 nonce  $2 place  $3 mark  $4 yes or no
at=$2
temp=${at%/*}/.${at##*/}.$3
if [ "$4" != yes ]; then rm -f -- "$temp"; printf '%s stored %s\n' "$1" "$at"; exit 0; fi
said=$(mv -f -- "$temp" "$at" 2>&1) || { printf '%s trouble %s\n' "$1" "$said"; exit 0; }
printf '%s stored %s\n' "$1" "$at"
