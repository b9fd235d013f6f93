# Starts one unit detached from the connection, or attaches to it when it was started before, and follows it to its end.
# stdin: the text for the shell; stdout: the output; stderr: the report, in lines that begin with the nonce.
# $1 root  $2 folder  $3 unit  $4 nonce  $5 offset  $6 cap in blocks of 512 bytes  $7 hour  $8 shells  $9 last
root=$1 folder=$2 unit=$3 nonce=$4 offset=$5 blocks=$6 hour=$7 shells=$8 last=$9
shift 9
vars_cap=$1 age=$2 room=$3
case $root in "~") root=$HOME ;; "~/"*) root=$HOME/${root#"~/"} ;; esac
case $root in /*) ;; *) root=$PWD/$root ;; esac
dir=$root/$folder
at=$dir/$unit

# Wrapper trouble, before anything was started.
trouble() { printf '%s trouble %s %s\n' "$nonce" "$1" "$2" >&2; exit 0; }

# The boot this is; - where there is no /proc.
boot_id() { boot=-; { read -r boot </proc/sys/kernel/random/boot_id; } 2>/dev/null; }

# Start time of process $1 (- where there is no /proc, empty when it is gone or a zombie).
start_of() {
  start=
  [ -d /proc/self ] || { kill -0 "$1" 2>/dev/null && start=-; return 0; }
  { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 0
  stat=${stat##*) }
  set -f; set -- $stat; set +f
  [ "$1" = Z ] || [ "$1" = X ] || start=${20}
}

# Whether the process that claimed the unit lives.
alive() {
  { read -r m_boot m_pid m_start m_dot <"$at.mark"; } 2>/dev/null || return 1
  [ "$m_dot" = . ] || return 1
  boot_id; [ "$boot" = "$m_boot" ] || return 1
  start_of "$m_pid"; [ -n "$start" ] && [ "$start" = "$m_start" ]
}

# Whether the exit code stands.
ended() { code= dot=; { read -r code dot <"$at.end"; } 2>/dev/null; [ "$dot" = . ]; }

# A pause of about $1 seconds that a signal ends at once.
pause() {
  sleep "$1" </dev/null >/dev/null 2>&1 &
  wait $!
  case $? in 0) ;; [0-9]|[0-9][0-9]) sleep 1 ;; esac
}

# Copies output to the channel until the unit has ended; the descriptor 4 keeps the place.
ticker() {
  trap : TERM
  n=0 wait=0.1
  while ! ended; do
    pause $wait
    cat <&4 || exit 0
    n=$((n + 1))
    case $n in 2) wait=0.2 ;; 50) wait=0.5 ;; 100) wait=1 ;; esac
  done
}

# Waits until the unit has ended or is gone, the output copied.
settle() {
  n=0 still=0
  while ! ended; do
    if alive; then still=0; else
      # The exit code may come between the two looks, and a claim may just be being written.
      still=$((still + 1)); [ $still -lt 5 ] || break
    fi
    pause 0.1
    cat <&4
  done
  # Output still in the pipe: a process left behind may hold it open, so not for ever.
  while [ ! -s "$at.drained" ] && [ $n -lt 10 ]; do pause 0.05; n=$((n + 1)); done
  cat <&4
}

report() {
  if ended; then
    full=; { read -r full <"$at.drained"; } 2>/dev/null
    if [ "$full" = full ]; then printf '\n'; cat "$at.last"; fi
    printf '%s end %s %s\n' "$nonce" "$code" "${full:-open}" >&2
    [ ! -f "$at.vars" ] || head -c "$vars_cap" "$at.vars" >&2
  else
    boot_id
    mark=; { read -r mark <"$at.mark"; } 2>/dev/null
    printf '%s gone boot %s mark %s\n' "$nonce" "$boot" "$mark" >&2
  fi
}

# Removes folders past age, then the oldest while all together are too large; never one whose process lives.
sweep() {
  cd "$root" || return 0
  for old in .swept-*; do [ "$old" = ".swept-$hour" ] || rm -f "$old"; done
  find . -maxdepth 1 -type d -name '[!.]*' -mmin "+$age" -print | while read -r old; do sweep_one "$old"; done
  # shellcheck disable=SC2012
  ls -1tr | while read -r old; do
    size=$(du -sk . | { read -r k rest; echo "$k"; })
    [ "$size" -gt "$room" ] || break
    sweep_one "$old"
  done
}

sweep_one() {
  [ -d "$root/$1" ] && [ "$root/$1" != "$dir" ] || return 0
  for mark in "$root/$1"/*.mark; do
    at=${mark%.mark}
    [ -e "$mark" ] && ! ended && alive && return 0
  done
  rm -rf "$root/${1:?}"
}

text=$(cat)
case $text in *"#end-$nonce") ;; *) trouble cut 'the connection ended before the whole script had come' ;; esac

if [ ! -d "$dir" ]; then
  [ -d "$root" ] || mkdir -p -m 700 "$root" 2>/dev/null
  mkdir -m 700 "$dir" 2>/dev/null || [ -d "$dir" ] || trouble folder "cannot make $dir"
fi
if [ ! -e "$root/.swept-$hour" ]; then
  : >"$root/.swept-$hour"
  (sweep) </dev/null >/dev/null 2>&1 4<&- &
fi
{ : >>"$at.out"; } 2>/dev/null || trouble folder "cannot write in $dir"
exec 4<"$at.out"
[ "$offset" = 0 ] || { tail -c "+$((offset + 1))" <&4; }

if [ -e "$at.mark" ]; then
  settle
  report
  exit 0
fi

shell=
for name in $shells; do
  shell=$(command -v "$name") && break
done
[ -n "$shell" ] || trouble shell "none of these shells is there: $shells"

supervisor='
at=$1 blocks=$2 shell=$3 dir=$4 last=$5
boot=- start=-
{ read -r boot </proc/sys/kernel/random/boot_id; } 2>/dev/null
if { read -r stat </proc/$$/stat; } 2>/dev/null; then stat=${stat##*) }; set -f; set -- $stat; set +f; start=${20}; fi
set -C
echo "$boot $$ $start ." >"$at.mark" || exit 0
set +C
trap : TERM INT
{
  trap : TERM INT
  MANIFOLD_FOLDER=$dir "$shell" /dev/fd/3 3<&0 </dev/null 2>&1 9>&-
  code=$?
  rm -f "$dir/kubeconfig"
  if [ -e "$dir/env" ]; then [ "$last$code" = 00 ] || rm -f "$dir/env"; fi
  echo "$code ." >"$at.end"
} | {
  {
    trap "" TERM INT
    if (ulimit -f "$blocks"; trap "" XFSZ; exec cat >>"$at.out"); then
      echo all >"$at.drained"
    else
      tail -c 2048 >"$at.last"
      echo full >"$at.drained"
    fi
  } <&3 3<&- 9>&- &
} 3<&0
'
if command -v setsid >/dev/null; then
  launch() { exec setsid /bin/sh -c "$supervisor" manifold "$at" "$blocks" "$shell" "$dir" "$last"; }
elif command -v perl >/dev/null; then
  launch() {
    exec perl -e 'use POSIX; POSIX::setsid(); exec @ARGV' /bin/sh -c "$supervisor" manifold "$at" "$blocks" "$shell" "$dir" "$last"
  }
else
  trouble session 'neither setsid nor perl is there to give the command a session of its own'
fi

printf '%s\n' "$text" 2>/dev/null 4<&- | { launch; } 9>&1 >/dev/null 2>&1 4<&- | {
  ticker &
  tick=$!
  read -r nothing
  kill "$tick" 2>/dev/null
  wait "$tick"
  settle
  report
}
