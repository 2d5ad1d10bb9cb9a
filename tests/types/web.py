"""A web server of the tests: web.py PORT DIRECTORY [CERTIFICATE KEY]. What lies in DIRECTORY is at /plain/."""
import base64, http.server, os, ssl, sys, time

PORT, ROOT = int(sys.argv[1]), sys.argv[2]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *words):
        pass

    def begin(self, status, length, **headers):
        with open(os.path.join(ROOT, "requests"), "a") as log:
            log.write(f"{self.path} {status}\n")
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(length))
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True

    def give(self, body, status=200, **headers):
        self.begin(status, len(body), **headers)
        self.wfile.write(body)

    def do_GET(self):
        what, _, rest = self.path.lstrip("/").partition("/")
        rest = rest.partition("?")[0]
        if what == "plain":
            try:
                body = open(os.path.join(ROOT, rest), "rb").read()
            except FileNotFoundError:
                return self.give(b"nothing of this name\n", 404)
            self.give(body)
        elif what == "cut":  # says more than it gives
            self.begin(200, 100000)
            self.wfile.write(b"x" * 1000)
        elif what == "slow":  # half of it, and the rest when there is a file `go`
            body = open(os.path.join(ROOT, rest), "rb").read()
            self.begin(200, len(body))
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            open(os.path.join(ROOT, "half"), "w").close()
            while not os.path.exists(os.path.join(ROOT, "go")):
                time.sleep(0.02)
            self.wfile.write(body[len(body) // 2 :])
        elif what == "zeros":  # so many megabytes
            self.begin(200, int(rest) << 20)
            for _ in range(int(rest)):
                self.wfile.write(bytes(1 << 20))
        elif what == "away":
            self.give(b"", 302, Location="/" + rest)
        elif what == "to":  # to another scheme, host and port: /to/http/PORT/PATH
            scheme, port, path = rest.split("/", 2)
            self.give(b"", 302, Location=f"{scheme}://localhost:{port}/{path}")
        elif what == "login":
            wanted = "Basic " + base64.b64encode(b"me:pa@ss").decode()
            if self.headers.get("Authorization") == wanted:
                return self.give(b"for members\n")
            self.give(b"who are you?\n", 401, WWW_Authenticate="Basic")
        elif what == "members":  # as /plain/, for those who log in
            if self.headers.get("Authorization") != "Basic " + base64.b64encode(b"me:pa@ss").decode():
                return self.give(b"who are you?\n", 401, WWW_Authenticate='Basic realm="members"')
            if not os.path.isfile(os.path.join(ROOT, rest)):
                return self.give(b"nothing of this name\n", 404)
            self.give(open(os.path.join(ROOT, rest), "rb").read())
        elif what == "ring":
            self.give(b"", 302, Location="/ring/")
        elif what == "hang":
            time.sleep(30)
        else:
            self.give(b"<h1>it broke</h1>\n", 500)


server = http.server.ThreadingHTTPServer(("127.0.0.1", PORT), Handler)
if len(sys.argv) > 3:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[3], sys.argv[4])
    server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
