#!/usr/bin/python3
"""backend.py - the login server of our story: HTTP on 127.0.0.1:8000 over an SQLite database.

    GET  /          -> /login
    GET  /login     the form, with a CSRF token; reads the database, and answers 500 where it cannot
    POST /login     email, password, csrf: 303 to /account with a session cookie, or 401, or 403
    GET  /account   "Welcome EMAIL", or 303 to /login
    GET  /healthz   ok

`backend.py adduser EMAIL PASSWORD` makes the database where there is none, and sets the password.
BACKEND_DB (/var/lib/backend/backend.db) and BACKEND_PORT (8000) may be set.
"""
import hashlib, hmac, html, http.cookies, os, secrets, sqlite3, sys, urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

DB = os.environ.get("BACKEND_DB", "/var/lib/backend/backend.db")
SCHEMA = """
CREATE TABLE IF NOT EXISTS users (email TEXT PRIMARY KEY, salt BLOB NOT NULL, hash BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS sessions (token TEXT PRIMARY KEY, email TEXT NOT NULL REFERENCES users);
CREATE TABLE IF NOT EXISTS settings (key TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


def connect(create=False):
    # mode=rw: a missing database is an error, not a new and empty one
    db = sqlite3.connect("file:%s?mode=%s" % (urllib.parse.quote(DB), "rwc" if create else "rw"), uri=True, timeout=5)
    if create:
        db.executescript(SCHEMA)
        db.execute("INSERT OR IGNORE INTO settings VALUES ('title', 'Sign in')")
        db.execute("INSERT OR IGNORE INTO settings VALUES ('secret', ?)", (secrets.token_hex(16),))
    return db


def hash_password(password, salt):
    return hashlib.pbkdf2_hmac("sha256", password.encode(), salt, 20000)


def setting(db, key):
    return db.execute("SELECT value FROM settings WHERE key = ?", (key,)).fetchone()[0]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "backend"

    def reply(self, status, body="", headers=()):
        data = body.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def cookie(self, name):
        morsel = http.cookies.SimpleCookie(self.headers.get("Cookie", "")).get(name)
        return morsel.value if morsel else ""

    def csrf(self, db, visitor):
        return hmac.new(setting(db, "secret").encode(), visitor.encode(), "sha256").hexdigest()

    def form(self, db, status=200, message=""):
        visitor = self.cookie("visitor") or secrets.token_hex(16)
        self.reply(status, """<!doctype html><title>%s</title><h1>%s</h1>%s<form method="post" action="/login">
<input type="hidden" name="csrf" value="%s">
<input name="email" type="email"><input name="password" type="password"><button>Sign in</button></form>
""" % (setting(db, "title"), setting(db, "title"), message and "<p>%s</p>" % html.escape(message), self.csrf(db, visitor)),
                   [("Set-Cookie", "visitor=%s; HttpOnly; Path=/" % visitor)])

    def handle_one(self, route):
        try:
            db = connect()
            try:
                with db:
                    route(db)
            finally:
                db.close()
        except (sqlite3.Error, TypeError) as e:  # TypeError: a setting that is not there
            self.log_error("database: %s", e)
            self.reply(500, "<h1>Internal Server Error</h1>\n")

    def do_GET(self):
        path = self.path.split("?")[0]
        if path == "/healthz":
            return self.reply(200, "ok\n")
        if path == "/":
            return self.reply(303, headers=[("Location", "/login")])
        if path == "/login":
            return self.handle_one(self.form)
        if path == "/account":
            return self.handle_one(self.account)
        self.reply(404, "<h1>Not Found</h1>\n")

    do_HEAD = do_GET

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode(errors="replace")
        self.fields = dict(urllib.parse.parse_qsl(body))
        if self.path.split("?")[0] != "/login":
            return self.reply(404, "<h1>Not Found</h1>\n")
        self.handle_one(self.sign_in)

    def sign_in(self, db):
        visitor = self.cookie("visitor")
        if not visitor or not hmac.compare_digest(self.csrf(db, visitor), self.fields.get("csrf", "")):
            return self.form(db, 403, "This form has expired.")
        email = self.fields.get("email", "")
        user = db.execute("SELECT salt, hash FROM users WHERE email = ?", (email,)).fetchone()
        if not user or not hmac.compare_digest(hash_password(self.fields.get("password", ""), user[0]), user[1]):
            return self.form(db, 401, "Wrong email or password.")
        token = secrets.token_hex(16)
        db.execute("INSERT INTO sessions VALUES (?, ?)", (token, email))
        db.commit()  # before the browser hears of it, and comes back with it
        self.reply(303, headers=[("Location", "/account"), ("Set-Cookie", "session=%s; HttpOnly; Path=/" % token)])

    def account(self, db):
        row = db.execute("SELECT email FROM sessions WHERE token = ?", (self.cookie("session"),)).fetchone()
        if not row:
            return self.reply(303, headers=[("Location", "/login")])
        self.reply(200, "<!doctype html><h1>Welcome %s</h1>\n" % html.escape(row[0]))


if sys.argv[1:2] == ["adduser"]:
    email, password = sys.argv[2:]
    os.makedirs(os.path.dirname(DB), exist_ok=True)
    salt = secrets.token_bytes(16)
    with connect(create=True) as db:
        db.execute("INSERT OR REPLACE INTO users VALUES (?, ?, ?)", (email, salt, hash_password(password, salt)))
else:
    ThreadingHTTPServer.daemon_threads = True
    ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("BACKEND_PORT", "8000"))), Handler).serve_forever()
