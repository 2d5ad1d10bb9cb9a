# vps0.sh - what makes a Debian with nginx, supervisord and /usr/local/bin/backend the site of our story. Run by `sh -e`
# as root inside vps0's file system, which may be on or off.
cat >/etc/supervisor/conf.d/backend.conf <<'C'
[program:backend]
command=/usr/bin/python3 /usr/local/bin/backend
user=backend
autostart=true
autorestart=true
stdout_logfile=/var/log/supervisor/backend.log
redirect_stderr=true
C
cat >/etc/nginx/sites-available/app <<'C'
server {
    listen 80 default_server;
    listen [::]:80 default_server;
    server_name _;
    location / {
        proxy_pass http://127.0.0.1:8000;
        proxy_set_header Host $host;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_connect_timeout 2s;
    }
}
C
id backend >/dev/null 2>&1 || useradd --system --home-dir /var/lib/backend --shell /usr/sbin/nologin backend
sed -i -e "s#/var/run/supervisor\.sock#/var/run/supervisor/supervisor.sock#" /etc/supervisor/supervisord.conf
python3 /usr/local/bin/backend adduser probe@example.com "correct horse"
chown -R backend: /var/lib/backend
chmod 750 /var/lib/backend
rm -f /etc/nginx/sites-enabled/default
ln -sf ../sites-available/app /etc/nginx/sites-enabled/app
for u in supervisor nginx; do ln -sf /lib/systemd/system/$u.service /etc/systemd/system/multi-user.target.wants/$u.service; done
