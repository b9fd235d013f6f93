# Prints what is on the host about units of an attempt; changes nothing.
# $1 root  $2 folder  then the units
root=$1 dir=$2
shift 2
case $root in "~") root=$HOME ;; "~/"*) root=$HOME/${root#"~/"} ;; esac
dir=$root/$dir
[ -d "$dir" ] && echo folder
boot=-; { read -r boot </proc/sys/kernel/random/boot_id; } 2>/dev/null
echo "boot $boot"
for unit in "$@"; do
  at=$dir/$unit
  [ -e "$at.mark" ] || continue
  mark=; { read -r mark <"$at.mark"; } 2>/dev/null
  stat=
  set -f
  for pid in $mark; do
    case $pid in *[!0-9]*) continue ;; esac
    if [ -d /proc/self ]; then { read -r stat <"/proc/$pid/stat"; } 2>/dev/null
    elif kill -0 "$pid" 2>/dev/null; then stat=living; fi
    break
  done
  set +f
  # The exit code after the process: it may come between the two looks.
  end=; { read -r end <"$at.end"; } 2>/dev/null
  echo "unit $unit"
  echo "mark $mark"
  echo "stat $stat"
  echo "end $end"
done
