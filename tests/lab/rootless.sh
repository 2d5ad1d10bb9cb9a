# rootless.sh - part of lab.sh: the lab of an ordinary user.
# It lives in a user namespace, where that user is root and has 65536 users of their own, and in a cgroup that systemd
# has delegated. One process, the holder, keeps both; a verb enters its namespaces and goes on as root's would. But
# nobody can move into the holder's cgroup from elsewhere, so what outlives a verb is started by the holder: see spawn.
# A lab outlives the session that made it, but not the user's systemd. All hosts count as one user for the machine's
# limits: of fs.inotify.max_user_instances (128) a host takes eight.
# $HOLD: pid (the holder and its namespace), spawn (a fifo: what to start), cgroup (its path), log.
USERNS=(unshare --user --map-root-user --map-auto --mount --cgroup --propagation slave)

holder() {  # its PID, while it lives
  local pid ns
  read -r pid ns 2>/dev/null <"$HOLD/pid" && [ "$(readlink "/proc/$pid/ns/user")" = "$ns" ] && echo "$pid"
}
delegated() {  # CMD...: in a new cgroup which is this user's to divide, or else in one below the present one
  local g
  if [ -S "$XDG_RUNTIME_DIR/systemd/private" ]; then systemd-run --user --scope --quiet --collect --description="converge lab $LAB" -p Delegate=yes -- "$@"; return; fi
  g=$(own_cgroup)/$NS-$BASHPID; mkdir "$g" || return 1
  bash -c 'echo $$ >"$1" && shift && exec "$@"' - "$g/cgroup.procs" "$@" || set -- false
  for _ in $(seq 50); do if rmdir "$g" 2>/dev/null; then break; fi; sleep .1; done
  [ "$1" != false ]
}
own_cgroup() { local m p; m=$(findmnt -nt cgroup2 -o TARGET | head -1); p=$(sed -n 's/^0:://p' /proc/self/cgroup); [ -n "$m" ] && [ -n "$p" ] && echo "$m${p%/}"; }

rootless() {  # VERB ARGS...: the same as root of the lab's namespace
  local pid
  mkdir -p -m700 "$RUN"; [ -O "$RUN" ] || die "$RUN is another user's"
  export LAB_RUN=$RUN
  case $1 in
    probe) probe_user; return ;;
    down-all) down_all; return ;;  # each in its own
    up) hold ;;
  esac
  if pid=$(holder); then
    exec nsenter -t "$pid" --user --mount --cgroup bash -c 'cd "$1" && shift && exec "$@"' - "$PWD" "$SELF" "$@"
  fi
  if [ "$1" = down ]; then reap; fi
  "${USERNS[@]}" true 2>/dev/null || { probe_user >&2; die "no user namespace can be made"; }
  exec "${USERNS[@]}" "$SELF" _inside "$@"  # no lab: `build`, and tidying up
}
reap() {  # what a holder that was killed has left
  local g; g=$(cat "$HOLD/cgroup" 2>/dev/null) || return 0
  if [ -d "$g/$NS" ]; then echo 1 >"$g/$NS/cgroup.kill"; wait_for "processes of the lab to end" ! populated "$g/$NS"; rm_cgroup "$g/$NS"; fi
  rmdir "$g" 2>/dev/null || :
}
hold() {  # a holder, if there is none. The shell that waits for it keeps the session from ending
  ! holder >/dev/null || return 0
  reap; rm -rf "$HOLD"; mkdir -p "$HOLD"; mkfifo "$HOLD/spawn"
  ( export HOLD; export -f own_cgroup
    delegated setsid bash -c 'own_cgroup >"$HOLD/cgroup"; exec "$@"' - "${USERNS[@]}" "$SELF" _inside _hold ) </dev/null >"$HOLD/log" 2>&1 &
  for _ in $(seq 3000); do if holder >/dev/null; then return 0; elif ! kill -0 $! 2>/dev/null; then break; fi; sleep .02; done
  cat "$HOLD/log" >&2; probe_user >&2; die "the lab's namespace could not be made"
}
let_go() { local pid; if pid=$(holder); then kill "$pid"; fi; rm -rf "$HOLD"; }

# In the namespace: /run is as it was, but `ip` can keep its names for networks there, and $RUN is where root's is
_inside() {  # VERB ARGS...
  local e here=$PWD
  cd /run; mount -t tmpfs -o mode=755 lab-run /run
  for e in *; do
    case $e in netns|converge-lab) continue ;; esac
    if [ -L "$e" ]; then cp -a "$e" "/run/$e"; continue; elif [ -d "$e" ]; then mkdir -p "/run/$e"; else : >"/run/$e"; fi
    mount --no-canonicalize --rbind "./$e" "/run/$e"
  done
  mkdir "$RUN" "$CGROUP"; mount --bind "$LAB_RUN" "$RUN"; cd "$here"
  mount -t cgroup2 lab-cgroup "$CGROUP" || rmdir "$CGROUP"
  exec "$SELF" "$@"
}
_hold() {
  local log words
  exec 3<>"$HOLD/spawn"; echo "$$ $(readlink /proc/self/ns/user)" >"$HOLD/pid"
  # shellcheck disable=SC2086 # words they are
  while read -r log words <&3; do setsid "$SELF" $words </dev/null >>"$LAB/$log" 2>&1 3<&- & done
}
spawn() {  # LOG VERB WORD...: lab.sh VERB in the background, for longer than this verb; it writes to $LAB/LOG
  local log=$1; shift
  if [ -p "$HOLD/spawn" ]; then echo "$log $*" >"$HOLD/spawn"
  else setsid "$SELF" "$@" </dev/null >>"$LAB/$log" 2>&1 9>&- & fi
}
