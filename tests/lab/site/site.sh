#!/bin/bash
# site.sh - provision the site of our story in the running lab $LAB (lab.sh site): dom0 is a Xen machine and vps0 its
# guest, with nginx on port 80 before `backend`, a login server that supervisord keeps alive over an SQLite database.
# Its supervisord has its socket in /var/run/supervisor, which lies in memory and which nothing makes at boot (not the
# pid file: with that in there too, supervisord stops at reading its configuration, with another message):
# after a power cut supervisord dies of "Cannot open an HTTP server: socket.error reported errno.ENOENT (2)", again
# and again every 50 s (Debian's RestartSec, left as it is), and nginx answers 502.
# Ends with the site up: http://vps0/login answers 200; probe@example.com has the password "correct horse".
set -euo pipefail
HERE=$(dirname "$(realpath "$0")"); lab=$HERE/../lab.sh
[ "$("$lab" status | grep -cE '^(dom0|vps0) ')" = 2 ] || { echo "site: it needs a lab with dom0 and vps0 (lab.sh up dom0 vps0:off)" >&2; exit 1; }
"$lab" status | grep -q '^vps0 .*guest of dom0' || "$lab" dom0 dom0 vps0

# vps0's disk, while it is off
"$lab" ssh dom0 'xl list vps0 >/dev/null 2>&1 && xl destroy vps0; mkdir -p /etc/xen/auto; true'
"$lab" put vps0 "$HERE/backend.py" /usr/local/bin/backend 755
"$lab" root vps0 sh -es <"$HERE/vps0.sh"

# up, the way it was once brought up: somebody made the directory by hand
"$lab" ssh dom0 'xl create /etc/xen/vps0.cfg' 2>/dev/null
"$lab" wait vps0
"$lab" ssh vps0 'mkdir -p /var/run/supervisor && systemctl restart supervisor nginx'
for _ in $(seq 600); do
  code=$("$lab" ssh vps0 'curl -s -o /dev/null -w "%{http_code}" http://127.0.0.1/login' || :)
  [ "$code" != 200 ] || { echo "site: http://vps0/login answers 200"; exit 0; }
  sleep .1
done
echo "site: /login answers $code, not 200 (lab.sh ssh vps0 supervisorctl status; lab.sh console vps0)" >&2; exit 1
