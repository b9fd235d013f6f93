# Takes a file on standard input: written beside its place, checked, then renamed. First comes one line of shell that sets manifold_dir.
# $1 nonce  $2 path below the directory  $3 mark of the attempt  $4 SHA-256 or -  $5 MD5 or -  $6 bytes or -  $7 root  $8 folder  then later units
nonce=$1 name=$2 mark=$3 sha=$4 md5=$5 bytes=$6 root=$7 folder=$8
shift 8
trouble() { printf '%s trouble %s\n' "$nonce" "$1"; exit 0; }
case $root in "~") root=$HOME ;; "~/"*) root=$HOME/${root#"~/"} ;; esac
IFS= read -r line || trouble 'the connection ended early'
dir=$(
  kept=$root/$folder/env
  { eval "$line"; [ ! -f "$kept" ] || . "$kept"; eval "manifold_dir=$manifold_dir"; } </dev/null >/dev/null 2>&1
  printf '%s.' "$manifold_dir"
)
dir=${dir%.}
[ -n "$dir" ] || trouble 'the directory is empty after its variables were replaced'
case $dir in /*) ;; *) dir=$HOME/$dir ;; esac
at=$dir/$name
for later in "$@"; do
  # Something may have changed the file on purpose since: only an attempt that was taken up again comes here.
  [ ! -e "$root/$folder/$later.mark" ] || { printf '%s passed %s\n' "$nonce" "$at"; exit 0; }
done
said=$(mkdir -p -- "${at%/*}" 2>&1) || trouble "$said"
temp=${at%/*}/.${at##*/}.$mark
{ cat >"$temp"; } 2>/dev/null || { rm -f -- "$temp"; trouble "cannot write ${at%/*}: is there room, and may this user write there?"; }
if command -v sha256sum >/dev/null; then got=$(sha256sum <"$temp")
elif command -v shasum >/dev/null; then got=$(shasum -a 256 <"$temp")
elif command -v openssl >/dev/null; then got=$(openssl dgst -sha256 -r <"$temp")
else got=-; fi
got=${got%% *}
[ "$got" ] || got=-
size=-
if [ "$bytes" != - ] || [ "$got" = - ]; then size=$(wc -c <"$temp"); size=$((size)); fi
if [ "$bytes" != - ] && [ "$size" != "$bytes" ]; then rm -f -- "$temp"; trouble "it has $size bytes instead of $bytes"; fi
if [ "$sha" != - ] && [ "$got" != - ] && [ "$sha" != "$got" ]; then rm -f -- "$temp"; trouble "its SHA-256 is $got instead of $sha"; fi
if [ "$md5" != - ]; then
  command -v md5sum >/dev/null || { rm -f -- "$temp"; trouble 'md5sum is not there to check it'; }
  sum=$(md5sum <"$temp")
  [ "${sum%% *}" = "$md5" ] || { rm -f -- "$temp"; trouble "its MD5 is ${sum%% *} instead of $md5"; }
fi
if [ "$sha" = - ]; then
  printf '%s kept %s %s %s\n' "$nonce" "$got" "$size" "$at"
else
  said=$(mv -f -- "$temp" "$at" 2>&1) || { rm -f -- "$temp"; trouble "$said"; }
  printf '%s stored %s\n' "$nonce" "$at"
fi
