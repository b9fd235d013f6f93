# Stops a unit: SIGTERM to its group, SIGKILL to its session after the grace; a unit not yet started can then never start.
# $1 root  $2 folder  $3 unit  $4 grace in tenths of a second
root=$1 dir=$2 unit=$3 grace=$4
case $root in "~") root=$HOME ;; "~/"*) root=$HOME/${root#"~/"} ;; esac
dir=$root/$dir
at=$dir/$unit
[ -d "$dir" ] || { mkdir -p -m 700 "$root" && mkdir -m 700 "$dir"; } 2>/dev/null

ended() { code= dot=; { read -r code dot <"$at.end"; } 2>/dev/null; [ "$dot" = . ]; }

start_of() {
  start=
  [ -d /proc/self ] || { kill -0 "$1" 2>/dev/null && start=-; return 0; }
  { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 0
  stat=${stat##*) }
  set -f; set -- $stat; set +f
  [ "$1" = Z ] || [ "$1" = X ] || start=${20}
}

alive() { start_of "$pid"; [ -n "$start" ] && [ "$start" = "$m_start" ]; }

# SIGKILL for every process of the session, whatever group it made for itself.
kill_session() {
  kill -KILL "-$pid" 2>/dev/null
  for file in /proc/[0-9]*/stat; do
    { read -r stat <"$file"; } 2>/dev/null || continue
    other=${file#/proc/}
    session_of "${stat##*) }"
    [ "$session" != "$pid" ] || kill -KILL "${other%/stat}" 2>/dev/null
  done
}

session_of() { set -f; set -- $1; set +f; session=$4; }

set -C
{ echo "cancelled - - ." >"$at.mark"; } 2>/dev/null && { echo "143 ." >"$at.end"; echo all >"$at.drained"; echo stopped; exit 0; }
boot=- m_dot=
{ read -r boot </proc/sys/kernel/random/boot_id; } 2>/dev/null
{ read -r m_boot pid m_start m_dot <"$at.mark"; } 2>/dev/null
if [ "$m_dot" = . ] && [ "$boot" = "$m_boot" ] && ! ended && alive; then
  kill -TERM "-$pid" 2>/dev/null
  n=0
  while ! ended && [ $n -lt "$grace" ]; do
    sleep 0.1 2>/dev/null || { sleep 1; n=$((n + 9)); }
    n=$((n + 1))
  done
  kill_session
  { echo "137 ." >"$at.end"; } 2>/dev/null
  { echo all >"$at.drained"; } 2>/dev/null
fi
rm -f "$dir/env" "$dir/kubeconfig"
echo stopped
