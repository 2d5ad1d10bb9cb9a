#!/bin/bash
# check.sh - does the lab do what its users rely on? Root or what `lab.sh probe` asks for; about half a minute. Ends with: N passed, N failed.
set -u
HERE=$(dirname "$(realpath "$0")"); export LAB=${LAB:-$HERE/../../target/lab/check}
lab=$HERE/lab.sh passed=0 failed=0
"$lab" probe || exit 1
trap '"$lab" down' EXIT
ok() {  # WHAT COMMAND...: it must succeed; WHAT beginning with "not:" that it fails
  local what=$1 out rc want=0; shift; [[ $what != not:* ]] || want=1
  out=$("$@" 2>&1); rc=$?; [ $rc = 0 ] || rc=1
  if [ $rc = $want ]; then passed=$((passed + 1)); else failed=$((failed + 1)); printf 'FAIL %s\n%s\n' "$what" "$out" | head -20; fi
}
on() { "$lab" ssh -o ConnectTimeout=2 "$@"; }
code() { [ "$("$lab" net curl -s -m5 -o /dev/null -w '%{http_code}' http://vps0/login)" = "$1" ]; }
shows() { on dom0 xl list vps0 | grep -qF -- "$1"; }
soon() { for _ in $(seq 600); do "$@" && return; sleep .1; done; "$@"; }
absent() { ! on dom0 xl list vps0; }
"$lab" down
ok "up" "$lab" up --owner $$ a dom0 vps0:off ctl=50
ok "not: up twice" "$lab" up a
ok "names in hosts" on a 'getent hosts ctl | grep -q 10.77.0.50'
ok "names for the controller" "$lab" net getent hosts dom0
ok "admin: sudo, doas" on -l admin a '[ $(id -u) = 1000 ] && sudo -n true && doas -n true'
ok "nothing failed at boot" on a 'systemctl is-system-running --wait'
ok "tmpfs inside" on a 'mkdir -p /mnt/t && mount -t tmpfs -o noexec,size=1M tmpfs /mnt/t && ! dd if=/dev/zero of=/mnt/t/f bs=1M count=2 2>/dev/null'
ok "net parameters of its own" on a 'echo 77 >/proc/sys/net/ipv4/ip_default_ttl'
ok "not: the machine's" grep -q 77 /proc/sys/net/ipv4/ip_default_ttl
ok "not: any other parameter" on a 'echo 77 >/proc/sys/vm/swappiness'
ok "a host is off until it is booted" "$lab" root vps0 test -e /etc/os-release
ok "put, while it is off" "$lab" put vps0 "$HERE/lab.sh" /opt/x/y 600
on a 'echo "@reboot root touch /root/cron-saw-a-boot" >/etc/cron.d/r; cat /proc/sys/kernel/random/boot_id >/root/boot'
ok "power cut" "$lab" power-cut a
ok "not: ssh without power" on a true
ok "boot" "$lab" boot a
ok "another boot id" on a '[ "$(cat /root/boot)" != "$(cat /proc/sys/kernel/random/boot_id)" ]'
ok "cron saw the boot" soon on a test -e /root/cron-saw-a-boot
ok "partition" "$lab" partition a
ok "not: ssh through a pulled cable" on a true
ok "heal" "$lab" heal a
ok "ssh again" on a true
ok "reset" "$lab" reset a
ok "not: a file on a fresh disk" on a test -e /root/boot
ok "add" "$lab" add b
ok "add one without systemd" "$lab" add plain:init=sh
ok "its init, its cron, no systemd" on plain '[ "$(cat /proc/1/comm)" = init ] && pgrep -x cron && [ ! -e /run/systemd ]'
ok "it reaps orphans" on plain '(sh -c "sleep .1 &"); sleep .3; ! grep -l "^State:.Z" /proc/[0-9]*/status'
on plain 'cat /proc/sys/kernel/random/boot_id >/root/boot; reboot -f'
ok "a reboot in it" soon on plain '[ "$(cat /root/boot)" != "$(cat /proc/sys/kernel/random/boot_id)" ]'
ok "the others know it" on ctl getent hosts b
on ctl poweroff
ok "poweroff inside" soon sh -c "$lab status | grep -q 'ctl .*off'"
ok "site" "$lab" site
ok "/login 200" code 200
ok "pause" on dom0 xl pause vps0
ok "paused is --p---" shows --p---
ok "not: a paused guest answers" code 200
ok "unpause" on dom0 xl unpause vps0
ok "/login 200 again" soon code 200
ok "boots of the same box" "$lab" power-cut dom0
ok "its guest lost power too" sh -c "$lab status | grep -q 'vps0 .*off'"
ok "boot" "$lab" boot dom0
ok "Xen forgot" absent
ok "slow Xen" "$lab" xen-speed 1
on dom0 'xl create /etc/xen/vps0.cfg >/dev/null 2>&1 &'
ok "being built" soon shows 'vps0                                         1     0     0     --p---'
ok "fast Xen" "$lab" xen-speed 0.1
ok "guest up" "$lab" wait vps0
ok "/login 502" soon code 502
ok "supervisord's error" soon on vps0 'journalctl -b -u supervisor | grep -q "Cannot open an HTTP server: socket.error reported errno.ENOENT (2)"'
ok "auto-restart" on vps0 'systemctl show supervisor -p SubState | grep -q auto-restart'
on vps0 'mkdir /var/run/supervisor; systemctl restart supervisor'
ok "/login 200 after the repair" soon code 200
on vps0 reboot
ok "a reboot inside gives a new domain" soon shows 'vps0                                         2 '
ok "and it answers" "$lab" wait vps0
on vps0 poweroff
ok "a poweroff inside ends it" soon absent
ok "down" "$lab" down
ok "down twice" "$lab" down
echo "$passed passed, $failed failed"
[ $failed = 0 ]
